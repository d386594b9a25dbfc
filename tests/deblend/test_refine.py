# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
import torch

from vaephot.deblend.refine import FitSettings, GroupBatch, fit_groups
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
        parameters = torch.as_tensor(parameters)
        flat = parameters.flatten(0, 1)
        templates = renderer.templates(tiny_decoder.from_parameters(flat),
                                       flat[:, :2])
        templates = templates.unflatten(0, parameters.shape[:2])
        return (templates * torch.as_tensor(flux)[..., None, None]).sum(1)
    return images


def _batch(renderer, data, mean, *, precision=WEAK, variance=1.0, good=None,
           active=None, gain=None):
    data = torch.as_tensor(data)
    mean = torch.as_tensor(np.asarray(mean, float))
    precision = torch.as_tensor(precision).expand(mean.shape).clone()
    return GroupBatch(
        data, torch.full_like(data, variance),
        torch.ones_like(data) if good is None else good,
        torch.ones(mean.shape[:2]).double() if active is None else active,
        Gaussian(mean, precision), gain, renderer)


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
    np.testing.assert_array_equal(fit.parameters, PAIR[None])
    np.testing.assert_allclose(fit.flux, FLUX[None], rtol=1e-6)
    assert fit.n_steps.sum() == 0
    assert fit.converged.all()


def _cost(fit, batch):
    mean, precision = batch.prior
    square = precision * (fit.parameters - mean) ** 2
    square = square * batch.active[..., None]
    return 0.5 * (fit.chi2 + square.sum((1, 2)))


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
    monkeypatch.setattr('vaephot.deblend.refine._step',
                        lambda _, vector, *__: -0.3 * vector.sign().reshape(
                            len(vector), 2, -1))
    fit = fit_groups(batch, start, tiny_decoder, FitSettings())
    assert torch.equal(fit.parameters, start)


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


def test_covariance_is_the_inverse_of_all_second_derivatives(
        renderer, draw, tiny_decoder):
    precision = np.array([4.0, 4.0, 2.0, 3.0, 3.0, 1.0, 1.0])
    batch = _batch(renderer, draw(PAIR[None], FLUX[None]), PAIR[None],
                   precision=precision, variance=1.7)
    fit = fit_groups(batch, torch.as_tensor(PAIR[None]), tiny_decoder,
                     FitSettings(max_steps=0))
    # vector: fluxes of band 1, of band 2, parameters of each source
    best = np.concatenate([FLUX.T.ravel(), PAIR.ravel()])

    def model(vector):
        flux = vector[:4].reshape(2, 2).T
        return draw(vector[4:].reshape(1, 2, -1), flux[None])[0].numpy()
    columns = []
    for k in range(len(best)):
        step = np.zeros_like(best)
        step[k] = 1e-5
        columns.append((model(best + step) - model(best - step)) / 2e-5)
    jacobian = np.reshape(columns, (len(best), -1))
    matrix = jacobian @ jacobian.T / 1.7
    matrix[4:, 4:] += np.diag(np.tile(precision, 2))
    np.testing.assert_allclose(fit.covariance[0], np.linalg.inv(matrix),
                               rtol=1e-3, atol=1e-6)


def test_flux_errors_match_the_scatter_in_noise(renderer, draw,
                                                tiny_decoder):
    rng = np.random.default_rng(12)
    n = 80
    sigma = np.array([0.3, 0.3, 0.2, 0.2, 0.2, 0.5, 0.5])
    mean = np.repeat(PAIR[None], n, 0)
    truth = mean + sigma * rng.standard_normal(mean.shape)
    flux = np.repeat(3 * FLUX[None], n, 0)
    data = draw(truth, flux).numpy()
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
        for _ in range(3):  # without it, then with it in two rounds
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
    again = fit_groups(batch, best.parameters, tiny_decoder, FitSettings())
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
        # the shapes are known as well as the start says, not better
        np.testing.assert_allclose(variance[n_flux:], 1 / precision,
                                   rtol=1e-6)
    assert (errors[1] > 1.02 * errors[0]).all()
