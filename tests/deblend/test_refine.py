# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
import torch

from vaephot.deblend import refine, steps
from vaephot.deblend.band_fit import MAX_LACKING, BandBatch, GroupBatch
from vaephot.deblend.refine import (
    START_WIDENING,
    FitSettings,
    fit_groups,
    linear_fluxes,
)
from vaephot.deblend.steps import trusted_step
from vaephot.models.encoder import Gaussian
from vaephot.models.render import Renderer, make_transfer, padded_size

SIZE = 24
SIGMAS = (1.3, 1.7)
EXACT = FitSettings(max_steps=60, tolerance=1e-12)
# two overlapping sources: x, y, log size, shear, latent
PAIR = np.array([[10.3, 11.6, 0.8, 0.3, -0.2, 0.0, 0.0],
                 [14.1, 13.2, 0.5, -0.2, 0.4, 0.0, 0.0]])
FLUX = np.array([[400.0, 300.0], [150.0, 250.0]])
WEAK = np.array([1e-6] * 5 + [1.0, 1.0])
# how the parameters of a band scatter about the common ones
SCATTER = np.array([0.01, 0.01, 0.03, 0.03, 0.03, 0.15, 0.15])


@pytest.fixture
def renderer(gaussian_band):
    """Return a renderer of two bands."""
    return Renderer(SIZE, [
        make_transfer([gaussian_band(sigma).sample(0, 0)[0]], 1,
                      padded_size(SIZE)) for sigma in SIGMAS])


@pytest.fixture
def draw(renderer, tiny_decoder):
    """Return a function that draws noiseless groups."""
    def images(parameters, flux):
        parameters = torch.as_tensor(np.asarray(parameters, float))
        flux = torch.as_tensor(np.asarray(flux, float))
        if parameters.ndim == 3:  # alike in all bands
            parameters = parameters[:, None].expand(
                -1, len(renderer.bands), -1, -1)
        bands = []
        for i, band in enumerate(renderer.bands):
            flat = parameters[:, i].flatten(0, 1)
            templates = band.templates(tiny_decoder.from_parameters(flat),
                                       flat[:, :2])
            templates = templates.unflatten(0, parameters[:, i].shape[:2])
            bands.append((templates * flux[..., i, None, None]).sum(1))
        return torch.stack(bands, 1)
    return images


def _batch(renderer, data, mean, *, precision=WEAK, variance=1.0, good=None,
           active=None, gain=None, scatter=SCATTER, dtype=torch.float64):
    data = torch.as_tensor(data).to(dtype)
    mean = torch.as_tensor(np.asarray(mean, float))
    precision = torch.as_tensor(precision).expand(mean.shape).clone()
    good = torch.ones_like(data) if good is None else good
    bands = tuple(BandBatch(
        data[:, i], torch.full_like(data[:, i], variance), good[:, i],
        None if gain is None else gain[i], band)
        for i, band in enumerate(renderer.bands))
    return GroupBatch(
        bands,
        torch.ones(mean.shape[:2]).double() if active is None else active,
        Gaussian(mean, precision),
        torch.diag(torch.as_tensor(scatter ** -2.0)))


def _moved(truth, seed=1, scale=0.25):
    rng = np.random.default_rng(seed)
    start = np.array(truth, float)
    start[..., :5] += scale * rng.uniform(-1, 1, start[..., :5].shape)
    return torch.as_tensor(start)


def test_noiseless_groups_are_recovered_from_a_perturbed_start(
        renderer, draw, tiny_decoder):
    # the second group is the first one mirrored and seen elsewhere
    truth = np.stack([PAIR, PAIR[::-1] + [0.4, -1.1, 0.2, 0, 0, 0, 0]])
    flux = np.stack([FLUX, 2 * FLUX])
    batch = _batch(renderer, draw(truth, flux), truth)
    fit = fit_groups(batch, _moved(truth), tiny_decoder, EXACT)
    np.testing.assert_allclose(fit.parameters, truth, atol=1e-4)
    np.testing.assert_allclose(fit.flux, flux, rtol=1e-4)
    assert fit.chi2.max() < 1e-4


