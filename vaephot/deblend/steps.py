# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Steps of the joint fit that stay where its parabola can be trusted.

Gauss-Newton steps of weakly constrained shapes are far too long. Each source
has a strain, which is added to the curvature of its parameters in units of
their largest steps (Levenberg 1944): it holds the directions of which the data
say little, and leaves the others free. It is as large as it must be for the
source to stay within the radius of trust of its group (Moré 1978).
"""

import math
from typing import NamedTuple

import torch

__all__ = ['Equations', 'limit_parameters', 'pinned_parameters',
           'trusted_step']

# largest step of position [px], log size, shear and latent
STEP_LIMIT = (1.0, 1.0, 0.7, 0.5, 0.5)
LATENT_STEP_LIMIT = 1.0
MIN_LOG_SIZE = -4.0
# largest half-light radius, as a share of the stamp's side
MAX_SIZE_SHARE = 0.25
ETA_LIMIT = 3.5
LATENT_LIMIT = 5.0
# ridge, as a share of the curvature
RIDGE = 1e-5
# steps this much longer than the radius are cut, others get more strain
LEEWAY = 1.5
# first strain, over the one that is enough whatever the curvature; strains
# grow by the factor until they are enough
FIRST_STRAIN = 1e-5
STRAIN_FACTOR = 10.0
MAX_STRAINS = 7


class Equations(NamedTuple):
    """
    What a step needs, fluxes projected out.

    ``matrix`` ``(g, b, m, m)`` and ``vector`` ``(g, b, m)``: of the bands,
    the tie to the common parameters included; ``tie`` ``(g, m, m)``;
    ``prior`` ``(g, m)``: precision of the common parameters, and
    ``pull`` ``(g, m)``: towards their prior.
    """

    matrix: torch.Tensor
    vector: torch.Tensor
    tie: torch.Tensor
    prior: torch.Tensor
    pull: torch.Tensor


# ---------------------------------------------------------------- limits
def _bounds(parameters, size):
    """Least and largest value of each parameter on a stamp."""
    low = parameters.new_full(parameters.shape[-1:], -torch.inf)
    high = -low
    low[2], high[2] = MIN_LOG_SIZE, math.log(MAX_SIZE_SHARE * size)
    low[5:], high[5:] = -LATENT_LIMIT, LATENT_LIMIT
    return low, high


def limit_parameters(parameters, size):
    """
    Keep parameters where templates on a stamp make sense.

    Parameters
    ----------
    parameters : `torch.Tensor`, (..., n_parameters)
        Parameters of sources.
    size : int
        Side of the stamp in pixels.

    Returns
    -------
    `torch.Tensor`, (..., n_parameters)
    """
    low, high = _bounds(parameters, size)
    out = torch.maximum(torch.minimum(parameters, high), low)
    length = out[..., 3:5].norm(dim=-1, keepdim=True)
    out[..., 3:5] = out[..., 3:5] * (ETA_LIMIT / length.clamp(min=ETA_LIMIT))
    return out


def pinned_parameters(local, vector, size):
    """
    Parameters at a limit that the likelihood pushes beyond it.

    Parameters
    ----------
    local : `torch.Tensor`, (n_groups, n_bands, n_sources, n_parameters)
        Parameters.
    vector : `torch.Tensor`, (n_groups, n_bands, n_sources * n_parameters)
        Where they are pushed.
    size : int
        Side of the stamp in pixels.

    Returns
    -------
    `torch.Tensor` of bool, like ``vector``
    """
    up = vector.unflatten(-1, local.shape[-2:]) > 0
    low, high = _bounds(local, size)
    beyond = torch.where(up, local >= high, local <= low)
    return beyond.flatten(-2)


# ----------------------------------------------------------------- steps
def _without(matrix, vector, rows):
    """Take parameters out of a system: their steps are zero."""
    keep = (~rows).to(matrix.dtype)
    diagonal = torch.diagonal(matrix, dim1=-2, dim2=-1)
    matrix = matrix * keep[..., :, None] * keep[..., None, :]
    return (matrix + torch.diag_embed(diagonal * (1 - keep)),
            vector * keep)


def _cholesky(matrix):
    """Cholesky factors; the diagonal's where there is none."""
    factor, failed = torch.linalg.cholesky_ex(matrix)
    diagonal = torch.diagonal(matrix, dim1=-2, dim2=-1).clamp(min=1e-30)
    return torch.where((failed > 0)[..., None, None],
                       torch.diag_embed(diagonal.sqrt()), factor)


