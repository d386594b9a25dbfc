# Licensed under a 3-clause BSD style license - see LICENSE.rst
from dataclasses import replace

import numpy as np
import pytest
import torch
from photutils.segmentation import SegmentationImage

from vaephot.deblend.pipeline import Solution
from vaephot.deblend.select.host_test import Rivalry, rivalry, structure_gains
from vaephot.models.encoder import Gaussian

SHAPE = (64, 64)
N, N_BANDS = 7, 2
WAVES = np.array([0.9, -0.6, 0.5, 0.4])
HOST = np.array([31.3, 30.6, 1.4, 0.2, -0.1, 0, 0, 0, 0, 0, 0])
BESIDE = np.array([35.6, 33.0, 0.8, -0.2, 0.3, 0, 0, 0, 0, 0, 0])
FLUX = np.array([[20000.0, 30000], [4000, 5000]])
BRIGHT = np.full((2, N_BANDS), 100.0)


def _gaussian(parameters, precision=1e-6):
    mean = torch.as_tensor(np.array(parameters, float))
    full = torch.full_like(mean, precision)
    full[:, 5:] = 1
    return Gaussian(mean, full)


@pytest.fixture
def scene(gaussian_band, draw_frame, make_observation, make_sources,
          make_fitter, structured_vae, structured_decoder):
    """Return a function that fits a host and a second source to a frame."""
    def make(parameters, flux, snr=BRIGHT, **options):
        psfs = [gaussian_band(1.2), gaussian_band(1.6)]
        data = draw_frame(np.array(parameters), np.array(flux), psfs, SHAPE,
                          structured_decoder)
        data = data + np.random.default_rng(6).standard_normal(data.shape)
        fitter = make_fitter(
            make_observation(data, psfs),
            networks=(structured_vae, structured_decoder), **options)
        segm = np.zeros(SHAPE, int)
        segm[12:50, 12:52] = 1
        guess = _gaussian([HOST, BESIDE])
        sources = make_sources(guess.mean[:, :2].numpy(), [1, 1])
        pieces = fitter.divide(sources, SegmentationImage(segm))
        fit = fitter.fit(sources, pieces, guess, guess, snr)
        return fitter, Solution(
            sources=sources, is_point=np.zeros(2, bool), fit=fit,
            prior=guess, pieces=pieces,
            **fitter.draw(fit.band_parameters, fit.flux))
    return make


def test_a_second_galaxy_gains_over_structure(scene):
    fitter, solution = scene([HOST, BESIDE], FLUX)
    pairs = rivalry(fitter, solution)
    assert (pairs.rows.tolist(), pairs.hosts.tolist()) == ([1], [0])
    assert structure_gains(fitter, solution, pairs)[0] > 100


def test_structure_needs_no_second_galaxy(scene):
    lopsided = HOST.copy()
    lopsided[N:] = WAVES
    fitter, solution = scene([lopsided], FLUX[:1])
    # a concentric galaxy leaves light over, and the second takes some
    assert solution.fit.flux[1].sum() > 5 * solution.fit.flux_err[1].sum()
    pairs = Rivalry(rows=np.array([1]), hosts=np.array([0]))
    assert structure_gains(fitter, solution, pairs)[0] < 0


def test_the_solution_stays_as_it_is(scene):
    fitter, solution = scene([HOST, BESIDE], FLUX)
    before = solution.fit.parameters.copy(), solution.model_image.copy()
    structure_gains(fitter, solution, rivalry(fitter, solution))
    np.testing.assert_array_equal(solution.fit.parameters, before[0])
    np.testing.assert_array_equal(solution.model_image, before[1])


def test_two_sources_of_one_host_are_compared_one_by_one(scene):
    fitter, solution = scene([HOST, BESIDE], FLUX)
    one = Rivalry(rows=np.array([1]), hosts=np.array([0]))
    twice = Rivalry(rows=np.array([1, 1]), hosts=np.array([0, 0]))
    np.testing.assert_allclose(structure_gains(fitter, solution, twice),
                               structure_gains(fitter, solution, one)[0])


def test_what_cannot_be_structure_is_not_compared(scene):
    fitter, solution = scene([HOST, BESIDE], FLUX)

    def compared(**changes):
        return rivalry(fitter, replace(solution, **changes)).rows.tolist()
    assert compared() == [1]
    assert compared(is_point=np.array([True, False])) == []
    assert compared(is_point=np.array([False, True])) == []
    faint = replace(solution.fit, snr=np.full((2, N_BANDS), 5.0))
    assert compared(fit=faint) == []
    far = solution.fit.parameters.copy()
    far[1, 0] += 25
    assert compared(fit=replace(solution.fit, parameters=far)) == []


def test_without_a_fit_nothing_is_compared(scene):
    fitter, solution = scene([HOST, BESIDE], FLUX, max_steps=0)
    pairs = rivalry(fitter, solution)
    assert len(pairs.rows) == 0
    assert structure_gains(fitter, solution, pairs).shape == (0,)