def test_fit_of_no_steps_keeps_the_start_and_solves_for_fluxes(
        renderer, draw, tiny_decoder):
    batch = _batch(renderer, draw(PAIR[None], FLUX[None]), PAIR[None])
    fit = fit_groups(batch, torch.as_tensor(PAIR[None]), tiny_decoder,
                     FitSettings(max_steps=0))
    np.testing.assert_allclose(fit.parameters, PAIR[None], atol=1e-12)
    np.testing.assert_array_equal(fit.band_parameters[:, 1], PAIR[None])
    np.testing.assert_allclose(fit.flux, FLUX[None], rtol=1e-6)
    assert fit.n_steps.sum() == 0
    assert fit.converged.all()


@pytest.mark.parametrize('height', [-3.0, -50.0])
def test_negative_light_beyond_the_noise_is_penalised(
        renderer, draw, tiny_decoder, height):
    one = PAIR[None, :1]
    data = draw(one, np.ones((1, 1, 2)))
    # flux in units of the error of a source alone
    flux = height / np.sqrt((data.numpy() ** 2).sum((2, 3)))
    data = draw(one, flux[:, None])
    problem = refine._Problem(_batch(renderer, data, one), tiny_decoder,
                              FitSettings())
    local = torch.as_tensor(one)[:, None].expand(-1, 2, -1, -1)
    rows = torch.arange(1)
    problem.set_weights(local, rows)
    half_chi2, penalty = problem.evaluate(local, rows)
    assert half_chi2 < 1e-9
    lacking = max(-height - MAX_LACKING, 0)
    assert float(penalty) == pytest.approx(2 * 0.5 * lacking ** 2, rel=1e-6)
    # steps are judged by it; flux and chi-square do not know of it
    assert float(problem.cost(local, rows)) == pytest.approx(
        float(penalty), abs=1e-9)
    fit = fit_groups(_batch(renderer, data, one), torch.as_tensor(one),
                     tiny_decoder, FitSettings(max_steps=0))
    np.testing.assert_allclose(fit.flux[0, 0], flux[0], rtol=1e-6)
    assert fit.chi2 < 1e-9


def _cost(fit, batch):
    mean, precision = batch.prior
    square = precision * (fit.parameters - mean) ** 2
    square = (square * batch.active[..., None]).sum((1, 2))
    apart = fit.band_parameters - fit.parameters[:, None]
    apart = apart * batch.active[:, None, :, None]
    tie = ((apart @ batch.band_precision) * apart).sum((1, 2, 3))
    return 0.5 * (fit.chi2 + square + tie)


def test_fit_is_never_worse_than_its_start(renderer, draw, tiny_decoder):
    rng = np.random.default_rng(8)
    n = 12
    truth = np.repeat(PAIR[None], n, 0)
    data = draw(truth, np.repeat(FLUX[None], n, 0)).numpy()
    batch = _batch(renderer, data + rng.normal(0, 1, data.shape), truth,
                   precision=np.array([4.0] * 2 + [5.0] * 3 + [1.0] * 2))
    # so far away that some steps overshoot
    start = _moved(truth, scale=3)
    start[..., 5:] = 2.0
    last = np.full(n, np.inf)
    for n_steps in range(8):
        fit = fit_groups(batch, start, tiny_decoder,
                         FitSettings(max_steps=n_steps))
        cost = _cost(fit, batch).numpy()
        assert (cost <= last + 1e-9).all()
        last = cost


def test_steps_that_make_it_worse_are_not_taken(renderer, draw, tiny_decoder,
                                                monkeypatch):
    batch = _batch(renderer, draw(PAIR[None], FLUX[None]), PAIR[None])
    start = _moved(PAIR[None])

    def wrong(equations, pinned, radius, strain, n_parameters):
        step = -0.3 * equations.vector.sign()
        return step.unflatten(-1, (2, -1)), radius, strain
    monkeypatch.setattr(refine, 'trusted_step', wrong)
    fit = fit_groups(batch, start, tiny_decoder, FitSettings())
    for band in range(2):
        assert torch.equal(fit.band_parameters[:, band], start)


