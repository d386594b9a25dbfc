# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import gammainc, gammaincinv

from vaephot.models.config import ModelConfig
from vaephot.models.vae import VAE
from vaephot.train import warmup
from vaephot.train.warmup import sersic_index, sersic_weights, teach_sersic

SIGMA = np.geomspace(0.02, 4, 16)
MODEL = ModelConfig(n_latent=4, n_components=10, decoder_width=32,
                    prior_width=8, head_width=16, encoder_channels=(4, 8),
                    stamp_size=16)


def test_the_index_grows_with_the_latent_within_its_limits():
    latent = np.linspace(-9, 9, 101)
    index = sersic_index(latent)
    assert (np.diff(index) >= 0).all()
    assert index.min() == 0.5
    assert index.max() == 5.0
    assert 1 < sersic_index(0.0) < 2


@pytest.mark.parametrize('index', [0.5, 1.0, 2.0, 4.0])
def test_weights_are_shares_of_the_flux(index):
    weight = sersic_weights(index, SIGMA)
    assert (weight >= 0).all()
    assert weight.sum() == pytest.approx(1)


@pytest.mark.parametrize('index', [0.7, 1.0, 2.0, 4.0])
def test_the_gaussians_hold_the_light_that_a_sersic_profile_does(index):
    weight = sersic_weights(index, SIGMA)
    scale = gammaincinv(2 * index, 0.5)
    inside = gammainc(2 * index, scale * warmup.TRUNCATION ** (1 / index))
    for radius in (0.5, 1.0, 2.0, 3.0):
        sersic = gammainc(2 * index, scale * radius ** (1 / index)) / inside
        gaussians = weight @ (1 - np.exp(-0.5 * (radius / SIGMA) ** 2))
        assert gaussians == pytest.approx(sersic, abs=0.03)


def test_a_gaussian_is_one_gaussian():
    # an index of 1/2 with the width that has its half-light radius at 1
    sigma = np.array([0.2, 1 / np.sqrt(2 * np.log(2)), 3.0])
    assert_allclose(sersic_weights(0.5, sigma), [0, 1, 0], atol=1e-4)


def _decoder():
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return VAE(MODEL).decoder


@pytest.fixture(scope='module')
def taught():
    """Return a decoder that was taught, and its last error."""
    decoder = _decoder()
    return decoder, teach_sersic(decoder, 3)


def _weights(decoder, latents):
    with torch.no_grad():
        logits, _ = decoder.network(torch.as_tensor(
            latents, dtype=torch.float32)).chunk(2, -1)
    return torch.softmax(logits, -1).numpy()


def _latent(first):
    return np.array([[first, 0, 0, 0]])


def test_the_decoder_knows_the_profiles_afterwards(taught):
    decoder, loss = taught
    assert np.isfinite(loss)
    sigma = decoder.sigma.numpy()
    for first in (-1.0, 0.0, 1.0):
        wanted = sersic_weights(sersic_index(first), sigma)
        found = _weights(decoder, _latent(first))[0]
        assert abs(np.cumsum(found - wanted)).max() < 0.05
        before = _weights(_decoder(), _latent(first))[0]
        assert (abs(found - wanted).sum() < 0.3 * abs(
            before - wanted).sum())


def test_the_third_latent_brightens_the_core(taught):
    decoder, _ = taught
    inner = decoder.sigma.numpy() < 0.3
    faint, bright = (_weights(decoder, np.array([[0, 0, z, 0.0]]))[
        0, inner].sum() for z in (-2.0, 2.0))
    assert bright > 1.5 * faint


def test_the_fourth_latent_sharpens_the_edge(taught):
    decoder, _ = taught
    outer = decoder.sigma.numpy() > 1.2
    soft, sharp = (_weights(decoder, np.array([[0, 0, 0, z]]))[
        0, outer].sum() for z in (-2.0, 2.0))
    assert sharp < soft


def test_the_second_latent_tilts_the_shear(taught):
    decoder, _ = taught
    with torch.no_grad():
        tilts = [torch.diff(decoder.network(torch.tensor(
            [[0, z, 0, 0.0]])).chunk(2, -1)[1]).mean() for z in (-2.0, 2.0)]
    assert tilts[0] < 0 < tilts[1]


def test_lessons_are_the_same_for_the_same_seed(monkeypatch):
    monkeypatch.setattr(warmup, 'N_STEPS', 5)
    decoders = [_decoder() for _ in range(3)]
    losses = [teach_sersic(decoder, seed)
              for decoder, seed in zip(decoders, (1, 1, 2), strict=True)]
    assert losses[0] == losses[1] != losses[2]
    states = [decoder.state_dict() for decoder in decoders]
    for name, value in states[0].items():
        assert_array_equal(value, states[1][name])


def test_lessons_need_no_particular_number_of_latents(monkeypatch):
    monkeypatch.setattr(warmup, 'N_STEPS', 2)
    for n_latent in (1, 2, 3, 6):
        config = ModelConfig(**{**MODEL.to_dict(), 'n_latent': n_latent})
        with torch.random.fork_rng():
            decoder = VAE(config).decoder
        assert np.isfinite(teach_sersic(decoder, 1))
