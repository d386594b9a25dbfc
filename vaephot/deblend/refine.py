# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Joint fit of all sources of a group, in all bands.

Damped Gauss-Newton steps (Levenberg 1944, Marquardt 1963) on position,
size, shear and latent of every source, with the fluxes projected out
(variable projection, Golub & Pereyra 1973) and the learned prior as a
penalty. All groups of a batch advance together; a group that has converged
leaves it. The errors are those of the Laplace approximation: the inverse of
the matrix of second derivatives in fluxes and shapes together, so that
neighbours and shapes count.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch

from vaephot.deblend.fluxes import (
    background_columns,
    linear_system,
    solve_fluxes,
)
from vaephot.models.encoder import Gaussian

__all__ = ['FitSettings', 'GroupBatch', 'GroupFit', 'fit_groups']

# largest step of position [px], log size, shear and latent
STEP_LIMIT = (1.0, 1.0, 0.7, 0.5, 0.5)
LATENT_STEP_LIMIT = 1.0
MIN_LOG_SIZE = -4.0
# largest half-light radius, as a share of the stamp's side
MAX_SIZE_SHARE = 0.25
ETA_LIMIT = 3.5
LATENT_LIMIT = 5.0
DAMPING_LIMIT = 1e7


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """
    How far the fit goes.

    Parameters
    ----------
    max_steps : int
        Steps of each of the two rounds; 0 keeps the start and solves for
        the fluxes only. Between the rounds the noise of the sources is
        renewed from their model.
    tolerance, relative_tolerance : float
        A group is done when a step gains less than the first, plus the
        second times its value, in half the chi-square.
    damping : float
        Damping at the start.
    background : {None, 'constant', 'plane'}
        Free background of each group and band.
    """

    max_steps: int = 20
    tolerance: float = 0.01
    relative_tolerance: float = 2e-6
    damping: float = 1e-3
    background: str | None = None


class GroupBatch(NamedTuple):
    """
    Groups of equal size and equal number of places for sources.

    ``data``, ``variance``, ``good`` ``(n_groups, n_bands, size, size)``,
    or with flat pixels where bands lie on grids of their own;
    ``active`` ``(n_groups, n_sources)``, 0 at empty places; ``prior``
    with entries ``(n_groups, n_sources, n_parameters)``, positions in the
    stamp; ``gain`` ``(n_bands,)`` or `None`; ``renderer`` of these groups.
    """

    data: torch.Tensor
    variance: torch.Tensor
    good: torch.Tensor
    active: torch.Tensor
    prior: Gaussian
    gain: torch.Tensor | None
    renderer: object


class GroupFit(NamedTuple):
    """
    Result of a fit.

    ``parameters`` ``(n_groups, n_sources, n_parameters)``; ``flux``
    ``(n_groups, n_sources, n_bands)``; ``covariance`` of the vector of all
    fluxes, band by band, then all parameters, source by source
    ``(n_groups, n, n)``; ``chi2`` ``(n_groups,)``; ``n_steps`` and
    ``converged`` ``(n_groups,)``; ``background``
    ``(n_groups, n_bands, m)``.
    """

    parameters: torch.Tensor
    flux: torch.Tensor
    covariance: torch.Tensor
    chi2: torch.Tensor
    n_steps: torch.Tensor
    converged: torch.Tensor
    background: torch.Tensor


