# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Joint fit of all sources of a group, in all bands.

Gauss-Newton steps within a radius of trust on position, size, shear and
latent of every source, with the fluxes projected out
(variable projection, Golub & Pereyra 1973) and the learned prior as a
penalty. A galaxy need not look the same in all bands: each band has
parameters of its own, which scatter about the common ones as the colour
gradients of the training's galaxies do. Where a band says little, it
follows the others; where it says much, it may differ. All groups of a
batch advance together; a group that has converged leaves it. The errors
are those of the Laplace approximation: the inverse of the matrix of second
derivatives in fluxes and shapes together, so that neighbours, shapes and
colour gradients count.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch

from vaephot.deblend.band_fit import Band, Normal, Shapes
from vaephot.deblend.fluxes import solve_fluxes
from vaephot.deblend.steps import (
    Equations,
    limit_parameters,
    pinned_parameters,
    trusted_step,
)

__all__ = ['HELD', 'FitSettings', 'GroupFit', 'fit_groups', 'linear_fluxes']

# radii of trust, in units of the largest steps: the first, and the one at
# which a group cannot be improved
MAX_RADIUS = 1.0
LEAST_RADIUS = 1e-4
# share of the foreseen gain below which the radius shrinks, and above which it
# grows; by how much
POOR, GOOD = 0.25, 0.75
SHRINK, GROW = 0.25, 2.0
# parameters whose prior has this precision stay where they are, in all bands
HELD = 1e8
# strains are looked for anew, from this share of the last one on
STRAIN_RELIEF = 0.01
# the errors that the encoder gives its shapes are too small by this factor:
# the scatter of the sizes of held-out blends in units of them
START_WIDENING = 1.9
# tolerance of the first of two rounds, over that of the last: its weights
# are renewed anyway
FIRST_ROUND = 10.0


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
        A group is done when a step gains less than the first for each
        source, plus the second times its value, in half the chi-square.
    background : {None, 'constant', 'plane'}
        Free background of each group and band.
    quick : bool
        Whether shapes that are not fitted count as known, and the encoder
        looks at them no more often than it takes to tell sources apart.
    """

    max_steps: int = 20
    tolerance: float = 0.005
    relative_tolerance: float = 2e-6
    background: str | None = None
    quick: bool = False


class GroupFit(NamedTuple):
    """
    Result of a fit.

    ``parameters`` ``(n_groups, n_sources, n_parameters)``;
    ``band_parameters`` ``(n_groups, n_bands, n_sources, n_parameters)``;
    ``flux`` ``(n_groups, n_sources, n_bands)``; ``covariance`` of the
    vector of all fluxes, band by band, then all parameters, source by
    source ``(n_groups, n, n)``; ``chi2`` ``(n_groups,)``; ``n_steps`` and
    ``converged`` ``(n_groups,)``; ``background``
    ``(n_groups, n_bands, m)``.
    """

    parameters: torch.Tensor
    band_parameters: torch.Tensor
    flux: torch.Tensor
    covariance: torch.Tensor
    chi2: torch.Tensor
    n_steps: torch.Tensor
    converged: torch.Tensor
    background: torch.Tensor


class _Problem:
    """Costs and steps of a batch for fixed weights."""

    def __init__(self, batch, decoder, settings):
        self.batch = batch
        self.decoder = decoder
        self.bands = [Band(band, batch.active, settings.background)
                      for band in batch.bands]
        self.n_groups, self.n_sources = batch.active.shape
        self.size = batch.bands[0].data.shape[-1]
        self.between = batch.band_precision.double()
        self.held = batch.prior.precision >= HELD

    def shapes(self, local, rows, *, steep=False):
        """Shapes in each band, with their derivatives if wanted."""
        flat = local.transpose(0, 1).flatten(0, 2)
        if steep:
            parts = self.decoder.jacobian(flat)
        else:
            parts = (self.decoder.from_parameters(flat),)
        n = len(flat) // len(self.bands)
        for i in range(len(self.bands)):
            own = slice(i * n, (i + 1) * n)
            yield Shapes(rows, flat[own, :2], torch.exp(flat[own, 2]),
                         *[part.take(own) for part in parts])

    def set_weights(self, local, rows):
        """Renew the windows, and the inverse variances from the model."""
        for band, shapes in zip(self.bands, self.shapes(local, rows),
                                strict=True):
            band.choose_windows(shapes)
            model = None
            if band.band.gain is not None:
                band.set_weight(None)
                model = band.evaluate(shapes).model
            band.set_weight(model)

    def follow(self, local, rows):
        """Let windows follow their sources; which groups have new ones."""
        if all(band.band.windows is None for band in self.bands):
            return torch.zeros_like(rows, dtype=torch.bool)
        moved = [band.follow(shapes) for band, shapes in zip(
            self.bands, self.shapes(local, rows), strict=True)]
        return torch.stack(moved).any(0)

    def evaluate(self, local, rows):
        """Half the chi-square and the penalty of negative light."""
        found = [band.evaluate(shapes) for band, shapes in zip(
            self.bands, self.shapes(local, rows), strict=True)]
        return (sum(band.half_chi2 for band in found),
                sum(band.penalty for band in found))

    def common(self, local, rows):
        """Best common parameters for those of the bands, (g, k, p)."""
        mean, precision = (p[rows] for p in self.batch.prior)
        total = torch.diag_embed(precision) + local.shape[1] * self.between
        pull = precision * mean + local.sum(1) @ self.between
        return torch.linalg.solve(total, pull[..., None])[..., 0]

    def _prior_cost(self, local, rows):
        """Half the squared distance from the prior, per group."""
        mean, precision = (p[rows] for p in self.batch.prior)
        common = self.common(local, rows)
        apart = local - common[:, None]
        square = (precision * (common - mean) ** 2).sum(-1)
        square = square + (apart * (apart @ self.between)).sum((1, -1))
        return 0.5 * (square * self.batch.active[rows]).sum(1)

    def cost(self, local, rows):
        """Half the chi-square at the best fluxes, and what is added."""
        return self._prior_cost(local, rows) + sum(
            self.evaluate(local, rows))

    def normals(self, local, rows):
        """Normal matrices of all bands, stacked, (g, b, ...)."""
        parts = [band.derivatives(shapes) for band, shapes in zip(
            self.bands, self.shapes(local, rows, steep=True), strict=True)]
        return Normal(*[torch.stack(column, 1)
                         for column in zip(*parts, strict=True)])

    def coupling(self, rows):
        """Precision between a band's and the common parameters."""
        active = self.batch.active[rows].double()
        n_par = len(self.between)
        tie = self.between + torch.diag_embed(HELD * self.held[rows].double())
        blocks = tie * active[..., None, None]
        out = active.new_zeros(len(rows), self.n_sources, n_par,
                               self.n_sources, n_par)
        index = torch.arange(self.n_sources)
        out[:, index, :, index] = blocks.transpose(0, 1)
        return out.flatten(3).flatten(1, 2)


