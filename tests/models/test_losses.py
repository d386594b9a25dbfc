# Licensed under a 3-clause BSD style license - see LICENSE.rst
import math

import numpy as np
import pytest
import torch
from scipy import stats

from vaephot.models.encoder import Gaussian
from vaephot.models.losses import (
    KNOWN_SCALE,
    MAX_WIDTH,
    TAIL,
    kl_divergence,
    projected_flux,
    reconstruction_loss,
    supervised_loss,
)


def _gaussians(seed=5, shape=(6, 4)):
    rng = np.random.default_rng(seed)
    return tuple(Gaussian(torch.as_tensor(rng.normal(0, 2, shape)),
                          torch.as_tensor(rng.uniform(0.1, 5, shape)))
                 for _ in range(2))


def _stamps(seed=6, n=3, size=5):
    rng = np.random.default_rng(seed)
    template = rng.uniform(0, 1, (n, size, size))
    data = 7 * template + rng.normal(0, 1, template.shape)
    weight = rng.uniform(0, 2, template.shape)
    weight[:, 1, 2] = 0
    return tuple(torch.as_tensor(a) for a in (data, template, weight))


def test_divergence_is_that_of_torch_distributions():
    posterior, prior = _gaussians()
    normal = [torch.distributions.Normal(g.mean, g.precision ** -0.5)
              for g in (posterior, prior)]
    expected = torch.distributions.kl_divergence(*normal)
    torch.testing.assert_close(kl_divergence(posterior, prior), expected)


def test_divergence_is_never_negative_and_zero_at_the_prior():
    posterior, prior = _gaussians(shape=(300, 4))
    assert (kl_divergence(posterior, prior) > 0).all()
    assert kl_divergence(prior, prior).abs().max() < 1e-12


def test_projected_flux_is_that_of_least_squares():
    data, template, weight = _stamps()
    flux, precision = projected_flux(data, template, weight)
    for i in range(len(data)):
        root = weight[i].sqrt().numpy().ravel()
        column = template[i].numpy().ravel() * root
        solution, *_ = np.linalg.lstsq(column[:, None],
                                       data[i].numpy().ravel() * root)
        assert float(flux[i]) == pytest.approx(solution[0])
        assert float(precision[i]) == pytest.approx(column @ column)


def test_reconstruction_loss_is_half_the_chi_square_of_the_best_flux():
    data, template, weight = _stamps()
    flux, _ = projected_flux(data, template, weight)
    residual = data - flux[:, None, None] * template
    expected = 0.5 * (weight * residual ** 2).sum((1, 2))
    torch.testing.assert_close(reconstruction_loss(data, template, weight),
                               expected)


def test_reconstruction_loss_is_zero_for_the_true_template():
    _, template, weight = _stamps()
    loss = reconstruction_loss(-3 * template, template, weight)
    assert loss.abs().max() < 1e-9


def test_template_without_light_gives_a_finite_loss():
    data, template, weight = _stamps()
    loss = reconstruction_loss(data, 0 * template, weight)
    torch.testing.assert_close(loss, 0.5 * (weight * data ** 2).sum((1, 2)))


def _supervised(error, precision=1.0, *, counts=1.0, slope=False):
    """Loss of one parameter among seven; or its derivatives."""
    mean = torch.zeros(1, 7, dtype=torch.float64)
    mean[0, 3] = error
    full = torch.ones_like(mean)
    full[0, 3] = precision
    truth, known = torch.zeros_like(mean), torch.zeros_like(mean)
    known[0, 3] = counts
    if not slope:
        return float(supervised_loss(Gaussian(mean, full), truth, known))
    mean.requires_grad_(True)
    full.requires_grad_(True)
    supervised_loss(Gaussian(mean, full), truth, known).sum().backward()
    return float(mean.grad[0, 3]), float(full.grad[0, 3])


def test_supervised_loss_is_least_at_the_truth_and_symmetric():
    assert _supervised(0.0, 4.0) < _supervised(0.1, 4.0)
    assert _supervised(0.3, 4.0) == _supervised(-0.3, 4.0)