class _Problem:
    """Costs and derivatives of a batch for fixed weights."""

    def __init__(self, batch, decoder, settings):
        self.batch = batch
        self.decoder = decoder
        self.n_groups, self.n_sources = batch.active.shape
        self.n_bands, self.size = batch.data.shape[1], batch.renderer.size
        self.data = batch.data.flatten(2)
        self.extra = batch.renderer.background(partial(
            background_columns, settings.background,
            device=self.data.device, dtype=self.data.dtype))
        self.weight = None

    def set_weight(self, model):
        """Renew the inverse variances from a model, (g, b, p) or None."""
        variance = self.batch.variance.flatten(2)
        if model is not None and self.batch.gain is not None:
            photons = model.clamp(min=0) / self.batch.gain[:, None]
            variance = variance + photons
        self.weight = self.batch.good.flatten(2) / variance

    def _columns(self, images, rows):
        """(g k) c b y x -> (g, b, k c + extra, p), empty places dark."""
        n_groups, count = len(rows), images.shape[1]
        columns = images.reshape(n_groups, self.n_sources, count,
                                 self.n_bands, -1)
        active = self.batch.active[rows]
        columns = columns * active[:, :, None, None, None]
        # templates of all sources first, then their derivatives
        columns = torch.cat([columns[:, :, 0],
                             columns[:, :, 1:].flatten(1, 2)], dim=1)
        columns = columns.transpose(1, 2)
        if self.extra.shape[1]:
            extra = self.extra.expand(n_groups, -1, -1, -1)
            columns = torch.cat([columns[:, :, :self.n_sources], extra,
                                 columns[:, :, self.n_sources:]], dim=2)
        return columns

    def _flat(self, parameters):
        """Sources of all groups in one run, with their positions."""
        flat = parameters.flatten(0, 1)
        return flat, flat[:, :2]

    def _prior_cost(self, parameters, rows):
        """Half the squared distance from the prior, per group."""
        mean, precision = (p[rows] for p in self.batch.prior)
        square = precision * (parameters - mean) ** 2
        return 0.5 * (square * self.batch.active[rows, :, None]).sum((1, 2))

    def _renderer(self, rows):
        return self.batch.renderer.subset(rows)

    def templates(self, parameters, rows):
        """Unit-flux templates and backgrounds, (g, b, k + m, p)."""
        flat, xy = self._flat(parameters)
        mixture = self.decoder.from_parameters(flat)
        images = self._renderer(rows).templates(mixture, xy, len(rows))
        return self._columns(images[:, None], rows)

    def evaluate(self, parameters, rows):
        """Fluxes, cost and model of groups for given shapes."""
        columns = self.templates(parameters, rows)
        system = linear_system(columns, self.data[rows], self.weight[rows])
        flux, _, chi2 = solve_fluxes(system)
        cost = 0.5 * chi2.sum(1) + self._prior_cost(parameters, rows)
        return flux, cost, columns

    def cost(self, parameters, rows):
        """Half the chi-square at the best fluxes, plus the prior's."""
        return self.evaluate(parameters, rows)[1]

    def model(self, parameters, rows):
        """Best model image of groups, (g, b, p)."""
        flux, _, columns = self.evaluate(parameters, rows)
        n = self.n_sources
        return (flux[:, :, :n, None] * columns[:, :, :n]).sum(2)

    def derivatives(self, parameters, rows):
        """Everything that a step and the covariance need."""
        flat, xy = self._flat(parameters)
        images = self._renderer(rows).gradients(
            *self.decoder.jacobian(flat), xy, len(rows))
        columns = self._columns(images, rows)
        system = linear_system(columns, self.data[rows], self.weight[rows])
        n_linear = self.n_sources + self.extra.shape[1]
        linear = type(system)(system.matrix[..., :n_linear, :n_linear],
                              system.vector[..., :n_linear], system.total)
        flux, factor, chi2 = solve_fluxes(linear)
        scale = flux[..., :self.n_sources].repeat_interleave(
            parameters.shape[-1], -1)
        cross = system.matrix[..., :n_linear, n_linear:] * scale[..., None, :]
        shape = (system.matrix[..., n_linear:, n_linear:]
                 * scale[..., None, :] * scale[..., :, None])
        slope = scale * (system.vector[..., n_linear:] - (
            flux[..., None, :]
            @ system.matrix[..., :n_linear, n_linear:])[..., 0, :])
        return flux, factor, chi2, cross, shape, slope

    def normal_equations(self, parameters, rows):
        """Matrix and right-hand side of a step, fluxes projected out."""
        _, factor, _, cross, shape, slope = self.derivatives(parameters, rows)
        projected = cross.transpose(-1, -2) @ torch.cholesky_solve(
            cross, factor)
        mean, precision = (p[rows].flatten(1) for p in self.batch.prior)
        matrix = (shape - projected).sum(1) + torch.diag_embed(precision)
        vector = slope.sum(1) + precision * (mean - parameters.flatten(1))
        return matrix, vector


