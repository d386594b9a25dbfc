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
    drop_doubtful,
    kinds_of,
    search,
    source_probability,
)
from vaephot.deblend.evidence import FEATURES
from vaephot.deblend.pipeline import solve
from vaephot.deblend.residual import LeftOver

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
    evidence = _evidence(4, first=[1, 0, 1, 0], refined=[0, 0, 1, 1])
    kinds = kinds_of(evidence)
    np.testing.assert_array_equal(sum(rows.astype(int)
                                      for rows in kinds.values()), 1)
    assert kinds['beside'].tolist() == [False, False, False, True]


@pytest.mark.parametrize(('first', 'refined'), [(1, 0), (0, 0), (0, 1)])
def test_more_evidence_is_more_probable(first, refined):
    evidence = _evidence(9, first=first, refined=refined,
                         log_drop=np.linspace(0, 4, 9), on_host=0.5,
                         log_here=np.linspace(0, 2, 9),
                         log_snr=np.linspace(-0.5, 2, 9))
    p = source_probability(evidence)
    assert (np.diff(p) > 0).all()
    assert p[0] < 0.1
    assert p[-1] > 0.9


@pytest.mark.parametrize('refined', [0, 1])
@pytest.mark.parametrize(('name', 'low', 'high'), [
    ('around', 0.5, 0), ('mirrored', 1, 0), ('log_size', -1, 0)])
def test_parts_of_a_galaxy_are_less_probable(name, low, high, refined):
    evidence = _evidence(2, refined=refined, log_drop=2.5, log_snr=1,
                         **{name: [low, high]})
    p = source_probability(evidence)
    odds = p / (1 - p)
    assert odds[0] < 0.5 * odds[1]


def test_probability_is_the_logistic_function_of_the_sum():
    weights = COEFFICIENTS['beside']
    total = weights['constant'] + 0.5 * weights['log_snr']
    p = source_probability(_evidence(log_snr=0.5, refined=1))
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


def _search(start):
    fitter, segm, solution, _, deblender = start
    return search(fitter, segm, solution, deblender)


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
    solution = _search(start)
    found = solution.fit.parameters[:, :2]
    assert np.hypot(*(found - PARAMETERS[1, :2]).T).min() < 1.5


def _places(*rows):
    x, y, parent, significance = np.array(rows, float).T
    return LeftOver(x=x, y=y, parent=parent.astype(int),
                    significance=significance)


def test_the_next_place_is_tried_where_much_is_left_over(scene, monkeypatch):
    start = scene(PARAMETERS[[0, 2], :2], [1, 2],
                  finder=PeakFinder(n_rounds=1))
    for significance, n_found in ((40.0, 3), (5.0, 2)):
        places = _places((18, 38, 1, 50), (30, 31, 1, significance))
        monkeypatch.setattr('vaephot.deblend.decisions.find_left_over',
                            lambda *_, found=places, **__: found)
        assert len(_search(start).sources) == n_found


def test_fewer_are_kept_of_one_search(scene):
    fitter, segm, _, _, deblender = start = scene(
        [*PARAMETERS[:, :2], (19.0, 38.0)], [1, 1, 2, 1])
    found = _search(start)
    numbers = []
    for least in (0, 0.5, 1):
        deblender.finder = PeakFinder(min_probability=least)
        kept = drop_doubtful(fitter, segm, found, deblender)
        numbers.append(len(kept.sources))
        assert len(kept.p_source) == numbers[-1]
    assert numbers == sorted(numbers, reverse=True)
    assert numbers[1] == 3


def test_without_a_fit_the_residual_is_not_searched(scene):
    start = scene(PARAMETERS[[0, 2], :2], [1, 2], refine=False)
    assert len(_search(start).sources) == 2
