# Licensed under a 3-clause BSD style license - see LICENSE.rst
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from photutils.segmentation import SegmentationImage

from vaephot.deblend.detect.stack import detect, detection_image
from vaephot.deblend.inputs.read import prepare_observation


def gaussian(shape, x, y, fwhm):
    yy, xx = np.mgrid[:shape[0], :shape[1]]
    sigma = fwhm / 2.354820045
    image = np.exp(-0.5 * ((xx - x)**2 + (yy - y)**2) / sigma**2)
    return image / (2 * np.pi * sigma**2)


def observe(sources, *, noise=(1.0,), fwhm=3.0, shape=(90, 110), seed=0,
            **options):
    """Sources are (x, y, flux per band)."""
    rng = np.random.default_rng(seed)
    data = rng.normal(0, np.array(noise)[:, None, None],
                      (len(noise), *shape))
    for x, y, fluxes in sources:
        data += (np.atleast_1d(fluxes)[:, None, None]
                 * gaussian(shape, x, y, fwhm))
    return prepare_observation(data, error=list(noise), psf=fwhm, **options)


@pytest.mark.parametrize('smooth', [0, 0.5, 1.0])
@pytest.mark.parametrize('noise', [(1.0,), (1.0, 5.0, 0.1)])
def test_the_noise_of_the_stack_is_one(smooth, noise):
    image = detection_image(observe([], noise=noise, shape=(300, 300)),
                            smooth=smooth)
    assert_allclose(image.std(), 1, rtol=0.04)
    assert abs(image.mean()) < 0.05


def test_unsmoothed_single_band_is_data_over_error():
    obs = observe([(40, 50, 300)], noise=(2.0,))
    assert_allclose(detection_image(obs, smooth=0), obs.data[0] / 2)


def test_the_matched_filter_gives_the_signal_to_noise_of_a_source():
    obs = observe([(55, 45, 500)])
    image = detection_image(obs, smooth=1)
    # noise-equivalent area of a Gaussian: 4 pi sigma^2
    want = 500 / np.sqrt(4 * np.pi) / (3 / 2.354820045)
    assert_allclose(image[45, 55], want, rtol=0.05)
    assert np.unravel_index(image.argmax(), image.shape) == (45, 55)


def test_bands_are_weighted_by_their_signal():
    source = [(55, 45, (300, 0.0)), (20, 20, (300, 0.0))]
    two = detection_image(observe(source, noise=(1.0, 1.0)), smooth=1)
    one = detection_image(observe([(x, y, f[0]) for x, y, f in source]),
                          smooth=1)
    # an empty band costs next to nothing, an equal one gains sqrt(2)
    assert two[45, 55] > 0.9 * one[45, 55]
    both = [(x, y, (300, 300)) for x, y, _ in source]
    two = detection_image(observe(both, noise=(1.0, 1.0)), smooth=1)
    assert_allclose(two[45, 55] / one[45, 55], 2**0.5, rtol=0.1)


def test_masked_pixels_have_no_weight():
    obs = observe([(55, 45, 500)])
    data = obs.data.copy()
    data[0, 45, 55] = np.nan
    data[0, 60:70, 60:70] = 1e9
    mask = np.zeros(data.shape[1:], bool)
    mask[60:70, 60:70] = True
    masked = prepare_observation(data, error=1.0, psf=3.0, mask=mask)
    image = detection_image(masked, smooth=1)
    assert np.isfinite(image).all()
    assert image.max() < 100
    assert image[45, 55] > 20
    assert_array_equal(image[64:66, 64:66], 0)


def test_the_edge_has_noise_one_too():
    image = detection_image(observe([], shape=(400, 400)), smooth=1)
    edge = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    assert_allclose(edge.std(), 1, rtol=0.15)


def test_correlated_noise_lowers_the_significance():
    plain = observe([(55, 45, 500)])
    correlated = observe([(55, 45, 500)], noise_correlation=2.0)
    assert_allclose(2 * detection_image(correlated), detection_image(plain))


@pytest.mark.parametrize('noise', [(1.0,), (1.0, 2.0)])
def test_sources_are_detected(noise):
    places = [(20, 20), (80, 30), (50, 70), (0, 89), (109, 0)]
    sources = [(x, y, [200 * n for n in noise]) for x, y in places]
    segm = detect(observe(sources, noise=noise), 5)
    assert isinstance(segm, SegmentationImage)
    labels = [segm.data[y, x] for x, y in places]
    assert 0 not in labels
    assert len(set(labels)) == 5
    assert segm.n_labels <= 6


@pytest.mark.parametrize('fwhm', [1.6, 4.5])
def test_pure_noise_gives_next_to_nothing(fwhm):
    segm = detect(observe([], fwhm=fwhm, shape=(300, 300)), 5)
    assert segm is None or segm.n_labels <= 3


def test_nothing_gives_none_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        obs = prepare_observation(np.zeros((20, 30)), error=1.0, psf=3.0)
        assert detect(obs, 5) is None
        obs = prepare_observation(np.full((20, 30), np.nan), error=1.0,
                                  psf=3.0)
        assert detect(obs, 5) is None
        one = observe([(55, 45, 500)])
        assert detect(one, 10_000) is None