def _bounds(parameters, size):
    """Least and largest value of each parameter on a stamp."""
    low = parameters.new_full(parameters.shape[-1:], -torch.inf)
    high = -low
    low[2], high[2] = MIN_LOG_SIZE, math.log(MAX_SIZE_SHARE * size)
    low[5:], high[5:] = -LATENT_LIMIT, LATENT_LIMIT
    return low, high


def _limit(parameters, size):
    """Keep parameters where templates on a stamp make sense."""
    low, high = _bounds(parameters, size)
    out = torch.maximum(torch.minimum(parameters, high), low)
    length = out[..., 3:5].norm(dim=-1, keepdim=True)
    out[..., 3:5] = out[..., 3:5] * (ETA_LIMIT / length.clamp(min=ETA_LIMIT))
    return out


def _pinned(parameters, vector, size):
    """Parameters at a limit that the likelihood pushes beyond it."""
    up = vector.unflatten(-1, parameters.shape[-2:]) > 0
    low, high = _bounds(parameters, size)
    beyond = torch.where(up, parameters >= high, parameters <= low)
    return beyond.flatten(-2)


def _without(matrix, vector, rows):
    """Take parameters out of a system: their steps are zero."""
    keep = (~rows).to(matrix.dtype)
    diagonal = torch.diagonal(matrix, dim1=-2, dim2=-1)
    matrix = matrix * keep[..., :, None] * keep[..., None, :]
    return (matrix + torch.diag_embed(diagonal * (1 - keep)),
            vector * keep)


def _step(matrix, vector, damping, n_parameters):
    """Damped step of each group, cut to the largest that is allowed."""
    diagonal = torch.diagonal(matrix, dim1=-2, dim2=-1)
    damped = matrix + torch.diag_embed(damping[:, None] * diagonal
                                       + 1e-10 * diagonal)
    factor, failed = torch.linalg.cholesky_ex(damped)
    factor = torch.where((failed > 0)[:, None, None],
                         torch.diag_embed(diagonal.sqrt()), factor)
    step = torch.cholesky_solve(vector[..., None], factor)[..., 0]
    limit = step.new_full((n_parameters,), LATENT_STEP_LIMIT)
    limit[:len(STEP_LIMIT)] = limit.new_tensor(STEP_LIMIT)
    step = step.unflatten(-1, (-1, n_parameters))
    return torch.maximum(torch.minimum(step, limit), -limit)


class _State:
    """Where the groups of a batch stand."""

    def __init__(self, parameters, problem, settings):
        rows = torch.arange(len(parameters), device=parameters.device)
        self.parameters = parameters
        self.cost = problem.cost(parameters, rows)
        self.damping = torch.full_like(self.cost, settings.damping)
        self.done = torch.zeros_like(rows, dtype=torch.bool)
        self.fresh = torch.zeros_like(self.done)
        self.equations = [None, None]

    def renew(self, problem):
        """Compute the equations of groups that have moved."""
        rows = torch.nonzero(~self.done & ~self.fresh)[:, 0]
        if not len(rows):
            return
        new = problem.normal_equations(self.parameters[rows], rows)
        for i, value in enumerate(new):
            if self.equations[i] is None:
                shape = (len(self.cost), *value.shape[1:])
                self.equations[i] = value.new_zeros(shape)
            self.equations[i][rows] = value
        self.fresh[rows] = True

    def try_step(self, problem, settings):
        """Step, keep what is better, note what has converged."""
        rows = torch.nonzero(~self.done)[:, 0]
        n_parameters = self.parameters.shape[-1]
        matrix, vector = (e[rows] for e in self.equations)
        matrix, vector = _without(matrix, vector, _pinned(
            self.parameters[rows], vector, problem.size))
        step = _step(matrix, vector, self.damping[rows], n_parameters)
        trial = _limit(self.parameters[rows] + step, problem.size)
        cost = problem.cost(trial, rows)
        gain = self.cost[rows] - cost
        better = gain > 0
        won = rows[better]
        self.parameters[won], self.cost[won] = trial[better], cost[better]
        self.fresh[won] = False
        self.damping[rows] = torch.where(
            better, self.damping[rows] * 0.2, self.damping[rows] * 8
        ).clamp(min=1e-7)
        enough = (settings.tolerance
                  + settings.relative_tolerance * self.cost[rows].abs())
        self.done[rows] = ((better & (gain < enough))
                           | (self.damping[rows] > DAMPING_LIMIT))


