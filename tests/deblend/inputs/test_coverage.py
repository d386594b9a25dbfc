# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from vaephot.deblend.inputs.coverage import filled_areas
from vaephot.deblend.inputs.read import prepare_observation

SHAPE = (90, 100)


def noise(seed=0, shape=SHAPE):
    return np.random.default_rng(seed).standard_normal(shape)


def good():
    return np.zeros(SHAPE, bool)


@pytest.mark.parametrize('value', [0.0, -999.0, 7.5, -1e6])
@pytest.mark.parametrize('dtype', ['f4', 'f8'])
def test_areas_of_one_number_in_noise_are_no_data(value, dtype):
    image = noise().astype(dtype)
    image[:, :30] = image[50:60, 70:73] = value
    image[5, 60:80] = image[60, 60] = 0  # too thin to be an area
    found = filled_areas(image.astype(float), good())
    expected = good()
    expected[:, :30] = expected[50:60, 70:73] = True
    assert_array_equal(found, expected)


def test_noise_and_masked_areas_have_none():
    assert filled_areas(noise(), good()) is None
    image, bad = noise(), good()
    image[:20] = 0
    bad[:20] = True
    assert filled_areas(image, bad) is None


@pytest.mark.parametrize('sigma', [0.3, 0.6, 1.0, 5.0])
def test_whole_numbers_may_be_the_same_by_chance(sigma):
    image = np.round(noise() * sigma)
    assert filled_areas(image, good()) is None
    image[40:, 60:] = 0
    found = filled_areas(image, good())
    if sigma >= 0.6:
        # noise of the same number may join it
        assert found[40:, 60:].all()
        assert found.sum() <= 1.02 * 50 * 40


def test_an_image_without_noise_is_seen_everywhere():
    y, x = np.mgrid[:90, :100]
    image = np.exp(-((x - 40)**2 + (y - 40)**2) / 8)
    image[image < 1e-3] = 0
    assert filled_areas(image, good()) is None
    # unless there is nothing at all
    assert filled_areas(np.zeros(SHAPE), good()).all()


def test_saturated_stars_are_not_filled():
    image = noise()
    image[40:46, 50:56] = 6e4
    assert filled_areas(image, good()) is None


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf, 0.0])
@pytest.mark.parametrize('error', [None, np.ones(SHAPE)])
def test_an_image_without_data_is_masked_without_a_word(value, error):
    found = prepare_observation(np.full(SHAPE, value), error=error, psf=3.0)
    assert found.mask.all()
    assert not found.data.any()


@pytest.mark.parametrize('how', ['zero', 'nan', 'weight', 'mask', 'fill'])
def test_areas_without_data_are_alike_however_they_are_marked(how):
    image, error, mask = noise(), np.full(SHAPE, 1.0), good()
    if how in ('zero', 'nan'):
        image[:, :30] = {'zero': 0, 'nan': np.nan}[how]
    elif how == 'mask':
        mask[:, :30] = True
    else:
        error[:, :30] = {'weight': np.inf, 'fill': 1e20}[how]
    found = prepare_observation(image, error=error, mask=mask, psf=3.0)
    assert found.mask[0, :, :30].all()
    assert not found.mask[0, :, 30:].any()
    assert (found.data[found.mask] == 0).all()
