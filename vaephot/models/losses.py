# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The evidence lower bound with the flux projected out."""

import torch
from torch.nn import functional

__all__ = ['kl_divergence', 'projected_flux', 'reconstruction_loss',
           'supervised_loss']

# accuracy of positions [px], logarithmic sizes and shears worth fighting for
KNOWN_SCALE = 0.1


def kl_divergence(posterior, prior):
    """
    Kullback-Leibler divergence between independent normals.

    Parameters
    ----------
    posterior, prior : `~vaephot.models.encoder.Gaussian`
        Each entry ``(n, n_parameters)``.

    Returns
    -------
    `torch.Tensor`, (n, n_parameters)
        Nats per parameter, never negative.
    """
    ratio = prior.precision / posterior.precision
    pull = prior.precision * (posterior.mean - prior.mean) ** 2
    return 0.5 * (ratio - 1 - torch.log(ratio) + pull)


def projected_flux(data, template, weight):
    """
    Best flux of a template, and its precision.

    Parameters
    ----------
    data, template, weight : `torch.Tensor`, (n, size, size)
        Image, unit-flux template, inverse variance.

    Returns
    -------
    flux, precision : `torch.Tensor`, (n,)
        Weighted least-squares flux and its inverse variance.
    """
    precision = (weight * template ** 2).sum((-2, -1)).clamp(min=1e-30)
    flux = (weight * template * data).sum((-2, -1)) / precision
    return flux, precision


def reconstruction_loss(data, template, weight):
    """
    Minus the log-likelihood of a template at its best flux.

    Parameters
    ----------
    data, template, weight : `torch.Tensor`, (n, size, size)
        Image, unit-flux template, inverse variance.

    Returns
    -------
    `torch.Tensor`, (n,)
        Nats, summed over the pixels, without the constant of the noise.
    """
    flux, precision = projected_flux(data, template, weight)
    total = (weight * data ** 2).sum((-2, -1))
    return 0.5 * (total - flux ** 2 * precision)


def supervised_loss(evidence, truth):
    """
    Distance of the encoder's evidence from known parameters.

    Used while training warms up. The means are drawn to the truth with
    the same force for bright and faint sources; the widths are fitted to
    the errors that the means still make.

    Parameters
    ----------
    evidence : `~vaephot.models.encoder.Evidence`
        Evidence; its first five parameters count.
    truth : `torch.Tensor`, (n, 5)
        True position, logarithmic size and shear.

    Returns
    -------
    `torch.Tensor`, (n,)
        Huber loss of the means in units of `KNOWN_SCALE` plus minus the
        log-likelihood of the widths, summed over the parameters.
    """
    known = truth.shape[1]
    error = evidence.mean[:, :known] - truth
    pull = functional.huber_loss(error / KNOWN_SCALE, torch.zeros_like(error),
                                 reduction='none')
    precision = evidence.precision[:, :known]
    # a Student-like tail: single failures must not widen all the rest
    width = (2 * torch.log1p(precision * error.detach() ** 2 / 4)
             - 0.5 * torch.log(precision))
    return (pull + width).sum(1)
