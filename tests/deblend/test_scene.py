# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
import torch
from photutils.segmentation import SegmentationImage

from vaephot.deblend.scene import FIRST_RADIUS, POINT_LOG_SIZE
from vaephot.models.encoder import Gaussian

SHAPE = (70, 110)
# two blends and a source at the right edge: x, y, log size, shear
PARAMETERS = np.array([[22.3, 30.6, 0.9, 0.3, -0.1, 0, 0],
                       [27.1, 33.2, 0.5, -0.2, 0.3, 0, 0],
                       [70.4, 20.8, 0.7, 0.0, 0.0, 0, 0],
                       [73.2, 24.1, 0.4, 0.1, 0.4, 0, 0],
                       [107.2, 60.3, 0.6, 0.2, 0.2, 0, 0]])
FLUX = np.array([[900.0, 500], [400, 700], [800, 300], [300, 600],
                 [500, 500]])
PARENTS = [1, 1, 2, 2, 3]


def _segm():
    data = np.zeros(SHAPE, int)
    data[24:40, 15:34] = 1
    data[14:30, 63:80] = 2
    data[54:66, 102:110] = 3
    return SegmentationImage(data)


@pytest.fixture
def bands(gaussian_band):
    """Return the PSFs of two bands."""
    return [gaussian_band(1.2), gaussian_band(1.6)]


@pytest.fixture
def scene(bands, draw_frame, make_observation, make_sources):
    """Return a function that makes an observation with its sources."""
    def make(noise=0.0, psfs=None, parameters=PARAMETERS, flux=FLUX,
             **options):
        psfs = bands if psfs is None else psfs
        data = draw_frame(parameters, flux, psfs, SHAPE)
        rng = np.random.default_rng(6)
        data = data + noise * rng.standard_normal(data.shape)
        observation = make_observation(data, psfs, **options)
        return observation, make_sources(parameters[:, :2], PARENTS)
    return make


def _gaussian(parameters, precision=1e-6):
    mean = torch.as_tensor(np.array(parameters, float))
    full = torch.full_like(mean, precision)
    full[:, 5:] = 1
    return Gaussian(mean, full)


def _moved(parameters, scale=0.15):
    moved = np.array(parameters)
    rng = np.random.default_rng(3)
    moved[:, :5] += scale * rng.uniform(-1, 1, moved[:, :5].shape)
    return moved


def _fit(fitter, sources, start=None, prior=None, **options):
    start = _moved(PARAMETERS) if start is None else start
    prior = _gaussian(PARAMETERS) if prior is None else prior
    pieces = fitter.divide(sources, _segm())
    return fitter.fit(sources, pieces, _gaussian(start), prior,
                      np.ones((len(sources), 2)), **options)


def test_noiseless_scene_is_recovered(scene, make_fitter):
    observation, sources = scene()
    fit = _fit(make_fitter(observation), sources)
    np.testing.assert_allclose(fit.parameters[:4], PARAMETERS[:4], atol=2e-3)
    np.testing.assert_allclose(fit.flux[:4], FLUX[:4], rtol=2e-3)
    # the last one lies at the edge: some of its light is missing
    np.testing.assert_allclose(fit.flux[4], FLUX[4], rtol=0.02)
    assert fit.converged.all()
    assert not fit.cropped.any()
    np.testing.assert_allclose(
        fit.prior_distance, (fit.parameters[:, 5:] ** 2).sum(1))


def test_errors_are_the_diagonal_of_the_covariance(scene, make_fitter):
    observation, sources = scene(1.0)
    fit = _fit(make_fitter(observation), sources)
    diagonal = np.diagonal(fit.covariance, axis1=1, axis2=2)
    np.testing.assert_allclose(fit.flux_err ** 2, diagonal[:, :2])
    assert (diagonal > 0).all()
    pulls = (fit.flux - FLUX) / fit.flux_err
    assert abs(pulls).max() < 5
    moved = (fit.parameters - PARAMETERS)[:, :2] / np.sqrt(diagonal[:, 2:4])
    assert abs(moved).max() < 5


def test_errors_follow_the_noise_of_their_own_band(scene, make_fitter):
    observation, sources = scene(1.0, rms=(1.0, 8.0))
    fit = _fit(make_fitter(observation), sources)
    assert (fit.flux_err[:, 1] > 2 * fit.flux_err[:, 0]).all()


