# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import CCDData, NDData
from numpy.testing import assert_array_equal
from scipy.ndimage import gaussian_filter, zoom

from vaephot.deblend.inputs.read import prepare_observation
from vaephot.deblend.inputs.saturation import flat_tops, header_level
from vaephot.exceptions import ShapeMismatchError, UnitMismatchError

SHAPE = (90, 100)
Y, X = np.mgrid[:SHAPE[0], :SHAPE[1]]
GOOD = np.zeros(SHAPE, bool)


def star(peak, x=40.3, y=50.6, fwhm=3.0):
    return peak * np.exp(-4 * np.log(2) * ((X - x)**2 + (Y - y)**2)
                         / fwhm**2)


def noise(seed=0):
    return np.random.default_rng(seed).standard_normal(SHAPE)


def prepare(data, **options):
    return prepare_observation(data, **{'error': 1.0, 'psf': 3.0, **options})


# -------------------------------------------------------------- flat tops
@pytest.mark.parametrize('whole', [False, True])
def test_the_flat_top_of_a_star_is_saturated(whole):
    image = noise() + star(6e5)
    image = np.round(image) if whole else image
    image = np.minimum(image, 5e4)
    assert_array_equal(flat_tops(image, GOOD, 1.0), image >= 5e4)


def test_an_interpolated_flat_top_is_found_with_its_border():
    image = zoom(np.minimum(noise() + star(6e5), 5e4), 1.3, order=1)
    found = flat_tops(image, np.zeros(image.shape, bool), 1.0)
    core = image > 0.97 * 5e4
    assert found[core].mean() > 0.9
    assert not found[image < 1e4].any()


@pytest.mark.parametrize('fwhm', [1.5, 3.0, 12.0, 60.0])
@pytest.mark.parametrize('peak', [200.0, 1e4, 1e7])
@pytest.mark.parametrize('place', [(40.0, 50.0), (40.5, 50.5), (40.3, 50.6)])
def test_what_is_not_saturated_has_no_flat_top(fwhm, peak, place):
    for background in (0, noise()):
        image = background + star(peak, *place, fwhm=fwhm)
        assert flat_tops(image, GOOD, 1.0) is None
    # of few steps the top of a galaxy is flat, but falls off slowly
    image = np.round(star(300.0, *place, fwhm=fwhm))
    assert flat_tops(image, GOOD, 1.0) is None


def test_a_large_bright_galaxy_has_no_flat_top():
    image = gaussian_filter(noise(), 3) * 100 + star(1e6, fwhm=50)
    assert flat_tops(image, GOOD, 1.0) is None


# ------------------------------------------------------------------ levels
@pytest.mark.parametrize('given', [3e4, [3e4], {'band1': 3e4},
                                   np.float32(3e4)])
def test_pixels_above_a_level_are_masked_and_remembered(given):
    image = noise() + star(6e4)
    found = prepare(image, saturation=given)
    assert_array_equal(found.saturated[0], image >= 3e4)
    assert found.mask[found.saturated].all()
    assert (found.data[found.saturated] == 0).all()


def test_levels_are_per_band_and_none_looks_for_flat_tops():
    images = np.stack([noise() + star(6e4), np.minimum(noise(1) + star(6e5),
                                                       5e4)])
    found = prepare(images, saturation=[3e4, None])
    assert_array_equal(found.saturated, [images[0] >= 3e4, images[1] >= 5e4])
    assert prepare(images[:1]).saturated is None


def test_a_level_has_the_unit_of_the_data():
    image = (noise() + star(6e4)) * u.uJy
    found = prepare(image, error=1 * u.uJy, saturation=30 * u.mJy)
    assert_array_equal(found.saturated[0], image.value >= 3e4)
    with pytest.raises(UnitMismatchError, match='saturation of band'):
        prepare(image, error=1 * u.uJy, saturation=3 * u.adu)


@pytest.mark.parametrize(('given', 'error', 'match'), [
    (-1.0, ValueError, 'must be positive'),
    (np.nan, ValueError, 'must be positive'),
    ([[3e4, 2e4]], ShapeMismatchError, 'give one number'),
    ('high', TypeError, 'real numbers')])
def test_levels_out_of_range_raise(given, error, match):
    with pytest.raises(error, match=match):
        prepare(noise(), saturation=given)


@pytest.mark.parametrize('kind', [NDData, CCDData])
def test_the_header_of_an_image_tells_its_level(kind):
    image = noise() + star(6e4)
    found = prepare(kind(image, unit=u.adu, meta={'SATURATE': 3e4}),
                    error=1 * u.adu)
    assert_array_equal(found.saturated[0], image >= 3e4)
    again = prepare(kind(image, unit=u.adu, meta={'SATURATE': 3e4}),
                    error=1 * u.adu, saturation=5e4 * u.adu)
    assert_array_equal(again.saturated[0], image >= 5e4)


@pytest.mark.parametrize(('header', 'unit'), [
    ({}, None), ({'SATURATE': 'high'}, None), ({'SATURATE': True}, None),
    ({'SATURATE': 0.0}, None), ({'SATURATE': np.nan}, u.adu),
    ({'SATURATE': 500.0}, u.uJy),
    ({'SATURATE': -0.5}, None), ({'SATURATE': 0.5}, None)])
def test_a_header_without_a_level_for_the_image_has_none(header, unit):
    image = noise() + star(6e4)
    assert header_level(header, image, unit) is None
    assert header_level({'SATURLEV': 5000}, image, unit) == (
        None if unit is u.uJy else 5000)
