# Licensed under a 3-clause BSD style license - see LICENSE.rst
from types import SimpleNamespace

import numpy as np
import pytest
from photutils.segmentation import SegmentationImage

from vaephot import PeakFinder
from vaephot.deblend.candidates import Chosen
from vaephot.deblend.decisions import (
    COEFFICIENTS,
    decide,
    kinds_of,
    search,
    source_probability,
)
from vaephot.deblend.evidence import FEATURES
from vaephot.deblend.pipeline import solve

SHAPE = (70, 110)
# two that overlap, and one alone
PARAMETERS = np.array([[24.3, 30.6, 0.9, 0.2, -0.1, 0, 0],
                       [30.1, 31.2, 0.5, -0.1, 0.2, 0, 0],
                       [82.2, 44.1, 0.7, 0.1, 0.3, 0, 0]])
FLUX = np.array([[9000.0, 6000], [4000, 3000], [6000, 6000]])


def _evidence(n=1, **columns):
    out = np.zeros((n, len(FEATURES)))
    for name, values in columns.items():
        out[:, FEATURES.index(name)] = values
    return out


def test_models_use_known_features():
    for weights in COEFFICIENTS.values():
        assert set(weights) <= {'constant', *FEATURES}


def test_each_source_has_one_kind():
    evidence = _evidence(4, alone=[1, 0, 1, 0], born_late=[0, 0, 1, 1])
    kinds = kinds_of(evidence)
    np.testing.assert_array_equal(sum(rows.astype(int)
                                      for rows in kinds.values()), 1)
    assert kinds['late'].tolist() == [False, False, False, True]


@pytest.mark.parametrize(('name', 'alone', 'late'), [
    ('log_drop', 1, 0), ('log_drop', 0, 0), ('log_gain', 0, 1)])
def test_more_evidence_is_more_probable(name, alone, late):
    evidence = _evidence(9, alone=alone, born_late=late,
                         **{name: np.linspace(0, 4, 9)})
    p = source_probability(evidence)
    assert (np.diff(p) > 0).all()
    assert p[0] < 0.1
    assert p[-1] > 0.9


def test_probability_is_the_logistic_function_of_the_sum():
    weights = COEFFICIENTS['early']
    total = weights['constant'] + 2.5 * weights['log_drop']
    p = source_probability(_evidence(log_drop=2.5))
    assert p[0] == pytest.approx(1 / (1 + np.exp(-total)))


def _segm():
    data = np.zeros(SHAPE, int)
    data[22:41, 14:42] = 1
    data[36:53, 74:91] = 2
    return SegmentationImage(data)


@pytest.fixture
def scene(gaussian_band, draw_frame, make_observation, make_sources,
          make_fitter):
    """Return a function that solves for some positions in the scene."""
    psfs = [gaussian_band(1.2), gaussian_band(1.6)]
    data = draw_frame(PARAMETERS, FLUX, psfs, SHAPE)
    data = data + np.random.default_rng(6).standard_normal(data.shape)
    fitter = make_fitter(make_observation(data, psfs))

    def make(xy, parents, **options):
        sources = make_sources(np.array(xy, float), parents)
        deblender = SimpleNamespace(**{
            'contrast': 0.001, 'n_pixels': 5, 'refine': True,
            'finder': None, **options})
        none = np.zeros(len(sources), bool)
        chosen = Chosen(sources=sources, is_point=none, given=False)
        solution = solve(fitter, _segm(), sources, none, settled=False)
        return fitter, _segm(), solution, chosen, deblender
    return make


def test_true_sources_stay_and_an_invented_one_goes(scene):
    xy = [*PARAMETERS[:, :2], (19.0, 38.0)]
    solution = decide(*scene(xy, [1, 1, 2, 1]))
    assert len(solution.sources) == 3
    found = solution.fit.parameters[:, :2]
    for place in PARAMETERS[:, :2]:
        assert np.hypot(*(found - place).T).min() < 0.5
    assert solution.p_source.min() > 0.5


def test_nothing_is_dropped_below_no_probability(scene):
    xy = [*PARAMETERS[:, :2], (19.0, 38.0)]
    finder = PeakFinder(min_probability=0, n_rounds=0)
    solution = decide(*scene(xy, [1, 1, 2, 1], finder=finder, contrast=0))
    dark = (solution.fit.flux <= 0).all(1)
    assert len(solution.sources) == 4 or dark.sum() == 0


def test_a_source_without_a_peak_is_found_in_the_residual(scene):
    # only the brighter one of the blend is known
    start = scene(PARAMETERS[[0, 2], :2], [1, 2])
    solution, gain = search(*start)
    found = solution.fit.parameters[:, :2]
    assert np.hypot(*(found - PARAMETERS[1, :2]).T).min() < 1.5
    assert np.isnan(gain[:2]).all()
    assert gain[2] > 100


def test_without_a_fit_the_residual_is_not_searched(scene):
    start = scene(PARAMETERS[[0, 2], :2], [1, 2], refine=False)
    solution, gain = search(*start)
    assert len(solution.sources) == 2
    assert np.isnan(gain).all()
