# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest

from vaephot.evaluate.evaluation_config import EvaluationConfig, MatchSettings
from vaephot.evaluate.measured_blends import describe_truth, measure_blends
from vaephot.evaluate.methods import find_method
from vaephot.evaluate.runner import SetResult
from vaephot.evaluate.scores import TABLES, make_tables


@pytest.fixture(scope='module')
def config():
    return EvaluationConfig.from_dict({
        'title': 't', 'methods': ['oracle', 'photutils_default'],
        'sets': [{'name': 's', 'case': 'faint'}],
        'edges': {'mag': [19, 21, 23]}, 'good_mags': [19, 23]})


@pytest.fixture(scope='module')
def result(config, make_observed):
    observed = make_observed(12)
    truth = describe_truth(observed, 2)
    truth |= {'bands': np.array(observed.bands), 'n_blends': 12,
              'pixel_scale': 0.1, 'zeropoint': 23.9}
    return SetResult('s', truth, {
        name: measure_blends(observed, find_method(name), MatchSettings())
        for name in ('oracle', 'photutils_default')})


@pytest.fixture(scope='module')
def tables(config, result):
    return make_tables([result], config)


def test_all_tables_are_there_and_say_of_what(tables):
    assert set(tables) == set(TABLES)
    for table in tables.values():
        assert {'set', 'method'} <= set(table.colnames)
        assert set(table['method']) <= {'oracle', 'photutils_default'}


def rows(table, **values):
    keep = np.all([table[k] == v for k, v in values.items()], axis=0)
    return table[keep]


def test_the_oracle_has_no_bias_against_itself(tables):
    own = rows(tables['flux_errors'], method='oracle', quantity='mag')
    own = own[own['n'] > 0]
    assert len(own)
    assert own['bias'] == pytest.approx(0, abs=1e-9)
    assert (own['recovered'] == 1).all()


def test_missed_sources_are_not_good(config, result):
    lost = {name: value.copy() for name, value in
            result.methods['oracle'].items()}
    scored = np.flatnonzero(result.truth['is_scored'])
    lost['flux'][scored[:6]] = np.nan
    part = SetResult('s', result.truth, {'oracle': lost})
    made = make_tables([part], config)
    whole = rows(make_tables([result], config)['summary'], method='oracle')
    assert made['summary']['good10_VIS'][0] == pytest.approx(
        whole['good10_VIS'][0] / 2, abs=0.1)
    own = rows(made['flux_errors'], quantity='mag', band='VIS')
    assert own['n'].sum() == own['n_failed'].sum() == 6


def test_the_common_sources_are_those_of_all_methods(config, result):
    lost = {name: value.copy() for name, value in
            result.methods['oracle'].items()}
    lost['flux'][result.truth['is_scored']] = np.nan
    part = SetResult('s', result.truth, {
        'lost': lost, 'oracle': result.methods['oracle']})
    made = make_tables([part], config)
    assert made['flux_errors_common']['n'].sum() == 0
    assert rows(made['flux_errors'], method='oracle')['n'].sum() > 0


def test_bins_are_of_every_quantity_that_is_known(tables, config):
    assert set(tables['flux_errors']['quantity']) == set(config.edges)


def test_the_summary_counts_what_was_found(tables):
    told = rows(tables['summary'], method='oracle')[0]
    assert told['completeness'] == told['purity'] == 1
    found = rows(tables['summary'], method='photutils_default')[0]
    assert 0.5 < found['completeness'] <= 1
    assert found['false_per_blend'] < 1
    assert found['sources_per_s'] > 0