def test_start_is_left_unchanged(renderer, draw, tiny_decoder):
    batch = _batch(renderer, draw(PAIR[None], FLUX[None]), PAIR[None])
    start = _moved(PAIR[None])
    before = start.clone()
    fit_groups(batch, start, tiny_decoder, FitSettings())
    assert torch.equal(start, before)


def _noisy(renderer, draw, n=3):
    rng = np.random.default_rng(2)
    truth = PAIR[None] + rng.normal(0, 0.1, (n, *PAIR.shape))
    data = draw(truth, np.repeat(FLUX[None], n, 0)).numpy()
    return truth, data + rng.normal(0, 1, data.shape)


def _same(fit, other):
    for name in ('parameters', 'flux', 'chi2'):
        np.testing.assert_allclose(getattr(fit, name), getattr(other, name),
                                   rtol=1e-6, atol=1e-6)


def test_result_does_not_depend_on_the_other_groups(renderer, draw,
                                                    tiny_decoder):
    truth, data = _noisy(renderer, draw)
    start = _moved(truth)
    whole = fit_groups(_batch(renderer, data, truth), start, tiny_decoder,
                       FitSettings())
    for i in range(len(truth)):
        one = slice(i, i + 1)
        alone = fit_groups(_batch(renderer, data[one], truth[one]),
                           start[one], tiny_decoder, FitSettings())
        _same(alone, type(whole)(*[part[one] for part in whole]))
        np.testing.assert_allclose(alone.covariance[0], whole.covariance[i],
                                   rtol=1e-5, atol=1e-9)
        assert int(alone.n_steps) == int(whole.n_steps[i])


def test_empty_places_change_nothing(renderer, draw, tiny_decoder):
    truth, data = _noisy(renderer, draw)
    start = _moved(truth)
    full = fit_groups(_batch(renderer, data, truth), start, tiny_decoder,
                      FitSettings())

    def padded(values):
        return np.concatenate([np.asarray(values), np.zeros(
            (len(values), 1, values.shape[-1]))], 1)
    active = torch.ones(len(truth), 3, dtype=torch.float64)
    active[:, 2] = 0
    loose = fit_groups(
        _batch(renderer, data, padded(truth), active=active),
        torch.as_tensor(padded(start)), tiny_decoder, FitSettings())
    np.testing.assert_allclose(loose.parameters[:, :2], full.parameters,
                               atol=1e-6)
    np.testing.assert_allclose(loose.flux[:, :2], full.flux, rtol=1e-6)
    np.testing.assert_allclose(loose.chi2, full.chi2, rtol=1e-9)
    n, n_par = 2, PAIR.shape[1]
    keep = [b * 3 + k for b in range(2) for k in range(n)]
    keep += [6 + i for i in range(n * n_par)]
    for i in range(len(truth)):
        np.testing.assert_allclose(
            loose.covariance[i][np.ix_(keep, keep)], full.covariance[i],
            rtol=1e-5, atol=1e-9)


def test_order_of_the_sources_does_not_matter(renderer, draw, tiny_decoder):
    truth, data = _noisy(renderer, draw)
    start = _moved(truth)
    fit, turned = (
        fit_groups(_batch(renderer, data, truth[:, order].copy()),
                   start[:, order].clone(), tiny_decoder, EXACT)
        for order in ([0, 1], [1, 0]))
    np.testing.assert_allclose(turned.parameters[:, [1, 0]], fit.parameters,
                               atol=1e-4)
    np.testing.assert_allclose(turned.flux[:, [1, 0]], fit.flux, rtol=1e-4)


def test_masked_pixels_carry_no_weight(renderer, draw, tiny_decoder):
    truth, data = _noisy(renderer, draw)
    good = torch.ones(data.shape, dtype=torch.float64)
    good[:, :, 9:11, 8:12] = 0
    spoilt = data.copy()
    spoilt[:, :, 9:11, 8:12] += 1e4
    start = _moved(truth)
    clean, dirty = (
        fit_groups(_batch(renderer, d, truth, good=good), start,
                   tiny_decoder, FitSettings()) for d in (data, spoilt))
    _same(clean, dirty)


