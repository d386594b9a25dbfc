# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Laplace approximation of the posterior of fluxes and shapes.

The inverse of the matrix of second derivatives in the fluxes and shapes of
all bands and the common shapes together, so that errors include the
covariance with neighbours, with shapes and with colour gradients.
"""

import torch

from vaephot.deblend.fit.steps import inverse

__all__ = ['covariance']


def covariance(normal, fixed, tie, precision):
    """
    Covariance of all fluxes, band by band, then the common shapes.

    Parameters
    ----------
    normal : `~vaephot.deblend.fit.passes.Evaluation`
        Normal matrices of a full pass.
    fixed : `torch.Tensor` of bool, (g, k, p)
        Parameters that are not free.
    tie, precision : `torch.Tensor`, (g, k, p)
        Precision of bands about the common shapes, and of the prior.

    Returns
    -------
    `torch.Tensor`, (g, b * n + k * p, b * n + k * p)
        With ``n`` fluxes and backgrounds of a band.
    """
    n = normal.linear.shape[-1]
    keep = (~fixed).flatten(1).double()[:, None]
    cross = normal.cross * keep[:, :, None]
    shape = normal.shape * keep[..., None] * keep[:, :, None]
    tie, precision = tie.flatten(1), precision.flatten(1)
    diagonal = torch.diagonal(shape, dim1=-2, dim2=-1)
    shape = shape + torch.diag_embed(tie[:, None] + (diagonal <= 0))
    dark = torch.diagonal(normal.linear, dim1=-2, dim2=-1) <= 0
    linear = normal.linear + torch.diag_embed(dark.double())
    found = inverse(torch.cat([
        torch.cat([linear, cross], -1),
        torch.cat([cross.transpose(-1, -2), shape], -1)], -2))
    reach = found[..., :n, n:] * tie[:, None, None]
    inner = (torch.diag_embed(normal.linear.shape[1] * tie + precision)
             - (tie[:, None, :, None] * found[..., n:, n:]
                * tie[:, None, None]).sum(1))
    return _assemble(found[..., :n, :n], reach, inverse(inner))


def _assemble(blocks, cross, shape):
    """Covariance from that of each band for given common shapes."""
    g, b, n = cross.shape[:3]
    n_flux = b * n
    reach = (cross @ shape[:, None]).flatten(1, 2)
    out = shape.new_zeros(g, n_flux + shape.shape[-1],
                          n_flux + shape.shape[-1])
    out[:, :n_flux, :n_flux] = reach @ cross.flatten(1, 2).transpose(1, 2)
    for band in range(b):
        part = slice(band * n, (band + 1) * n)
        out[:, part, part] += blocks[:, band]
    out[:, :n_flux, n_flux:] = reach
    out[:, n_flux:, :n_flux] = reach.transpose(1, 2)
    out[:, n_flux:, n_flux:] = shape
    return out
