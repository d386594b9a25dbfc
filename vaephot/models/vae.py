# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The variational autoencoders.

VAE I and VAE II are the same three networks: an encoder, the decoder and
the prior. VAE I learns isolated galaxies and with them the decoder and the
prior; VAE II keeps both, frozen, and has an encoder of its own that sees
blends.
"""

from typing import NamedTuple

import torch
from torch import nn

from vaephot.models.decoder import Decoder
from vaephot.models.encoder import Encoder, combine
from vaephot.models.losses import kl_divergence, reconstruction_loss
from vaephot.models.normalization import (
    encoder_inputs,
    left_moments,
    model_misfit,
    point_peak,
)
from vaephot.models.prior import Prior
from vaephot.models.render import run_numbers

__all__ = ['StampBatch', 'VAE', 'sample_posterior']


class StampBatch(NamedTuple):
    """
    Stamps of one band with all that the encoder is told.

    ``data``, ``sky_rms``, ``good`` are ``(n, size, size)`` (``sky_rms``
    may be ``(n, 1, 1)``); ``target`` ``(n, 2)``, ``neighbours``
    ``(n, m, 2)``, ``present`` ``(n, m)``; ``log_fwhm``, ``log_snr``
    ``(n,)``; ``psf_shape`` ``(n, 3)``; ``guess`` ``(n, n_parameters)``,
    with positions relative to the central pixel, and its ``model``
    ``(n, size, size)`` in the unit of the data.
    """

    data: torch.Tensor
    sky_rms: torch.Tensor
    good: torch.Tensor
    target: torch.Tensor
    neighbours: torch.Tensor
    present: torch.Tensor
    log_fwhm: torch.Tensor
    log_snr: torch.Tensor
    psf_shape: torch.Tensor
    guess: torch.Tensor
    model: torch.Tensor


def sample_posterior(posterior, generator=None):
    """
    Draw from a posterior so that gradients flow through the draw.

    Parameters
    ----------
    posterior : `~vaephot.models.encoder.Gaussian`
        Each entry ``(n, n_parameters)``.
    generator : `torch.Generator`, optional
        Source of the random numbers.

    Returns
    -------
    `torch.Tensor`, (n, n_parameters)
    """
    noise = torch.randn(posterior.mean.shape, generator=generator,
                        dtype=posterior.mean.dtype)
    return (posterior.mean + noise.to(posterior.mean.device)
            / torch.sqrt(posterior.precision))


class VAE(nn.Module):
    """
    Encoder, decoder and prior.

    Parameters
    ----------
    config : `~vaephot.models.config.ModelConfig`
        Sizes of the networks.
    """

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.prior = Prior(config)

    def evidence(self, stamps):
        """
        What stamps of one band say about their central source.

        Parameters
        ----------
        stamps : StampBatch
            Stamps.

        Returns
        -------
        `~vaephot.models.encoder.Evidence`
        """
        peak = point_peak(stamps.log_fwhm, stamps.log_snr,
                          stamps.psf_shape[:, 2])
        misfit, left = model_misfit(stamps.data, stamps.sky_rms, stamps.good,
                                    stamps.model)
        width, moments = left_moments(left, stamps.good, stamps.model,
                                      stamps.guess[:, :2])
        inputs = encoder_inputs(stamps.data, stamps.sky_rms, stamps.good,
                                stamps.target, stamps.neighbours,
                                stamps.present, peak, stamps.model, left)
        return self.encoder(inputs, stamps, misfit, width, moments)

    def posterior(self, stamps):
        """
        Posterior and prior of the central sources of one band's stamps.

        Parameters
        ----------
        stamps : StampBatch
            Stamps.

        Returns
        -------
        posterior, prior : `~vaephot.models.encoder.Gaussian`
        evidence : `~vaephot.models.encoder.Evidence`
        """
        prior = self.prior(stamps.target, stamps.log_fwhm, stamps.log_snr)
        evidence = self.evidence(stamps)
        return combine(prior, evidence), prior, evidence

    def templates(self, parameters, renderer, groups):
        """
        Unit-flux images of sources in their stamps.

        Parameters
        ----------
        parameters : `torch.Tensor`, (n, n_parameters)
            Parameters, positions relative to the central pixel.
        renderer : `~vaephot.models.render.Renderer`
            Of stamps of this size and their PSFs.
        groups : int
            Number of PSFs: the stamps come in as many equal runs.

        Returns
        -------
        `torch.Tensor`, (n, size, size)
        """
        mixture = self.decoder.from_parameters(parameters)
        xy = parameters[:, :2] + renderer.size // 2
        numbers = run_numbers(len(xy), groups, xy.device)
        return renderer.templates(mixture, xy, numbers)[:, 0]

    def elbo_terms(self, posterior, prior, target, weight, renderer, groups,
                   generator=None):
        """
        Both terms of the evidence lower bound, per stamp.

        Parameters
        ----------
        posterior, prior : `~vaephot.models.encoder.Gaussian`
            What `posterior` returned.
        target, weight : `torch.Tensor`, (n, size, size)
            What the template is compared with: the central source alone
            with the noise of the stamp, and the inverse variance.
        renderer : `~vaephot.models.render.Renderer`
            Of stamps of this size and their PSFs.
        groups : int
            Number of PSFs: the stamps come in as many equal runs.
        generator : `torch.Generator`, optional
            Source of the random numbers.

        Returns
        -------
        reconstruction, kl : `torch.Tensor`, (n,) and (n, n_parameters)
            Nats.
        """
        sample = sample_posterior(posterior, generator)
        template = self.templates(sample, renderer, groups)
        reconstruction = reconstruction_loss(target, template, weight)
        return reconstruction, kl_divergence(posterior, prior)
