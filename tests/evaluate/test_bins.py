# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest

from vaephot.evaluate.bins import binned_table, location_scatter


def test_any_figures_of_any_quantity_are_computed_in_each_bin():
    def largest(values, axis=None):
        return {'largest': values.max(axis=axis)}

    table = binned_table([0.1, 0.2, 1.5], [1, 3, 7], [0, 1, 2], largest,
                         name='snr')
    assert table['snr_low'].tolist() == [0, 1]
    assert table['largest'].tolist() == [3, 7]
    assert table['n'].tolist() == [2, 1]


def test_the_default_figures_are_median_and_scatter():
    values = np.random.default_rng(1).normal(3, 2, 2001)
    figures = location_scatter(values)
    assert figures['median'] == np.median(values)
    assert figures['nmad'] == pytest.approx(2, rel=0.1)
    table = binned_table(np.zeros(2001), values, [-1, 1])
    assert table['nmad'][0] == figures['nmad']
    assert table['median_err'][0] == pytest.approx(
        2 * np.sqrt(np.pi / 2 / 2001), rel=0.4)


def test_an_infinite_quantity_is_in_no_bin():
    table = binned_table([np.inf, np.nan, 0.5], [1, 1, 1], [0, 1])
    assert table['n'].tolist() == [1]
