# Licensed under a 3-clause BSD style license - see LICENSE.rst
import math

import numpy as np
import pytest
import torch

from vaephot.models.config import ModelConfig
from vaephot.models.decoder import Mixture
from vaephot.models.encoder import Evidence, Gaussian
from vaephot.models.vae import VAE
from vaephot.train.dataset import BlendSampler, BlendSettings
from vaephot.train.metrics import validation_metrics
from vaephot.train.store import read_store

PRECISION = 25.0


class _Decoder:
    """Decoder of one Gaussian of the given half-light radius."""

    def from_parameters(self, parameters):
        variance = torch.exp(2 * parameters[:, 2:3]) / (2 * math.log(2))
        zero = torch.zeros_like(variance)
        return Mixture(torch.ones_like(variance), variance, zero, zero)


class _Oracle:
    """Networks that know the truth of their batches, or err as told."""

    def __init__(self, batches, errors):
        self.answers = {id(b.stamps.target): b.truth + e
                        for b, e in zip(batches, errors, strict=True)}
        self.decoder = _Decoder()
        self.config = ModelConfig(n_latent=1)

    elbo_terms, posterior = VAE.elbo_terms, VAE.posterior
    templates = VAE.templates

    def prior(self, target, log_fwhm, log_snr):
        mean = self.answers[id(target)]
        return Gaussian(mean, torch.ones_like(mean))

    def evidence(self, stamps):
        mean = self.answers[id(stamps.target)]
        return Evidence(mean, torch.full_like(mean, PRECISION - 1))


@pytest.fixture(scope='session')
def batches(tiny_store):
    """Return held-out stamps of isolated galaxies without bad pixels."""
    settings = BlendSettings(star_share=0.0, masked_share=0.0,
                             correlated_share=0.0, background=0.0)
    shards = read_store(tiny_store, 'validation')
    latents = [torch.linspace(-2, 2, 2 * len(shard.snr)).reshape(-1, 2)
               for shard in shards]
    sampler = BlendSampler(shards, 24, 4, settings=settings, blended=False,
                           latents=latents)
    return [sampler.draw(40, 2) for _ in range(2)]


def _score(batches, error=(0.0,) * 7, scatter=0.0):
    rng = np.random.default_rng(2)
    errors = [torch.tensor(error) + torch.as_tensor(
        scatter * rng.standard_normal(b.truth.shape), dtype=torch.float32)
        for b in batches]
    return validation_metrics(_Oracle(batches, errors), batches, 2)


def test_truth_scores_no_error(batches):
    score = _score(batches)
    assert score['size_bias'] == pytest.approx(0, abs=1e-6)
    assert score['size_nmad'] == pytest.approx(0, abs=1e-6)
    assert score['position_nmad'] == pytest.approx(0, abs=1e-6)
    assert abs(score['flux_bias']) < 0.02
    # the true template fits as well as the noise alone, or better
    assert -2 < score['excess'] < 1


def test_errors_are_told_with_their_sign(batches):
    score = _score(batches, (0.0, 0.0, 0.3, 0.0, 0.0, 0.0, 0.0))
    assert score['size_bias'] == pytest.approx(0.3, abs=1e-5)
    assert score['excess'] > 1
    # too large a template takes too much flux
    assert score['flux_bias'] > 0.05


def test_scatter_and_pull_are_those_of_a_normal(batches):
    score = _score(batches, scatter=0.2)
    # the posteriors claim 0.2
    assert score['size_nmad'] == pytest.approx(0.2, rel=0.35)
    for name in ('position_nmad', 'shear_nmad', 'latent_nmad'):
        assert score[name] == pytest.approx(0.2, rel=0.35)
    assert score['size_pull'] == pytest.approx(
        score['size_nmad'] * math.sqrt(PRECISION), rel=1e-4)


def test_divergence_is_summed_over_the_parameters(batches):
    ratio = 1 / PRECISION
    expected = 7 * 0.5 * (ratio - 1 - math.log(ratio))
    assert _score(batches)['divergence'] == pytest.approx(expected, rel=1e-4)


def test_shapes_of_stars_do_not_count(batches):
    stars = [b._replace(is_galaxy=torch.arange(len(b.truth)) < 10)
             for b in batches]
    errors = []
    for batch in stars:
        error = torch.zeros_like(batch.truth)
        error[~batch.is_galaxy, 2:] = 2.0
        errors.append(error)
    score = validation_metrics(_Oracle(stars, errors), stars, 1)
    assert score['size_bias'] == pytest.approx(0, abs=1e-6)
    for name in ('size_nmad', 'shear_nmad', 'latent_nmad', 'size_pull'):
        assert score[name] == pytest.approx(0, abs=1e-5)


def test_bound_is_that_of_draws_from_the_posterior(batches):
    score = _score(batches)
    # draws are no nearer to the truth than the mean
    assert score['negative_elbo'] > score['excess'] + score['divergence']
    # each look takes the same draws
    assert score['negative_elbo'] == _score(batches)['negative_elbo']
    wrong = _score(batches, (0.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0))
    assert wrong['negative_elbo'] > score['negative_elbo'] + 1
