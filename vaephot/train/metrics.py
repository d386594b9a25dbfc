# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Figures of merit of an autoencoder on held-out stamps."""

import torch

from vaephot.models.losses import projected_flux, reconstruction_loss
from vaephot.train.encoder_passes import run_encoder

__all__ = ['validation_metrics']

# the same draws from the posteriors at each look
SEED = 3


def _nmad(values):
    """Scatter from the median absolute deviation."""
    return float(1.4826 * (values - values.median()).abs().median())


def _columns(vae, batch, n_looks, generator):
    """Figures of each stamp of a batch; those of shapes without stars."""
    last_pass = run_encoder(vae, batch, n_looks, generator)
    posterior, prior = last_pass.posterior, last_pass.prior
    template = vae.templates(posterior.mean, batch.renderer, batch.n_psfs)
    excess = reconstruction_loss(batch.target, template,
                                 batch.weight) - batch.floor
    flux, _ = projected_flux(batch.target, template, batch.weight)
    reconstruction, kl = vae.elbo_terms(
        posterior, prior, batch.target, batch.weight, batch.renderer,
        batch.n_psfs, generator)
    divergence = kl.sum(1)
    error = posterior.mean - batch.truth
    galaxy = batch.is_galaxy
    return {'excess': excess, 'divergence': divergence,
            'negative_elbo': reconstruction - batch.floor + divergence,
            'flux': flux / batch.flux - 1, 'size': error[galaxy, 2],
            'position': error[:, 0], 'shear': error[galaxy, 3],
            'latent': error[galaxy, vae.config.n_concentric - 1],
            'pull': (error * posterior.precision.sqrt())[galaxy, 2]}


def validation_metrics(vae, batches, n_looks):
    """
    Score the posterior means of held-out stamps.

    Parameters
    ----------
    vae : `~vaephot.models.vae.VAE`
        Networks.
    batches : list of `~vaephot.train.dataset.TrainingBatch`
        Held-out stamps.
    n_looks : int
        Looks at each.

    Returns
    -------
    dict
        Medians and scatter: ``excess`` and ``divergence`` (nats, median),
        ``negative_elbo`` (of one draw from each posterior, less the loss
        of the true template; nats, median), ``flux_bias`` and
        ``flux_nmad`` (of the flux projected on the template, over the
        truth), ``size_bias`` and ``size_nmad`` (of the logarithm),
        ``position_nmad`` (pixels), ``shear_nmad``, ``latent_nmad`` (of the
        last dimension), ``size_pull`` (scatter in units of the
        posterior's width).
    """
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        columns = [_columns(vae, batch, n_looks, generator)
                   for batch in batches]
    joined = {name: torch.cat([column[name] for column in columns])
              for name in columns[0]}
    return {'excess': float(joined['excess'].median()),
            'divergence': float(joined['divergence'].median()),
            'negative_elbo': float(joined['negative_elbo'].median()),
            'flux_bias': float(joined['flux'].median()),
            'flux_nmad': _nmad(joined['flux']),
            'size_bias': float(joined['size'].median()),
            'size_nmad': _nmad(joined['size']),
            'position_nmad': _nmad(joined['position']),
            'shear_nmad': _nmad(joined['shear']),
            'latent_nmad': _nmad(joined['latent']),
            'size_pull': _nmad(joined['pull'])}