def test_flux_errors_grow_where_pixels_are_masked(renderer, draw,
                                                  tiny_decoder):
    truth, data = _noisy(renderer, draw, n=1)
    good = torch.ones(data.shape, dtype=torch.float64)
    whole = fit_groups(_batch(renderer, data, truth, good=good),
                       torch.as_tensor(truth), tiny_decoder, FitSettings())
    good[:, 0, 8:14, 8:14] = 0
    holed = fit_groups(_batch(renderer, data, truth, good=good),
                       torch.as_tensor(truth), tiny_decoder, FitSettings())
    assert holed.covariance[0, 0, 0] > whole.covariance[0, 0, 0]


PRECISION = np.array([4.0, 4.0, 2.0, 3.0, 3.0, 1.0, 1.0])
# the same pair as each of two bands has it
APART = PAIR[None] + 0.02 * np.array([[[1], [-1]], [[-1], [2]]])


def _jacobian(draw, local, flux):
    """Derivatives of the pixels by fluxes and shapes of each band."""
    best = np.concatenate([flux.T.ravel(), local.ravel()])
    n_flux = flux.size

    def model(vector):
        found = vector[:n_flux].reshape(flux.T.shape).T
        shapes = vector[n_flux:].reshape(local.shape)
        return draw(shapes[None], found[None])[0].numpy().ravel()
    columns = []
    for k in range(len(best)):
        step = np.zeros_like(best)
        step[k] = 1e-5
        columns.append((model(best + step) - model(best - step)) / 2e-5)
    return np.array(columns)


def _dense_matrix(draw, local, flux, variance):
    """Second derivatives in fluxes, shapes of bands, common shapes."""
    jacobian = _jacobian(draw, local, flux)
    n_linear, n_shape = flux.size, local[0].size
    n_bands, start = len(local), len(jacobian)
    out = np.zeros((start + n_shape,) * 2)
    out[:start, :start] = jacobian @ jacobian.T / variance
    tie = np.diag(np.tile(SCATTER ** -2, len(local[0])))
    out[start:, start:] = np.diag(np.tile(PRECISION, len(local[0])))
    for band in range(n_bands):
        own = slice(n_linear + band * n_shape,
                    n_linear + (band + 1) * n_shape)
        out[own, own] += tie
        out[own, start:] -= tie
        out[start:, own] -= tie
        out[start:, start:] += tie
    return out, jacobian


def test_covariance_is_the_inverse_of_all_second_derivatives(
        renderer, draw, tiny_decoder):
    batch = _batch(renderer, draw(APART[None], FLUX[None]), PAIR[None],
                   precision=PRECISION, variance=1.7)
    fit = fit_groups(batch, torch.as_tensor(APART[None]), tiny_decoder,
                     FitSettings(max_steps=0))
    matrix, _ = _dense_matrix(draw, APART, FLUX, 1.7)
    # fluxes of band 1, of band 2, then the common parameters
    keep = np.r_[:FLUX.size, len(matrix) - PAIR.size:len(matrix)]
    expected = np.linalg.inv(matrix)[np.ix_(keep, keep)]
    np.testing.assert_allclose(fit.covariance[0], expected, rtol=1e-3,
                               atol=1e-6)


