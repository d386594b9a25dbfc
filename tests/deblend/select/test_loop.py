# Licensed under a 3-clause BSD style license - see LICENSE.rst
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from photutils.segmentation import SegmentationImage

from vaephot import PeakFinder
from vaephot.deblend.detect.residual_peaks import ResidualPeaks
from vaephot.deblend.select import loop
from vaephot.deblend.select.loop import (
    drop_doubtful,
    search_residual,
    select_sources,
)
from vaephot.deblend.select.score import Scorer
from vaephot.deblend.settings import MIN_SNR, SearchSettings

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


def _settings(**changes):
    return SearchSettings(**{'n_pixels': 5, 'contrast': 0.001,
                             'n_levels': 32, 'mode': 'exponential',
                             'connectivity': 8, **changes})


@pytest.fixture
def start(gaussian_band, draw_frame, make_observation, make_sources,
          make_engine):
    """Return a function that fits sources at some positions."""
    psfs = [gaussian_band(1.2), gaussian_band(1.6)]
    data = draw_frame(PARAMETERS, FLUX, psfs, SHAPE)
    data = data + np.random.default_rng(6).standard_normal(data.shape)

    def make(xy, parents, **options):
        engine = make_engine(make_observation(data, psfs), _segm(),
                             **options)
        return engine, engine.fit(make_sources(xy, parents))
    return make


def test_true_sources_stay_and_an_invented_one_goes(
        start, shipped_classifier):
    engine, scene = start([*PARAMETERS[:, :2], (19.0, 38.0)], [1, 1, 2, 1])
    scene = select_sources(engine, scene, _settings(),
                           Scorer(engine, shipped_classifier))
    assert len(scene) == 3
    found = scene.fit.parameters[:, :2]
    for place in PARAMETERS[:, :2]:
        assert np.hypot(*(found - place).T).min() < 0.5
    assert scene.p_source.min() > 0.5


def test_nothing_is_dropped_below_no_probability(start, shipped_classifier):
    engine, scene = start([*PARAMETERS[:, :2], (19.0, 38.0)], [1, 1, 2, 1])
    finder = PeakFinder(min_probability=0, n_rounds=0)
    scene = select_sources(engine, scene,
                           _settings(finder=finder, contrast=0),
                           Scorer(engine, shipped_classifier))
    dark = (scene.fit.flux <= 0).all(1)
    assert len(scene) == 4 or dark.sum() == 0


def test_a_source_without_a_peak_is_found_in_the_residual(start):
    # only the brighter one of the blend is known
    engine, scene = start(PARAMETERS[[0, 2], :2], [1, 2])
    scene = search_residual(engine, scene, _settings())
    found = scene.fit.parameters[:, :2]
    assert np.hypot(*(found - PARAMETERS[1, :2]).T).min() < 1.5


def test_parents_that_may_not_split_are_not_searched(start):
    engine, scene = start(PARAMETERS[[0, 2], :2], [1, 2])
    for changes in ({'contrast': 1}, {'n_pixels': 500}):
        assert search_residual(engine, scene, _settings(**changes)) is scene


def _places(*rows):
    x, y, parent, significance = np.array(rows, float).T
    return ResidualPeaks(x=x, y=y, parent=parent.astype(int),
                         significance=significance)


@pytest.mark.parametrize(('significance', 'n_found'), [(40.0, 3), (5.0, 2)])
def test_the_next_place_is_tried_where_much_is_left_over(
        start, monkeypatch, significance, n_found):
    engine, scene = start(PARAMETERS[[0, 2], :2], [1, 2])
    places = _places((18, 38, 1, 50), (30, 31, 1, significance))
    monkeypatch.setattr(loop, 'find_residual_peaks',
                        lambda *_, **__: places)
    settings = _settings(finder=PeakFinder(n_rounds=1))
    assert len(search_residual(engine, scene, settings)) == n_found


def test_fewer_are_kept_the_more_evidence_is_asked_for(
        start, shipped_classifier):
    engine, scene = start([*PARAMETERS[:, :2], (19.0, 38.0)], [1, 1, 2, 1])
    found = search_residual(engine, scene, _settings())
    numbers = []
    for least in (0, 0.5, 1):
        kept = drop_doubtful(engine, found, _settings(
            finder=PeakFinder(min_probability=least)),
            Scorer(engine, shipped_classifier))
        numbers.append(len(kept))
        assert kept.scores.shape == (numbers[-1], 2)
    assert numbers == sorted(numbers, reverse=True)
    assert numbers[1] == 3


