# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
import torch

from vaephot.deblend.fit.batches import FIXED_SIGMA
from vaephot.deblend.fit.common import POINT_LOG_SIZE
from vaephot.deblend.fit.groups import Group

SHAPE = (70, 120)
# two blends and a source at the right edge: x, y, log size, shear
PARAMETERS = np.array([[22.3, 30.6, 0.9, 0.3, -0.1, 0, 0],
                       [27.1, 33.2, 0.5, -0.2, 0.3, 0, 0],
                       [70.4, 20.8, 0.7, 0.0, 0.0, 0, 0],
                       [73.2, 24.1, 0.4, 0.1, 0.4, 0, 0],
                       [117.2, 60.3, 0.6, 0.2, 0.2, 0, 0]])
FLUX = np.array([[9000.0, 5000], [4000, 7000], [8000, 3000], [3000, 6000],
                 [5000, 5000]])
GROUPS = ((0, 1), (2, 3), (4,))
# the fit goes on until nothing changes
TIGHT = {'tolerance': 1e-6, 'relative_tolerance': 1e-9, 'max_common': 20,
         'max_joint': 20}


@pytest.fixture
def bands(gaussian_band):
    """Return the PSFs of two bands."""
    return [gaussian_band(1.2), gaussian_band(1.6)]


@pytest.fixture
def scene(bands, draw_frame, make_fitter, make_sources):
    """Return a function that makes a fitter of an image with sources."""
    def make(noise=0.0, psfs=None, parameters=PARAMETERS, flux=FLUX,
             add=0.0, **given):
        psfs = bands if psfs is None else psfs
        data = draw_frame(parameters, flux, psfs, SHAPE)
        rng = np.random.default_rng(6)
        data = data + noise * rng.standard_normal(data.shape) + add
        given.setdefault('settings', TIGHT)
        return (make_fitter(data, psfs, **given),
                make_sources(parameters[:, :2]))
    return make


@pytest.fixture
def fit(make_groups_of):
    """Return a function that fits the groups."""
    def run(made, groups=GROUPS, **options):
        fitter, sources = made
        return fitter.fit(sources, make_groups_of(sources, groups),
                          **options)
    return run


# ------------------------------------------------------------------ batches
@pytest.mark.parametrize('n_workers', [1, 4])
def test_batches_hold_every_group_once(scene, n_workers):
    fitter, _ = scene()
    fitter.batch_size = 2
    groups = [Group(core=tuple(range(n)), halo=(), span=(0, 9, 0, 9))
              for n in (1, 2, 1, 3, 1, 2)]
    asymmetric = np.array([False, False, True])
    found = list(fitter._batches(groups, asymmetric, n_workers))
    assert sorted(id(g) for some in found for g in some) == sorted(
        map(id, groups))
    for some in found:
        assert len(some) <= 2
        assert len({len(g.members) for g in some}) == 1
        assert len({2 in g.members for g in some}) == 1


def test_planes_are_in_units_of_their_noise(scene):
    mask = np.zeros((2, *SHAPE), bool)
    mask[0, 5, 7] = True
    fitter, _ = scene(rms=[2.0, 0.5], mask=mask, gain=4.0, add=3.0)
    one, other = fitter.planes
    assert one.data[5, 7] == one.good[5, 7] == 0
    np.testing.assert_allclose(one.data[60, 2], 1.5, rtol=1e-3)
    np.testing.assert_allclose(other.data[60, 2], 6, rtol=1e-3)
    # photons of a light of one unit, in units of the variance of the sky
    assert one.inverse_gain == pytest.approx(1 / (4 * 2))
    assert other.inverse_gain == pytest.approx(1 / (4 * 0.5))
    np.testing.assert_allclose(fitter.units, [2, 0.5])


# ---------------------------------------------------------------------- fit
def test_noiseless_scene_is_recovered(scene, fit):
    found = fit(scene(flux=10 * FLUX))
    np.testing.assert_allclose(found.parameters[:4, :5], PARAMETERS[:4, :5],
                               atol=0.01)
    np.testing.assert_allclose(found.flux[:4], 10 * FLUX[:4], rtol=2e-3)
    # the last one lies at the edge: some of its light is missing
    np.testing.assert_allclose(found.flux[4], 10 * FLUX[4], rtol=0.02)
    assert found.converged.all()
    np.testing.assert_allclose(found.prior_distance,
                               (found.parameters[:, 5:] ** 2).sum(1))


def test_errors_are_the_diagonal_of_the_covariance(scene, fit):
    found = fit(scene(1.0))
    diagonal = np.diagonal(found.covariance, axis1=1, axis2=2)
    np.testing.assert_allclose(found.flux_err ** 2, diagonal[:, :2])
    assert (diagonal > 0).all()
    pulls = (found.flux - FLUX) / found.flux_err
    assert abs(pulls).max() < 5
    moved = (found.parameters - PARAMETERS)[:, :2] / np.sqrt(diagonal[:, 2:4])
    assert abs(moved).max() < 5


def test_errors_follow_the_noise_of_their_own_band(scene, fit):
    found = fit(scene(1.0, rms=(1.0, 8.0)))
    assert (found.flux_err[:, 1] > 2 * found.flux_err[:, 0]).all()


