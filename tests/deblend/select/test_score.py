# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from photutils.segmentation import SegmentationImage

from vaephot.deblend.select import score
from vaephot.deblend.select.features import FEATURES, measure_features
from vaephot.deblend.select.score import Scorer

SHAPE = (64, 64)
HOST = [31.3, 30.6, 1.4, 0.2, -0.1, 0, 0, 0, 0, 0, 0]
BESIDE = [35.6, 33.0, 0.8, -0.2, 0.3, 0, 0, 0, 0, 0, 0]
GAIN, COMPARED = (FEATURES.index(name) for name in ('gain', 'compared'))


class Judge:
    """One probability for all; 0.2 where a comparison gained nothing."""

    def __init__(self, p_source=0.8):
        self.p_source = p_source

    def probabilities(self, features):
        lost = (features[:, COMPARED] > 0) & (features[:, GAIN] <= 0)
        return np.stack([np.where(lost, 0.2, self.p_source),
                         np.full(len(features), 0.3)], 1)


@pytest.fixture
def fitted(gaussian_band, draw_frame, make_observation, make_sources,
           make_engine, structured_vae, structured_decoder):
    """Return an engine, and its fit of a galaxy and of another in it."""
    psfs = [gaussian_band(1.2), gaussian_band(1.6)]
    data = draw_frame([HOST, BESIDE], [[20000.0, 30000], [4000, 5000]], psfs,
                      SHAPE, structured_decoder)
    data = data + np.random.default_rng(6).standard_normal(data.shape)
    segm = np.zeros(SHAPE, int)
    segm[12:50, 12:52] = 1
    engine = make_engine(make_observation(data, psfs),
                         SegmentationImage(segm), vae=structured_vae)
    return engine, engine.fit(make_sources([HOST[:2], BESIDE[:2]], 1))


@pytest.fixture
def calls(monkeypatch):
    """Let nothing be gained over hosts, and record what is compared."""
    calls = []

    def host_gains(engine, scene, pairs):
        calls.append(pairs.rows.tolist())
        return np.zeros(len(pairs.rows))
    monkeypatch.setattr(score, 'host_gains', host_gains)
    return calls


def test_every_source_gets_its_probabilities(fitted, shipped_classifier):
    engine, scene = fitted
    scores = Scorer(engine, shipped_classifier)(scene)
    assert scores.shape == (2, 2)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert scene.scores is None


def test_features_know_of_the_comparisons(fitted, calls):
    engine, scene = fitted
    features = Scorer(engine, Judge()).features(scene)
    expected = measure_features(engine, scene)
    expected[1, COMPARED] = 1
    assert_array_equal(features, expected)
    assert calls == [[1]]


def test_there_is_hope_where_a_comparison_is_due(fitted, calls):
    scorer, scene = Scorer(fitted[0], Judge()), fitted[1]
    assert_array_equal(scorer.first_look(scene), [[0.8, score.RULED_OUT]] * 2)
    # the host has no host
    assert_array_equal(scorer.hope(scene), [0.8, 1])
    assert calls == []
    # what it explains as well is no source
    assert_array_equal(scorer(scene), [[0.8, score.RULED_OUT],
                                        [0.2, score.RULED_OUT]])


def test_hosts_are_tested_once_while_the_parent_stays(
        fitted, make_sources, calls):
    engine, scene = fitted
    scorer = Scorer(engine, Judge())
    one = scorer(scene)
    again = scorer(engine.settle(engine.refit(scene, np.ones(2, bool))))
    assert_array_equal(again, one)
    assert calls == [[1], []]
    more = engine.refit(scene, np.ones(2, bool),
                        added=make_sources([(27.0, 27.0)], 1))
    scorer(more)
    assert 1 in calls[-1]


def test_a_scene_is_scored_once(fitted, calls):
    scorer, scene = Scorer(fitted[0], Judge()), fitted[1]
    assert scorer(scene) is scorer(scene)
    assert calls == [[1]]


@pytest.mark.parametrize('sure', [0.01, 0.99])
def test_what_is_sure_is_not_compared_with_its_host(fitted, calls, sure):
    scorer, scene = Scorer(fitted[0], Judge(sure)), fitted[1]
    assert_array_equal(scorer(scene)[:, 0], sure)
    assert_array_equal(scorer.hope(scene), sure)
    assert calls == [[]]
