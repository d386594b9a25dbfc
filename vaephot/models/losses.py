# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The evidence lower bound with the flux projected out."""

import torch

__all__ = ['kl_divergence', 'projected_flux', 'reconstruction_loss',
           'supervised_loss']

# width of a posterior [px, logarithmic size, shear, latent] whose loss has
# the weight one, and largest weight
KNOWN_SCALE = 0.2
MAX_WIDTH = 4.0
# degrees of freedom of the tail
TAIL = 4.0


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


def supervised_loss(posterior, truth, counts):
    """
    Minus the log-likelihood of known parameters under a posterior.

    A Student-like tail keeps single failures from widening all the rest.
    The loss of each parameter is weighted with its present width over
    `KNOWN_SCALE`, without gradient, so that means are learned for faint
    sources too (Seitzer et al. 2022, eq. 4, with beta of one half).

    Parameters
    ----------
    posterior : `~vaephot.models.encoder.Gaussian`
        Posterior or prior, each entry ``(n, n_parameters)``.
    truth : `torch.Tensor`, (n, n_parameters)
        True parameters.
    counts : `torch.Tensor`, (n, n_parameters)
        1 for parameters that are known, 0 for others.

    Returns
    -------
    `torch.Tensor`, (n,)
        Summed over the parameters.
    """
    precision = posterior.precision
    square = precision * (posterior.mean - truth) ** 2
    nats = (0.5 * (TAIL + 1) * torch.log1p(square / TAIL)
            - 0.5 * torch.log(precision))
    width = torch.rsqrt(precision.detach()) / KNOWN_SCALE
    return (counts * width.clamp(max=MAX_WIDTH) * nats).sum(1)
