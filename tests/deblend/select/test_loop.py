# Licensed under a 3-clause BSD style license - see LICENSE.rst
from types import SimpleNamespace

import numpy as np
import pytest
from photutils.segmentation import SegmentationImage

from vaephot import PeakFinder
from vaephot.deblend.detect.candidates import Chosen
from vaephot.deblend.detect.residual_peaks import ResidualPeaks
from vaephot.deblend.pipeline import solve
from vaephot.deblend.select import loop as decisions
from vaephot.deblend.select.loop import decide, drop_doubtful, search

SHAPE = (70, 110)
# two that overlap, and one alone
PARAMETERS = np.array([[24.3, 30.6, 0.9, 0.2, -0.1, 0, 0],
                       [30.1, 31.2, 0.5, -0.1, 0.2, 0, 0],
                       [82.2, 44.1, 0.7, 0.1, 0.3, 0, 0]])
FLUX = np.array([[9000.0, 6000], [4000, 3000], [6000, 6000]])


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
    return ResidualPeaks(x=x, y=y, parent=parent.astype(int),
                         significance=significance)


def test_the_next_place_is_tried_where_much_is_left_over(scene, monkeypatch):
    start = scene(PARAMETERS[[0, 2], :2], [1, 2],
                  finder=PeakFinder(n_rounds=1))
    for significance, n_found in ((40.0, 3), (5.0, 2)):
        places = _places((18, 38, 1, 50), (30, 31, 1, significance))
        monkeypatch.setattr('vaephot.deblend.select.loop.find_residual_peaks',
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


def test_what_stays_anyway_does_not_keep_its_neighbours(scene, monkeypatch):
    # nothing is likely in the first parent, least of all its brightest
    start = scene(PARAMETERS[:, :2], [1, 1, 2])

    class Doubt:
        def __init__(self, fitter):
            pass

        def __call__(self, solution):
            bright = solution.fit.flux.sum(1)
            return np.where(solution.sources.parent == 1, 100 / bright, 1.0)
        hopeful = __call__

    monkeypatch.setattr(decisions, 'Judge', Doubt)
    fitter, segm, solution, _, deblender = start
    deblender.finder = PeakFinder(n_rounds=0)
    solution = drop_doubtful(fitter, segm, solution, deblender)
    assert solution.sources.parent.tolist() == [1, 2]
