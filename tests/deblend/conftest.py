# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Small seeded networks and observations with Gaussian PSFs."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from vaephot.models.bundle import fit_decoder
from vaephot.models.config import ModelConfig
from vaephot.models.vae import VAE


class GaussianBand:
    """PSF of a band: a round Gaussian, wider to the right if it varies."""

    def __init__(self, sigma, *, slope=0.0, oversampling=1, half=10):
        self.sigma = sigma
        self.slope = slope
        self.oversampling = oversampling
        self.half = half
        self.varies = slope != 0
        self.fwhm = 2.3548 * sigma

    def sample(self, x, y):
        """Return the image at a position and its oversampling."""
        radius = self.half * self.oversampling
        grid = np.arange(-radius, radius + 1) / self.oversampling
        row = np.exp(-0.5 * (grid / (self.sigma + self.slope * x)) ** 2)
        image = row[:, None] * row
        image /= image.sum()
        image.flags.writeable = False
        return image, self.oversampling


@pytest.fixture(scope='session')
def gaussian_band():
    """Return the class of the PSFs."""
    return GaussianBand


@pytest.fixture(scope='session')
def tiny_vae():
    """Return an untrained autoencoder of 16 pixel stamps."""
    config = ModelConfig(n_latent=2, n_components=6, decoder_width=8,
                         prior_width=8, head_width=16,
                         encoder_channels=(4, 8), stamp_size=16,
                         sigma_min=0.1, sigma_max=3.0)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return VAE(config).eval().requires_grad_(False)


@pytest.fixture(scope='session')
def tiny_decoder(tiny_vae):
    """Return its decoder in float64, with a marked effect of the latent."""
    decoder = fit_decoder(tiny_vae)
    decoder.network[-1].weight.mul_(15)
    return decoder


@pytest.fixture(scope='session')
def make_observation():
    """Return a function that makes what `prepare_observation` would."""
    def make(data, psfs, *, rms=1.0, mask=None, gain=None):
        data = np.asarray(data, float)
        n_bands = len(data)
        rms = np.broadcast_to(np.asarray(rms, float).reshape(-1, 1, 1),
                              (n_bands, 1, 1))
        mask = np.zeros(data.shape, bool) if mask is None else mask
        return SimpleNamespace(
            data=np.where(mask, 0.0, data), variance=rms ** 2, mask=mask,
            gain=None if gain is None else np.full(n_bands, float(gain)),
            noise_correlation=np.ones(n_bands), psfs=tuple(psfs),
            bands=tuple(f'band{i + 1}' for i in range(n_bands)), unit=None,
            zeropoint=None, wcs=None, is_2d=n_bands == 1,
            error_estimated=False, psf_estimated=False)
    return make