def _equations(problem, local, rows):
    """Set up the step of groups."""
    normal = problem.normals(local, rows)
    linear = normal.linear
    _, factor = solve_fluxes(linear, normal.cross[..., 0])
    projected = normal.cross.transpose(-1, -2) @ torch.cholesky_solve(
        normal.cross, factor)
    tie = problem.coupling(rows)
    common = problem.common(local, rows)
    apart = (local - common[:, None]).flatten(2)
    vector = normal.slope - (tie[:, None] @ apart[..., None])[..., 0]
    mean, precision = (p[rows].flatten(1) for p in problem.batch.prior)
    pull = (precision * (mean - common.flatten(1))
            + (tie @ apart.sum(1)[..., None])[..., 0])
    return Equations(normal.shape - projected + tie[:, None], vector, tie,
                     precision, pull)


class _State:
    """Where the groups of a batch stand."""

    def __init__(self, local, problem):
        rows = torch.arange(len(local), device=local.device)
        self.local = local
        self.cost = problem.cost(local, rows)
        self.radius = torch.full_like(self.cost, MAX_RADIUS)
        self.strain = self.cost.new_zeros(len(local), local.shape[2])
        self.done = torch.zeros_like(rows, dtype=torch.bool)
        self.fresh = torch.zeros_like(self.done)
        self.equations = None

    def renew(self, problem):
        """Compute the equations of groups that have moved."""
        rows = torch.nonzero(~self.done & ~self.fresh)[:, 0]
        if not len(rows):
            return
        moved = rows[problem.follow(self.local[rows], rows)]
        if len(moved):
            self.cost[moved] = problem.cost(self.local[moved], moved)
        new = _equations(problem, self.local[rows], rows)
        if self.equations is None:
            self.equations = Equations(*[
                value.new_zeros(len(self.cost), *value.shape[1:])
                for value in new])
        for old, value in zip(self.equations, new, strict=True):
            old[rows] = value
        self.fresh[rows] = True

    def try_step(self, problem, settings, looseness):
        """Step, keep what is better, note what has converged."""
        rows = torch.nonzero(~self.done)[:, 0]
        equations = Equations(*[value[rows] for value in self.equations])
        local = self.local[rows]
        pinned = (pinned_parameters(local, equations.vector, problem.size)
                  | problem.held[rows].flatten(1)[:, None])
        step, length, strain = trusted_step(
            equations, pinned, self.radius[rows],
            STRAIN_RELIEF * self.strain[rows], local.shape[-1])
        self.strain[rows] = strain
        trial = limit_parameters(local + step, problem.size)
        cost = problem.cost(trial, rows)
        gain = self.cost[rows] - cost
        better = gain > 0
        # what is left to gain if the cost were a parabola
        hope = 0.5 * (step.flatten(2) * equations.vector).sum((1, 2))
        won = rows[better]
        self.local[won], self.cost[won] = trial[better], cost[better]
        self.fresh[won] = False
        ratio = gain / hope.clamp(min=1e-30)
        self.radius[rows] = torch.where(
            ratio < POOR, SHRINK * length, torch.where(
                ratio > GOOD, GROW * self.radius[rows], self.radius[rows])
        ).clamp(max=MAX_RADIUS)
        enough = looseness * (
            settings.tolerance * problem.batch.active[rows].sum(1)
            + settings.relative_tolerance * self.cost[rows].abs())
        self.done[rows] = ((better & (gain < enough)) | (hope < enough)
                           | (self.radius[rows] < LEAST_RADIUS))


