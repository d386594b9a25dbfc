# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from numpy.testing import assert_allclose

from vaephot.deblend.inputs.psf.width import DEFAULT_FWHM, estimate_psf


def gaussian(shape, x, y, fwhm):
    yy, xx = np.mgrid[:shape[0], :shape[1]]
    sigma = fwhm / 2.354820045
    return np.exp(-0.5 * ((xx - x)**2 + (yy - y)**2) / sigma**2)


def field(fwhm, *, n_stars=12, n_galaxies=40, noise=1.0, seed=1, size=400):
    rng = np.random.default_rng(seed)
    image = rng.normal(0, noise, (size, size))
    for i in range(n_stars + n_galaxies):
        x, y = rng.uniform(20, size - 20, 2)
        width = fwhm * (1 if i < n_stars else rng.uniform(1.3, 4))
        image += rng.uniform(100, 1000) * gaussian(image.shape, x, y, width)
    return image


@pytest.mark.parametrize(('fwhm', 'error'), [
    (1.3, 0.1), (1.6, 0.06), (2.5, 0.06), (4.0, 0.06)])
def test_the_psf_is_estimated_from_point_like_sources(fwhm, error):
    got, n_sources = estimate_psf(field(fwhm), 1.0)
    assert_allclose(got, fwhm, rtol=error)
    assert n_sources > 5


def test_masked_and_saturated_sources_do_not_count():
    image = field(3.0)
    want, _ = estimate_psf(image, np.ones(image.shape))
    image[100:104, 200:204] = 1e6
    image[300, 300] = np.nan
    image[50, 60] = 1e5
    mask = np.zeros(image.shape, bool)
    mask[50, 60] = True
    got, _ = estimate_psf(image, 1.0, mask=mask)
    assert_allclose(got, want, rtol=0.03)


def test_of_few_sources_the_smallest_counts():
    image = 500 * (gaussian((99, 99), 30, 30, 3.0)
                   + gaussian((99, 99), 70, 70, 6.0))
    got, n_sources = estimate_psf(image, 1.0)
    assert n_sources == 2
    assert_allclose(got, 3.0, rtol=0.01)


@pytest.mark.parametrize('shape', [(50, 60), (5, 5), (1, 1)])
def test_without_sources_the_default_is_given(shape):
    image = np.random.default_rng(0).normal(0, 1, shape)
    assert estimate_psf(image, 1.0) == (DEFAULT_FWHM, 0)
    assert estimate_psf(0 * image, 1.0) == (DEFAULT_FWHM, 0)


def _galaxies_and_stars(n_stars, fwhm=2.5):
    """Galaxies of many sizes wider than some stars on a grid."""
    rng = np.random.default_rng(5)
    y, x = (40 * (1 + np.array(c)) + rng.uniform(-0.5, 0.5, 49)
            for c in np.divmod(np.arange(49), 7))
    widths = fwhm * np.exp(rng.uniform(0.35, 1.2, 49))
    widths[:n_stars] = fwhm
    return sum(3000 / width**2 * gaussian((330, 330), *place, width)
               for *place, width in zip(x, y, widths, strict=True)), widths


def test_stars_among_galaxies_tell_the_psf():
    image, _ = _galaxies_and_stars(7)
    got, n_sources = estimate_psf(image, 1.0)
    assert n_sources > 30
    assert_allclose(got, 2.5, rtol=0.02)


def test_without_stars_the_psf_is_narrower_than_all_galaxies():
    image, widths = _galaxies_and_stars(0)
    got, _ = estimate_psf(image, 1.0)
    assert got < widths.min()
    # better too narrow than too wide
    assert 0.7 * 2.5 < got < 1.1 * 2.5
    smoothed, _ = estimate_psf(image, 1.0, smoothing=2.4)
    assert max(got, 2.4) < smoothed < widths.min()
