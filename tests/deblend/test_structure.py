# Licensed under a 3-clause BSD style license - see LICENSE.rst
from dataclasses import replace

import numpy as np
import pytest
import torch
from photutils.segmentation import SegmentationImage

from vaephot.deblend import structure
from vaephot.deblend.pipeline import solve
from vaephot.deblend.structure import add_structure
from vaephot.deblend.waves import has_waves
from vaephot.models.asymmetry import frames
from vaephot.models.encoder import Gaussian

SHAPE = (64, 110)
N, N_BANDS = 7, 2
# a galaxy with structure and its plain neighbour, and a plain one far away
WAVES = np.array([0.8, -0.5, 0.6, 0.4])
PARAMETERS = np.array([[24.3, 30.6, 1.2, 0.3, -0.1, 0, 0, *WAVES],
                       [36.1, 33.2, 0.7, -0.2, 0.3, 0, 0, 0, 0, 0, 0],
                       [87.4, 28.8, 0.9, 0.1, 0.2, 0, 0, 0, 0, 0, 0]])
FLUX = np.array([[20000.0, 30000], [8000, 6000], [9000, 9000]])
PARENTS = [1, 1, 2]


def _segm():
    data = np.zeros(SHAPE, int)
    data[18:44, 12:44] = 1
    data[20:38, 79:97] = 2
    return SegmentationImage(data)


@pytest.fixture(autouse=True)
def _neighbours_do_not_matter(monkeypatch):
    """Let galaxies have structure whoever is near."""
    monkeypatch.setattr(structure, 'FREE_RADII', 0.0)


@pytest.fixture
def scene(gaussian_band, draw_frame, make_observation, make_sources,
          make_fitter, structured_vae, structured_decoder):
    """Return a function that makes a fitter and its sources."""
    def make(noise=0.0, flux=FLUX, waves=1.0, **options):
        psfs = [gaussian_band(1.2), gaussian_band(1.6)]
        parameters = PARAMETERS * np.where(np.arange(N + 4) < N, 1, waves)
        data = draw_frame(parameters, flux, psfs, SHAPE, structured_decoder)
        rng = np.random.default_rng(6)
        data = data + noise * rng.standard_normal(data.shape)
        fitter = make_fitter(
            make_observation(data, psfs),
            networks=(structured_vae, structured_decoder), **options)
        return fitter, make_sources(PARAMETERS[:, :2], PARENTS)
    return make


def _gaussian(parameters, precision=1e-6):
    mean = torch.as_tensor(np.array(parameters, float))
    full = torch.full_like(mean, precision)
    full[:, 5:N] = 1
    return Gaussian(mean, full)


def _fit(fitter, sources, first=0.1):
    """Fit where the encoder saw some structure of the first."""
    plain = PARAMETERS.copy()
    plain[0, N:] = 0
    start = plain.copy()
    start[0, N:] = first
    return fitter.fit(sources, fitter.divide(sources, _segm()),
                      _gaussian(start), _gaussian(plain),
                      np.ones((len(sources), N_BANDS)))


# ------------------------------------------------------------ without waves
def test_copy_without_waves_leaves_the_fitter_as_it_is(scene):
    fitter, _ = scene()
    before = dict(vars(fitter))
    other = fitter.without_waves()
    assert type(other) is type(fitter)
    assert fitter.waves
    assert not other.waves
    assert vars(fitter) == before
    assert other.observation is fitter.observation
    assert other.vae is fitter.vae
    assert not other.without_waves().waves


# ---------------------------------------------------------------------- fit
def test_structure_is_recovered(scene):
    fit = _fit(*scene())
    np.testing.assert_allclose(fit.parameters[0, N:], WAVES, atol=2e-3)
    np.testing.assert_allclose(fit.band_parameters[0, :, N:], [WAVES, WAVES],
                               atol=2e-3)
    np.testing.assert_allclose(fit.parameters[:, :2], PARAMETERS[:, :2],
                               atol=1e-3)
    np.testing.assert_allclose(fit.flux, FLUX, rtol=2e-3)
    assert fit.converged.all()