def test_units_of_the_data_do_not_matter(scene, fit):
    one = fit(scene(1.0))
    other = fit(scene(1.0, flux=FLUX))
    np.testing.assert_array_equal(one.flux, other.flux)
    scaled, sources = scene(1e-9, flux=1e-9 * FLUX, rms=1e-9)
    small = fit((scaled, sources))
    np.testing.assert_allclose(small.flux, 1e-9 * one.flux, rtol=1e-4)
    np.testing.assert_allclose(small.covariance[:, :2, :2],
                               1e-18 * one.covariance[:, :2, :2], rtol=1e-3)
    np.testing.assert_allclose(small.snr, one.snr, rtol=1e-4)


def test_brightness_is_the_flux_over_the_point_source_error(scene, fit):
    found = fit(scene(rms=(2.0, 0.5)))
    wanted = found.flux / np.array([2.0, 0.5]) / (
        2 * np.sqrt(np.pi) * np.array([1.2, 1.6]))
    np.testing.assert_allclose(found.snr, wanted, rtol=1e-3)


def test_local_psf_is_used_where_it_varies(scene, fit, gaussian_band):
    psfs = [gaussian_band(1.2, slope=0.008), gaussian_band(1.6)]
    found = fit(scene(psfs=psfs, flux=10 * FLUX))
    np.testing.assert_allclose(found.flux[:4], 10 * FLUX[:4], rtol=0.01)
    np.testing.assert_allclose(found.parameters[:4, 2], PARAMETERS[:4, 2],
                               atol=0.06)


def test_correlated_noise_enlarges_the_errors(scene, fit):
    plain, correlated = (fit(scene(1.0, correlation=c)) for c in (1.0, 2.0))
    # the ties between the bands and the prior do not scale with the noise
    ratio = correlated.flux_err / plain.flux_err
    assert ((ratio > 1.6) & (ratio < 2.01)).all()
    assert (abs(correlated.flux - plain.flux) < correlated.flux_err).all()


def test_masked_pixels_do_not_matter(scene, fit):
    mask = np.zeros((2, *SHAPE), bool)
    mask[:, 30:32, 18:40] = True
    clean = fit(scene(1.0, mask=mask))
    dirty = fit(scene(1.0, mask=mask, add=1e5 * mask))
    np.testing.assert_allclose(clean.flux, dirty.flux, rtol=1e-9)
    whole = fit(scene(1.0))
    assert (clean.flux_err[:2] > 1.02 * whole.flux_err[:2]).all()


def test_noise_map_and_constant_noise_agree(scene, fit):
    fitter, sources = scene(1.0)
    constant = fit((fitter, sources))
    for plane in fitter.planes:
        object.__setattr__(plane, 'variance', np.ones(SHAPE, np.float32))
    mapped = fit((fitter, sources))
    np.testing.assert_allclose(mapped.flux, constant.flux, rtol=1e-5)
    np.testing.assert_allclose(mapped.flux_err, constant.flux_err, rtol=1e-5)


def test_light_of_others_is_subtracted(scene, fit):
    clean = fit(scene())

    def light(band, members, ix, iy, shape):
        return np.full(shape, 7.0, np.float32)
    found = fit(scene(add=7.0), light=light)
    apart = abs(found.flux - clean.flux)
    # where a window reaches past the edge there are no data, but light
    assert (apart < 1e-5 * clean.flux + 1e-3 * clean.flux_err).all()


def test_progress_counts_every_source_once(scene, fit):
    counts = []
    fit(scene(batch_size=1), progress=counts.append)
    assert len(counts) == 3
    assert sum(counts) == len(PARAMETERS)


def test_rows_of_sources_in_no_core_are_empty(scene, fit):
    found = fit(scene(), groups=((2, 3),))
    assert (found.flux[[0, 1, 4]] == 0).all()
    assert not found.converged[[0, 1, 4]].any()
    assert (found.flux[2:4] != 0).all()


def test_points_stay_points(scene, make_sources, fit):
    fitter, _ = scene(1.0)
    is_point = np.array([True, False, False, False, True])
    found = fit((fitter, make_sources(PARAMETERS[:, :2],
                                      is_point=is_point)))
    np.testing.assert_array_equal(
        found.parameters[:, 2] == POINT_LOG_SIZE, is_point)
    assert (found.parameters[is_point][:, 3:] == 0).all()
    assert (np.diagonal(found.covariance, axis1=1, axis2=2)[
        is_point, 4:] < 1e-7).all()


def test_fixed_positions_do_not_move(scene, make_sources, fit):
    fitter, _ = scene(1.0)
    sigma = np.where(np.arange(5) < 2, FIXED_SIGMA, 0.5)
    given = PARAMETERS[:, :2] + 0.05
    found = fit((fitter, make_sources(given, sigma=sigma)))
    np.testing.assert_allclose(found.parameters[:2, :2], given[:2],
                               rtol=1e-12)
    assert (abs(found.parameters[2:, :2] - given[2:]) > 1e-3).all()