def _round(local, problem, settings, looseness):
    """Fit all groups for fixed weights."""
    state = _State(local, problem)
    n_steps = torch.zeros_like(state.done, dtype=torch.int64)
    for _ in range(settings.max_steps):
        if state.done.all():
            break
        n_steps += ~state.done
        state.renew(problem)
        state.try_step(problem, settings, looseness)
    return state.local, n_steps, state.done


def _assemble(blocks, cross, shape):
    """Covariance of all fluxes, band by band, then the shapes."""
    n_groups, n_bands, n_linear = cross.shape[:3]
    n_flux = n_bands * n_linear
    n_total = n_flux + shape.shape[-1]
    reach = (cross @ shape[:, None]).flatten(1, 2)
    out = shape.new_zeros(n_groups, n_total, n_total)
    out[:, :n_flux, :n_flux] = reach @ cross.flatten(1, 2).transpose(1, 2)
    for band in range(n_bands):
        part = slice(band * n_linear, (band + 1) * n_linear)
        out[:, part, part] += blocks[:, band]
    out[:, :n_flux, n_flux:] = reach
    out[:, n_flux:, :n_flux] = reach.transpose(1, 2)
    out[:, n_flux:, n_flux:] = shape
    return out


def _scaled_inverse(matrix):
    """Inverse of symmetric matrices of very different scales."""
    diagonal = torch.diagonal(matrix, dim1=-2, dim2=-1)
    scale = diagonal.clamp(min=1e-300).rsqrt()
    unit = scale[..., :, None] * matrix * scale[..., None, :]
    return (torch.linalg.pinv(unit, hermitian=True, rtol=1e-12)
            * scale[..., :, None] * scale[..., None, :])


