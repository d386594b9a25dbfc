# Licensed under a 3-clause BSD style license - see LICENSE.rst
from types import SimpleNamespace

import numpy as np
import pytest
from photutils.segmentation import SegmentationImage

from vaephot.deblend.candidates import Chosen
from vaephot.deblend.decisions import (
    COEFFICIENTS,
    decide,
    kinds_of,
    search,
    source_probability,
)
from vaephot.deblend.evidence import FEATURES, measure_evidence
from vaephot.deblend.finder import PeakFinder
from vaephot.deblend.pipeline import solve

SHAPE = (60, 90)
BLEND = np.array([[24.3, 30.6, 0.9, 0.3, -0.1, 0, 0],
                  [34.1, 33.2, 0.5, -0.2, 0.3, 0, 0]])
FALSE = (27.0, 27.5)


def _segm():
    data = np.zeros(SHAPE, int)
    data[18:46, 12:48] = 1
    return SegmentationImage(data)


def _deblender(**changes):
    return SimpleNamespace(**{'refine': True, 'finder': None, 'n_pixels': 5,
                              'contrast': 0.001, **changes})


@pytest.fixture
def scene(gaussian_band, draw_frame, make_observation, make_sources,
          make_fitter):
    """Return a function: fitter, solution of some places, and choice."""
    def make(places, *, given=False):
        psfs = [gaussian_band(1.2)]
        data = draw_frame(BLEND, [[6000.0], [1500.0]], psfs, SHAPE)
        data = data + np.random.default_rng(4).standard_normal(data.shape)
        fitter = make_fitter(make_observation(data, psfs))
        sources = make_sources(places, [1] * len(places))
        points = np.zeros(len(places), bool)
        return (fitter, solve(fitter, _segm(), sources, points),
                Chosen(sources=sources, is_point=points, given=given))
    return make


def _decided(scene, places, *, given=False, **changes):
    fitter, solution, chosen = scene(places, given=given)
    return decide(fitter, _segm(), solution, chosen, _deblender(**changes))


def _places(solution):
    xy = solution.fit.parameters[:, :2]
    return xy[np.argsort(xy[:, 0])]


def test_a_missed_source_is_added(scene):
    decided = _decided(scene, BLEND[:1, :2])
    np.testing.assert_allclose(_places(decided), BLEND[:, :2], atol=0.3)
    assert (decided.p_source > 0.5).all()


def test_a_false_source_goes(scene):
    decided = _decided(scene, np.vstack([BLEND[:, :2], [FALSE]]))
    np.testing.assert_allclose(_places(decided), BLEND[:, :2], atol=0.3)
    assert decided.rejected == (1,)


def test_two_candidates_of_one_source_become_one(scene):
    twice = np.vstack([BLEND[:, :2], BLEND[1:, :2] + 0.3])
    np.testing.assert_allclose(_places(_decided(scene, twice)),
                               BLEND[:, :2], atol=0.3)


def test_given_sources_all_stay(scene):
    places = np.vstack([BLEND[:, :2], [FALSE]])
    decided = _decided(scene, places, given=True)
    assert len(decided.sources) == 3
    assert ((decided.p_source >= 0) & (decided.p_source <= 1)).all()


def test_the_knob_drops_what_is_less_likely(scene, monkeypatch):
    # but never the brightest of several
    monkeypatch.setattr('vaephot.deblend.decisions.source_probability',
                        lambda evidence: np.full(len(evidence), 0.3))
    counts = [len(_decided(scene, BLEND[:, :2], finder=PeakFinder(
        min_probability=p, n_rounds=0)).sources) for p in (0.2, 0.4)]
    assert counts == [2, 1]


def test_a_contrast_of_one_never_splits(scene):
    decided = _decided(scene, BLEND[:, :2], contrast=1)
    # nothing is added, and nothing is dropped that may not be split
    assert len(decided.sources) <= 2
    fitter, solution, chosen = scene(BLEND[:1, :2])
    more, _ = search(fitter, _segm(), solution, chosen,
                     _deblender(contrast=1))
    assert more is solution


def test_small_parents_are_not_searched(scene):
    fitter, solution, chosen = scene(BLEND[:1, :2])
    more, gain = search(fitter, _segm(), solution, chosen,
                        _deblender(n_pixels=10_000))
    assert more is solution
    assert np.isnan(gain).all()


def test_probability_is_that_of_the_model_of_its_kind():
    evidence = np.zeros((3, len(FEATURES)))
    evidence[:, FEATURES.index('log_drop')] = 1.7
    evidence[:, FEATURES.index('log_gain')] = 1.5
    evidence[0, FEATURES.index('alone')] = 1
    evidence[2, FEATURES.index('born_late')] = 1
    kinds = kinds_of(evidence)
    assert [kind for kind in ('alone', 'early', 'late')
            for row in np.flatnonzero(kinds[kind])] == ['alone', 'early',
                                                        'late']
    margin = [COEFFICIENTS[kind]['constant'] + sum(
        weight * evidence[row, FEATURES.index(name)]
        for name, weight in COEFFICIENTS[kind].items() if name != 'constant')
        for row, kind in enumerate(('alone', 'early', 'late'))]
    np.testing.assert_allclose(source_probability(evidence),
                               1 / (1 + np.exp(-np.array(margin))))


def test_without_a_fit_the_residual_is_not_searched(scene):
    fitter, solution, chosen = scene(BLEND[:1, :2])
    assert search(fitter, _segm(), solution, chosen,
                  _deblender(refine=False))[0] is solution


@pytest.mark.parametrize('kind', ['alone', 'early', 'late'])
def test_coefficients_are_of_known_features(kind):
    assert set(COEFFICIENTS[kind]) <= {'constant', *FEATURES}


def test_true_sources_have_more_evidence_than_false_ones(scene):
    fitter, solution, _ = scene(np.vstack([BLEND[:, :2], [FALSE]]))
    evidence = measure_evidence(fitter, solution)
    drop = evidence[:, FEATURES.index('log_drop')]
    assert drop[:2].min() > drop[2] + 1
    assert np.isfinite(evidence).all()