def test_step_is_that_of_the_whole_system_at_once(renderer, draw,
                                                  tiny_decoder, monkeypatch):
    monkeypatch.setattr(steps, 'RIDGE', 0.0)
    variance = 1.7
    rng = np.random.default_rng(4)
    data = draw(PAIR[None], FLUX[None])
    data = data + torch.as_tensor(0.1 * rng.standard_normal(data.shape))
    mean = PAIR + 0.01
    batch = _batch(renderer, data, mean[None], precision=PRECISION,
                   variance=variance)
    local, rows = torch.as_tensor(APART[None]), torch.arange(1)
    problem = refine._Problem(batch, tiny_decoder, FitSettings())
    problem.set_weights(local, rows)
    pinned = torch.zeros(1, 2, PAIR.size, dtype=torch.bool)
    step = trusted_step(refine._equations(problem, local, rows), pinned,
                        torch.ones(1), torch.zeros(1, 2),
                        PAIR.shape[1])[0][0].numpy()
    assert abs(step).max() < 0.5  # no limit is reached
    flux = torch.stack([band.evaluate(shapes).flux[0] for band, shapes in zip(
        problem.bands, problem.shapes(local, rows), strict=True)], 1).numpy()
    matrix, jacobian = _dense_matrix(draw, APART, flux, variance)
    residual = (data - draw(APART[None], flux[None]))[0].numpy().ravel()
    vector = np.zeros(len(matrix))
    vector[:len(jacobian)] = jacobian @ residual / variance
    common = problem.common(local, rows)[0].numpy()
    apart = SCATTER ** -2 * (APART - common)
    vector[FLUX.size:len(jacobian)] -= apart.ravel()
    vector[len(jacobian):] = (PRECISION * (mean - common)
                              + apart.sum(0)).ravel()
    dense = np.linalg.solve(matrix, vector)[FLUX.size:len(jacobian)]
    np.testing.assert_allclose(step.ravel(), dense, rtol=1e-4, atol=1e-7)


def test_flux_errors_match_the_scatter_in_noise(renderer, draw,
                                                tiny_decoder):
    rng = np.random.default_rng(12)
    n = 80
    sigma = np.array([0.3, 0.3, 0.2, 0.2, 0.2, 0.5, 0.5])
    mean = np.repeat(PAIR[None], n, 0)
    truth = mean + sigma * rng.standard_normal(mean.shape)
    local = truth[:, None] + SCATTER * rng.standard_normal(
        (n, 2, *PAIR.shape))
    flux = np.repeat(3 * FLUX[None], n, 0)
    data = draw(local, flux).numpy()
    batch = _batch(renderer, data + rng.normal(0, 1, data.shape), mean,
                   precision=sigma ** -2)
    fit = fit_groups(batch, torch.as_tensor(mean), tiny_decoder,
                     FitSettings())
    assert fit.converged.float().mean() > 0.95
    variance = torch.diagonal(fit.covariance, dim1=1, dim2=2)
    error = variance[:, :4].sqrt().unflatten(1, (2, 2)).transpose(1, 2)
    pulls = (fit.flux.numpy() - flux) / error.numpy()
    # two sources of two bands are not independent: count the groups only
    assert abs(pulls.mean(0)).max() < 4 / np.sqrt(n)
    np.testing.assert_allclose(pulls.std(0), 1, atol=4 / np.sqrt(2 * n))
    error = variance[:, 4:].sqrt().unflatten(1, (2, -1))
    pulls = (fit.parameters.numpy() - truth) / error.numpy()
    np.testing.assert_allclose(pulls.std(0), 1, atol=5 / np.sqrt(2 * n))


def _size_gradient(renderer, draw, tiny_decoder, scatter):
    """Fluxes over the truth of a galaxy that is larger in one band."""
    local = np.stack([PAIR[:1], PAIR[:1]])
    local[0, :, 2] += 0.1
    local[1, :, 2] -= 0.1
    flux = np.array([[40_000.0, 30_000.0]])
    batch = _batch(renderer, draw(local[None], flux[None]), PAIR[None, :1],
                   scatter=scatter)
    fit = fit_groups(batch, torch.as_tensor(PAIR[None, :1]), tiny_decoder,
                     EXACT)
    return fit, fit.flux[0].numpy() / flux - 1


def test_galaxy_of_different_sizes_gets_unbiased_fluxes_in_both_bands(
        renderer, draw, tiny_decoder):
    fit, error = _size_gradient(renderer, draw, tiny_decoder, SCATTER)
    assert abs(error).max() < 2e-3
    sizes = fit.band_parameters[0, :, 0, 2]
    assert float(sizes[0] - sizes[1]) == pytest.approx(0.2, abs=0.01)
    # were the bands alike, the fluxes would be wrong
    _, alike = _size_gradient(renderer, draw, tiny_decoder, 1e-3 * SCATTER)
    assert abs(alike).max() > 10 * abs(error).max()
    assert alike[0, 0] < 0 < alike[0, 1]


