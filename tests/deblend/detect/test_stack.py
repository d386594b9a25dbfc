# Licensed under a 3-clause BSD style license - see LICENSE.rst
import warnings
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from photutils.segmentation import SegmentationImage
from scipy.ndimage import convolve1d

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
    assert_allclose(detection_image(obs, smooth=0), obs.data[0] / 2,
                    rtol=1e-6)


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


def slowly(obs):
    """Stack with frames of double precision."""
    signals, has_data = [], []
    for data, variance, bad, psf, correlation in zip(
            obs.data, obs.variance, obs.mask, obs.psfs,
            obs.noise_correlation, strict=True):
        sigma = 0.5 * psf.fwhm / 2.354820045
        half = int(np.ceil(3 * sigma))
        line = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma) ** 2)
        line /= line.sum()

        def smooth(image, line):
            for axis in (0, 1):
                image = convolve1d(image, line, axis=axis, mode='constant')
            return image
        signal = smooth(np.where(bad, 0, data) / variance, line)
        power = smooth(~bad / variance, line ** 2)
        enough = smooth(1.0 * ~bad, line ** 2) > 0.01 * (line @ line) ** 2
        signals.append(np.where(enough, signal / np.sqrt(
            np.where(enough, power, 1)) / correlation, 0))
        has_data.append(enough)
    signals, has_data = np.array(signals), np.array(has_data)
    bright = signals.mean(0) * len(signals) ** 0.5 > 3
    weights = np.maximum(signals[:, bright].mean(1), 0)
    weights = np.maximum(weights / weights.max(), 0.1)[:, None, None]
    norm = ((weights * has_data) ** 2).sum(0) ** 0.5
    return (weights * signals).sum(0) / np.where(norm > 0, norm, 1)


@pytest.mark.parametrize('varying', [False, True])
@pytest.mark.parametrize('masked', [False, True])
@pytest.mark.parametrize('scale', [1.0, 1e-20])
def test_strips_of_single_precision_give_what_frames_give(varying, masked,
                                                          scale):
    obs = observe([(55, 45, (500, 200)), (20, 70, (100, 900))],
                  noise=(1.0, 2.0), noise_correlation=[1.0, 1.5])
    rng = np.random.default_rng(1)
    mask = obs.mask.copy()
    if masked:
        mask[0, 40:70, 50:80] = mask[1, 55:64, 60:] = True
        mask |= rng.random(mask.shape) < 0.02
    variance = (obs.variance * rng.uniform(0.5, 2, obs.data.shape) if varying
                else obs.variance)
    obs = replace(obs, mask=mask, variance=variance * scale ** 2,
                  data=np.where(mask, 0, obs.data) * scale)
    assert_allclose(detection_image(obs), slowly(obs), rtol=1e-5, atol=1e-5)


def test_absurd_values_stay_where_they_are():
    obs = observe([(55, 45, 500)])
    data = obs.data.copy()
    data[0, 5, 5] = 1e300
    hot = detection_image(replace(obs, data=data))
    assert np.isfinite(hot).all()
    assert_allclose(hot[20:, 20:], detection_image(obs)[20:, 20:])
