# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Linear fluxes: joint weighted least squares for given templates.

For templates ``T_k`` of unit flux, data ``d`` and inverse variances ``w``
the fluxes ``a`` of a band solve ``sum_l (T_k w T_l) a_l = T_k w d``. There
is no prior on them, so nothing shrinks; they may be negative.
"""

import torch

__all__ = ['solve_fluxes']

# added to the diagonal, relative to it: coincident templates share the light
RIDGE = 1e-9


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
