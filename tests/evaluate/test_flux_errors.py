# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from astropy.stats import mad_std

from vaephot.evaluate.flux_errors import (
    flux_error_table,
    nmad,
    relative_flux_error,
)
from vaephot.exceptions import ShapeMismatchError


def test_nmad_is_that_of_astropy():
    values = np.random.default_rng(1).normal(2, 3, (7, 501))
    assert nmad(values) == pytest.approx(mad_std(values), rel=1e-12)
    assert nmad(values, axis=1) == pytest.approx(mad_std(values, axis=1))


def test_relative_error_is_zero_for_the_truth_and_nan_without_one():
    error = relative_flux_error([1, 3, np.nan, 1, 1], [1, 2, 1, 0, -1])
    assert error[:2].tolist() == [0, 0.5]
    assert np.isnan(error[2:]).all()


def test_relative_error_refuses_other_shapes():
    with pytest.raises(ShapeMismatchError):
        relative_flux_error([1, 2], [1])


def test_figures_are_those_of_each_bin():
    mag = np.array([20.0, 20.5, 20.9, 21.0, 25.0])
    error = np.array([0.0, 0.1, 0.5, -0.3, 9.0])
    table = flux_error_table(mag, error, [20, 21, 22, 23])
    assert table['n'].tolist() == [3, 1, 0]
    assert table['median'][:2].tolist() == [0.1, -0.3]
    assert table['mean'][0] == pytest.approx(0.2)
    assert table['good10'][0] == pytest.approx(2 / 3)
    assert np.isnan(table['median'][2])
    assert np.isnan(table['median_err'][1])


def test_failures_are_counted_and_left_out():
    table = flux_error_table([20.0, 20.0], [np.nan, 0.2], [19, 21])
    assert (table['n'][0], table['n_failed'][0]) == (1, 1)
    assert table['median'][0] == 0.2


def test_bootstrap_errors_are_right_for_a_gaussian():
    values = np.random.default_rng(2).normal(0, 0.1, 1000)
    table = flux_error_table(np.full(1000, 22.0), values, [21, 23], seed=3)
    expected = 0.1 * np.sqrt(np.pi / 2 / 1000)
    assert table['median_err'][0] == pytest.approx(expected, rel=0.3)
    assert table['mean_err'][0] == pytest.approx(0.1 / 1000**0.5, rel=0.2)
    assert table['nmad'][0] == pytest.approx(0.1, rel=0.1)
    assert table['outlier_fraction'][0] == 0


def test_outliers_are_counted():
    values = np.r_[np.random.default_rng(2).normal(0, 0.01, 99), 3.0]
    table = flux_error_table(np.full(100, 22.0), values, [21, 23])
    assert table['outlier_fraction'][0] == pytest.approx(0.01)


def test_a_seed_gives_the_same_table_again():
    rng = np.random.default_rng(4)
    mag, error = rng.uniform(20, 24, 300), rng.normal(0, 0.1, 300)
    first, again = (flux_error_table(mag, error, [20, 22, 24], seed=5)
                    for _ in range(2))
    assert (first == again).all()


def test_bad_arguments_are_refused():
    with pytest.raises(ShapeMismatchError):
        flux_error_table([1.0], [1.0, 2.0], [0, 1])
    with pytest.raises(ValueError, match='rising'):
        flux_error_table([1.0], [1.0], [1, 1])