def test_sources_measured_at_once_share_their_covariance(scene, fit):
    found = fit(scene(1.0))
    (one, matrix), (two, other) = found.group_covariance[:2]
    assert found.group_covariance[4] is None
    assert matrix is other
    assert (one, two) == (0, 1)
    size = found.covariance.shape[-1]
    np.testing.assert_array_equal(matrix[:size, :size], found.covariance[0])
    # neighbours trade flux
    assert matrix[0, size] < 0


def test_bands_have_parameters_of_their_own(scene, fit, tiny_vae):
    found = fit(scene(1.0))
    apart = abs(found.band_parameters - found.parameters[:, None])
    scatter = np.diag(tiny_vae.prior.band_precision()) ** -0.5
    assert (apart < 5 * scatter).all()
    assert (apart > 0).any()


def test_a_former_fit_is_gone_on_with(scene, fit):
    first = fit(scene(1.0))
    again = fit(scene(1.0), start=first, joint=True)
    apart = abs(again.flux - first.flux)
    # the shapes of the source at the edge are hardly known
    assert (apart[:4] < 0.1 * first.flux_err[:4]).all()
    assert (apart[4] < 0.3 * first.flux_err[4]).all()


def test_new_sources_begin_at_the_prior(scene, fit):
    first = fit(scene(1.0))
    known = np.array([True, False, True, True, True])
    again = fit(scene(1.0), start=first, known=known)
    assert (abs(again.flux - first.flux) < 0.1 * first.flux_err).all()


@pytest.mark.parametrize('refine', [False, 'network'])
def test_lower_tiers_give_fluxes_and_errors(scene, fit, refine):
    made = scene(1.0, settings={'refine': refine})
    start = fit(scene(1.0))
    found = fit(made, start=start)
    assert (abs(found.flux - FLUX) < 6 * found.flux_err).all()
    np.testing.assert_allclose(found.flux_err, start.flux_err, rtol=0.1)
    assert found.converged.all()
    if refine == 'network':
        np.testing.assert_array_equal(found.band_parameters,
                                      start.band_parameters)


def test_what_is_given_is_left_unchanged(scene, fit):
    fitter, sources = scene(1.0)
    before = [plane.data.copy() for plane in fitter.planes]
    start = fit((fitter, sources))
    values = start.parameters.copy()
    fit((fitter, sources), start=start, joint=True)
    fit((fitter, sources), start=start)
    for plane, data in zip(fitter.planes, before, strict=True):
        np.testing.assert_array_equal(plane.data, data)
    np.testing.assert_array_equal(start.parameters, values)


@pytest.mark.parametrize('kind', ['constant', 'plane'])
def test_free_background_takes_a_pedestal_off_the_fluxes(scene, fit, kind):
    settings = {**TIGHT, 'background': kind}
    # with the background free on both sides nothing but the pedestal differs
    flat = fit(scene(1.0, settings=settings))
    raised = fit(scene(1.0, add=5.0, settings=settings))
    apart = abs(raised.flux - flat.flux)
    assert (apart[:4] < 0.02 * flat.flux_err[:4]).all()
    tight = fit(scene(1.0))
    assert (flat.flux_err > 0.97 * tight.flux_err).all()


def test_one_band_works(scene, fit, gaussian_band):
    found = fit(scene(1.0, psfs=[gaussian_band(1.2)], flux=FLUX[:, :1]))
    assert found.flux.shape == (5, 1)
    assert (abs(found.flux - FLUX[:, :1]) < 5 * found.flux_err).all()


@pytest.mark.parametrize('wild', [-4.0, 4.0])
def test_wild_starts_stay_finite_and_come_back(scene, fit, wild):
    first = fit(scene(1.0))
    start = first.take(np.arange(5))
    start.parameters[:, 2] += wild
    start.parameters[:, 5:] = 4.0
    found = fit(scene(1.0), start=start)
    assert np.isfinite(found.flux).all()
    assert (abs(found.flux - FLUX) < 6 * found.flux_err).all()


def test_asymmetry_is_recovered(scene, fit, structured_vae, draw_frame,
                                structured_decoder, bands, make_fitter,
                                make_sources):
    waves = np.zeros((5, 4))
    waves[0] = 0.8, -0.5, 0.6, 0.4
    wide = np.hstack([PARAMETERS, waves])
    data = draw_frame(wide, 10 * FLUX, bands, SHAPE, structured_decoder)
    free = np.arange(5) == 0
    made = (make_fitter(data, bands, vae=structured_vae, settings=TIGHT),
            make_sources(wide[:, :2]))
    found = fit(made, asymmetric=free)
    np.testing.assert_allclose(found.band_parameters[0, :, 7:],
                               [waves[0]] * 2, atol=0.02)
    # its neighbours stay concentric, and have no errors of amplitudes
    assert (found.parameters[1:, 7:] == 0).all()
    assert (found.covariance[1:, 9:] == 0).all() or (
        np.abs(found.covariance[1, 9:]).max() < 1e-7)
    np.testing.assert_allclose(found.flux[:4], 10 * FLUX[:4], rtol=5e-3)
    assert torch.is_inference_mode_enabled() is False