def _arrow(matrix, tie, prior):
    """Factors of the bands and of the common parameters given them."""
    factor = _cholesky(matrix)
    shared = torch.cholesky_solve(tie[:, None].expand_as(matrix), factor)
    n_bands = matrix.shape[1]
    inner = (n_bands * tie + torch.diag_embed(prior)
             - (tie[:, None] @ shared).sum(1))
    return factor, shared, _cholesky(0.5 * (inner + inner.transpose(1, 2)))


def _solve(equations):
    """Solve the system of all bands and the common parameters."""
    factor, shared, inner = _arrow(equations.matrix, equations.tie,
                                   equations.prior)
    alone = torch.cholesky_solve(equations.vector[..., None], factor)
    pull = equations.pull + (equations.tie[:, None] @ alone)[..., 0].sum(1)
    common = torch.cholesky_solve(pull[..., None], inner)
    return (alone + shared @ common[:, None])[..., 0]


def _limits(like, n_parameters):
    """Largest steps of the parameters of a source."""
    out = like.new_full((n_parameters,), LATENT_STEP_LIMIT)
    out[:len(STEP_LIMIT)] = out.new_tensor(STEP_LIMIT)
    return out


def _prepare(equations, pinned):
    """Take out what is pinned, and keep the rest from being singular."""
    matrix, vector = _without(equations.matrix, equations.vector, pinned)
    diagonal = torch.diagonal(matrix, dim1=-2, dim2=-1)
    # the tie holds bands together, it does not hold them where they are: it
    # must not keep them from steps that they take together
    tie = torch.diagonal(equations.tie, dim1=-2, dim2=-1)[:, None]
    free = (diagonal - tie).clamp(min=0)
    # empty places have rows of zeros: theirs become those of the identity
    ridge = RIDGE * free + 1e-10 * diagonal + (diagonal == 0)
    return equations._replace(matrix=matrix + torch.diag_embed(ridge),
                              vector=vector)


def trusted_step(equations, pinned, radius, strain, n_parameters):
    """
    Step of each group within its radius of trust.

    Parameters
    ----------
    equations : Equations
        Of the groups.
    pinned : `torch.Tensor` of bool, (n_groups, n_bands, m)
        Parameters that stay where they are.
    radius : `torch.Tensor`, (n_groups,)
        How far a source may go, in units of the largest steps.
    strain : `torch.Tensor`, (n_groups, n_sources)
        Strain to begin with; 0 if nothing is known.
    n_parameters : int
        Parameters of a source.

    Returns
    -------
    step : `torch.Tensor`, (n_groups, n_bands, n_sources, n_parameters)
        The step.
    length : `torch.Tensor`, (n_groups,)
        How far the source goes that goes farthest.
    strain : `torch.Tensor`, (n_groups, n_sources)
        Strain that was needed.
    """
    ready = _prepare(equations, pinned)
    limits = _limits(ready.vector, n_parameters)
    push = ready.vector.unflatten(-1, (-1, n_parameters)) * limits
    first = FIRST_STRAIN * push.abs().amax((1, 3)) / radius[:, None]
    reach = LEEWAY * radius[:, None]
    for _ in range(MAX_STRAINS):
        held = (strain[..., None] / limits ** 2).flatten(1)[:, None]
        step = _solve(ready._replace(
            matrix=ready.matrix + torch.diag_embed(held)))
        step = torch.where(pinned, 0, step).unflatten(-1, (-1, n_parameters))
        far = (step.abs() / limits).amax((1, 3))
        long = far > reach
        if not long.any():
            break
        strain = torch.where(
            long, torch.maximum(STRAIN_FACTOR * strain, first), strain)
    cut = (far / radius[:, None]).clamp(min=1)[:, None, :, None]
    return step / cut, torch.minimum(far, radius[:, None]).amax(1), strain
