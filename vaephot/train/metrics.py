# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Figures of merit of an autoencoder on held-out stamps."""

import torch

from vaephot.models.losses import (
    kl_divergence,
    projected_flux,
    reconstruction_loss,
)

__all__ = ['validation_metrics']


def _nmad(values):
    """Scatter from the median absolute deviation."""
    return float(1.4826 * (values - values.median()).abs().median())


def validation_metrics(vae, batches):
    """
    Score the posterior means of held-out stamps.

    Parameters
    ----------
    vae : `~vaephot.models.vae.VAE`
        Networks.
    batches : list of `~vaephot.train.dataset.TrainingBatch`
        Held-out stamps.

    Returns
    -------
    dict
        Medians and scatter: ``excess`` and ``divergence`` (nats, median),
        ``flux_bias`` and ``flux_nmad`` (of the flux projected on the
        template, over the truth), ``size_bias`` and ``size_nmad`` (of the
        logarithm), ``position_nmad`` (pixels),
        ``shear_nmad``, ``latent_nmad`` (of the last dimension),
        ``size_pull`` (scatter in
        units of the posterior's width).
    """
    columns = {name: [] for name in ('excess', 'divergence', 'flux', 'size',
                                     'position', 'pull', 'shear', 'latent')}
    with torch.no_grad():
        for batch in batches:
            posterior, prior, _ = vae.posterior(batch.stamps)
            mixture = vae.decoder.from_parameters(posterior.mean)
            xy = posterior.mean[:, :2] + batch.renderer.size // 2
            template = batch.renderer.templates(mixture, xy,
                                                batch.n_psfs)[:, 0]
            excess = reconstruction_loss(batch.target, template,
                                         batch.weight) - batch.floor
            flux, _ = projected_flux(batch.target, template, batch.weight)
            error = posterior.mean - batch.truth
            galaxy = batch.is_galaxy
            columns['excess'].append(excess)
            columns['divergence'].append(
                kl_divergence(posterior, prior).sum(1))
            columns['flux'].append(flux / batch.flux - 1)
            columns['size'].append(error[galaxy, 2])
            columns['position'].append(error[:, 0])
            columns['shear'].append(error[galaxy, 3])
            columns['latent'].append(error[galaxy, -1])
            columns['pull'].append(
                (error * posterior.precision.sqrt())[galaxy, 2])
    joined = {name: torch.cat(parts) for name, parts in columns.items()}
    return {'excess': float(joined['excess'].median()),
            'divergence': float(joined['divergence'].median()),
            'flux_bias': float(joined['flux'].median()),
            'flux_nmad': _nmad(joined['flux']),
            'size_bias': float(joined['size'].median()),
            'size_nmad': _nmad(joined['size']),
            'position_nmad': _nmad(joined['position']),
            'shear_nmad': _nmad(joined['shear']),
            'latent_nmad': _nmad(joined['latent']),
            'size_pull': _nmad(joined['pull'])}