def test_errors_of_amplitudes_are_those_of_the_noise(scene):
    fit = _fit(*scene(1.0))
    error = np.sqrt(np.diagonal(fit.covariance, axis1=1, axis2=2))
    own = N_BANDS + np.arange(N, N + 4)
    assert (error[0, own] > 1e-3).all()
    pulls = (fit.parameters[0, N:] - WAVES) / error[0, own]
    assert abs(pulls).max() < 5


@pytest.mark.parametrize('noise', [0.0, 1.0])
def test_neighbour_without_structure_gets_none(scene, noise):
    fitter, sources = scene(noise)
    fit = _fit(fitter, sources)
    assert (fit.parameters[1:, N:] == 0).all()
    assert (fit.band_parameters[1:, :, N:] == 0).all()
    # nor where the fit goes on from here
    assert has_waves(_gaussian(fit.parameters), fitter.vae.config
                     ).tolist() == [True, False, False]


def test_sources_that_may_have_structure_need_none_to_start(scene):
    fitter, sources = scene()
    plain = PARAMETERS.copy()
    plain[:, N:] = 0
    fit = fitter.fit(sources, fitter.divide(sources, _segm()),
                     _gaussian(plain), _gaussian(plain),
                     np.ones((3, N_BANDS)),
                     structured=np.array([True, False, False]))
    np.testing.assert_allclose(fit.band_parameters[0, :, N:], [WAVES, WAVES],
                               atol=2e-3)
    assert (fit.parameters[2, N:] == 0).all()


def test_common_amplitudes_of_a_neighbour_are_held(scene):
    fit = _fit(*scene(1.0))
    np.testing.assert_allclose(fit.parameters[1, N:], 0, atol=1e-6)
    # another piece has no such parameters
    assert (fit.parameters[2, N:] == 0).all()
    assert (fit.band_parameters[2, :, N:] == 0).all()


def test_pieces_without_structure_have_no_errors_of_amplitudes(scene):
    # the first piece of none of its sources, the second of none at all
    for first, rows in ((0.0, [0, 1, 2]), (0.1, [2])):
        fit = _fit(*scene(1.0), first)
        n = N_BANDS + N
        assert fit.covariance.shape == (3, n + 4, n + 4)
        for k in rows:
            matrix = fit.covariance[k]
            assert (matrix[n:] == 0).all()
            assert (matrix[:, n:] == 0).all()
            assert (np.diagonal(matrix)[:n] > 0).all()
            assert (fit.parameters[k, N:] == 0).all()


def test_shared_covariance_has_a_place_for_amplitudes(scene):
    fit = _fit(*scene(1.0), 0.0)
    n_all = fit.covariance.shape[-1]
    for k in (0, 1):
        place, matrix = fit.group_covariance[k]
        assert matrix.shape == (2 * n_all, 2 * n_all)
        own = np.s_[place * n_all:(place + 1) * n_all]
        np.testing.assert_array_equal(matrix[own, own], fit.covariance[k])
    # neighbours trade flux
    assert matrix[0, n_all] != 0
    assert fit.group_covariance[2] is None


def test_fit_without_structure_is_that_of_fewer_parameters(scene,
                                                           make_fitter):
    fitter, sources = scene(1.0)
    long = _fit(fitter, sources, 0.0)
    plain = make_fitter(fitter.observation)
    start, prior = (Gaussian(g.mean[:, :N], g.precision[:, :N])
                    for g in [_gaussian(PARAMETERS)] * 2)
    short = plain.fit(sources, plain.divide(sources, _segm()), start, prior,
                      np.ones((3, N_BANDS)))
    n = N_BANDS + N
    np.testing.assert_array_equal(long.parameters[:, :N], short.parameters)
    np.testing.assert_array_equal(long.flux, short.flux)
    np.testing.assert_array_equal(long.covariance[:, :n, :n],
                                  short.covariance)


# ------------------------------------------------------------ add structure
def _solved(fitter, sources, is_point=None):
    is_point = np.zeros(len(sources), bool) if is_point is None else is_point
    return solve(fitter.without_waves(), _segm(), sources, is_point)


@pytest.fixture
def solved(scene):
    """Return a fitter and its solution of concentric galaxies."""
    fitter, sources = scene(1.0)
    return fitter, _solved(fitter, sources)


