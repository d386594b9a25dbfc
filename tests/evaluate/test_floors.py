# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest

from vaephot.evaluate.baselines import oracle
from vaephot.evaluate.floors import cramer_rao, flux_floors


def test_the_floor_of_one_known_template_is_the_matched_filter():
    T = np.random.default_rng(1).random((1, 2, 50))
    variance = np.random.default_rng(2).uniform(1, 2, (2, 50))
    floor = cramer_rao(T, np.zeros((0, 2, 50)), variance)
    expected = 1 / np.sqrt((T[0] ** 2 / variance).sum(1))
    assert floor[0] == pytest.approx(expected)


def test_the_floor_of_two_templates_grows_with_their_likeness():
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 1, 400))
    rho = (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())
    floor = cramer_rao([a, b], np.zeros((0, 1, 400)), np.ones((1, 400)))
    alone = 1 / np.sqrt((a * a).sum())
    assert floor[0, 0] == pytest.approx(alone / np.sqrt(1 - rho ** 2))


def test_bands_share_what_is_known_of_the_shape():
    rng = np.random.default_rng(4)
    T, D = rng.random((1, 2, 60)), rng.normal(size=(2, 2, 60))
    D += T[0]  # shapes and fluxes are alike
    both = cramer_rao(T, D, np.ones((2, 60)))
    one = cramer_rao(T[:, :1], D[:, :1], np.ones((1, 60)))
    assert both[0, 0] < one[0, 0]


def test_a_prior_helps_and_knowing_all_helps_more(make_observed):
    observed = make_observed(3)
    floors = flux_floors(observed, 2)
    assert floors.shape == (3, 3, 2)
    known, free, prior = floors.transpose(1, 0, 2)
    assert (known < prior).all()
    assert (prior < free).all()


def test_known_templates_have_the_errors_of_the_oracle(make_observed):
    observed = make_observed(3)
    for k, row in enumerate(oracle(observed)):
        assert flux_floors(observed, k)[:, 0] == pytest.approx(
            row['flux_err'], rel=1e-6)


def test_bad_pixels_raise_the_floor_and_noise_correlation_too(
        make_observed):
    observed = make_observed(1)
    plain = flux_floors(observed, 0)
    x, y = observed.truth.xy[0].astype(int)
    observed.mask[0, :, y - 1:y + 2, x - 1:x + 2] = True
    assert (flux_floors(observed, 0) > plain).all()