@pytest.mark.parametrize('batch_size', [1, 2])
def test_batch_size_does_not_change_the_result(scene, make_fitter,
                                               batch_size):
    observation, sources = scene(1.0)
    a, b = (_fit(make_fitter(observation, batch_size=n), sources)
            for n in (None, batch_size))
    np.testing.assert_allclose(a.parameters, b.parameters, atol=1e-6)
    np.testing.assert_allclose(a.flux, b.flux, rtol=1e-6)
    np.testing.assert_allclose(a.flux_err, b.flux_err, rtol=1e-6)


def test_local_psf_is_used_where_it_varies(scene, make_fitter,
                                           gaussian_band):
    psfs = [gaussian_band(1.2, slope=0.008), gaussian_band(1.6)]
    observation, sources = scene(psfs=psfs)
    fitter = make_fitter(observation)
    fit = _fit(fitter, sources, start=PARAMETERS)
    np.testing.assert_allclose(fit.flux[:4], FLUX[:4], rtol=0.01)
    np.testing.assert_allclose(fit.parameters[:4, 2], PARAMETERS[:4, 2],
                               atol=0.06)


def test_correlated_noise_enlarges_the_errors(scene, make_fitter):
    observation, sources = scene(1.0)
    plain = _fit(make_fitter(observation), sources)
    observation.noise_correlation = np.array([2.0, 2.0])
    correlated = _fit(make_fitter(observation), sources)
    # the ties between the bands and the prior do not scale with the noise
    ratio = correlated.flux_err / plain.flux_err
    assert ((ratio > 1.6) & (ratio < 2.01)).all()
    np.testing.assert_allclose(correlated.flux, plain.flux, rtol=0.02)


def test_masked_pixels_do_not_matter(scene, make_fitter):
    observation, sources = scene(1.0)
    observation.mask[:, 30:32, 18:40] = True
    clean = _fit(make_fitter(observation), sources)
    observation.data[:, 30:32, 18:40] = 1e5
    dirty = _fit(make_fitter(observation), sources)
    np.testing.assert_allclose(clean.flux, dirty.flux, rtol=1e-9)


def test_noise_map_and_constant_noise_agree(scene, make_fitter):
    observation, sources = scene(1.0)
    constant = _fit(make_fitter(observation), sources)
    observation.variance = np.ones_like(observation.data)
    mapped = _fit(make_fitter(observation), sources)
    np.testing.assert_allclose(mapped.flux, constant.flux, rtol=1e-9)
    np.testing.assert_allclose(mapped.flux_err, constant.flux_err, rtol=1e-9)


def test_foreign_light_is_subtracted(scene, make_fitter):
    observation, sources = scene()
    clean = _fit(make_fitter(observation), sources)
    observation.data += 7.0

    def foreign(members, ix, iy, side):
        return np.full((2, side, side), 7.0)
    fit = _fit(make_fitter(observation), sources, foreign=foreign)
    np.testing.assert_allclose(fit.flux, clean.flux, rtol=1e-6)


def test_progress_counts_every_source_once(scene, make_fitter):
    observation, sources = scene()
    counts = []
    _fit(make_fitter(observation, max_steps=0), sources,
         progress=counts.append)
    assert sum(counts) == len(sources)


def test_inputs_are_left_unchanged(scene, make_fitter):
    observation, sources = scene(1.0)
    data = observation.data.copy()
    observation.data.flags.writeable = False
    start = _moved(PARAMETERS)
    before = start.copy()
    _fit(make_fitter(observation), sources, start=start)
    np.testing.assert_array_equal(observation.data, data)
    np.testing.assert_array_equal(start, before)


def test_brightness_is_the_flux_over_the_point_source_error(
        bands, draw_frame, make_observation, make_sources, make_fitter):
    place = np.array([[40.0, 30.0, -3.5, 0, 0, 0, 0]])
    flux = np.array([[200.0, 90.0]])
    rms = np.array([2.0, 0.5])
    observation = make_observation(draw_frame(place, flux, bands, SHAPE),
                                   bands, rms=rms)
    fitter = make_fitter(observation)
    sources = make_sources(place[:, :2], [0])
    pieces = fitter.divide(sources, _segm())
    snr = fitter.linear_snr(pieces, _gaussian(place))
    expected = [f / r * np.sqrt((band.sample(0, 0)[0] ** 2).sum())
                for f, r, band in zip(flux[0], rms, bands, strict=True)]
    np.testing.assert_allclose(snr[0], expected, rtol=1e-4)


def test_sky_noise_is_read_at_the_row_of_y(scene, make_fitter):
    observation, _ = scene()
    noise = np.arange(2.0 * SHAPE[0] * SHAPE[1]).reshape(2, *SHAPE) + 1
    observation.variance = noise ** 2
    fitter = make_fitter(observation)
    rms = fitter.sky_rms(np.array([[100.2, 7.7], [-5.0, 900.0]]))
    np.testing.assert_allclose(rms, [noise[:, 8, 100], noise[:, 69, 0]])