@pytest.fixture
def seen(monkeypatch):
    """Let the encoder see given amplitudes; return what it was shown."""
    def make(amplitudes):
        calls = []

        def look(fitter, sources, pieces, is_point, shapes, snr, image, *,
                 rows):
            calls.append({'rows': rows, 'pieces': pieces, 'image': image,
                          'is_point': is_point, 'sources': sources})
            mean = shapes.mean[rows].clone()
            mean[:, fitter.vae.config.n_concentric:] = torch.as_tensor(
                amplitudes[rows])
            # the rest of what it says is of no account
            mean[:, :5] += 3.0
            return Gaussian(mean, shapes.precision[rows]), None, None, None
        monkeypatch.setattr(structure, 'look_again', look)
        return calls
    return make


def _chi2(fitter, solution, k):
    bbox = solution.boxes[k]
    residual = (fitter.observation.data - solution.model_image)[
        :, bbox.iymin:bbox.iymax, bbox.ixmin:bbox.ixmax]
    return float((residual ** 2).mean())


def test_solution_of_a_judge_has_no_structure(solved):
    fitter, solution = solved
    assert (solution.fit.parameters[:, N:] == 0).all()
    # so that something is left of the first
    assert _chi2(fitter, solution, 0) > 3
    assert _chi2(fitter, solution, 2) < 1.5


def test_structure_is_added(solved, seen):
    fitter, solution = solved
    seen(PARAMETERS[:, N:])
    before = solution.fit.parameters.copy()
    found = add_structure(fitter, solution)
    assert _chi2(fitter, found, 0) < 1.3
    np.testing.assert_allclose(found.fit.parameters[0, N:], WAVES, atol=0.2)
    np.testing.assert_allclose(found.fit.band_parameters[0, :, N:],
                               [WAVES, WAVES], atol=0.1)
    np.testing.assert_allclose(found.fit.flux, FLUX, rtol=0.02)
    # neither what was given nor another piece is changed
    np.testing.assert_array_equal(solution.fit.parameters, before)
    assert found.sources is solution.sources
    np.testing.assert_array_equal(found.fit.parameters[2], before[2])
    np.testing.assert_array_equal(found.fit.covariance[2],
                                  solution.fit.covariance[2])


def test_galaxies_with_a_source_in_them_stay_concentric(
        solved, seen, monkeypatch):
    fitter, solution = solved
    frame, _ = frames(torch.as_tensor(solution.fit.parameters[:1, 2]),
                      torch.as_tensor(solution.fit.parameters[:1, 3:5]))
    apart = (solution.fit.parameters[1, :2]
             - solution.fit.parameters[0, :2])
    radii = np.linalg.norm(np.linalg.solve(frame[0].numpy(), apart))
    seen(PARAMETERS[:, N:])
    monkeypatch.setattr(structure, 'FREE_RADII', 1.05 * radii)
    found = add_structure(fitter, solution)
    assert (found.fit.parameters[0, N:] == 0).all()
    monkeypatch.setattr(structure, 'FREE_RADII', 0.95 * radii)
    found = add_structure(fitter, solution)
    assert (found.fit.parameters[0, N:] != 0).all()


def test_models_of_structure_add_up(solved, seen):
    fitter, solution = solved
    seen(PARAMETERS[:, N:])
    found = add_structure(fitter, solution)
    total = np.zeros_like(found.model_image)
    for box, model in zip(found.boxes, found.models, strict=True):
        total[:, box.iymin:box.iymax, box.ixmin:box.ixmax] += model
    np.testing.assert_array_equal(found.model_image, total)
    assert abs(found.model_image - solution.model_image).max() > 10


