# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest

from vaephot.deblend.select.features import FEATURES
from vaephot.deblend.select.probability import (
    COEFFICIENTS,
    kinds_of,
    log_odds,
    source_probability,
    with_rivals,
    worth,
)


def _evidence(n=1, **columns):
    out = np.zeros((n, len(FEATURES)))
    for name, values in columns.items():
        out[:, FEATURES.index(name)] = values
    return out


def test_models_use_known_features():
    for weights in COEFFICIENTS.values():
        assert set(weights) <= {'constant', *FEATURES}


def test_each_source_has_one_kind():
    evidence = _evidence(4, first=[1, 0, 1, 0])
    kinds = kinds_of(evidence)
    np.testing.assert_array_equal(sum(rows.astype(int)
                                      for rows in kinds.values()), 1)
    assert kinds['beside'].tolist() == [False, True, False, True]


@pytest.mark.parametrize('first', [1, 0])
def test_more_evidence_is_more_probable(first):
    evidence = _evidence(9, first=first,
                         log_drop=np.linspace(0, 4, 9), on_host=0.5,
                         log_here=np.linspace(0, 2, 9),
                         log_snr=np.linspace(-0.5, 2, 9))
    p = source_probability(evidence)
    assert (np.diff(p) > 0).all()
    assert p[0] < 0.1
    assert p[-1] > 0.9


@pytest.mark.parametrize(('name', 'low', 'high'), [
    ('around', 0.5, 0), ('mirrored', 1, 0), ('log_size', -1, 0)])
def test_parts_of_a_galaxy_are_less_probable(name, low, high):
    evidence = _evidence(2, log_drop=2.5, log_snr=1,
                         **{name: [low, high]})
    p = source_probability(evidence)
    odds = p / (1 - p)
    assert odds[0] < 0.5 * odds[1]


def test_probability_is_the_logistic_function_of_the_sum():
    weights = COEFFICIENTS['beside']
    total = weights['constant'] + 0.5 * weights['log_snr']
    p = source_probability(_evidence(log_snr=0.5))
    assert p[0] == pytest.approx(1 / (1 + np.exp(-total)))


def test_odds_are_those_of_the_probability():
    np.testing.assert_allclose(np.exp(log_odds(np.array([0.2, 0.5, 0.9]))),
                               [0.25, 1, 9])
    assert np.isfinite(log_odds(np.array([0.0, 1.0]))).all()


def test_gains_have_a_weight():
    weight = worth(np.array([-1e6, 0.0, 20, 40, np.inf]))
    assert (np.diff(weight) > 0).all()
    np.testing.assert_allclose(weight, [0, 0, 0.5, 1, 1], atol=0.02)


@pytest.mark.parametrize('before', [0.5, 0.7, 0.95])
def test_no_gain_over_structure_makes_a_source_unlikely(before):
    p = with_rivals(np.full(4, before), np.array([0.0, 10, 30, 1000]))
    assert (np.diff(p) > 0).all()
    assert p[0] < 0.45
    assert p[-1] > before


def test_no_gain_over_structure_makes_no_source_likely():
    before = np.array([0.01, 0.1, 0.3])
    np.testing.assert_array_equal(with_rivals(before, np.zeros(3)), before)


def test_without_a_rival_nothing_changes():
    before = np.array([0.0, 0.3, 1.0])
    np.testing.assert_array_equal(with_rivals(before, np.full(3, np.nan)),
                                  before)
