# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from numpy.testing import assert_allclose

from vaephot.deblend.inputs.psf.from_stars.star_choice import (
    choose_stars,
    find_candidates,
    measure_width,
)


def distances(found, places):
    """Distance of each of ``found`` from the nearest of the places."""
    return np.hypot(found.x[:, None] - places[:, 0],
                    found.y[:, None] - places[:, 1]).min(1)


@pytest.mark.parametrize('fwhm', [1.6, 2.5, 4.0])
def test_stars_are_chosen_and_no_galaxies(fields, fwhm):
    image, places = fields.star_field(fwhm)
    found = find_candidates(image, 1.0, np.zeros(image.shape, bool))
    stars = found.take(choose_stars(found))
    assert len(stars) >= 9
    assert (distances(stars, places) < 0.2).mean() > 0.9
    assert (np.diff(stars.snr) <= 0).all()


def test_without_a_shared_width_there_are_none(fields):
    image, _ = fields.star_field(3.0, n_stars=0)
    found = find_candidates(image, 1.0, np.zeros(image.shape, bool))
    assert len(found) > 10
    assert len(choose_stars(found)) == 0


@pytest.mark.parametrize('shape', [(50, 60), (5, 5), (1, 1)])
def test_noise_has_no_candidates(shape):
    image = np.random.default_rng(0).normal(0, 1, shape)
    found = find_candidates(image, 1.0, np.zeros(shape, bool))
    assert len(found) == 0
    assert len(choose_stars(found)) == 0


def test_saturated_and_masked_stars_and_pairs_are_no_candidates(fields):
    image = np.random.default_rng(0).normal(0, 1, (200, 200))
    places = np.array([(40.0, 40.0), (150.0, 40.0), (40.0, 150.0),
                       (150.0, 150.0), (160.0, 150.0)])
    for x, y in places:
        fields.add(image, x, y, 1000,
                   lambda dx, dy: fields.moffat(dx, dy, 3.0))
    image[38:43, 38:43] = np.minimum(image[38:43, 38:43], 600)
    bad = np.zeros(image.shape, bool)
    bad[40, 150] = True
    found = find_candidates(np.where(bad, 0, image), 1.0, bad)
    assert len(found) == 1
    assert_allclose((found.x[0], found.y[0]), (40, 150), atol=0.1)


def test_a_gaussian_has_its_own_width():
    y, x = np.mgrid[-15:16, -15:16]
    image = np.exp(-4 * np.log(2) * (x ** 2 + y ** 2) / 3.5 ** 2)
    assert_allclose(measure_width(image), 3.5, rtol=1e-3)
