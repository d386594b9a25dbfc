# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest

from vaephot.evaluate.methods import Method


@pytest.fixture(scope='module')
def weights(make_untrained, tmp_path_factory):
    path = tmp_path_factory.mktemp('weights') / 'untrained.safetensors'
    return str(make_untrained(path))


def run(name, weights, observed, **options):
    return Method(name='ours', use=name, options={
        'weights': weights, 'refine': False, 'device': 'cpu', **options})(
            observed)


@pytest.mark.filterwarnings('ignore')
def test_told_positions_come_back_in_their_order(weights, make_observed):
    observed = make_observed(3, gap=12)
    rows = run('vaephot', weights, observed)
    for k, row in enumerate(rows):
        assert row['xy'] == pytest.approx(observed.positions[k], abs=2)
        assert np.isfinite(row['flux']).all()
        assert (row['flux_err'] > 0).all()
        for box, model in row['models']:
            assert model.shape[1:] == box.shape
            assert box.ixmin >= 0
            assert box.iymax <= observed.shape[0]


@pytest.mark.filterwarnings('ignore')
def test_sources_are_found_without_positions(weights, make_observed):
    observed = make_observed(3, gap=12)
    rows = run('vaephot_blind', weights, observed)
    for k, row in enumerate(rows):
        true = observed.positions[k]
        gap = np.hypot(*(row['xy'][:, None] - true[None]).transpose(2, 0, 1))
        assert (gap.min(axis=0) < 2).all()


@pytest.mark.filterwarnings('ignore')
def test_rows_that_are_hardly_sources_do_not_count(weights, make_observed):
    observed = make_observed(3, gap=12)
    every, none = (sum(len(row['xy']) for row in run(
        'vaephot_blind', weights, observed, p_source=limit))
        for limit in (0, 1.1))
    assert every >= sum(len(xy) for xy in observed.positions)
    assert none == 0
