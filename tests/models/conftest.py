# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Small seeded networks, not trained."""

import numpy as np
import pytest
import torch

from vaephot.models.bundle import fit_decoder
from vaephot.models.config import ModelConfig
from vaephot.models.vae import VAE, StampBatch


@pytest.fixture(scope='session')
def config():
    """Return the sizes of a tiny model of 16 pixel stamps."""
    return ModelConfig(n_latent=2, n_components=6, decoder_width=8,
                       prior_width=8, head_width=16, encoder_channels=(4, 8),
                       stamp_size=16, sigma_min=0.1, sigma_max=3.0)


@pytest.fixture(scope='session')
def make_vae(config):
    """Return a function that makes networks from a seed."""
    def make(seed=1, settings=config):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return VAE(settings).eval().requires_grad_(False)
    return make


@pytest.fixture(scope='session')
def vae(make_vae):
    """Return one tiny autoencoder."""
    return make_vae()


@pytest.fixture(scope='session')
def decoder(vae):
    """Return its decoder in float64, with a marked effect of the latent."""
    decoder = fit_decoder(vae)
    decoder.network[-1].weight.mul_(15)
    return decoder


@pytest.fixture(scope='session')
def make_stamps(config):
    """Return a function that makes stamps of noise with a round model."""
    def make(n=4, seed=4, *, log_fwhm=1.0, log_snr=3.0, psf_shape=(0, 0, 0)):
        rng = np.random.default_rng(seed)
        size = config.stamp_size
        images = torch.as_tensor(rng.normal(0, 1, (n, size, size)),
                                 dtype=torch.float32)
        grid = np.arange(size) - size // 2
        row = np.exp(-0.5 * (grid / 2.0) ** 2)
        model = torch.as_tensor(5 * row[:, None] * row, dtype=torch.float32)
        guess = torch.zeros(n, config.n_parameters)
        guess[:, 2] = 0.7
        return StampBatch(
            images + model, torch.ones(n, 1, 1), torch.ones_like(images),
            torch.zeros(n, 2), torch.ones(n, 1, 2), torch.ones(n, 1),
            torch.full((n,), log_fwhm), torch.full((n,), log_snr),
            torch.tensor(psf_shape).float().expand(n, 3), guess,
            model.expand(n, -1, -1))
    return make


@pytest.fixture
def gaussian_psf():
    """Return a function that samples a round Gaussian of sum one."""
    def make(sigma, oversampling=1, half=12):
        radius = half * oversampling
        grid = np.arange(-radius, radius + 1) / oversampling
        row = np.exp(-0.5 * (grid / sigma) ** 2)
        image = row[:, None] * row
        return image / image.sum()
    return make
