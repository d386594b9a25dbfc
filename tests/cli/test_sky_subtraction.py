# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from numpy.testing import assert_allclose

from vaephot.cli._sky_subtraction import subtract_sky

SIZE = 240
Y, X = np.mgrid[:SIZE, :SIZE]


def field(seed=0, n=60):
    """Noise of 1 with sources."""
    rng = np.random.default_rng(seed)
    image = rng.standard_normal((SIZE, SIZE))
    for x, y, flux in zip(*rng.uniform(0, SIZE, (2, n)),
                          rng.uniform(50, 3000, n), strict=True):
        image += flux / (2 * np.pi * 4) * np.exp(
            -((X - x)**2 + (Y - y)**2) / 8)
    return image


@pytest.mark.parametrize('sky', [
    1e4, -30.0, 500 + 0.3 * X - 0.1 * Y, 100 + 10 * np.sin(Y / 80)])
def test_the_sky_is_found_between_sources(sky):
    left = subtract_sky(field() + sky) - field()
    assert abs(left.mean()) < 0.15
    assert left.std() < 0.25


def test_bad_pixels_have_no_say():
    image, bad = field() + 1e3, np.zeros((SIZE, SIZE), bool)
    bad[:, :100] = True
    image[bad] = 1e7
    image[200, 200] = np.nan
    left = subtract_sky(image, bad) - field()
    assert abs(np.nanmean(left[~bad])) < 0.15
    assert np.isnan(left[200, 200])


@pytest.mark.parametrize('shape', [(1, 40), (5, 5), (12, 70), (40, 40)])
def test_small_images_have_a_constant_sky(shape):
    image = np.random.default_rng(1).standard_normal(shape) + 50
    assert_allclose(subtract_sky(image).mean(), 0, atol=0.6)
    assert_allclose(subtract_sky(np.full(shape, 7)), 0, atol=1e-9)


def test_an_image_without_a_good_pixel_stays():
    image = np.full((9, 9), np.nan)
    assert np.isnan(subtract_sky(image)).all()
