# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from astropy.table import QTable

pytest.importorskip('matplotlib')

from vaephot.evaluate.figures import (
    MIN_POINTS,
    draw_colours,
    draw_completeness,
    draw_flux_errors,
    draw_gallery,
    draw_pit,
    draw_pulls,
    draw_trade,
)


class Result:
    """Three sources of one method in one set."""

    name, bands = 'one', ('VIS', 'H')

    def __init__(self):
        flux = np.array([[1.0, 2], [2, 3], [3, 4]])
        self.truth = {'is_scored': np.ones(3, bool), 'flux': flux,
                      'mags': 23.9 - 2.5 * np.log10(flux)}
        self.methods = {'mine': {
            'flux': flux * 1.1, 'flux_err': flux / 10,
            'picture': np.random.default_rng(1).normal(size=(4, 3, 8, 8)),
            'picture_error': np.array([0.1, 0.4, 0.2, 0.3]),
            'picture_mag': np.array([22.0, 23, 23, 30])}}


def bins(n, **columns):
    low = np.arange(len(n)) + 20.0
    return QTable({'set': ['one'] * len(n), 'method': ['mine'] * len(n),
                   'quantity': ['mag'] * len(n), 'low': low,
                   'high': low + 1, 'n': n, **columns})


def lines(ax):
    return [container[0].get_ydata().tolist()
            for container in ax.containers]


def test_medians_and_scatters_are_drawn_and_small_bins_left_out():
    table = bins([5, MIN_POINTS - 1], median=[0.1, 0.2],
                 median_err=[0.01, 0.01], nmad=[0.05, 0.06],
                 nmad_err=[0.01, 0.01], band=['VIS', 'VIS'])
    axes = draw_flux_errors([Result()], table).axes
    assert lines(axes[0]) == [[0.1]]
    assert lines(axes[1]) == [[0.05]]
    assert len(axes) == 4


def test_pulls_are_compared_with_the_normal_distribution():
    axes = draw_pulls([Result()]).axes
    assert [ax.get_title() for ax in axes] == ['one, VIS', 'one, H']
    curve = axes[0].lines[0].get_ydata()
    assert curve.max() == pytest.approx(1 / np.sqrt(2 * np.pi))


def test_shares_are_drawn_in_their_panels():
    table = bins([9, 9], share=[0.5, 0.25], share_err=[0.1, 0.1],
                 kind=['completeness', 'purity'])
    axes = draw_completeness(table).axes
    assert lines(axes[0]) == [[0.5]]
    assert lines(axes[1]) == [[0.25]]


def test_each_method_is_a_point_of_the_trade():
    table = QTable({'set': ['one'], 'method': ['mine'], 'purity': [0.9],
                    'purity_err': [0.1], 'completeness': [0.8],
                    'completeness_err': [0.1]})
    assert lines(draw_trade(table).axes[0]) == [[0.8]]


def test_pit_and_colours_are_drawn():
    pit = QTable({'set': ['one'], 'method': ['mine'], 'band': ['VIS'],
                  'density': [np.ones(20)]})
    assert len(draw_pit(pit).axes) == 1
    table = bins([9], median=[0.1], median_err=[0.1], nmad=[0.2],
                 nmad_err=[0.1], colour=['VIS-H'])
    assert lines(draw_colours(table).axes[1]) == [[0.2]]


def test_the_gallery_goes_from_best_to_worst():
    figure = draw_gallery(Result(), 'mine', (20, 25))
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    assert [t.split()[1] for t in titles] == ['0.100', '0.400']
    assert draw_gallery(Result(), 'mine', (10, 12)) is None