def test_faint_band_follows_the_bright_one(renderer, draw, tiny_decoder):
    truth = PAIR[None, :1] + [0.2, -0.2, 0.3, 0.1, 0, 0, 0]
    data = draw(truth, np.array([[[20_000.0, 0.0]]]))
    batch = _batch(renderer, data, PAIR[None, :1], precision=PRECISION)
    fit = fit_groups(batch, torch.as_tensor(PAIR[None, :1]), tiny_decoder,
                     EXACT)
    np.testing.assert_allclose(fit.band_parameters[0, 1],
                               fit.parameters[0], atol=1e-3)
    np.testing.assert_allclose(fit.parameters[0, :, :5], truth[0, :, :5],
                               atol=0.02)


def test_one_band_works(draw, renderer, tiny_decoder):
    one = Renderer(SIZE, [renderer.bands[0].transfer])
    data = draw(PAIR[None], FLUX[None])[:, :1]
    fit = fit_groups(_batch(one, data, PAIR[None]), _moved(PAIR[None]),
                     tiny_decoder, EXACT)
    np.testing.assert_allclose(fit.flux[0, :, 0], FLUX[:, 0], rtol=1e-3)
    np.testing.assert_allclose(fit.band_parameters[0, 0], PAIR, atol=1e-3)
    assert fit.covariance.shape == (1, 2 + PAIR.size, 2 + PAIR.size)
    assert (np.linalg.eigvalsh(fit.covariance[0]) > 0).all()


def test_single_precision_pixels_give_the_fluxes_of_double_precision(
        renderer, draw, tiny_decoder, gaussian_band):
    truth, data = _noisy(renderer, draw)
    fits = []
    for dtype in (torch.float64, torch.float32):
        own = Renderer(SIZE, [make_transfer(
            [gaussian_band(sigma).sample(0, 0)[0]], 1, padded_size(SIZE),
            dtype=dtype) for sigma in SIGMAS])
        fits.append(fit_groups(_batch(own, data, truth, dtype=dtype),
                               torch.as_tensor(truth), tiny_decoder,
                               FitSettings(max_steps=60, tolerance=1e-4)))
    error = torch.diagonal(fits[0].covariance, dim1=1, dim2=2)[:, :4].sqrt()
    error = error.unflatten(1, (2, 2)).transpose(1, 2)
    # a fiftieth of the error: the fits stop within 1e-4 of their minima
    assert ((fits[1].flux - fits[0].flux).abs() / error).max() < 0.02
    torch.testing.assert_close(fits[1].covariance[:, :4, :4],
                               fits[0].covariance[:, :4, :4], rtol=0.01,
                               atol=1e-3)


def test_linear_fluxes_are_those_of_the_prior_shapes(renderer, draw,
                                                     tiny_decoder):
    truth, data = _noisy(renderer, draw)
    gain = torch.tensor([2.0, 4.0], dtype=torch.float64)
    found, errors, images = linear_fluxes(
        _batch(renderer, data, truth, gain=gain), tiny_decoder)
    np.testing.assert_allclose(images[1][0, 1].numpy(), draw(
        truth[:1, 1:], np.ones((1, 1, 2)))[0, 1].numpy())
    for i in range(len(truth)):
        for band in range(2):
            columns = np.stack([
                draw(truth[i:i + 1, k:k + 1], np.ones((1, 1, 2)))[0, band]
                .numpy().ravel() for k in range(2)], 1)
            expected = np.linalg.lstsq(columns, data[i, band].ravel())[0]
            np.testing.assert_allclose(found[i, :, band], expected,
                                       rtol=1e-6)
            # the noise of the pixels is 1
            np.testing.assert_allclose(errors[i, :, band], np.sqrt(np.diag(
                np.linalg.inv(columns.T @ columns))), rtol=1e-6)


def test_reduced_chi_square_is_one_in_noise(renderer, draw, tiny_decoder):
    truth, data = _noisy(renderer, draw, n=6)
    fit = fit_groups(_batch(renderer, data, truth), torch.as_tensor(truth),
                     tiny_decoder, FitSettings())
    n_pixels = data[0].size
    np.testing.assert_allclose(fit.chi2 / n_pixels, 1,
                               atol=5 * np.sqrt(2 / n_pixels))