def _round(parameters, problem, settings):
    """Fit all groups for fixed weights."""
    state = _State(parameters, problem, settings)
    n_steps = torch.zeros_like(state.done, dtype=torch.int64)
    for _ in range(settings.max_steps):
        if state.done.all():
            break
        n_steps += ~state.done
        state.renew(problem)
        state.try_step(problem, settings)
    return state.parameters, n_steps, state.done


def _measured_shape(parts, precision):
    """Second derivatives by the shapes, all bands, for known widths."""
    _, factor, _, cross, _, _ = parts
    projected = cross.transpose(-1, -2) @ torch.cholesky_solve(cross, factor)
    return projected.sum(1) + torch.diag_embed(precision)


def _covariance(parts, shape):
    """Inverse of the full matrix: fluxes band by band, then shapes."""
    flux, factor, _, cross, _, _ = parts
    n_groups, n_bands, n_linear = flux.shape
    n_flux = n_bands * n_linear
    n_total = n_flux + shape.shape[-1]
    matrix = flux.new_zeros(n_groups, n_total, n_total)
    for band in range(n_bands):
        block = slice(band * n_linear, (band + 1) * n_linear)
        matrix[:, block, block] = factor[:, band] @ factor[
            :, band].transpose(-1, -2)
        matrix[:, block, n_flux:] = cross[:, band]
        matrix[:, n_flux:, block] = cross[:, band].transpose(-1, -2)
    matrix[:, n_flux:, n_flux:] = shape
    scale = torch.diagonal(matrix, dim1=-2, dim2=-1).clamp(min=1e-300).rsqrt()
    unit = scale[:, :, None] * matrix * scale[:, None, :]
    return (torch.linalg.pinv(unit, hermitian=True, rtol=1e-12)
            * scale[:, :, None] * scale[:, None, :])


def fit_groups(batch, start, decoder, settings, *, start_precision=None):
    """
    Fit the sources of a batch of groups.

    Parameters
    ----------
    batch : GroupBatch
        Pixels, noise and prior of the groups.
    start : `torch.Tensor`, (n_groups, n_sources, n_parameters)
        Parameters to start from, positions in the stamp.
    decoder : `~vaephot.models.decoder.Decoder`
        Turns parameters into templates; in the precision of the batch.
    settings : FitSettings
        How far to go.
    start_precision : `torch.Tensor`, optional
        Precision of the start, of its shape. Where no step is taken it
        stands for the shapes in the errors: those of the Laplace
        approximation hold at the best fit only.

    Returns
    -------
    GroupFit
    """
    problem = _Problem(batch, decoder, settings)
    rows = torch.arange(problem.n_groups, device=start.device)
    parameters = _limit(start, problem.size)
    n_steps = torch.zeros_like(rows)
    done = torch.ones_like(rows, dtype=torch.bool)
    problem.set_weight(None)
    for _ in range(2 if batch.gain is not None else 1):
        if batch.gain is not None:
            problem.set_weight(problem.model(parameters, rows))
        if settings.max_steps:
            parameters, count, done = _round(parameters, problem, settings)
            n_steps = n_steps + count
    parts = problem.derivatives(parameters, rows)
    n = problem.n_sources
    if settings.max_steps or start_precision is None:
        shape = parts[4].sum(1) + torch.diag_embed(
            batch.prior.precision.flatten(1))
    else:
        shape = _measured_shape(parts, start_precision.flatten(1))
    return GroupFit(parameters, parts[0][..., :n].transpose(1, 2),
                    _covariance(parts, shape), parts[2].sum(1), n_steps,
                    done, parts[0][..., n:])
