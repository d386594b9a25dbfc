# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Let an encoder look at training stamps again and again.

As in the deblender, the first guess is the prior's mean and each further
one the posterior of the look before; the flux of the guess's model is the
best one, but for an error such as neighbours cause, and after the first look
the neighbours that are known have been taken away. What is learned is how to
correct a guess that the encoder itself has made.
"""

from typing import NamedTuple

import torch

from vaephot.models.encoder import Gaussian, combine, limit_guess
from vaephot.models.losses import projected_flux

__all__ = ['Looked', 'guessed', 'look_repeatedly', 'other_evidence']

# error of a model's flux at the first and at later looks, over that of the
# brightness that is told at first
FLUX_ERROR_SHARES = (0.5, 0.15)
# share of the stamps that other bands know something of, and how precise
# these are compared to the stamp itself, as a range of the logarithm
OTHER_SHARE = 0.5
OTHER_RANGE = (-2.3, 2.3)


class Looked(NamedTuple):
    """
    What a stamp's looks led to.

    ``posterior``, ``evidence`` and ``prior``; ``known``: the prior with the
    evidence of other bands, which the posterior goes on from.
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


def guessed(vae, batch, stamps, guess, flux_error):
    """
    Stamps with a guess and its model.

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


def other_evidence(batch, likeness, generator):
    """
    Evidence as of other bands, drawn about the truth.

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


def look_repeatedly(vae, batch, n_looks, generator, *, others=False):
    """
    Look at stamps, gradients flowing through the last look alone.

    Parameters
    ----------
    vae : `~vaephot.models.vae.VAE`
        Networks.
    batch : `~vaephot.train.dataset.TrainingBatch`
        Stamps.
    n_looks : int
        Number of looks.
    generator : `torch.Generator`
        Source of the random numbers.
    others : bool, optional
        Whether some of the stamps are known from other bands too.

    Returns
    -------
    Looked
    """
    stamps, extra = batch.stamps, None
    width = batch.log_snr_error
    with torch.no_grad():
        guess = vae.prior(stamps.target, stamps.log_fwhm,
                          stamps.log_snr).mean
    for look in range(n_looks):
        last = look == n_looks - 1
        share = FLUX_ERROR_SHARES[min(look, 1)]
        with torch.no_grad():
            stamps = guessed(vae, batch, stamps, guess,
                             share * width * _normal(batch, generator))
        with torch.set_grad_enabled(last and torch.is_grad_enabled()):
            posterior, prior, evidence = vae.posterior(stamps)
        known = prior
        if others:
            if extra is None:
                extra = other_evidence(batch, evidence.precision.detach(),
                                       generator)
            known = combine(prior, extra)
            posterior = combine(known, evidence)
        guess = posterior.mean.detach()
        stamps = stamps._replace(data=batch.alone)
    return Looked(posterior, evidence, prior, known)
