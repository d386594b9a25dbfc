# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from numpy.testing import assert_allclose

from vaephot.deblend.inputs.psf.from_stars.star_choice import (
    choose_stars,
    find_candidates,
)
from vaephot.deblend.inputs.psf.from_stars.star_stack import (
    cut_stars,
    fit_stars,
    prediction_error,
)


@pytest.fixture(scope='module')
def fitted(fields):
    """Model and stamps of a field, and the places of its stars."""
    image, places = fields.star_field(2.4)
    bad = np.zeros(image.shape, bool)
    found = find_candidates(image, 1.0, bad)
    chosen = found.take(choose_stars(found))
    stamps = cut_stars(image, 1.0, bad, chosen, 2.6)
    return *fit_stars(stamps, 2.6, image.shape, None), places


def test_the_width_is_that_of_the_stars(fitted):
    assert_allclose(fitted[0].fwhm, 2.4, rtol=0.02)


def test_positions_are_those_of_the_stars(fitted):
    model, stars, places = fitted
    apart = np.stack([stars.x - model.centre[0], stars.y - model.centre[1]],
                     1)[:, None] - places
    nearest = np.abs(apart[np.arange(len(apart)),
                           np.hypot(*apart.T).T.argmin(1)])
    assert np.median(nearest) < 0.02


def test_residuals_of_a_star_are_noise(fitted):
    model, stars, _ = fitted
    dx, dy = stars.offsets()
    image = stars.flux[:, None] * model.evaluate(dx, dy, stars.x, stars.y)
    pull = (stars.data - image - stars.sky[:, None]) * np.sqrt(stars.weight)
    near = (np.hypot(dx, dy) < 4) & (stars.weight > 0)
    assert (pull[near] ** 2).mean() < 1.5


def test_unseen_stars_are_predicted_by_a_constant_psf(fitted):
    model, stars, _ = fitted
    assert prediction_error(model, stars, None, 1) < 1.5


def test_a_neighbour_weighs_nothing(fields):
    image = np.random.default_rng(0).normal(0, 1, (80, 80))
    for x, y, peak in ((40.0, 40.0, 1000), (48.0, 40.0, 300)):
        fields.add(image, x, y, peak,
                   lambda dx, dy: fields.moffat(dx, dy, 3.0))
    bad = np.zeros(image.shape, bool)
    found = find_candidates(image, 1.0, bad)
    stamps = cut_stars(image, 1.0, bad, found.take(np.array([0])), 3.0)
    side = int(np.sqrt(stamps.data.shape[1]))
    weight = stamps.weight.reshape(side, side)
    assert weight[side // 2, side // 2 + 8] == 0
    assert weight[side // 2, side // 2 - 8] > 0
    assert weight[side // 2, side // 2] > 0
