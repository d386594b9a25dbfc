# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from vaephot.simulate import scenes
from vaephot.simulate.scenes import draw_labelled_image
from vaephot.simulate.survey import get_survey


def _psf(sigma=2.5):
    line = np.exp(-0.5 * (np.arange(-20, 21) / sigma) ** 2)
    return np.outer(line, line)[None] / line.sum() ** 2 * [[[1.0]], [[0.7]]]


def _width(image):
    """Root mean square radius along x."""
    x = np.arange(image.shape[-1]) - (image.shape[-1] - 1) / 2
    return np.sqrt((image.sum(0) * x ** 2).sum() / image.sum())


@pytest.mark.parametrize('factor', [0.97, 1.03])
def test_wrong_psfs_keep_their_sums_and_places(factor):
    psf = _psf()
    wrong = scenes._wrong_psf(psf, factor)
    assert wrong.shape == psf.shape
    assert_allclose(wrong.sum((1, 2)), psf.sum((1, 2)))
    for one, other in zip(psf, wrong, strict=True):
        assert _width(other) / _width(one) == pytest.approx(factor, rel=2e-3)
        assert_allclose(other, other[::-1, ::-1], atol=1e-9)


def test_artefacts_are_sparse_and_positive():
    rng = np.random.default_rng(2)
    data, rms = np.zeros((2, 400, 500)), np.array([1.0, 100.0])
    scenes._add_artefacts(rng, data, rms)
    for image, noise in zip(data, rms, strict=True):
        hit = image > 0
        # 30 expected, of up to 8 pixels each
        assert 8 < hit.sum() < 250
        assert image.min() == 0
        assert image[hit].min() >= scenes.PEAKS[0] * noise
    again = np.zeros_like(data)
    scenes._add_artefacts(np.random.default_rng(2), again, rms)
    assert_array_equal(again, data)


def test_names_are_picked_by_their_weights():
    rng = np.random.default_rng(1)
    picked = [scenes._pick(rng, {'a': 3.0, 'b': 1.0, 'c': 0.0})
              for _ in range(400)]
    # 300 +- 9
    assert 260 < picked.count('a') < 340
    assert 'c' not in picked


@pytest.mark.galsim
@pytest.mark.parametrize('seed', [1, 2, 3])
def test_an_image_has_its_bands_kind_and_truth(seed):
    image = draw_labelled_image(seed, 2)
    survey, kind, population = image.kind.split('/')
    assert kind in scenes.KINDS
    assert population in {'mock', 'smooth'}
    names = [band.name for band in get_survey(survey).bands]
    # the band that detects comes first
    assert image.bands[0] == names[0]
    assert set(image.bands) <= set(names)
    n_bands = len(image.bands)
    assert 1 <= n_bands <= scenes.MAX_BANDS
    assert len(set(image.bands)) == n_bands
    assert image.data.shape == image.mask.shape
    assert len(image.data) == len(image.psf) == n_bands
    assert image.sky_rms.shape == image.gain.shape == (n_bands,)
    assert np.isfinite(image.data).all()
    # rows of the truth are sources on good stamps
    assert image.xy.shape == (len(image.is_star), 2)
    assert len(image.xy) >= 2
    assert np.isfinite(image.xy).all()
    x, y = np.rint(image.xy).astype(int).T
    ny, nx = image.data.shape[1:]
    assert ((x >= 0) & (x < nx) & (y >= 0) & (y < ny)).all()


@pytest.mark.galsim
def test_its_seed_alone_decides_an_image():
    one, two, other = (draw_labelled_image(seed, 1) for seed in (5, 5, 6))
    for name in ('data', 'mask', 'psf', 'xy', 'is_star', 'sky_rms'):
        assert_array_equal(getattr(one, name), getattr(two, name))
    assert (one.kind, one.bands) == (two.kind, two.bands)
    assert not np.array_equal(one.xy, other.xy)
