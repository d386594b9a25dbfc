# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Second phase of the fit: all bands, each with shapes of its own.

A galaxy need not look the same in all bands: the shapes of a band scatter
about the common ones as the colour gradients of the training's galaxies do.
Where a band says little, it follows the others. The curvature is computed
once; it makes the errors, and steps with exact fluxes and slopes after it.
"""

import torch

from vaephot.deblend.fit.laplace import covariance
from vaephot.deblend.fit.steps import (
    HELD,
    Arrow,
    Trust,
    limit_parameters,
    project,
)
from vaephot.deblend.fit.windows import FINE, MIDDLE

__all__ = ['JointFit']


class JointFit:
    """
    Fit of all bands of a batch.

    Parameters
    ----------
    problem : `~vaephot.deblend.fit.problem.Problem`
        Groups.
    shape : `torch.Tensor`, (g, k, p) or (g, b, k, p)
        Common shapes, or those of the bands, to begin with.
    flux : `torch.Tensor`, (g, b, k)
        Fluxes as far as they are known, 0 elsewhere.
    between : `torch.Tensor`, (p,)
        Precision of the parameters of a band about the common ones.
    """

    def __init__(self, problem, shape, flux, between):
        self.problem = problem
        g = len(problem.batch.free)
        self.n_bands = problem.batch.n_bands
        if shape.ndim == 3:
            shape = shape[:, None].expand(-1, self.n_bands, -1, -1)
        self.local = shape.clone()
        real = problem.batch.real
        self.fixed = ~(problem.batch.free & real[..., None])
        self.between = between
        self.tie = torch.where(self.fixed, 0.0, between)
        self.used = torch.ones(g, self.n_bands, dtype=torch.bool,
                               device=problem.device)
        self._begin(flux)

    def _begin(self, flux):
        """Windows, weights, prior, curvature, and the first slope."""
        problem, settings = self.problem, self.problem.settings
        noise = problem.noise(self._common_place())
        flux = self._guess(flux, noise)
        canvas = problem.canvas(self.used)
        plan = problem.plan(canvas, self.used, self.local, flux, noise,
                            MIDDLE)
        now = problem.evaluate(plan, self.local)
        k = self.local.shape[2]
        self.mean, self.precision = problem.prior_of(
            now.flux[..., :k], noise, self.local[:, 0])
        self.mean = torch.where(self.fixed, self.local[:, 0], self.mean)
        self.precision = torch.where(self.fixed, HELD, self.precision)
        canvas.set_weight(now.model)
        plan.set_pixels()
        self.normal = problem.evaluate(plan, self.local, steep=True)
        self.canvas, self.plan, now = canvas, plan, self.normal
        if settings.refine:
            self._plan(now.flux[..., :k])
            now = problem.evaluate(self.plan, self.local, adjoint=True)
        self.flux, self.slope = now.flux.clone(), now.slope.clone()
        self.cost = now.cost + self._prior_cost(self.local)
        self.trust = Trust(problem.batch.real, settings.tolerance,
                           settings.relative_tolerance)
        keep = (~self.fixed).flatten(1).double()[:, None]
        self.curvature = (project(self.normal) * keep[..., None]
                          * keep[:, :, None])
        self.arrow = Arrow(self.curvature, self.tie.flatten(1),
                           self.precision.flatten(1), self.trust)

    def _common_place(self):
        """Positions of sources in the reference grid, (g, k, 2)."""
        return self.local[:, 0, :, :2]

    def _guess(self, flux, noise):
        """Fluxes (g, b, k) that windows are chosen by."""
        error = torch.as_tensor(self.problem.bands.point_error,
                                device=flux.device)[:, None] * noise
        snr = (flux.abs() / error).amax(1, keepdim=True)
        return torch.where(flux != 0, flux, 0.5 * snr * error)

    def _plan(self, flux):
        """Choose fine windows."""
        noise = self.problem.noise(self._common_place())
        self.chosen_by = self.local.clone(), flux, noise
        self.plan = self.problem.plan(self.canvas, self.used,
                                      *self.chosen_by, FINE)

    # ----------------------------------------------------------------- prior
    def common(self, local, rows=slice(None)):
        """Best common parameters for those of the bands, (g, k, p)."""
        tie, precision = self.tie[rows], self.precision[rows]
        total = precision * self.mean[rows] + tie * local.sum(1)
        return total / (precision + self.n_bands * tie)

    def _prior_cost(self, local, rows=slice(None)):
        """Half the squared distance from the prior, (g,)."""
        common = self.common(local, rows)
        square = self.precision[rows] * (common - self.mean[rows]) ** 2
        apart = self.tie[rows][:, None] * (local - common[:, None]) ** 2
        return 0.5 * (square + apart.sum(1)).sum((1, 2))

    # ----------------------------------------------------------------- steps
    def _propose(self, rows):
        """Trial parameters, predicted reduction and length of steps."""
        local = self.local[rows]
        common = self.common(local, rows)
        tied = self.tie[rows][:, None] * (local - common[:, None])
        vector = self.slope[rows].view_as(local) - tied
        vector = torch.where(self.fixed[rows][:, None], 0.0, vector)
        pull = (self.precision[rows] * (self.mean[rows] - common)
                + tied.sum(1))
        move, length = self.arrow.step(rows, vector, pull.flatten(1))
        move = torch.where(self.fixed[rows][:, None], 0.0, move)
        trial = limit_parameters(local + move, self.problem.size)
        return trial, 0.5 * (move * vector).sum((1, 2, 3)), length

    def leap(self):
        """Take one step, and predict what it does to the fluxes."""
        before = self.local
        rows = torch.arange(len(before), device=before.device)
        self.local, _, _ = self._propose(rows)
        normal = self.normal
        change = normal.cross @ (self.local - before).flatten(2)[..., None]
        diagonal = torch.diagonal(normal.linear, dim1=-2, dim2=-1)
        factor = torch.linalg.cholesky_ex(normal.linear + torch.diag_embed(
            1e-9 * diagonal + (diagonal <= 0)))[0]
        self.flux = self.flux - torch.cholesky_solve(change, factor)[..., 0]
        self.trust.done[:] = True

    def run(self):
        """Step until all groups are done; how many steps each took."""
        whole = self.problem
        rows = torch.arange(len(self.local), device=self.local.device)
        n_steps = torch.zeros_like(rows)
        for _ in range(whole.settings.max_joint):
            left = torch.nonzero(~self.trust.done)[:, 0]
            if not len(left):
                break
            if len(left) < 0.6 * len(rows):
                rows = self._leave_out(rows, left)
            n_steps[left] += 1
            self._step(rows)
        self.problem = whole
        return n_steps

    def _leave_out(self, rows, left):
        """Go on with the windows of the groups ``left`` only."""
        here = torch.searchsorted(rows, left)
        self.problem = self.problem.take(here)
        self.canvas = self.canvas.take(here.cpu().numpy())
        self.plan = self.problem.plan(
            self.canvas, self.used[left],
            *(values[left] for values in self.chosen_by), FINE)
        return left

    def _step(self, rows):
        """Try a step of some groups, keep what is better."""
        trial, predicted, length = self._propose(rows)
        now = self.problem.evaluate(self.plan, trial, adjoint=True)
        value = now.cost + self._prior_cost(trial, rows)
        better = self.trust.judge(rows, self.cost[rows], value, predicted,
                                  length, lenient=False)
        won = rows[better]
        self.local[won], self.cost[won] = trial[better], value[better]
        self.flux[won], self.slope[won] = now.flux[better], now.slope[better]

    def replace(self, rows, other):
        """Take the fit of some groups from another one of these alone."""
        for name in ('local', 'flux', 'mean', 'precision'):
            getattr(self, name)[rows] = getattr(other, name)
        for name in ('linear', 'cross', 'shape'):
            getattr(self.normal, name)[rows] = getattr(other.normal, name)
        self.trust.done[rows] = other.trust.done

    def covariance(self):
        """Laplace covariance of all fluxes, then the common shapes."""
        return covariance(self.normal, self.fixed, self.tie, self.precision)