def test_prior_pulls_what_the_pixels_do_not_know(renderer, draw,
                                                 tiny_decoder):
    truth = PAIR[None, :1]
    faint = draw(truth, 1e-3 * FLUX[None, :1])
    mean = truth + 0.2
    batch = _batch(renderer, faint, mean, precision=np.full(7, 25.0))
    fit = fit_groups(batch, torch.as_tensor(truth), tiny_decoder, EXACT)
    np.testing.assert_allclose(fit.parameters, mean, atol=1e-3)


def test_poisson_noise_comes_from_the_model(renderer, draw, tiny_decoder):
    truth, data = _noisy(renderer, draw, n=1)
    gain = torch.tensor([2.0, 4.0], dtype=torch.float64)
    batch = _batch(renderer, data, truth, gain=gain)
    fit = fit_groups(batch, torch.as_tensor(truth), tiny_decoder,
                     FitSettings(max_steps=0))
    templates = [draw(truth, np.eye(2)[k][None, :, None] * np.ones(2))[0]
                 .numpy().reshape(2, -1) for k in range(2)]
    for band in range(2):
        columns = np.stack([t[band] for t in templates])
        pixels = data[0, band].ravel()
        weight = np.ones_like(pixels)
        for _ in range(2):  # without it, then with that of the model
            flux = np.linalg.solve((columns * weight) @ columns.T,
                                   (columns * weight) @ pixels)
            weight = 1 / (1 + np.maximum(flux @ columns, 0)
                          / float(gain[band]))
        np.testing.assert_allclose(fit.flux[0, :, band], flux, rtol=1e-6)


def test_poisson_noise_enlarges_the_errors(renderer, draw, tiny_decoder):
    truth, data = _noisy(renderer, draw, n=1)
    errors = [fit_groups(_batch(renderer, data, truth, gain=gain),
                         torch.as_tensor(truth), tiny_decoder,
                         FitSettings()).covariance[0, 0, 0]
              for gain in (None, torch.ones(2).double())]
    assert errors[1] > errors[0]


@pytest.mark.parametrize('kind', ['constant', 'plane'])
def test_free_background_is_fitted_along(renderer, draw, tiny_decoder, kind):
    data = draw(PAIR[None], FLUX[None]) + 3.0
    batch = _batch(renderer, data, PAIR[None])
    options = {'max_steps': 60, 'tolerance': 1e-12}
    fit = fit_groups(batch, _moved(PAIR[None]), tiny_decoder,
                     FitSettings(background=kind, **options))
    count = {'constant': 1, 'plane': 3}[kind]
    assert fit.background.shape == (1, 2, count)
    np.testing.assert_allclose(fit.background[0, :, 0], 3, rtol=1e-4)
    np.testing.assert_allclose(fit.flux, FLUX[None], rtol=1e-3)
    n_linear = 2 + count
    assert fit.covariance.shape[-1] == 2 * n_linear + PAIR.size
    plain = fit_groups(batch, _moved(PAIR[None]), tiny_decoder,
                       FitSettings(**options))
    assert fit.chi2 < plain.chi2


def test_start_at_the_optimum_counts_as_converged(renderer, draw,
                                                  tiny_decoder):
    truth, data = _noisy(renderer, draw)
    batch = _batch(renderer, data, truth)
    best = fit_groups(batch, torch.as_tensor(truth), tiny_decoder, EXACT)
    again = fit_groups(batch, best.band_parameters, tiny_decoder,
                       FitSettings())
    assert again.converged.all()


def test_wild_starts_stay_finite(renderer, draw, tiny_decoder):
    data = draw(PAIR[None], FLUX[None])
    start = torch.as_tensor(PAIR[None].copy())
    start[0, 0] = torch.tensor([-30.0, 50, 20, 9, 9, 40, -40])
    fit = fit_groups(_batch(renderer, data, PAIR[None]), start, tiny_decoder,
                     FitSettings())
    assert torch.isfinite(fit.flux).all()
    assert torch.isfinite(fit.covariance).all()