def test_supervised_loss_is_that_of_student_up_to_its_weight():
    # density of t with a scale of 1 / sqrt(precision), less its constant
    precision = 1 / KNOWN_SCALE ** 2  # a weight of one
    for error in (0.05, 0.4, 3.0):
        density = stats.t(TAIL, scale=precision ** -0.5)
        gain = density.logpdf(0) - density.logpdf(error)
        assert _supervised(error, precision) - _supervised(
            0.0, precision) == pytest.approx(gain)


def test_supervised_loss_grows_as_a_logarithm_with_failures():
    precision = 1 / KNOWN_SCALE ** 2
    near, far, farther = (_supervised(e, precision) for e in (0, 1e3, 1e4))
    assert farther - far == pytest.approx((TAIL + 1) * math.log(10),
                                          rel=1e-3)
    assert far - near < 50


@pytest.mark.parametrize('width', [0.02, 0.2, 0.5])
def test_supervised_loss_punishes_too_sure_and_too_unsure_posteriors(width):
    # the best width of errors is a root of the slope by the precision;
    # the weight has no slope, so it moves no root
    rng = np.random.default_rng(3)
    errors = width * stats.t(TAIL).rvs(4000, random_state=rng)
    slopes = []
    for factor in (0.7, 1.0, 1.4):
        full = torch.full((len(errors), 1), (factor * width) ** -2,
                          dtype=torch.float64, requires_grad=True)
        loss = supervised_loss(Gaussian(torch.as_tensor(errors)[:, None],
                                        full), 0 * full.detach(),
                               torch.ones_like(full))
        loss.sum().backward()
        slopes.append(float((full.grad * full.detach()).mean()
                            / min(factor * width / KNOWN_SCALE, MAX_WIDTH)))
    # terms lie between -1/2 and (TAIL + 1) / 2 - 1/2: scatter below 1.25
    limit = 4 * 1.25 / np.sqrt(len(errors))
    assert abs(slopes[1]) < limit
    assert slopes[0] > limit
    assert slopes[2] < -limit


def test_means_of_wide_posteriors_are_learned_as_fast():
    # without the weight the slope falls as the square of the width
    sure = _supervised(0.2, 25.0, slope=True)[0]
    unsure = _supervised(0.4, 25.0 / 4, slope=True)[0]
    assert sure == pytest.approx(unsure)
    capped = KNOWN_SCALE * MAX_WIDTH
    one, two = (_supervised(f * capped, (f * capped) ** -2, slope=True)[0]
                for f in (1.0, 2.0))
    assert one == pytest.approx(2 * two)


def test_unknown_parameters_do_not_count():
    assert _supervised(99.0, 4.0, counts=0.0) == 0
    assert _supervised(0.3, 4.0, counts=0.5) == pytest.approx(
        0.5 * _supervised(0.3, 4.0))


def test_supervised_loss_is_summed_over_parameters_not_stamps():
    posterior, prior = _gaussians()
    counts = torch.ones_like(prior.mean)
    loss = supervised_loss(posterior, prior.mean, counts)
    assert loss.shape == (6,)
    single = [supervised_loss(Gaussian(*[p[:, k:k + 1] for p in posterior]),
                              prior.mean[:, k:k + 1], counts[:, k:k + 1])
              for k in range(4)]
    torch.testing.assert_close(loss, sum(single))


@pytest.mark.parametrize('precision', [0.04, 4.0, 400.0])
def test_widths_are_learned_without_bias(precision):
    # the expected slope by the width vanishes where errors are as a
    # Student distribution of this width, whatever the weight
    rng = np.random.default_rng(4)
    n = 40_000
    error = torch.as_tensor(rng.standard_t(TAIL, n) / np.sqrt(precision))
    log_precision = torch.full((n, 1), float(np.log(precision)),
                               dtype=torch.float64, requires_grad=True)
    mean = torch.zeros(n, 1, dtype=torch.float64)
    supervised_loss(Gaussian(mean, torch.exp(log_precision)), error[:, None],
                    torch.ones_like(mean)).sum().backward()
    slope = log_precision.grad
    assert abs(float(slope.mean())) < 4 * float(slope.std()) / np.sqrt(n)
