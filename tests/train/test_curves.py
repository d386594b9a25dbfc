# Licensed under a 3-clause BSD style license - see LICENSE.rst
import sys

import pytest

from vaephot.exceptions import MissingDependencyError
from vaephot.train.curves import plot_curves, thin_curves


def rows(count):
    return [{'step': 10 * i, 'loss': 3.0 / i, 'flux_bias': -0.123456 * i,
             'size_pull': 1.0} for i in range(1, count + 1)]


def test_thinning_keeps_the_ends():
    thin = thin_curves({'a': rows(100), 'b': rows(2), 'c': []}, n_rows=7)
    assert len(thin['a']['step']) == 7
    assert (thin['a']['step'][0], thin['a']['step'][-1]) == (10, 1000)
    assert thin['b']['step'] == [10, 20]
    assert thin['b']['flux_bias'] == [-0.1235, -0.2469]
    assert thin['c'] == {}


def test_one_row_is_enough():
    assert thin_curves({'a': rows(1)})['a']['step'] == [10]


def test_the_figure_has_a_row_of_panels_per_stage(tmp_path):
    pytest.importorskip('matplotlib')
    figure = plot_curves({'isolated': rows(5), 'blended': rows(3)})
    assert len(figure.axes) == 12
    assert figure.axes[0].lines[0].get_xdata().tolist() == [
        10, 20, 30, 40, 50]
    figure.savefig(tmp_path / 'curves.png')


def test_stages_without_rows_take_no_room():
    pytest.importorskip('matplotlib')
    figure = plot_curves({'isolated': [], 'blended': rows(3)})
    assert len(figure.axes) == 6
    assert figure.axes[0].get_title().startswith('blended')


def test_a_run_without_rows_can_be_drawn():
    pytest.importorskip('matplotlib')
    assert plot_curves({'isolated': []}).axes
    assert plot_curves({}).axes


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, 'matplotlib', None)
    monkeypatch.setitem(sys.modules, 'matplotlib.figure', None)
    with pytest.raises(MissingDependencyError, match=r'vaephot\[plot\]'):
        plot_curves({})
