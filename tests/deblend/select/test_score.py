# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from photutils.segmentation import SegmentationImage

from vaephot.deblend.select import score
from vaephot.deblend.select.score import SURE, Scorer, with_probability

SHAPE = (64, 64)
HOST = [31.3, 30.6, 1.4, 0.2, -0.1, 0, 0, 0, 0, 0, 0]
BESIDE = [35.6, 33.0, 0.8, -0.2, 0.3, 0, 0, 0, 0, 0, 0]


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


def _doubtful(monkeypatch):
    """Let nothing be sure before hosts are tested, and count the tests."""
    calls = []

    def host_gains(engine, scene, pairs):
        calls.append(pairs.rows.tolist())
        return np.zeros(len(pairs.rows))
    monkeypatch.setattr(score, 'source_probability',
                        lambda evidence: np.full(len(evidence), 0.8 * SURE))
    monkeypatch.setattr(score, 'host_gains', host_gains)
    return calls


def test_every_source_gets_a_probability(fitted):
    engine, scene = fitted
    p = with_probability(engine, scene).p_source
    assert p.shape == (2,)
    assert ((p >= 0) & (p <= 1)).all()
    assert scene.p_source is None


def test_no_probability_is_above_its_upper_bound(fitted, monkeypatch):
    scorer, scene = Scorer(fitted[0]), fitted[1]
    _doubtful(monkeypatch)
    bound, found = scorer.upper_bound(scene), scorer(scene)
    # the host has no host; what it explains as well is no source
    assert found[0] == bound[0] == 0.8 * SURE
    assert found[1] < 0.5 < bound[1]


def test_hosts_are_tested_once_while_the_parent_stays(
        fitted, make_sources, monkeypatch):
    engine, scene = fitted
    scorer, calls = Scorer(engine), _doubtful(monkeypatch)
    one = scorer(scene)
    again = scorer(engine.settle(engine.refit(scene, np.ones(2, bool))))
    assert_array_equal(again, one)
    assert calls == [[1], []]
    more = engine.refit(scene, np.ones(2, bool),
                        added=make_sources([(27.0, 27.0)], 1))
    scorer(more)
    assert 1 in calls[-1]


def test_what_is_sure_is_not_compared_with_its_host(fitted, monkeypatch):
    calls = _doubtful(monkeypatch)
    monkeypatch.setattr(score, 'source_probability',
                        lambda evidence: np.full(len(evidence), 0.99))
    assert_array_equal(Scorer(fitted[0])(fitted[1]), 0.99)
    assert calls == [[]]
