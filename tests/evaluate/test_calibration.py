# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest

from vaephot.evaluate.calibration import pit_histogram, pull_table, pulls


def test_pulls_are_errors_over_errors_and_nan_without_one():
    values = pulls([3, 1, np.nan, 1, 1], [1, 1, 1, 1, 1],
                   [0.5, 2, 1, 0, np.inf])
    assert values[:2].tolist() == [4, 0]
    assert np.isnan(values[2:]).all()


@pytest.mark.parametrize(('scale', 'cover'), [(1.0, 0.683), (2.0, 0.383)])
def test_coverage_and_scatter_tell_how_far_errors_are_off(scale, cover):
    values = scale * np.random.default_rng(1).normal(size=4000)
    row = pull_table(np.zeros(4000), values, [-1, 1], n_bootstrap=20)[0]
    assert row['nmad'] == pytest.approx(scale, rel=0.06)
    assert row['coverage68'] == pytest.approx(cover, abs=0.03)
    assert abs(row['median']) < 0.15


def test_pit_is_flat_for_right_and_a_u_for_small_errors():
    values = np.random.default_rng(2).normal(size=20000)
    assert pit_histogram(values, 10) == pytest.approx(np.ones(10), abs=0.1)
    wide = pit_histogram(3 * values, 10)
    assert wide[0] > 2
    assert wide[-1] > 2
    assert wide[5] < 0.7


def test_pit_is_low_for_fluxes_that_are_too_high():
    assert pit_histogram([3.0, 3.0], 4).tolist() == [4, 0, 0, 0]
    assert np.isnan(pit_histogram([np.nan])).all()
