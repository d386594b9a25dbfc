# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Linear fluxes: joint weighted least squares for given templates.

For templates ``T_k`` of unit flux, data ``d`` and inverse variances ``w``
the fluxes ``a`` of a band solve ``sum_l (T_k w T_l) a_l = T_k w d``. There
is no prior on them, so nothing shrinks; they may be negative.
"""

import torch

__all__ = ['background_columns', 'solve_fluxes']

# added to the diagonal, relative to it: coincident templates share the light
RIDGE = 1e-9


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


def solve_fluxes(matrix, vector):
    """
    Fluxes of all columns of a linear system.

    Parameters
    ----------
    matrix : `torch.Tensor`, (..., n, n)
        Weighted products of unit-flux templates, and of backgrounds.
    vector : `torch.Tensor`, (..., n)
        Their weighted products with the data.

    Returns
    -------
    flux : `torch.Tensor`, (..., n)
        Best fluxes; 0 for a column without light on good pixels.
    factor : `torch.Tensor`, (..., n, n)
        Cholesky factor of the matrix, for further solutions.
    """
    diagonal = torch.diagonal(matrix, dim1=-2, dim2=-1)
    dark = diagonal <= 1e-12 * diagonal.amax(-1, True).clamp(min=1e-300)
    lift = RIDGE * diagonal + dark.to(diagonal.dtype)
    factor, failed = torch.linalg.cholesky_ex(
        matrix + torch.diag_embed(lift))
    if failed.any():
        scale = 1e-6 * diagonal.amax(-1, True).clamp(min=1e-300)
        lift = lift + scale * (failed > 0)[..., None]
        factor, _ = torch.linalg.cholesky_ex(
            matrix + torch.diag_embed(lift))
    vector = torch.where(dark, 0, vector)
    return torch.cholesky_solve(vector[..., None], factor)[..., 0], factor
