# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
import torch

from vaephot.models.config import ModelConfig
from vaephot.models.encoder import combine
from vaephot.models.vae import VAE
from vaephot.train.dataset import BlendSampler, BlendSettings
from vaephot.train.encoder_passes import (
    OTHER_SHARE,
    add_guess,
    other_bands,
    run_encoder,
)
from vaephot.train.store import read_store

MODEL = ModelConfig(n_latent=2, n_components=6, decoder_width=8,
                    prior_width=8, head_width=16, encoder_channels=(4, 8),
                    stamp_size=32)


@pytest.fixture(scope='module')
def vae():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return VAE(MODEL)


@pytest.fixture(scope='module')
def batch(tiny_store):
    shards = read_store(tiny_store, 'train')
    latents = [torch.zeros(len(shard.snr), 2) for shard in shards]
    return BlendSampler(shards, 32, 4, latents=latents, settings=BlendSettings(
        correlated_share=0.0)).draw(60, 2)


def _seeded(seed=2):
    return torch.Generator().manual_seed(seed)


def _looked(vae, batch, n_looks, **options):
    return run_encoder(vae, batch, n_looks, _seeded(), **options)


def test_the_first_guess_is_the_prior(vae, batch, monkeypatch):
    seen = []
    evidence = vae.evidence
    monkeypatch.setattr(vae, 'evidence',
                        lambda s: seen.append(s) or evidence(s))
    passed = _looked(vae, batch, 3)
    assert len(seen) == 3
    prior = vae.prior(batch.stamps.target, batch.stamps.log_fwhm,
                      batch.stamps.log_snr)
    torch.testing.assert_close(seen[0].guess, prior.mean)
    one = _looked(vae, batch, 1)
    # where it can be drawn
    near = (one.posterior.mean.abs() < 2).all(1)
    assert near.sum() > 20
    torch.testing.assert_close(seen[1].guess[near],
                               one.posterior.mean[near])
    # seen as it is at first, later without the neighbours that are known
    assert seen[0].data is batch.stamps.data
    assert seen[1].data is seen[2].data is batch.alone
    for a, b in zip(passed.posterior, combine(passed.prior, passed.evidence),
                    strict=True):
        torch.testing.assert_close(a, b)


def test_gradients_flow_through_the_last_look_alone(vae, batch):
    vae.zero_grad()
    passed = _looked(vae, batch, 2)
    passed.posterior.mean.sum().backward()
    assert vae.encoder.head[-1].bias.grad.abs().max() > 0
    with torch.no_grad():
        assert not _looked(vae, batch, 2).posterior.mean.requires_grad


def test_model_of_a_guess_has_the_best_flux(vae, batch):
    guess = torch.cat([batch.truth[:, :5], torch.zeros(60, 2)], 1)
    exact = add_guess(vae, batch, batch.stamps, guess, torch.zeros(60))
    model, w = exact.model, batch.weight
    product = (w * model * batch.target).sum((1, 2))
    norm = (w * model ** 2).sum((1, 2))
    torch.testing.assert_close(product / norm, torch.ones(60), rtol=1e-3,
                               atol=1e-3)
    brighter = add_guess(vae, batch, batch.stamps, guess,
                       torch.full((60,), np.log(1.2)))
    torch.testing.assert_close(brighter.model, 1.2 * model)
    bright = exact.log_snr > 1
    torch.testing.assert_close(
        (brighter.log_snr - exact.log_snr)[bright],
        torch.full((int(bright.sum()),), float(np.log(1.2))), atol=1e-4,
        rtol=0)


@pytest.mark.parametrize('wild', [1e6, -1e6])
def test_wild_guesses_can_be_drawn(vae, batch, wild):
    stamps = add_guess(vae, batch, batch.stamps, torch.full((60, 7), wild),
                     torch.zeros(60))
    for part in (stamps.guess, stamps.model, stamps.log_snr):
        assert torch.isfinite(part).all()


def test_other_bands_know_the_truth_within_their_errors(batch):
    likeness = torch.full((60, 7), 50.0)
    generator = _seeded()
    draws = [other_bands(batch, likeness, generator) for _ in range(200)]
    mean, precision = (torch.stack([getattr(d, name) for d in draws])
                       for name in ('mean', 'precision'))
    exists = precision > 0
    assert float(exists[:, batch.is_galaxy].float().mean()) == pytest.approx(
        OTHER_SHARE, abs=0.02)
    pulls = ((mean - batch.truth) * precision.sqrt())[exists]
    assert float(pulls.std()) == pytest.approx(1, abs=0.02)
    assert abs(float(pulls.mean())) < 0.02
    # shapes of stars are not known
    assert not exists[:, ~batch.is_galaxy, 3:].any()


def test_latents_that_nobody_knows_get_no_evidence(batch):
    truth = batch.truth.clone()
    truth[:, 5:] = torch.nan
    found = other_bands(batch._replace(truth=truth),
                           torch.ones(60, 7), _seeded())
    assert (found.precision[:, 5:] == 0).all()
    assert torch.isfinite(found.mean).all()


def test_other_bands_add_to_what_is_known(vae, batch):
    passed = _looked(vae, batch, 2, others=True)
    assert (passed.known.precision >= passed.prior.precision).all()
    assert (passed.known.precision > passed.prior.precision).any()
    alone = _looked(vae, batch, 2)
    torch.testing.assert_close(alone.known.mean, alone.prior.mean)
