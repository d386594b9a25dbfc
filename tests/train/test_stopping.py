# Licensed under a 3-clause BSD style license - see LICENSE.rst
import math

import pytest

from vaephot.train.stopping import FIGURE, has_stopped, kept_row
from vaephot.train.training_config import TrainingConfig


def rows(*values):
    return [{'step': i, FIGURE: value} for i, value in enumerate(values)]


@pytest.mark.parametrize(('values', 'patience', 'stopped'), [
    ((3, 2, 1), 1, False), ((3, 2, 1, 1.5), 1, True),
    ((3, 2, 1, 1.5), 2, False), ((3, 1, 2, 1), 2, True),
    ((1, 2, 0, 2), 2, False), ((1,), 1, False), ((), 1, False),
    ((1, 2, 3, 4, 5), 0, False)])
def test_patience_counts_the_looks_since_the_best(values, patience, stopped):
    config = TrainingConfig(patience=patience)
    assert has_stopped(rows(*values), config) is stopped


@pytest.mark.parametrize(('values', 'patience', 'step'), [
    ((3, 1, 2), 5, 1), ((3, 1, 1), 5, 1), ((3, 1, 2), 0, 2),
    ((-1, 0, -2), 5, 2)])
def test_first_of_the_best_is_kept(values, patience, step):
    config = TrainingConfig(patience=patience)
    assert kept_row(rows(*values), config)['step'] == step


@pytest.mark.parametrize('bad', [math.nan, math.inf])
def test_what_is_no_number_is_never_the_best(bad):
    some = rows(bad, 4.0, bad, bad)
    assert kept_row(some, TrainingConfig(patience=3))['step'] == 1
    assert has_stopped(some, TrainingConfig(patience=2))


def test_rows_without_the_figure_do_not_count():
    some = [{'step': -1}, *rows(2.0, 3.0)]
    assert kept_row(some, TrainingConfig(patience=1))['step'] == 0
    assert has_stopped(some, TrainingConfig(patience=1))
    assert kept_row(some[:1], TrainingConfig(patience=1))['step'] == -1
    assert not has_stopped(some[:1], TrainingConfig(patience=1))
