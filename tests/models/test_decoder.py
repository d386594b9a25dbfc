# Licensed under a 3-clause BSD style license - see LICENSE.rst
import math

import numpy as np
import pytest
import torch

from vaephot.models.config import ModelConfig
from vaephot.models.decoder import Decoder, half_light_radius


def _parameters(n, n_latent, seed=3):
    rng = np.random.default_rng(seed)
    rows = np.concatenate([rng.normal(8, 1, (n, 2)), rng.normal(0.7, 0.5,
                                                                (n, 1)),
                           rng.normal(0, 0.4, (n, 2)),
                           rng.normal(0, 1, (n, n_latent))], axis=1)
    return torch.as_tensor(rows)


@pytest.fixture
def single():
    """Return a decoder of one Gaussian that takes the shear as it is."""
    decoder = Decoder(ModelConfig(n_latent=1, n_components=1)).double()
    with torch.no_grad():
        # 1.5 * sigmoid(ln 2) = 1
        decoder.network[-1].weight.zero_()
        decoder.network[-1].bias[1] = math.log(2)
    return decoder.requires_grad_(False)


def _covariance(mixture, j=0):
    mean, plus, cross = (float(part[..., j]) for part in mixture[1:4])
    return np.array([[mean + plus, cross], [cross, mean - plus]])


def _matrix(decoder, log_size, eta):
    mixture = decoder(torch.tensor(log_size, dtype=torch.float64),
                      torch.tensor(eta, dtype=torch.float64),
                      torch.zeros(1, dtype=torch.float64))
    return _covariance(mixture)


def test_flux_is_one_and_no_weight_is_negative(decoder, config):
    mixture = decoder.from_parameters(_parameters(50, config.n_latent))
    assert (mixture.weight > 0).all()
    torch.testing.assert_close(mixture.weight.sum(-1),
                               torch.ones(50, dtype=torch.float64))


def test_covariances_are_positive_definite(decoder, config):
    mixture = decoder.from_parameters(_parameters(50, config.n_latent))
    assert (mixture.mean ** 2 > mixture.plus ** 2 + mixture.cross ** 2).all()


def test_latent_changes_the_profile(decoder):
    latent = torch.tensor([[0.0, 0.0], [2.0, -1.0]], dtype=torch.float64)
    weight, _, factor = decoder.profile(latent)
    assert (weight[0] - weight[1]).abs().max() > 0.01
    assert (factor[0] - factor[1]).abs().max() > 0.01


@pytest.mark.parametrize('log_size', [-1.0, 0.0, 1.7])
def test_half_the_light_is_within_the_explicit_size(decoder, log_size):
    latent = torch.tensor([[1.0, -2.0]], dtype=torch.float64)
    mixture = decoder(torch.tensor([log_size], dtype=torch.float64),
                      torch.zeros(1, 2, dtype=torch.float64), latent)
    radius = np.linspace(0, math.exp(log_size), 20001)
    weight, variance = mixture.weight[0].numpy(), mixture.mean[0].numpy()
    surface = (weight / (2 * np.pi * variance) * np.exp(
        -0.5 * radius[:, None] ** 2 / variance)).sum(1)
    flux = np.trapezoid(2 * np.pi * radius * surface, radius)
    assert flux == pytest.approx(0.5, abs=1e-6)


def test_half_light_radius_of_one_gaussian_is_analytic():
    radius = half_light_radius(torch.ones(1, dtype=torch.float64),
                               torch.tensor([3.0], dtype=torch.float64))
    assert float(radius) == pytest.approx(3 * math.sqrt(2 * math.log(2)))


def test_half_light_radius_has_the_right_derivative():
    sigma = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)
    weight = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    step = torch.tensor([1e-5, 0.0, -1e-5], dtype=torch.float64)
    free = weight.clone().requires_grad_(True)
    half_light_radius(free, sigma).backward()
    numeric = (half_light_radius(weight + step, sigma)
               - half_light_radius(weight - step, sigma)) / 2
    assert float(free.grad @ step) == pytest.approx(float(numeric), rel=1e-6)


@pytest.mark.parametrize(('eta', 'angle'), [
    ((0.8, 0.0), 0.0), ((-0.8, 0.0), 90.0), ((0.0, 0.8), 45.0),
    ((0.0, -0.8), 135.0), ((0.8 * math.cos(math.radians(40)),
                            0.8 * math.sin(math.radians(40))), 20.0)])
