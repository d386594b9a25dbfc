# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Encoder passes on training stamps.

As in the deblender, the first guess is the mean of the prior and each
further one the posterior of the pass before. The model of the guess has its
best flux, with an error such as neighbours cause; after the first pass the
known neighbours are subtracted. So the encoder learns to correct guesses of
its own.
"""

from typing import NamedTuple

import torch

from vaephot.models.encoder import Gaussian, combine, limit_guess
from vaephot.models.losses import projected_flux

__all__ = ['EncoderPass', 'add_guess', 'other_bands', 'run_encoder']

# error of a model's flux in the first and in later passes, over that of the
# brightness that is given at first
FLUX_ERROR_SHARES = (0.5, 0.15)
# share of the stamps that other bands know something of, and how precise
# these are compared to the stamp itself, as a range of the logarithm
OTHER_SHARE = 0.5
OTHER_RANGE = (-2.3, 2.3)


class EncoderPass(NamedTuple):
    """
    What the last of the passes gave for a batch of stamps.

    ``posterior``, ``evidence`` (the likelihood factor) and ``prior``;
    ``known`` is the prior times the likelihood factors of other bands.
    """

    posterior: Gaussian
    evidence: Gaussian
    prior: Gaussian
    known: Gaussian


def _uniform(batch, generator, *shape):
    """Uniform numbers for the stamps of a batch."""
    numbers = torch.rand(len(batch.flux), *shape, generator=generator)
    return numbers.to(batch.flux.device)


def _normal(batch, generator, *shape):
    """Normal numbers for the stamps of a batch."""
    numbers = torch.randn(len(batch.flux), *shape, generator=generator)
    return numbers.to(batch.flux.device)


def add_guess(vae, batch, stamps, guess, flux_error):
    """
    Add a guess and its model to stamps.

    Parameters
    ----------
    vae : `~vaephot.models.vae.VAE`
        Its decoder draws the model.
    batch : `~vaephot.train.dataset.TrainingBatch`
        What the model's flux is fitted to.
    stamps : `~vaephot.models.vae.StampBatch`
        The stamps.
    guess : `torch.Tensor`, (n, n_parameters)
        Parameters, positions relative to the central pixel.
    flux_error : `torch.Tensor`, (n,)
        Error of the logarithm of the model's flux.

    Returns
    -------
    `~vaephot.models.vae.StampBatch`
        With the brightness that belongs to the flux.
    """
    half = torch.full_like(stamps.log_fwhm, batch.renderer.size / 2)
    guess = limit_guess(guess, torch.zeros_like(guess[:, :2]),
                        stamps.log_fwhm, half)
    template = vae.templates(guess, batch.renderer, batch.n_psfs)
    flux, _ = projected_flux(batch.target, template, batch.weight)
    flux = flux * torch.exp(flux_error)
    log_snr = torch.log((flux / batch.point_error).clamp(min=1.0))
    return stamps._replace(guess=guess, log_snr=log_snr,
                           model=flux[:, None, None] * template)


def other_bands(batch, likeness, generator):
    """
    Draw likelihood factors of other bands about the truth.

    Parameters
    ----------
    batch : `~vaephot.train.dataset.TrainingBatch`
        Stamps with the truth.
    likeness : `torch.Tensor`, (n, n_parameters)
        Precisions of the stamps themselves.
    generator : `torch.Generator`
        Source of the random numbers.

    Returns
    -------
    `~vaephot.models.encoder.Gaussian`
        Each entry ``(n, n_parameters)``, with precision zero for stamps
        that no other band knows.
    """
    n_parameters = likeness.shape[1]
    low, high = OTHER_RANGE
    factor = low + (high - low) * _uniform(batch, generator, 1)
    exists = _uniform(batch, generator, 1) < OTHER_SHARE
    # stars and the latents of real galaxies have no true shape
    known = torch.isfinite(batch.truth) & (
        batch.is_galaxy[:, None]
        | (torch.arange(n_parameters, device=likeness.device) < 3))
    precision = likeness * torch.exp(factor) * exists * known
    noise = _normal(batch, generator, n_parameters)
    noise = noise * torch.rsqrt(precision.clamp(min=1e-12))
    truth = torch.nan_to_num(batch.truth)
    return Gaussian(torch.where(precision > 0, truth + noise, truth),
                    precision)


def run_encoder(vae, batch, n_looks, generator, *, others=False):
    """
    Run the encoder several times, with gradients of the last pass alone.

    Parameters
    ----------
    vae : `~vaephot.models.vae.VAE`
        Networks.
    batch : `~vaephot.train.dataset.TrainingBatch`
        Stamps.
    n_looks : int
        Number of passes.
    generator : `torch.Generator`
        Source of the random numbers.
    others : bool, optional
        Whether some of the stamps are known from other bands too.

    Returns
    -------
    EncoderPass
    """
    stamps, extra = batch.stamps, None
    width = batch.log_snr_error
    with torch.no_grad():
        guess = vae.prior(stamps.target, stamps.log_fwhm,
                          stamps.log_snr).mean
    for number in range(n_looks):
        last = number == n_looks - 1
        share = FLUX_ERROR_SHARES[min(number, 1)]
        with torch.no_grad():
            stamps = add_guess(vae, batch, stamps, guess,
                             share * width * _normal(batch, generator))
        with torch.set_grad_enabled(last and torch.is_grad_enabled()):
            posterior, prior, evidence = vae.posterior(stamps)
        known = prior
        if others:
            if extra is None:
                extra = other_bands(batch, evidence.precision.detach(),
                                       generator)
            known = combine(prior, extra)
            posterior = combine(known, evidence)
        guess = posterior.mean.detach()
        stamps = stamps._replace(data=batch.alone)
    return EncoderPass(posterior, evidence, prior, known)
