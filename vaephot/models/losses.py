# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The evidence lower bound with the flux projected out."""

import torch

__all__ = ['kl_divergence', 'projected_flux', 'reconstruction_loss',
           'supervised_loss']


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


def supervised_loss(posterior, truth, scale):
    """
    Distance of the posterior mean from known parameters.

    Used only while training warms up.

    Parameters
    ----------
    posterior : `~vaephot.models.encoder.Gaussian`
        Posterior; its first five parameters count.
    truth : `torch.Tensor`, (n, 5)
        True position, logarithmic size and shear.
    scale : `torch.Tensor`, (n, 5)
        Accuracy that may be expected of each.

    Returns
    -------
    `torch.Tensor`, (n,)
        Huber loss in units of the scale, summed over the parameters.
    """
    distance = (posterior.mean[:, :truth.shape[1]] - truth) / scale
    return torch.nn.functional.huber_loss(
        distance, torch.zeros_like(distance), reduction='none').sum(1)