def test_shear_sets_axis_ratio_and_direction(single, eta, angle):
    values, vectors = np.linalg.eigh(_matrix(single, 0.5, eta))
    ratio = math.sqrt(values[0] / values[1])
    assert ratio == pytest.approx(math.exp(-0.8), rel=1e-6)
    # the long axis counts from x towards y
    found = math.degrees(math.atan2(vectors[1, 1], vectors[0, 1])) % 180
    assert math.sin(math.radians(found - angle)) == pytest.approx(0,
                                                                  abs=1e-6)


def test_positive_eta1_is_long_along_x(single):
    matrix = _matrix(single, 0.0, (0.5, 0.0))
    assert matrix[0, 0] > matrix[1, 1]


def test_shear_keeps_the_area(single):
    round_ = _matrix(single, 0.5, (0.0, 0.0))
    sheared = _matrix(single, 0.5, (0.9, -0.7))
    assert np.linalg.det(sheared) == pytest.approx(np.linalg.det(round_))


def test_rotating_the_shear_rotates_the_galaxy(decoder):
    latent = torch.tensor([0.7, -1.1], dtype=torch.float64)
    angle, eta = 0.6, np.array([0.5, 0.3])
    c, s = math.cos(2 * angle), math.sin(2 * angle)
    turned = np.array([[c, -s], [s, c]]) @ eta
    size = torch.tensor(0.4, dtype=torch.float64)
    before, after = (decoder(size, torch.as_tensor(e), latent)
                     for e in (eta, turned))
    c, s = math.cos(angle), math.sin(angle)
    rotation = np.array([[c, -s], [s, c]])
    for j in range(before.weight.shape[-1]):
        np.testing.assert_allclose(
            _covariance(after, j),
            rotation @ _covariance(before, j) @ rotation.T, rtol=1e-10)


def test_size_scales_all_covariances(decoder, config):
    small = _parameters(4, config.n_latent)
    large = small.clone()
    large[:, 2] += math.log(3)
    for before, after in zip(decoder.from_parameters(small)[1:4],
                             decoder.from_parameters(large)[1:4], strict=True):
        torch.testing.assert_close(after, 9 * before)


def test_position_plays_no_part(decoder, config):
    here = _parameters(3, config.n_latent)
    there = here.clone()
    there[:, :2] += 5
    for a, b in zip(decoder.from_parameters(here)[:4],
                    decoder.from_parameters(there)[:4], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_jacobian_agrees_with_differences(decoder, config):
    parameters = _parameters(5, config.n_latent)
    parameters[0, 3:5] = 0  # a round galaxy
    value, derivative = decoder.jacobian(parameters)
    for a, b in zip(value[:4], decoder.from_parameters(parameters)[:4],
                    strict=True):
        torch.testing.assert_close(a, b)
    step = 1e-5
    for k in range(parameters.shape[1] - 2):
        shift = torch.zeros_like(parameters)
        shift[:, k + 2] = step
        up, down = (decoder.from_parameters(parameters + sign * shift)
                    for sign in (1, -1))
        for high, low, analytic in zip(up[:4], down[:4], derivative[:4],
                                       strict=True):
            torch.testing.assert_close(analytic[..., k],
                                       (high - low) / (2 * step),
                                       rtol=1e-5, atol=1e-6)


def test_jacobian_is_finite_where_the_shear_is_zero(decoder, config):
    parameters = _parameters(2, config.n_latent)
    parameters[:, 3:5] = 0
    _, derivative = decoder.jacobian(parameters)
    assert all(torch.isfinite(part).all() for part in derivative[:4])


def test_zero_latent_of_a_new_decoder_is_centrally_concentrated():
    # an exponential disk has 0.05 of its light within 0.2 half-light radii
    with torch.random.fork_rng():
        torch.manual_seed(0)
        decoder = Decoder(ModelConfig()).double().requires_grad_(False)
    latent = torch.zeros(1, decoder.config.n_latent).double()
    weight, sigma, _ = decoder.profile(latent)
    inside = 1 - (weight * torch.exp(-0.5 * (0.2 / sigma) ** 2)).sum()
    assert 0.02 < float(inside) < 0.15
