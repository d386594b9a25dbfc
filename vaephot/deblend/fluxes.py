# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Linear fluxes: joint weighted least squares for given templates.

For templates ``T_k`` of unit flux, data ``d`` and inverse variances ``w``
the fluxes ``a`` of a band solve ``sum_l (T_k w T_l) a_l = T_k w d``. There
is no prior on them, so nothing shrinks; they may be negative.
"""

from typing import NamedTuple

import torch

__all__ = ['LinearSystem', 'background_columns', 'linear_system',
           'solve_fluxes']

# added to the diagonal, relative to it: coincident templates share the light
RIDGE = 1e-9


class LinearSystem(NamedTuple):
    """
    Products of columns with each other and with the data.

    ``matrix`` ``(n_groups, n_bands, n, n)``, ``vector``
    ``(n_groups, n_bands, n)``, ``total`` ``(n_groups, n_bands)``: the
    weighted sum of the squared data.
    """

    matrix: torch.Tensor
    vector: torch.Tensor
    total: torch.Tensor


def background_columns(kind, size, n_bands, *, device, dtype):
    """
    Images of a free background.

    Parameters
    ----------
    kind : {None, 'constant', 'plane'}
        No background, a constant, or a constant and two slopes.
    size, n_bands : int
        Side of the stamps and number of bands.
    device, dtype
        Of the result.

    Returns
    -------
    `torch.Tensor`, (n_bands, m, size * size)
        ``m`` is 0, 1 or 3.
    """
    ramp = torch.linspace(-1, 1, size, device=device, dtype=dtype)
    row, column = torch.meshgrid(ramp, ramp, indexing='ij')
    one = torch.ones_like(row)
    images = {None: [], 'constant': [one], 'plane': [one, column, row]}[kind]
    if not images:
        return torch.zeros(n_bands, 0, size * size, device=device,
                           dtype=dtype)
    flat = torch.stack([image.flatten() for image in images])
    return flat.expand(n_bands, -1, -1)


def linear_system(columns, data, weight):
    """
    Multiply columns with each other and with the data.

    Parameters
    ----------
    columns : `torch.Tensor`, (n_groups, n_bands, n, n_pixels)
        Templates, derivatives, backgrounds.
    data, weight : `torch.Tensor`, (n_groups, n_bands, n_pixels)
        Pixels and inverse variances.

    Returns
    -------
    LinearSystem
    """
    weighted = columns * weight[:, :, None]
    matrix = weighted @ columns.transpose(-1, -2)
    vector = (weighted @ data[..., None])[..., 0]
    return LinearSystem(matrix, vector, (weight * data ** 2).sum(-1))


def solve_fluxes(system):
    """
    Fluxes of all columns of a system.

    Parameters
    ----------
    system : LinearSystem
        Products of unit-flux templates, and of backgrounds if any.

    Returns
    -------
    flux : `torch.Tensor`, (n_groups, n_bands, n)
        Best fluxes; 0 for a column without light on good pixels.
    factor : `torch.Tensor`, (n_groups, n_bands, n, n)
        Cholesky factor of the matrix, for further solutions.
    chi2 : `torch.Tensor`, (n_groups, n_bands)
        Weighted sum of the squared residuals.
    """
    diagonal = torch.diagonal(system.matrix, dim1=-2, dim2=-1)
    dark = diagonal <= 1e-12 * diagonal.amax(-1, True).clamp(min=1e-300)
    lift = RIDGE * diagonal + dark.to(diagonal.dtype)
    matrix = system.matrix + torch.diag_embed(lift)
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if failed.any():
        scale = 1e-6 * diagonal.amax(-1, True).clamp(min=1e-300)
        lift = lift + scale * (failed > 0)[..., None]
        factor, _ = torch.linalg.cholesky_ex(
            system.matrix + torch.diag_embed(lift))
    vector = torch.where(dark, 0, system.vector)
    flux = torch.cholesky_solve(vector[..., None], factor)[..., 0]
    chi2 = (system.total - 2 * (flux * system.vector).sum(-1)
            + (flux[..., None, :] @ system.matrix
               @ flux[..., None])[..., 0, 0])
    return flux, factor, chi2