def test_default_shapes_sit_at_the_sources(scene, make_fitter, bands):
    observation, sources = scene()
    shapes = make_fitter(observation).default_shapes(sources)
    np.testing.assert_allclose(shapes.mean[:, :2], PARAMETERS[:, :2])
    np.testing.assert_allclose(shapes.mean[:, 2].exp(),
                               FIRST_RADIUS * bands[0].fwhm)


def test_points_are_forced_by_the_prior(scene, make_fitter):
    observation, sources = scene()
    fitter = make_fitter(observation)
    before = _gaussian(PARAMETERS)
    is_point = np.array([True, False, False, False, True])
    forced = fitter.force_points(before, is_point)
    assert torch.equal(forced.mean[1:4], before.mean[1:4])
    assert torch.equal(forced.mean[:, :2], before.mean[:, :2])
    assert (forced.mean[[0, 4], 2] == POINT_LOG_SIZE).all()
    assert (before.precision[:, 2] == 1e-6).all()
    fit = _fit(fitter, sources, prior=forced,
               start=forced.mean.numpy())
    np.testing.assert_allclose(fit.parameters[[0, 4], 2], POINT_LOG_SIZE,
                               atol=0.01)


def test_sources_measured_at_once_share_their_covariance(
        make_fitter, make_sources, make_observation, gaussian_band):
    rng = np.random.default_rng(6)
    bands = (gaussian_band(1.2), gaussian_band(1.5))
    data = rng.normal(size=(2, 40, 60))
    y, x = np.mgrid[:40, :60]
    for cx, cy in ((14, 20), (18, 21), (45, 20)):
        data += 300 * np.exp(-0.5 * ((x - cx) ** 2 + (y - cy) ** 2) / 4)
    segm = np.zeros((40, 60), int)
    segm[12:30, 6:27], segm[12:28, 37:54] = 1, 2
    segm = SegmentationImage(segm)
    fitter = make_fitter(make_observation(data, bands))
    sources = make_sources([(14, 20), (18, 21), (45, 20)], [1, 1, 2])
    pieces = fitter.divide(sources, segm)
    start = fitter.default_shapes(sources)
    fit = fitter.fit(sources, pieces, start, start, np.ones((3, 2)))
    (one, matrix), (two, other) = fit.group_covariance[:2]
    assert fit.group_covariance[2] is None
    assert matrix is other
    assert (one, two) == (0, 1)
    size = fit.covariance.shape[-1]
    np.testing.assert_array_equal(matrix[:size, :size], fit.covariance[0])
    np.testing.assert_array_equal(matrix[size:, size:], fit.covariance[1])
    # neighbours trade flux
    assert matrix[0, size] < 0


def test_bands_have_parameters_of_their_own_in_the_image(scene, make_fitter):
    observation, sources = scene(1.0)
    fit = _fit(make_fitter(observation), sources)
    assert fit.band_parameters.shape == (5, 2, 7)
    apart = abs(fit.band_parameters - fit.parameters[:, None])
    # a few times the scatter of the prior, in noise
    scatter = make_fitter(observation).vae.prior.band_precision(
        ).diagonal().numpy() ** -0.5
    assert (apart < 5 * scatter).all()
    assert (apart > 0).any()


def test_linear_scene_is_what_is_drawn(scene, make_fitter):
    observation, sources = scene()
    fitter = make_fitter(observation)
    pieces = fitter.divide(sources, _segm())
    shapes = _gaussian(PARAMETERS)
    flux, linear = fitter.linear_scene(pieces, shapes)
    image = linear['model_image']
    np.testing.assert_allclose(flux, FLUX, rtol=1e-4)
    drawn = fitter.draw(PARAMETERS, flux)
    # single precision, and light that does not matter is left out
    np.testing.assert_allclose(image, drawn['model_image'], atol=0.2)
    np.testing.assert_allclose(image, observation.data, atol=0.2)
    total = np.zeros_like(image)
    for box, model in zip(linear['boxes'], linear['models'], strict=True):
        total[:, box.iymin:box.iymax, box.ixmin:box.ixmax] += model
    np.testing.assert_allclose(total, image)
    some = fitter.linear_scene(pieces, shapes, rows=np.array([4, 1]))
    np.testing.assert_allclose(some[0], flux[[4, 1]])
    np.testing.assert_array_equal(some[1]['models'][1], linear['models'][1])
