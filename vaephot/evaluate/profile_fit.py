# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Joint fit of one analytic profile per source: what needs no learning.

All sources of a blend are fitted together in all bands, with one shape per
source and free fluxes. The fluxes are projected out (variable projection),
so they have no prior; the shapes have a Gaussian one.
"""

import numpy as np

from vaephot.evaluate.profiles import (
    N_PARAMETERS,
    NU_LIMITS,
    ProfileRenderer,
)

__all__ = ['PRIOR_MEAN', 'PRIOR_SIGMA', 'fit_blend', 'profile_fit']

# x and y [px] about the told position, ln of the half-light radius
# [arcsec], eta1, eta2, nu: faint galaxies of HST COSMOS (median radius of
# 0.3 arcsec at 24.5) are inside; an exponential disk has nu of about 0.5
PRIOR_MEAN = np.array([0, 0, np.log(0.35), 0, 0, 0.4])
PRIOR_SIGMA = np.array([0.5, 0.5, 0.6, 0.5, 0.5, 0.45])
# largest step, and limits of ln radius [px] and of the modulus of eta
MAX_STEP = 0.5
LOG_RADIUS_LIMITS = (-2.0, 4.5)
MAX_ETA = 2.5
MAX_STEPS = 12
MAX_TRIALS = 5
# steps that gain less than this in chi2 end the fit
MIN_GAIN = 0.05


class _Fit:
    """One blend: data, weights, and the sources that are fitted."""

    def __init__(self, renderer, image, mask, sky_rms, gain, xy, point,
                 pixel_scale):
        self.renderer = renderer
        self.data = np.asarray(image, float).reshape(len(image), -1)
        self.good = ~np.asarray(mask, bool).reshape(self.data.shape)
        self.sky = np.asarray(sky_rms, float).reshape(len(image), -1) ** 2
        self.gain = np.asarray(gain, float)[:, None]
        self.xy, self.point = np.asarray(xy, float), np.asarray(point, bool)
        self.mean = np.tile(PRIOR_MEAN, (len(self.xy), 1))
        self.mean[:, 2] -= np.log(pixel_scale)
        # a point has a position and nothing else
        self.free = np.tile(np.arange(N_PARAMETERS), (len(self.xy), 1))
        self.free = (self.free < 2) | ~self.point[:, None]
        self.weight = self.good / self.sky

    def render(self, parameters):
        """Images (K, B, P), derivatives (n_free, B, P), owners."""
        images, columns, owners = [], [], []
        for k, p in enumerate(parameters):
            p = np.r_[p[:2] + self.xy[k], p[2:]]
            stack = self.renderer.render(p, point=self.point[k],
                                         derivatives=True)
            stack = stack.reshape(*stack.shape[:2], -1)
            images.append(stack[0])
            columns.append(stack[1:])
            owners += [k] * (len(stack) - 1)
        return (np.array(images), np.concatenate(columns),
                np.array(owners))

    def solve(self, images):
        """Normal matrices (B, K, K), fluxes (B, K), residual (B, P)."""
        T = images.transpose(1, 0, 2)
        F = np.einsum('bkp,bp,blp->bkl', T, self.weight, T, optimize=True)
        ridge = 1e-12 * np.trace(F, axis1=1, axis2=2) + 1e-300
        F = F + ridge[:, None, None] * np.eye(len(images))
        flux = np.linalg.solve(F, np.einsum(
            'bkp,bp->bk', T, self.weight * self.data)[..., None])[..., 0]
        return F, flux, self.data - np.einsum('bk,bkp->bp', flux, T)

    def cost(self, parameters, residual):
        """Chi2 of the data and of the prior."""
        pulls = ((parameters - self.mean) / PRIOR_SIGMA)[self.free]
        return (self.weight * residual ** 2).sum() + (pulls ** 2).sum()

    def reweight(self, residual):
        """Let the photon noise follow the smooth model."""
        model = np.maximum(self.data - residual, 0)
        self.weight = self.good / (self.sky + model / self.gain)

    def normal(self, parameters, state):
        """Gauss-Newton matrix and gradient, fluxes projected out."""
        images, columns, owners, F, flux, residual = state
        inverse = np.broadcast_to(PRIOR_SIGMA ** -2.0,
                                  self.free.shape)[self.free]
        A = np.diag(inverse)
        g = -inverse * (parameters - self.mean)[self.free]
        for b in range(len(self.data)):
            J = flux[b, owners, None] * columns[:, b]
            wT = images[:, b] * self.weight[b]
            J -= np.linalg.solve(F[b], wT @ J.T).T @ images[:, b]
            wJ = J * self.weight[b]
            A += wJ @ J.T
            g += wJ @ residual[b]
        return A, g

    def covariance(self, state):
        """Covariance of fluxes (B K) and shapes together (Laplace)."""
        images, columns, owners, F, flux, _ = state
        n_bands, n = flux.shape
        size = n_bands * n
        G = np.zeros((size + len(columns),) * 2)
        for b in range(n_bands):
            own = slice(b * n, (b + 1) * n)
            J = flux[b, owners, None] * columns[:, b]
            G[own, own] = F[b]
            G[own, size:] = (images[:, b] * self.weight[b]) @ J.T
            G[size:, own] = G[own, size:].T
            G[size:, size:] += (J * self.weight[b]) @ J.T
        index = np.arange(size, len(G))
        G[index, index] += np.broadcast_to(PRIOR_SIGMA ** -2.0,
                                           self.free.shape)[self.free]
        scale = 1 / np.sqrt(np.maximum(np.diag(G), 1e-300))
        inverse = np.linalg.pinv(G * np.outer(scale, scale),
                                 hermitian=True)
        return inverse * np.outer(scale, scale)


def _clip(parameters):
    """Keep parameters inside their limits."""
    out = parameters.copy()
    out[:, 2] = np.clip(out[:, 2], *LOG_RADIUS_LIMITS)
    out[:, 5] = np.clip(out[:, 5], NU_LIMITS[0] + 0.01, NU_LIMITS[1] - 0.01)
    eta = np.hypot(out[:, 3], out[:, 4])
    out[:, 3:5] *= np.minimum(1, MAX_ETA / np.maximum(eta, 1e-9))[:, None]
    return out


def _evaluate(fit, parameters):
    images, columns, owners = fit.render(parameters)
    return (images, columns, owners, *fit.solve(images))


def _minimise(fit, parameters, max_steps):
    """Levenberg-Marquardt from a start: parameters and their state."""
    state = _evaluate(fit, parameters)
    damping = 1e-2
    for _ in range(max_steps):
        fit.reweight(state[-1])
        state = (*state[:3], *fit.solve(state[0]))
        cost, gain = fit.cost(parameters, state[-1]), 0.0
        A, g = fit.normal(parameters, state)
        for _ in range(MAX_TRIALS):
            step = np.zeros_like(parameters)
            step[fit.free] = np.linalg.solve(
                A + damping * np.diag(np.diag(A)), g)
            trial = _clip(parameters + np.clip(step, -MAX_STEP, MAX_STEP))
            new = _evaluate(fit, trial)
            gain = cost - fit.cost(trial, new[-1])
            if gain > 0:
                parameters, state = trial, new
                damping = max(damping / 5, 1e-6)
                break
            damping *= 5
        if gain < MIN_GAIN:
            break
    return parameters, state


def fit_blend(renderer, image, mask, sky_rms, gain, xy, point, *,
              pixel_scale, max_steps=MAX_STEPS):
    """
    Fit the sources of one blend.

    Parameters
    ----------
    renderer : `~vaephot.evaluate.profiles.ProfileRenderer`
        Draws sources through the PSFs.
    image, mask : `~numpy.ndarray`, (n_bands, ny, nx)
        The image and its bad pixels.
    sky_rms : `~numpy.ndarray`, (n_bands,) or (n_bands, ny, nx)
        Noise of the sky, of bands or of pixels.
    gain : `~numpy.ndarray`, (n_bands,)
        Electrons per unit; infinite if ``sky_rms`` has all of the noise.
    xy : array_like, (n, 2)
        Positions in pixels.
    point : array_like of bool, (n,)
        Which are points.
    pixel_scale : float
        Arcsec.
    max_steps : int, optional
        Steps of the fit.

    Returns
    -------
    dict
        ``flux``, ``flux_err`` (n, n_bands), ``xy`` (n, 2),
        ``half_light_radius`` [px], ``eta1``, ``eta2``, ``nu`` (n,) and the
        noiseless ``models`` (n, n_bands, ny, nx).
    """
    fit = _Fit(renderer, image, mask, sky_rms, gain, xy, point, pixel_scale)
    p, state = _minimise(fit, fit.mean.copy(), max_steps)
    images, flux = state[0], state[4]
    n_bands, n = flux.shape
    variance = np.diag(fit.covariance(state))[:n_bands * n]
    shape = np.where(fit.point[:, None], 0.0, p)
    return {'flux': flux.T, 'xy': fit.xy + p[:, :2],
            'flux_err': np.sqrt(variance.reshape(n_bands, n).T),
            'half_light_radius': np.where(fit.point, 0, np.exp(p[:, 2])),
            'eta1': shape[:, 3], 'eta2': shape[:, 4], 'nu': shape[:, 5],
            'models': (flux.T[..., None] * images).reshape(
                n, n_bands, *renderer.shape)}


def profile_fit(observed, *, max_steps=MAX_STEPS):
    """
    Fit one Spergel profile per told position, or a point for a star.

    Parameters
    ----------
    observed : `~vaephot.evaluate.observed.ObservedBlends`
        The blends.
    max_steps : int, optional
        Steps of each fit.

    Returns
    -------
    list of dict
        One per blend, in the order of the positions; see `fit_blend`.
    """
    renderer = ProfileRenderer(observed.psf, observed.oversampling,
                               observed.shape)
    rows = []
    for k in range(len(observed)):
        row = fit_blend(renderer, observed.image[k], observed.mask[k],
                        observed.sky_rms, observed.gain,
                        observed.positions[k], observed.point_source[k],
                        pixel_scale=observed.pixel_scale,
                        max_steps=max_steps)
        row['flux_err'] = row['flux_err'] * observed.noise_correlation
        rows.append(row)
    return rows


profile_fit.uses_positions = True
