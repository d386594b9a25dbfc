# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The learned prior of size and shear, which depends on brightness.

Faint galaxies are small: a single size prior for all of them biases faint
fluxes. The mean and scatter of the logarithmic size and the scatter of the
shear come from a small network of two numbers, the signal-to-noise ratio
of the source as a point source and the FWHM of the PSF. The prior of the
latent and of the structure is a standard normal, the position's a normal
about where it was found.
"""

import math

import torch
from torch import nn

from vaephot.models.encoder import Gaussian

__all__ = ['Prior']

# brightness beyond which the prior no longer changes
LOG_SNR_RANGE = (0.0, math.log(3000.0))
LOG_SIGMA_RANGE = (-3.0, 1.0)
# how much the parameters of a band scatter about the common ones
BAND_SIGMA = (0.01, 0.01, 0.03, 0.03, 0.03)
BAND_LATENT_SIGMA = 0.15
BAND_STRUCTURE_SIGMA = 0.5


class Prior(nn.Module):
    """
    Normal prior of the parameters of a source.

    Parameters
    ----------
    config : `~vaephot.models.config.ModelConfig`
        Sizes of the network.
    """

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.network = nn.Sequential(
            nn.Linear(2, config.prior_width), nn.SiLU(),
            nn.Linear(config.prior_width, config.prior_width), nn.SiLU(),
            nn.Linear(config.prior_width, 3))
        with torch.no_grad():
            self.network[-1].weight.mul_(0.1)
            self.network[-1].bias.copy_(torch.tensor([-0.3, -0.6, -0.7]))

    def band_precision(self):
        """
        Inverse covariance of a band's parameters about the common ones.

        Returns
        -------
        `torch.Tensor`, (n_parameters, n_parameters)
        """
        sigma = torch.tensor(
            [*BAND_SIGMA, *[BAND_LATENT_SIGMA] * self.config.n_latent,
             *[BAND_STRUCTURE_SIGMA] * self.config.n_structure],
            dtype=torch.float64)
        return torch.diag(sigma ** -2).to(self.network[0].weight.device)

    def forward(self, position, log_fwhm, log_snr, position_sigma=None):
        """
        Prior of sources.

        Parameters
        ----------
        position : `torch.Tensor`, (n, 2)
            Where they were found, in pixels.
        log_fwhm, log_snr : `torch.Tensor`, (n,)
            As for `~vaephot.models.encoder.Encoder`.
        position_sigma : `torch.Tensor`, (n,), optional
            1-sigma of the positions in pixels; by default that of the
            configuration.

        Returns
        -------
        Gaussian
            Each entry ``(n, n_parameters)``, in the dtype of
            ``position``.
        """
        snr = log_snr.clamp(*LOG_SNR_RANGE)
        numbers = torch.stack([log_fwhm - 1, 0.3 * snr - 1], 1)
        weight_dtype = self.network[0].weight.dtype
        out = self.network(numbers.to(weight_dtype)).to(position.dtype)
        log_sigma = out[:, 1:].clamp(*LOG_SIGMA_RANGE)
        ones = torch.ones_like(position[:, 0])
        if position_sigma is None:
            position_sigma = self.config.position_sigma * ones
        zeros = torch.zeros_like(ones)
        n_rest = self.config.n_latent + self.config.n_structure
        mean = torch.stack([position[:, 0], position[:, 1],
                            out[:, 0] + log_fwhm,
                            *[zeros] * (2 + n_rest)], 1)
        sigma = torch.stack([position_sigma, position_sigma,
                             torch.exp(log_sigma[:, 0]),
                             *[torch.exp(log_sigma[:, 1])] * 2,
                             *[ones] * n_rest], 1)
        return Gaussian(mean, sigma ** -2)
