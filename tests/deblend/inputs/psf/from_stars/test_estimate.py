# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from numpy.testing import assert_allclose

from vaephot.deblend.inputs.psf import build_psf, measure_fwhm


def build(image, **options):
    return build_psf(image, 1.0, np.zeros(image.shape, bool), band='r',
                     **options)


@pytest.mark.parametrize('fwhm', [1.7, 2.5, 4.0])
def test_the_psf_is_that_of_the_stars(fields, fwhm):
    image, places = fields.star_field(fwhm)
    psf = build(image)
    assert_allclose(psf.fwhm, fwhm, rtol=0.02)
    assert 9 <= len(psf.stars.x) <= len(places)
    sample, oversampling = psf.sample(0, 0)
    assert_allclose(sample.sum(), 1)
    half = len(sample) // 2
    steps = np.arange(-half, half + 1) / oversampling
    truth = fields.moffat(steps, steps[:, None], fwhm)
    truth[np.hypot(steps, steps[:, None]) > half / oversampling] = 0
    truth /= truth.sum()
    off = np.sqrt(((sample - truth) ** 2).sum() / (truth ** 2).sum())
    assert off < 0.03


def test_a_flux_with_it_is_that_with_the_true_psf(fields):
    image, _ = fields.star_field(2.5)
    sample, oversampling = build(image).sample(0, 0)
    pixels = sample[len(sample) // 2 % oversampling::oversampling,
                    len(sample) // 2 % oversampling::oversampling]
    pixels = pixels * oversampling ** 2
    half = len(pixels) // 2
    steps = np.arange(-half, half + 1)
    star = fields.moffat(steps, steps[:, None], 2.5)
    wide = np.arange(-200, 201)
    total = fields.moffat(wide, wide[:, None], 2.5).sum()
    flux = (star * pixels).sum() / (pixels ** 2).sum()
    assert_allclose(flux, total, rtol=0.03)


def test_a_psf_that_varies_is_found_where_stars_are_enough(fields):
    def width(x, y):
        return 2.4 + 0.8 * x / 500
    image, _ = fields.star_field(2.8, n_stars=80, n_galaxies=20, size=500,
                                 width=width)
    psf = build(image)
    assert psf.varies
    for x in (50, 250, 450):
        got = measure_fwhm(*psf.sample(x, 250))
        assert_allclose(got, width(x, 250), rtol=0.04)


def test_a_psf_that_does_not_vary_is_not_made_to(fields):
    image, _ = fields.star_field(2.8, n_stars=40, n_galaxies=20, size=400)
    assert not build(image).varies


def test_with_too_few_stars_it_is_a_gaussian(fields):
    image, _ = fields.star_field(3.0, n_stars=2, n_galaxies=0)
    psf = build(image)
    assert len(psf.stars.x) == 0
    assert psf.stars.n_candidates == 2
    assert 'a Gaussian' in psf.describe()
    # the wings of a Moffat profile widen the Gaussian that matches it
    assert 3.0 < psf.fwhm < 3.7


@pytest.mark.parametrize('shape', [(60, 50), (3, 3)])
def test_without_light_there_is_still_a_psf(shape):
    psf = build(np.zeros(shape))
    assert psf.fwhm > 0
    assert psf.stars.n_candidates == 0
