# Licensed under a 3-clause BSD style license - see LICENSE.rst
from types import SimpleNamespace

import numpy as np
import pytest
from photutils.segmentation import SegmentationImage

from vaephot.deblend.pipeline import MIN_SNR, accepted, solve, solve_again

SHAPE = (70, 110)
# a blend, a galaxy whose wings the blend's stamp sees, and one far away
PARAMETERS = np.array([[22.3, 30.6, 0.9, 0.3, -0.1, 0, 0],
                       [27.1, 33.2, 0.5, -0.2, 0.3, 0, 0],
                       [50.4, 31.8, 1.6, 0.0, 0.0, 0, 0],
                       [92.2, 44.1, 0.7, 0.1, 0.4, 0, 0]])
FLUX = np.array([[9000.0, 5000], [4000, 7000], [30000, 9000], [6000, 6000]])
PARENTS = [1, 1, 2, 3]


def _segm():
    data = np.zeros(SHAPE, int)
    data[24:39, 16:32] = 1
    data[26:38, 44:56] = 2
    data[38:50, 86:98] = 3
    return SegmentationImage(data)


@pytest.fixture
def scene(gaussian_band, draw_frame, make_observation, make_sources,
          make_fitter):
    """Return a function that makes a fitter and its sources."""
    def make(noise=1.0, parameters=PARAMETERS, flux=FLUX, parents=PARENTS,
             **options):
        psfs = [gaussian_band(1.2), gaussian_band(1.6)]
        data = draw_frame(parameters, flux, psfs, SHAPE)
        rng = np.random.default_rng(6)
        data = data + noise * rng.standard_normal(data.shape)
        fitter = make_fitter(make_observation(data, psfs), **options)
        return fitter, make_sources(parameters[:, :2], parents)
    return make


def _solve(fitter, sources, is_point=None):
    is_point = np.zeros(len(sources), bool) if is_point is None else is_point
    return solve(fitter, _segm(), sources, is_point)


@pytest.fixture
def solved(scene):
    """Return a fitter and its solution."""
    fitter, sources = scene()
    return fitter, _solve(fitter, sources)


def test_sources_are_found_from_their_positions_alone(solved):
    _, solution = solved
    np.testing.assert_allclose(solution.fit.flux, FLUX, rtol=0.05)
    np.testing.assert_allclose(solution.fit.parameters[:, :2],
                               PARAMETERS[:, :2], atol=0.1)


def test_model_image_is_the_sum_of_the_models_in_their_boxes(solved):
    _, solution = solved
    total = np.zeros((2, *SHAPE))
    for bbox, model in zip(solution.boxes, solution.models, strict=True):
        total[:, bbox.iymin:bbox.iymax, bbox.ixmin:bbox.ixmax] += model
    np.testing.assert_array_equal(solution.model_image, total)


def test_residuals_are_noise(solved):
    fitter, solution = solved
    residual = fitter.observation.data - solution.model_image
    assert residual[:, 15:60, 10:40].std() == pytest.approx(1, abs=0.15)


def test_light_of_other_pieces_is_taken_off(scene, monkeypatch):
    # the blend must not take the wings of its bright neighbour for its own
    fitter, sources = scene(noise=0.0)
    solution = _solve(fitter, sources)
    monkeypatch.setattr('vaephot.deblend.pipeline.MAX_ROUNDS', 1)
    once = _solve(fitter, sources)
    wrong, right = (abs(s.fit.flux[:2] / FLUX[:2] - 1).max()
                    for s in (once, solution))
    assert right < 0.5 * wrong
    assert right < 0.02


def test_start_without_refinement_draws_no_second_round(scene):
    fitter, sources = scene(max_steps=0)
    solution = _solve(fitter, sources)
    assert solution.fit.flux.shape == (4, 2)
    assert np.isfinite(solution.model_image).all()
    assert solution.fit.converged.all()


def test_point_sources_stay_points(scene):
    fitter, sources = scene()
    is_point = np.array([False, False, False, True])
    solution = _solve(fitter, sources, is_point)
    assert np.exp(solution.fit.parameters[3, 2]) < 0.1
    np.testing.assert_array_equal(solution.is_point, is_point)


def test_equal_calls_give_equal_results(scene):
    fitter, sources = scene()
    a, b = _solve(fitter, sources), _solve(fitter, sources)
    np.testing.assert_array_equal(a.fit.flux, b.fit.flux)
    np.testing.assert_array_equal(a.model_image, b.model_image)


