# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
import torch

from vaephot.models.encoder import Gaussian, combine
from vaephot.models.normalization import (
    encoder_inputs,
    left_moments,
    model_misfit,
    point_peak,
)
from vaephot.models.render import Renderer, make_transfer, padded_size
from vaephot.models.vae import sample_posterior


@pytest.fixture
def renderer(gaussian_psf):
    """Return a renderer of two groups with different PSFs."""
    psfs = [gaussian_psf(sigma) for sigma in (1.2, 1.8)]
    transfer = make_transfer(psfs, 1, padded_size(16), dtype=torch.float32)
    return Renderer(16, [transfer])


def test_draws_have_mean_and_scatter_of_the_posterior():
    n = 40_000
    mean = torch.tensor([[1.0, -3.0]]).expand(n, 2)
    precision = torch.tensor([[4.0, 0.25]]).expand(n, 2)
    draws = sample_posterior(Gaussian(mean, precision),
                             torch.Generator().manual_seed(1))
    sigma = np.array([0.5, 2.0])
    np.testing.assert_allclose(draws.mean(0), [1, -3],
                               atol=5 * sigma.max() / np.sqrt(n))
    np.testing.assert_allclose(draws.std(0), sigma, rtol=0.02)


def test_equal_seeds_give_equal_draws():
    posterior = Gaussian(torch.zeros(3, 2), torch.ones(3, 2))
    a, b, c = (sample_posterior(posterior, torch.Generator().manual_seed(s))
               for s in (7, 7, 8))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_gradients_flow_through_the_draw():
    mean = torch.zeros(2, 3, requires_grad=True)
    precision = torch.ones(2, 3, requires_grad=True)
    draw = sample_posterior(Gaussian(mean, precision),
                            torch.Generator().manual_seed(1))
    draw.sum().backward()
    assert (mean.grad == 1).all()
    torch.testing.assert_close(precision.grad, -0.5 * draw.detach())


def test_posterior_is_sharper_than_the_prior(vae, config, make_stamps):
    posterior, prior, evidence = vae.posterior(make_stamps())
    assert posterior.mean.shape == (4, config.n_parameters)
    assert (posterior.precision > prior.precision).all()
    for a, b in zip(posterior, combine(prior, evidence), strict=True):
        assert torch.equal(a, b)


def test_told_neighbour_is_seen(vae, make_stamps):
    stamps = make_stamps()
    without = stamps._replace(present=torch.zeros(4, 1))
    assert not torch.equal(vae.evidence(stamps).mean,
                           vae.evidence(without).mean)


def test_elbo_terms_equal_a_hand_written_sum(vae, renderer, make_stamps):
    stamps = make_stamps()
    rng = np.random.default_rng(3)
    target, weight = (torch.as_tensor(rng.uniform(0.5, 2, (4, 16, 16)),
                                      dtype=torch.float32) for _ in range(2))
    posterior, prior, _ = vae.posterior(stamps)
    found, kl = vae.elbo_terms(posterior, prior, target, weight, renderer, 2,
                               torch.Generator().manual_seed(5))
    noise = torch.randn(posterior.mean.shape,
                        generator=torch.Generator().manual_seed(5))
    sample = posterior.mean + noise * posterior.precision ** -0.5
    for i in range(4):
        transfer = renderer.bands[0].transfer
        one = Renderer(16, [type(transfer)(
            values=transfer.values[i // 2:i // 2 + 1], oversampling=1)])
        mixture = vae.decoder.from_parameters(sample[i:i + 1])
        template = one.templates(mixture, sample[i:i + 1, :2] + 8)[0, 0]
        w, t, d = (a.double().numpy() for a in (weight[i], template,
                                                target[i]))
        flux = (w * t * d).sum() / (w * t * t).sum()
        expected = 0.5 * (w * (d - flux * t) ** 2).sum()
        assert float(found[i]) == pytest.approx(expected, rel=1e-4)
    normal = [torch.distributions.Normal(g.mean, g.precision ** -0.5)
              for g in (posterior, prior)]
    torch.testing.assert_close(
        kl, torch.distributions.kl_divergence(*normal), rtol=1e-3, atol=1e-4)


def test_encoder_sees_the_stamps_in_units_of_source_and_misfit(vae,
                                                               make_stamps):
    stamps = make_stamps()
    peak = point_peak(stamps.log_fwhm, stamps.log_snr, stamps.psf_shape[:, 2])
    misfit, left = model_misfit(stamps.data, stamps.sky_rms, stamps.good,
                                stamps.model)
    width, moments = left_moments(left, stamps.good, stamps.model,
                                  stamps.guess[:, :2])
    inputs = encoder_inputs(*stamps[:6], peak, stamps.model, left)
    expected = vae.encoder(inputs, stamps, misfit, width, moments)
    for a, b in zip(vae.evidence(stamps), expected, strict=True):
        assert torch.equal(a, b)


def test_evidence_moves_with_the_guess(vae, make_stamps):
    stamps = make_stamps()
    moved = stamps._replace(guess=stamps.guess.clone())
    moved.guess[:, 3:] += 0.2
    one, other = vae.evidence(stamps), vae.evidence(moved)
    difference = other.mean[:, 3:] - one.mean[:, 3:]
    # most of the change is that of the guess
    torch.testing.assert_close(difference, torch.full_like(difference, 0.2),
                               atol=0.1, rtol=0)
