# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
First phase of the fit: shapes common to all bands, on coarse windows.

The bands that say most of a group's shapes are fitted, bright and sharp ones:
of Euclid's bands VIS alone, of the ground's several.
"""

import numpy as np
import torch

from vaephot.deblend.fit.steps import (
    Trust,
    damped_step,
    limit_parameters,
    pinned_parameters,
    project,
)
from vaephot.deblend.fit.windows import COARSE

__all__ = ['CommonFit', 'default_shapes', 'first_look']

# half-light radius that brightness is first measured with, in FWHM
FIRST_RADIUS = 1.2
# flux that first windows are chosen for, over the noise of a pixel
FIRST_FLUX = 100.0
# logarithm of the size [px] of point sources
POINT_LOG_SIZE = -3.5


def default_shapes(problem):
    """Small round galaxies and points where sources were found, (g, k, p)."""
    n = problem.batch.free.shape[-1]
    local = problem.xy.new_zeros(*problem.xy.shape[:2], n)
    local[..., :2] = problem.xy
    local[..., 2] = float(np.log(FIRST_RADIUS * problem.fwhm.min()))
    local[..., 2] = torch.where(problem.batch.point, POINT_LOG_SIZE,
                                local[..., 2])
    return local


def first_look(problem, local, used):
    """Linear fluxes (g, b, k) of shapes (g, k, p) in bands (g, b)."""
    noise = problem.noise(local[..., :2])
    wide = local[:, None].expand(-1, noise.shape[1], -1, -1)
    canvas = problem.canvas(used)
    plan = problem.plan(canvas, used, wide, FIRST_FLUX * noise, noise, COARSE)
    return problem.evaluate(plan, wide).flux[..., :noise.shape[2]]


class CommonFit:
    """
    Gauss-Newton fit of common shapes.

    Parameters
    ----------
    problem : `~vaephot.deblend.fit.problem.Problem`
        Groups.
    local : `torch.Tensor`, (g, k, p)
        Shapes to begin with; those of `default_shapes` become those of the
        prior.
    known : `torch.Tensor` of bool, (g, k)
        Sources of which ``local`` is more than a guess.
    """

    def __init__(self, problem, local, *, known):
        self.problem = problem
        settings = problem.settings
        noise = problem.noise(local[..., :2])
        self.used, flux = self._bands(local, noise)
        self.mean, self.precision = problem.prior_of(flux, noise, local)
        self.shape = torch.where(known[..., None], local, self.mean)
        self.rows = torch.arange(len(local), device=problem.device)
        self.trust = Trust(problem.batch.real,
                           settings.loose * settings.tolerance,
                           settings.relative_tolerance)
        self.flux, self.n_steps = flux, torch.zeros_like(self.rows)
        self._begin(flux, noise)

    def _bands(self, local, noise):
        """The bands (g, b) that each group is fitted in, and fluxes."""
        problem = self.problem
        used = torch.ones(noise.shape[:2], dtype=torch.bool,
                          device=problem.device)
        flux = first_look(problem, local, used)
        snr = problem.point_snr(flux, noise).clamp(min=0)
        snr = torch.where(problem.batch.real[:, None], snr, torch.inf)
        width = torch.as_tensor(problem.fwhm, device=problem.device)
        # what bands say of the shapes of the faintest source
        known = (snr.amin(2) / width) ** 2
        best, order = known.sort(1, descending=True)
        before = best.cumsum(1) - best
        enough = before >= problem.settings.least_known * best.sum(
            1, keepdim=True)
        used = torch.zeros_like(used).scatter(1, order, ~enough)
        used[known.sum(1) == 0] = True
        return used, torch.where(used[..., None], flux, 0.0)

    def _wide(self, shape):
        """Shapes (g, k, p) in all bands."""
        return shape[:, None].expand(-1, self.used.shape[1], -1, -1)

    def _begin(self, flux, noise):
        """First evaluation, of the shapes to begin with."""
        self.local = self.shape.clone()
        self.canvas = self.problem.canvas(self.used)
        self._plan(flux, noise)
        self.now = self.problem.evaluate(self.plan, self._wide(self.local),
                                         steep=True)
        self.cost = self.now.cost + self._prior_cost(self.local)

    def _plan(self, flux, noise):
        """Choose windows anew."""
        self.chosen_by = self.local, flux, noise
        self._set_plan()

    def _set_plan(self):
        """Windows as they were chosen last."""
        local, flux, noise = self.chosen_by
        self.plan = self.problem.plan(self.canvas, self.used,
                                      self._wide(local), flux, noise, COARSE)

    def _prior_cost(self, local):
        """Half the squared distance from the prior, (g,)."""
        return 0.5 * (self.precision * (local - self.mean) ** 2).sum((1, 2))

    def run(self):
        """Step until all groups are done; shapes, fluxes, steps."""
        settings = self.problem.settings
        last = (settings.max_common if settings.refine
                else settings.max_common_quick)
        for step in range(last):
            left = torch.nonzero(~self.trust.done[self.rows])[:, 0]
            if not len(left):
                break
            changed = self._renew(step, left)
            self.n_steps[self.rows] += ~self.trust.done[self.rows]
            self._step(step, changed)
        return self.shape, self.flux, self.n_steps

    def _renew(self, step, left):
        """Leave out what is done; renew windows, weights and prior."""
        if len(left) < 0.6 * len(self.rows):
            self._leave_out(left)
        if step not in self.problem.settings.renew:
            return False
        flux = self.now.flux[..., :self.local.shape[1]]
        noise = self.problem.noise(self.local[..., :2])
        self._renew_weights(flux, noise)
        self._plan(flux, noise)
        return True

    def _leave_out(self, left):
        """Go on with some groups only, on the windows that they have."""
        self.rows = self.rows[left]
        self.problem = self.problem.take(left)
        self.canvas = self.canvas.take(left.cpu().numpy())
        self.now = self.now.take(left)
        for name in ('used', 'local', 'cost', 'mean', 'precision'):
            setattr(self, name, getattr(self, name)[left])
        self.chosen_by = tuple(values[left] for values in self.chosen_by)
        self._set_plan()

    def _renew_weights(self, flux, noise):
        """Photon noise, prior and regions that follow from the fluxes."""
        self.mean, self.precision = self.problem.prior_of(
            flux, noise, self.local)
        self._plan(flux, noise)
        found = self.problem.evaluate(self.plan, self._wide(self.local))
        self.canvas.set_weight(found.model)
        weighted = self.canvas.weight * found.residual * found.residual
        self.cost = (0.5 * self.canvas.sums(weighted).sum(1)
                     + self._prior_cost(self.local))

    def _step(self, step, changed):
        """Try a step, keep what is better."""
        problem, trust, settings = (self.problem, self.trust,
                                    self.problem.settings)
        matrix = project(self.now).sum(1) + torch.diag_embed(
            self.precision.flatten(1))
        vector = (self.now.slope.sum(1).view_as(self.local)
                  + self.precision * (self.mean - self.local))
        pinned = pinned_parameters(self.local, vector, problem.size)
        pinned |= ~(problem.batch.free & problem.batch.real[..., None])
        move, length = damped_step(matrix, vector, pinned, trust, self.rows)
        trial = limit_parameters(self.local + move, problem.size)
        predicted = 0.5 * (move * vector).sum((1, 2))
        full = step < settings.curved or step % 2 == 0
        new = problem.evaluate(self.plan, self._wide(trial), steep=full,
                               adjoint=True)
        value = new.cost + self._prior_cost(trial)
        better = trust.judge(self.rows, self.cost, value, predicted, length,
                             lenient=changed)
        self.now.keep(better, new)
        self.local = torch.where(better[:, None, None], trial, self.local)
        self.cost = torch.where(better, value, self.cost)
        self.shape[self.rows] = self.local
        self.flux[self.rows] = self.now.flux[..., :self.local.shape[1]]
