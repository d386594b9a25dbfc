# Licensed under a 3-clause BSD style license - see LICENSE.rst
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

from vaephot.scale.first_pass import join_sky, measure_section
from vaephot.scale.sections import Window
from vaephot.scale.survey_plan import make_plan
from vaephot.scale.tile_data import observe, read_bands

SHAPE = (60, 80)
PART = Window(y0=10, y1=50, x0=20, x1=75)


@pytest.fixture
def image(tmp_path):
    image = np.random.default_rng(1).normal(size=SHAPE).astype('f4')
    image[12, 30] = np.nan
    fits.writeto(tmp_path / 'image.fits', image)
    return image


@pytest.mark.parametrize(('kind', 'power'), [
    ('rms', 1), ('var', 2), ('ivar', -2)])
def test_errors_may_be_variances_or_weights(image, tmp_path, kind, power):
    sigma = np.full(SHAPE, 2.0)
    fits.writeto(tmp_path / 'error.fits', sigma**power)
    plan = make_plan(tmp_path / 'image.fits', tmp_path / 'run', psf=2.0,
                     error=tmp_path / 'error.fits', error_type=kind)
    data, error, mask = read_bands(plan, PART)
    assert error == pytest.approx(np.full((1, 40, 55), 2.0))
    assert mask.sum() == 1
    assert mask[0, 2, 10]
    assert np.nan_to_num(data[0]) == pytest.approx(
        np.nan_to_num(image[PART.slices]))


def test_bits_choose_the_bad_pixels(image, tmp_path):
    flags = np.zeros(SHAPE, np.uint8)
    flags[20, 30], flags[30, 40] = 1, 4
    fits.writeto(tmp_path / 'mask.fits', flags)
    for bits, count in ((None, 3), (4, 2), (2, 1)):
        plan = make_plan(tmp_path / 'image.fits', tmp_path / 'run',
                         mask=tmp_path / 'mask.fits', mask_bits=bits)
        assert read_bands(plan, PART)[2].sum() == count


def known(image, tmp_path, **arguments):
    plan = make_plan(tmp_path / 'image.fits', tmp_path / 'run', error=1.0,
                     **arguments)
    return replace(plan, sky=join_sky(plan, [measure_section(plan, 0)]))


def test_the_psf_is_that_of_the_place_on_the_mosaic(image, tmp_path):
    plan = known(image, tmp_path, psf=lambda x, y, band: 2.0 + 0.05 * x)
    whole, part = observe(plan, Window(y0=0, y1=60, x0=0, x1=80)), observe(
        plan, PART)
    assert (whole.psfs[0].sample(50, 30)[0]
            == part.psfs[0].sample(30, 20)[0]).all()
    assert whole.psfs[0].fwhm == part.psfs[0].fwhm


def test_light_is_taken_off_with_its_photons(image, tmp_path):
    plan = known(image, tmp_path, psf=2.0, gain=4.0)
    light = np.full((1, *PART.shape), 8.0)
    before, after = observe(plan, PART), observe(plan, PART, light=light)
    good = ~before.mask
    assert (before.data - after.data)[good] == pytest.approx(8.0)
    assert (after.variance - before.variance) == pytest.approx(2.0)


def test_what_was_estimated_is_said(image, tmp_path):
    plan = make_plan(tmp_path / 'image.fits', tmp_path / 'run')
    plan = replace(plan, sky=join_sky(plan, [measure_section(plan, 0)]))
    seen = observe(plan, PART)
    assert seen.error_estimated
    assert seen.psf_estimated
    assert np.sqrt(seen.variance) == pytest.approx(1, abs=0.1)