def test_errors_without_a_step_go_by_the_width_of_the_start(
        renderer, draw, tiny_decoder):
    batch = _batch(renderer, draw(PAIR[None], FLUX[None]), PAIR[None])
    start = torch.as_tensor(PAIR[None])
    errors = []
    for precision in (1e8, 100.0):
        fit = fit_groups(batch, start, tiny_decoder, FitSettings(max_steps=0),
                         start_precision=torch.full_like(start, precision))
        variance = torch.diagonal(fit.covariance, dim1=1, dim2=2)[0]
        n_flux = fit.flux.numel()
        errors.append(variance[:n_flux].sqrt())
        # the shapes are known as well as the start says, widened
        np.testing.assert_allclose(variance[n_flux:],
                                   START_WIDENING ** 2 / precision,
                                   rtol=1e-6)
    assert (errors[1] > 1.02 * errors[0]).all()


def test_common_parameters_are_where_their_cost_is_least(renderer, draw,
                                                         tiny_decoder):
    rng = np.random.default_rng(5)
    batch = _batch(renderer, draw(PAIR[None], FLUX[None]), PAIR[None],
                   precision=PRECISION)
    local = torch.as_tensor(PAIR + rng.normal(0, 0.1, (1, 2, *PAIR.shape)))
    problem = refine._Problem(batch, tiny_decoder, FitSettings())
    rows = torch.tensor([0])
    common = problem.common(local, rows)[0].numpy()
    expected = (PRECISION * PAIR + SCATTER ** -2 * local[0].sum(0).numpy()) / (
        PRECISION + 2 * SCATTER ** -2)
    np.testing.assert_allclose(common, expected, rtol=1e-9)
    cost = 0.5 * ((PRECISION * (common - PAIR) ** 2).sum()
                  + (SCATTER ** -2 * (local[0].numpy() - common) ** 2).sum())
    assert float(problem._prior_cost(local, rows)) == pytest.approx(cost)


def test_one_band_is_a_plain_fit_with_a_wider_prior(renderer, draw,
                                                    tiny_decoder):
    # a lone band's parameters scatter about the prior by both widths
    truth, data = _noisy(renderer, draw)
    start = _moved(truth)
    exact = FitSettings(max_steps=60, tolerance=1e-8, relative_tolerance=0.0)
    data = data[:, :1]
    one = Renderer(SIZE, [renderer.bands[0].transfer])
    loose = fit_groups(_batch(one, data, truth, precision=PRECISION), start,
                       tiny_decoder, exact)
    plain = fit_groups(
        _batch(one, data, truth, scatter=np.full(7, 1e-3),
               precision=1 / (1 / PRECISION + SCATTER ** 2)),
        start, tiny_decoder, exact)
    np.testing.assert_allclose(loose.band_parameters, plain.band_parameters,
                               atol=2e-4)
    np.testing.assert_allclose(loose.flux, plain.flux, rtol=1e-4)
    np.testing.assert_allclose(loose.covariance[:, :2, :2],
                               plain.covariance[:, :2, :2], rtol=1e-2)


def test_tied_bands_have_the_same_parameters(renderer, draw, tiny_decoder):
    truth, data = _noisy(renderer, draw)
    fit = fit_groups(_batch(renderer, data, truth, scatter=np.full(7, 1e-4)),
                     _moved(truth), tiny_decoder, FitSettings())
    np.testing.assert_allclose(
        fit.band_parameters, fit.parameters[:, None].expand(-1, 2, -1, -1),
        atol=1e-5)


def test_bands_may_start_apart(renderer, draw, tiny_decoder):
    batch = _batch(renderer, draw(PAIR[None], FLUX[None]), PAIR[None])
    start = torch.stack([_moved(PAIR[None], seed=s) for s in (1, 2)], 1)
    fit = fit_groups(batch, start, tiny_decoder, FitSettings(max_steps=0))
    assert torch.equal(fit.band_parameters, start)
    fit = fit_groups(batch, start, tiny_decoder, EXACT)
    np.testing.assert_allclose(fit.flux, FLUX[None], rtol=1e-4)
