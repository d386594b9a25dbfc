# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
import torch

from vaephot.models.encoder import Evidence, Gaussian
from vaephot.models.losses import (
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


def _supervised(error, precision, latent=0.0):
    mean = torch.zeros(1, 7, dtype=torch.float64)
    mean[0, 3], mean[0, 5:] = error, latent
    full = torch.ones_like(mean)
    full[0, 3] = precision
    truth = torch.zeros(1, 5, dtype=torch.float64)
    return float(supervised_loss(Evidence(mean, full), truth))


def test_supervised_loss_is_least_at_the_truth_and_symmetric():
    assert _supervised(0.0, 4.0) < _supervised(0.1, 4.0)
    assert _supervised(0.3, 4.0) == _supervised(-0.3, 4.0)


def test_supervised_loss_does_not_blow_up_with_failures():
    near, far = (_supervised(e, 1.0) - _supervised(0.0, 1.0)
                 for e in (0.1, 100.0))
    assert far < 0.01 * 1000 ** 2 * near


def test_supervised_loss_punishes_too_sure_and_too_unsure_posteriors():
    fair = _supervised(0.5, 4.0)
    assert _supervised(0.5, 400.0) > fair
    assert _supervised(0.5, 0.04) > fair


def test_latent_does_not_count_in_the_supervised_loss():
    assert _supervised(0.2, 1.0) == _supervised(0.2, 1.0, latent=99.0)