def test_without_rounds_nothing_is_searched_for_more(start):
    engine, scene = start(PARAMETERS[[0, 2], :2], [1, 2], refine=False)
    settings = _settings().without_rounds()
    assert search_residual(engine, scene, settings) is scene


class Doubt:
    """Nothing is likely in the first parent, least of all its brightest."""

    def hope(self, scene):
        bright = scene.fit.flux.sum(1)
        return np.where(scene.sources.parent == 1, 100 / bright, 1.0)

    def __call__(self, scene):
        return np.stack([self.hope(scene)] * 2, 1)


def test_what_stays_anyway_does_not_keep_its_neighbours(start):
    engine, scene = start(PARAMETERS[:, :2], [1, 1, 2])
    scene = drop_doubtful(engine, scene,
                          _settings(finder=PeakFinder(n_rounds=0)), Doubt())
    assert scene.sources.parent.tolist() == [1, 2]


# ------------------------------------------------- flux that is asked for
def _accepted(flux, parent, contrast=0.001, *, noise=1.0, error=1.0,
              is_point=False, finder=list):
    """Which sources have flux enough; a finder of its own asks for more."""
    flux = np.asarray(flux, float)
    flux = flux[:, None] if flux.ndim == 1 else flux
    scene = SimpleNamespace(
        fit=SimpleNamespace(flux=flux, flux_err=np.full(flux.shape, error),
                            parameters=np.zeros((len(flux), 7))),
        is_point=np.broadcast_to(is_point, len(flux)),
        sources=SimpleNamespace(parent=np.asarray(parent)))
    engine = SimpleNamespace(
        sky_rms=lambda xy: np.broadcast_to(noise, flux.shape))
    return loop._accepted(engine, scene, _settings(
        contrast=contrast, finder=finder)).tolist()


def test_a_bright_star_leaves_the_galaxies_their_share():
    flux, parent = [1e6, 900.0, 100.0, 0.5], [1, 1, 1, 1]
    star = np.array([True, False, False, False])
    assert _accepted(flux, parent, 0.01, error=0.01, is_point=star) == [
        True, True, True, False]
    assert _accepted(flux, parent, 0.01, error=0.01) == [
        True, False, False, False]


def test_bright_stars_alone_are_kept_without_a_warning():
    assert _accepted([1e12, 1e10], [1, 1], is_point=True) == [True, True]


def test_brightest_of_a_parent_is_kept_however_faint():
    assert _accepted([0.1, -3.0, -5.0, 0.05], [1, 1, 2, 3]) == [
        True, False, True, True]


def test_sources_below_the_contrast_are_dropped():
    flux, parent = [900.0, 95.0, 5.0, 90.0], [1, 1, 1, 2]
    assert _accepted(flux, parent, 0.05) == [True, True, False, True]
    assert _accepted(flux, parent, 0.2) == [True, False, False, True]
    assert _accepted(flux, parent, 0) == [True] * 4


def test_faint_sources_of_other_finders_are_dropped():
    flux = [900.0, 0.9 * MIN_SNR, 1.1 * MIN_SNR]
    assert _accepted(flux, [1, 1, 1], 0) == [True, False, True]
    # of our own search it is the probability that decides
    assert _accepted(flux, [1, 1, 1], 0, finder=None) == [True] * 3


def test_significance_adds_up_over_the_bands():
    flux = np.array([[900.0, 900.0], [0.8 * MIN_SNR, 0.8 * MIN_SNR]])
    assert _accepted(flux, [1, 1], 0) == [True, True]
    flux[1, 1] = -0.8 * MIN_SNR
    assert _accepted(flux, [1, 1], 0) == [True, False]


def test_bands_count_by_their_noise():
    flux = np.array([[100.0, 0.0], [0.0, 1000.0]])
    noise = np.array([[1.0, 1000.0]])
    assert _accepted(flux, [1, 1], 0.05, noise=noise) == [True, False]


def test_no_sources_are_accepted_without_an_error():
    assert _accepted(np.zeros((0, 2)), np.zeros(0, int)) == []


# --------------------------------------------------- what cannot be a source
def test_dark_sources_and_doubles_go_but_never_the_last_one(start):
    engine, scene = start(PARAMETERS[:, :2], [1, 1, 2])
    flux, parameters = scene.fit.flux.copy(), scene.fit.parameters.copy()
    flux[2] = -1
    parameters[1, :2] = parameters[0, :2] + 0.1
    scene = replace(scene, fit=replace(scene.fit, flux=flux,
                                       parameters=parameters))
    assert loop._impossible(engine, scene).tolist() == [False, True, True]
    left = loop.drop_impossible(engine, scene)
    assert left.sources.parent.tolist() == [1, 2]