def _fitted_covariance(problem, normal, rows):
    """Laplace covariance at the best fit."""
    tie = problem.coupling(rows)
    n = normal.linear.shape[-1]
    top = torch.cat([normal.linear, normal.cross], -1)
    low = torch.cat([normal.cross.transpose(-1, -2),
                     normal.shape + tie[:, None]], -1)
    inverse = _scaled_inverse(torch.cat([top, low], -2))
    cross = inverse[..., :n, n:] @ tie[:, None]
    prior = torch.diag_embed(problem.batch.prior.precision[rows].flatten(1))
    shape = (len(problem.bands) * tie + prior
             - (tie[:, None] @ inverse[..., n:, n:] @ tie[:, None]).sum(1))
    return _assemble(inverse[..., :n, :n], cross, _scaled_inverse(shape))


def _started_covariance(normal, precision):
    """Covariance of fluxes for shapes with known errors."""
    inverse = _scaled_inverse(normal.linear)
    return _assemble(inverse, -(inverse @ normal.cross),
                     torch.diag_embed(1 / precision))


def linear_fluxes(batch, decoder, background=None):
    """
    Fluxes of sources at the shapes of their prior.

    Parameters
    ----------
    batch : `~vaephot.deblend.band_fit.GroupBatch`
        Pixels, noise and shapes of the groups.
    decoder : `~vaephot.models.decoder.Decoder`
        Turns parameters into templates; in double precision.
    background : {None, 'constant', 'plane'}, optional
        Free background, as in `FitSettings`.

    Returns
    -------
    flux, flux_err : `torch.Tensor`, (n_groups, n_sources, n_bands)
        Best fluxes and their errors for these shapes.
    templates : list of `torch.Tensor`, (n_groups, n_sources, size, size)
        Unit-flux images of each band, in the precision of the pixels.
    """
    problem = _Problem(batch, decoder, FitSettings(background=background))
    rows = torch.arange(problem.n_groups, device=batch.active.device)
    columns, errors, images = [], [], []
    start = batch.prior.mean[:, None].expand(-1, len(problem.bands), -1, -1)
    for band, shapes in zip(problem.bands, problem.shapes(start, rows),
                            strict=True):
        band.choose_windows(shapes)
        band.set_weight(None)
        templates = band.templates(shapes)
        flux, _, gram = band.best_flux(templates, rows)
        error = torch.diagonal(_scaled_inverse(gram), dim1=1, dim2=2).sqrt()
        columns.append(flux[:, :problem.n_sources])
        errors.append(error[:, :problem.n_sources])
        images.append(templates.unflatten(-1, band.band.data.shape[1:]))
    return torch.stack(columns, -1), torch.stack(errors, -1), images


def fit_groups(batch, start, decoder, settings, *, start_precision=None):
    """
    Fit the sources of a batch of groups.

    Parameters
    ----------
    batch : `~vaephot.deblend.band_fit.GroupBatch`
        Pixels, noise and prior of the groups.
    start : `torch.Tensor`, (n_groups, n_sources, n_parameters) or \
            (n_groups, n_bands, n_sources, n_parameters)
        Parameters to start from, positions in the stamp.
    decoder : `~vaephot.models.decoder.Decoder`
        Turns parameters into templates; in double precision.
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
    if start.ndim == 3:
        start = start[:, None].expand(-1, len(batch.bands), -1, -1)
    local = limit_parameters(start, problem.size)
    n_steps = torch.zeros_like(rows)
    done = torch.ones_like(rows, dtype=torch.bool)
    renew = any(band.gain is not None for band in batch.bands)
    for looseness in (FIRST_ROUND, 1.0) if renew else (1.0,):
        problem.set_weights(local, rows)
        if settings.max_steps:
            local, count, done = _round(local, problem, settings, looseness)
            n_steps = n_steps + count
    normal = problem.normals(local, rows)
    if settings.max_steps or start_precision is None:
        covariance = _fitted_covariance(problem, normal, rows)
    else:
        covariance = _started_covariance(
            normal, start_precision.flatten(1) / START_WIDENING ** 2)
    n = problem.n_sources
    chi2 = 2 * problem.evaluate(local, rows)[0]
    return GroupFit(problem.common(local, rows), local,
                    normal.flux[..., :n].transpose(1, 2), covariance, chi2,
                    n_steps, done, normal.flux[..., n:])