def test_encoder_is_shown_bright_galaxies_only(scene, seen):
    # the second is a star, and the third is faint
    flux = FLUX.copy()
    flux[2] = 40
    fitter, sources = scene(1.0, flux, waves=0)
    solution = _solved(fitter, sources, np.array([False, True, False]))
    calls = seen(np.zeros((3, 4)))
    add_structure(fitter, solution)
    call, = calls
    assert call['rows'].tolist() == [0]
    assert call['is_point'].tolist() == [False]
    assert call['sources'].x.tolist() == [PARAMETERS[0, 0]]
    assert [piece.core for piece in call['pieces']] == [(0, 1)]
    # what is left keeps the light of the first alone
    gone = fitter.observation.data - call['image']
    others = np.zeros_like(gone)
    for k in (1, 2):
        box = solution.boxes[k]
        others[:, box.iymin:box.iymax, box.ixmin:box.ixmax] += (
            solution.models[k])
    np.testing.assert_allclose(gone, others, atol=1e-3)
    assert others.max() > 10


def test_nothing_changes_where_there_is_no_structure(scene, seen):
    fitter, sources = scene(1.0, waves=0)
    solution = _solved(fitter, sources)
    calls = seen(np.zeros((3, 4)))
    assert add_structure(fitter, solution) is solution
    assert calls[0]['rows'].tolist() == [0, 1, 2]


def test_misfit_asks_for_structure_that_is_not_seen(solved, seen):
    fitter, solution = solved
    seen(np.zeros((3, 4)))
    found = add_structure(fitter, solution)
    assert _chi2(fitter, found, 0) < 1.3
    np.testing.assert_allclose(found.fit.band_parameters[0, :, N:],
                               [WAVES, WAVES], atol=0.1)
    # the other piece is described well
    np.testing.assert_array_equal(found.fit.parameters[2],
                                  solution.fit.parameters[2])


def test_nothing_changes_where_nothing_is_bright(scene, seen):
    fitter, sources = scene(1.0, 0.002 * FLUX)
    solution = _solved(fitter, sources)
    assert solution.fit.snr.max() < structure.LEAST_SNR
    calls = seen(PARAMETERS[:, N:])
    assert add_structure(fitter, solution) is solution
    assert not calls


def test_nothing_changes_where_all_are_stars(scene, seen):
    fitter, sources = scene(1.0)
    solution = _solved(fitter, sources, np.ones(3, bool))
    calls = seen(PARAMETERS[:, N:])
    assert add_structure(fitter, solution) is solution
    assert not calls


def test_nothing_changes_without_a_fit(scene, seen):
    fitter, sources = scene(1.0, max_steps=0)
    solution = _solved(fitter, sources)
    calls = seen(PARAMETERS[:, N:])
    assert add_structure(fitter, solution) is solution
    assert not calls


def test_nothing_changes_where_networks_know_no_structure(solved, seen,
                                                          tiny_vae):
    fitter, solution = solved
    calls = seen(PARAMETERS[:, N:])
    plain = fitter.without_waves()
    plain.vae = tiny_vae
    assert add_structure(plain, solution) is solution
    assert not calls


def test_nothing_changes_without_sources(scene, make_sources, seen):
    fitter, _ = scene()
    solution = _solved(fitter, make_sources([], []))
    assert add_structure(fitter, solution) is solution


@pytest.mark.parametrize('least', [0.0, np.inf])
def test_encoder_itself_says_what_has_structure(scene, monkeypatch, least):
    monkeypatch.setattr(
        'vaephot.deblend.encode.turned.LEAST_SIGNIFICANCE', least)
    fitter, sources = scene(1.0, waves=0)
    solution = _solved(fitter, sources)
    found = add_structure(fitter, solution)
    assert (found is solution) == (least > 0)
    assert has_waves(_gaussian(found.fit.parameters), fitter.vae.config
                     ).tolist() == [least == 0] * 3
    assert np.isfinite(found.model_image).all()
    np.testing.assert_allclose(found.fit.flux, FLUX, rtol=0.02)


def test_foreign_light_is_that_of_the_solution(solved, seen, monkeypatch):
    fitter, solution = solved
    seen(PARAMETERS[:, N:])
    given = []

    def fit(self, *args, foreign=None, **options):
        given.append(foreign)
        return original(self, *args, foreign=foreign, **options)
    original = type(fitter).fit
    monkeypatch.setattr(type(fitter), 'fit', fit)

    def light(members, ix, iy, side):
        return np.zeros((N_BANDS, side, side))
    found = add_structure(fitter, replace(solution, foreign=light))
    assert given[0] is light
    assert found.foreign is None