def test_no_sources_give_an_empty_solution(scene, make_sources):
    fitter, _ = scene()
    solution = _solve(fitter, make_sources([], []))
    assert solution.fit.flux.shape == (0, 2)
    assert abs(solution.model_image).max() == 0


def test_dropping_a_source_leaves_the_other_groups_as_they_are(scene):
    # three well separated groups, so that nothing is refitted for light
    fitter, sources = scene(flux=0.1 * FLUX)
    solution = _solve(fitter, sources)
    keep = np.array([True, False, True, True])
    again = solve_again(fitter, _segm(), solution, keep)
    assert len(again.sources) == len(again.models) == 3
    np.testing.assert_allclose(again.fit.flux[2], solution.fit.flux[3],
                               rtol=1e-6)
    assert again.fit.flux[0, 0] > 1.1 * solution.fit.flux[0, 0]
    np.testing.assert_array_equal(again.sources.parent, [1, 2, 3])


def test_dropping_a_false_source_equals_never_having_it(scene, make_sources):
    fitter, sources = scene()
    places = np.vstack([PARAMETERS[:, :2], [[94.5, 46.0]]])
    more = make_sources(places, [*PARENTS, 3])
    solution = _solve(fitter, more)
    again = solve_again(fitter, _segm(), solution,
                        np.array([True] * 4 + [False]))
    never = _solve(fitter, sources)
    np.testing.assert_allclose(again.fit.flux, never.fit.flux, rtol=5e-3)


def _fitted(flux, parent, error=1.0):
    flux = np.asarray(flux, float)
    if flux.ndim == 1:
        flux = flux[:, None]
    return SimpleNamespace(
        fit=SimpleNamespace(flux=flux, flux_err=np.full(flux.shape, error)),
        is_point=np.zeros(len(flux), bool),
        sources=SimpleNamespace(parent=np.asarray(parent)))


def _accepted(flux, parent, contrast=0.001, noise=1.0, **options):
    solution = _fitted(flux, parent, **options)
    return accepted(solution, contrast,
                    np.broadcast_to(noise, solution.fit.flux.shape)).tolist()


def test_a_bright_star_leaves_the_galaxies_their_share():
    solution = _fitted([1e6, 900.0, 100.0, 0.5], [1, 1, 1, 1], error=0.01)
    solution.is_point[0] = True
    keep = accepted(solution, 0.01, np.ones((4, 1)))
    assert keep.tolist() == [True, True, True, False]
    solution.is_point[0] = False
    keep = accepted(solution, 0.01, np.ones((4, 1)))
    assert keep.tolist() == [True, False, False, False]


def test_brightest_of_a_parent_is_kept_however_faint():
    assert _accepted([0.1, -3.0, -5.0, 0.05], [1, 1, 2, 3]) == [
        True, False, True, True]


def test_sources_below_the_contrast_are_dropped():
    flux = [900.0, 95.0, 5.0, 90.0]
    assert _accepted(flux, [1, 1, 1, 2], contrast=0.05) == [
        True, True, False, True]
    assert _accepted(flux, [1, 1, 1, 2], contrast=0.2) == [
        True, False, False, True]
    assert _accepted(flux, [1, 1, 1, 2], contrast=0) == [True] * 4


def test_insignificant_sources_are_dropped():
    flux = [900.0, 0.9 * MIN_SNR, 1.1 * MIN_SNR]
    assert _accepted(flux, [1, 1, 1], contrast=0) == [True, False, True]


def test_significance_adds_up_over_the_bands():
    flux = np.array([[900.0, 900.0], [0.8 * MIN_SNR, 0.8 * MIN_SNR]])
    assert _accepted(flux, [1, 1], contrast=0) == [True, True]
    flux[1, 1] = -0.8 * MIN_SNR
    assert _accepted(flux, [1, 1], contrast=0) == [True, False]


def test_bands_count_by_their_noise():
    flux = np.array([[100.0, 0.0], [0.0, 1000.0]])
    noise = np.array([[1.0, 1000.0]])
    assert _accepted(flux, [1, 1], contrast=0.05, noise=noise) == [True,
                                                                   False]


def test_no_sources_are_accepted_without_an_error():
    assert _accepted(np.zeros((0, 2)), np.zeros(0, int)) == []
