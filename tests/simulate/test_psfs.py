# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest

from vaephot.exceptions import PSFError
from vaephot.simulate.psfs import (
    PSF_KINDS,
    draw_psf,
    psf_from_image,
    sample_psf,
    telescope_profile,
    vary_psf,
)

galsim = pytest.importorskip('galsim')
pytestmark = pytest.mark.galsim


@pytest.mark.parametrize('n_pixels', [32, 33])
def test_samples_are_odd_centred_and_of_sum_one(n_pixels):
    psf = sample_psf(galsim.Gaussian(fwhm=0.3), 0.1, n_pixels)
    n = psf.image.shape[0]
    assert psf.image.shape == (n, n)
    assert n % 2 == 1
    assert abs(n - 3 * n_pixels) <= 1
    assert psf.image.sum() == pytest.approx(1)
    peak = np.unravel_index(psf.image.argmax(), psf.image.shape)
    assert peak == (n // 2, n // 2)
    assert psf.image == pytest.approx(psf.image[::-1, ::-1], abs=1e-9)


def test_the_width_is_that_of_the_pixel_convolved_psf():
    psf = sample_psf(galsim.Gaussian(fwhm=0.4), 0.1, 41)
    # variances add: Gaussian of 4 px and a pixel of variance 1 / 12
    expected = 2.3548 * np.sqrt((4 / 2.3548) ** 2 + 1 / 12)
    assert psf.fwhm == pytest.approx(expected, rel=0.01)


def test_the_profile_and_its_samples_agree():
    psf = sample_psf(galsim.Moffat(3.0, fwhm=0.3), 0.1, 41)
    drawn = psf.profile.drawImage(nx=41, ny=41, scale=0.1,
                                  method='no_pixel', dtype=float).array
    assert drawn.sum() == pytest.approx(1, abs=2e-3)
    samples = psf.image[1::3, 1::3] * 9
    assert drawn == pytest.approx(samples, abs=2e-4 * drawn.max())


@pytest.mark.parametrize(('scale', 'n'), [(0, 31), (-0.1, 31), (0.1, 0)])
def test_a_bad_pixel_scale_or_box_is_refused(scale, n):
    with pytest.raises(PSFError) as info:
        sample_psf(galsim.Gaussian(fwhm=0.3), scale, n)
    assert info.value.pixel_scale == scale


def test_random_psfs_follow_from_the_generator_and_have_unit_flux():
    kinds = set()
    for seed in range(12):
        kind, scale, profile = draw_psf(np.random.default_rng(seed))
        again = draw_psf(np.random.default_rng(seed))
        assert (kind, scale) == again[:2]
        assert profile == again[2]
        assert profile.flux == pytest.approx(1, abs=1e-6)
        kinds.add(kind)
    assert kinds == set(PSF_KINDS)


@pytest.mark.parametrize('oversampling', [1, 3])
def test_an_image_of_a_psf_gives_the_psf_back(oversampling):
    # wide enough that the pixels hold all of it
    psf = sample_psf(galsim.Gaussian(fwhm=0.4), 0.1, 41)
    image = psf.image
    start = (len(psf.fine) // 2) % 6
    if oversampling == 1:
        image = psf.fine[start::6, start::6]
    again = psf_from_image(image, 0.1, oversampling=oversampling,
                           n_pixels=31)
    assert again.fwhm == pytest.approx(psf.fwhm, rel=2e-3)
    n = len(again.image)
    cut = (len(psf.image) - n) // 2
    assert again.image == pytest.approx(
        psf.image[cut:cut + n, cut:cut + n], abs=1e-4 * psf.image.max())


@pytest.mark.parametrize('image', [
    np.ones((3, 4)), np.zeros((3, 3)), np.full((3, 3), np.nan)])
def test_images_that_are_no_psf_are_refused(image):
    with pytest.raises(PSFError):
        psf_from_image(image, 0.1)
    with pytest.raises(PSFError, match='oversampling'):
        psf_from_image(np.ones((3, 3)), 0.1, oversampling=0)


def test_varying_a_psf_widens_and_shears_it():
    for profile in (galsim.Moffat(3.0, fwhm=0.5),
                    telescope_profile(0.3, 0.2, n_waves=1)):
        plain = sample_psf(profile, 0.1, 31)
        wide = sample_psf(vary_psf(profile, widening=1.2), 0.1, 31)
        assert wide.fwhm == pytest.approx(1.2 * plain.fwhm, rel=0.03)
        sheared = sample_psf(vary_psf(profile, g1=0.1), 0.1, 31).image
        middle = len(sheared) // 2
        assert sheared[middle, middle + 6] > sheared[middle + 6, middle]


def test_the_transfer_is_one_at_zero_and_small_beyond_its_reach():
    psf = sample_psf(galsim.Gaussian(fwhm=0.3), 0.1, 41)
    values = psf.transfer(64, 60)
    assert values[60, 0] == pytest.approx(1)
    k = np.hypot(*np.meshgrid(np.arange(61), np.arange(-60, 61))) / 64
    assert abs(values[k > psf.reach * np.sqrt(2)]).max() < 3e-5
