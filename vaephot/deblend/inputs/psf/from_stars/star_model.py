# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
A PSF with the freedom that stars can tell about.

An elliptical Moffat profile carries the width and the wings, cubic B-splines
on a grid finer than the PSF what it lacks. The coefficients of the splines
may be polynomials of the position.
"""

from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
from scipy.interpolate import BSpline
from scipy.ndimage import map_coordinates
from scipy.sparse import csr_array

from vaephot.deblend.inputs.psf.extent import measure_fwhm

__all__ = ['Moffat', 'StarModel', 'make_basis']

# spacing of the splines in FWHM: twice as fine as the Nyquist sampling of a
# diffraction limited PSF, whose FWHM is one wavelength over the aperture
KNOTS_PER_FWHM = 3.5
# and the least in pixels: pixels leave nothing finer in an effective PSF
MIN_STEP = 0.6
# radius within which there are splines, in FWHM
CORE_FWHM = 2.5
# range of the exponent: that of Gaussian and of scattered light
MIN_BETA, MAX_BETA = 1.3, 12.0


@dataclass(frozen=True, kw_only=True)
class Moffat:
    """
    Elliptical profile of peak 1: ``(1 + r^2 / alpha^2)^-beta``.

    ``theta`` is ln(FWHM), two components of the ellipticity and ln(beta).
    """

    theta: np.ndarray

    @property
    def fwhm(self):
        """FWHM in pixels of the circle of the same area."""
        return float(np.exp(self.theta[0]))

    def limited(self, min_fwhm, max_fwhm):
        """The nearest one with allowed parameters."""
        theta = self.theta.copy()
        theta[0] = np.clip(theta[0], np.log(min_fwhm), np.log(max_fwhm))
        theta[1:3] = np.clip(theta[1:3], -0.6, 0.6)
        theta[3] = np.clip(theta[3], np.log(MIN_BETA), np.log(MAX_BETA))
        return Moffat(theta=theta)

    def __call__(self, dx, dy):
        """Values at offsets."""
        log_fwhm, e1, e2, log_beta = self.theta
        beta = np.exp(log_beta)
        alpha = np.exp(log_fwhm) / (2 * np.sqrt(2 ** (1 / beta) - 1))
        # of determinant 1, so that the ellipticity keeps the area
        scale = alpha ** 2 * np.sqrt(max(1 - e1 ** 2 - e2 ** 2, 0.1))
        r2 = ((1 - e1) * dx ** 2 + (1 + e1) * dy ** 2 - 2 * e2 * dx * dy)
        return (1 + r2 / scale) ** -beta


@dataclass(frozen=True, kw_only=True)
class Basis:
    """
    Cubic B-splines on a square grid inside a circle.

    ``step`` in pixels; ``number`` (side, side) of each spline, -1 outside.
    """

    step: float
    number: np.ndarray

    @property
    def size(self):
        """How many splines there are."""
        return int(self.number.max()) + 1

    def centres(self):
        """Offsets of the splines in pixels, dy and dx, (size,)."""
        half = len(self.number) // 2
        inside = np.nonzero(self.number >= 0)
        return [(index - half) * self.step for index in inside]

    def design(self, dx, dy):
        """Splines at offsets (n,), (n, size) sparse."""
        half = len(self.number) // 2
        first, weights = zip(*(self._along(value, half) for value in (dy, dx)),
                             strict=True)
        rows, columns, values = [], [], []
        side = len(self.number)
        for a in range(4):
            for b in range(4):
                iy, ix = first[0] + a, first[1] + b
                inside = ((iy >= 0) & (iy < side) & (ix >= 0) & (ix < side))
                number = np.where(inside, self.number[
                    np.clip(iy, 0, side - 1), np.clip(ix, 0, side - 1)], -1)
                kept = np.flatnonzero(number >= 0)
                rows.append(kept)
                columns.append(number[kept])
                values.append((weights[0][a] * weights[1][b])[kept])
        return csr_array(
            (np.concatenate(values),
             (np.concatenate(rows), np.concatenate(columns))),
            shape=(len(dx), self.size))

    def evaluate(self, coefficients, dx, dy):
        """Sum of the splines at offsets of any shape."""
        grid = np.append(coefficients, 0.0)[self.number]
        half = len(grid) // 2 + _REACH
        return map_coordinates(
            np.pad(grid, _REACH), [dy / self.step + half, dx / self.step
                                   + half], order=3, prefilter=False)

    def _along(self, offset, half):
        """First of four splines that reach each offset, and their values."""
        place = offset / self.step + half
        first = np.floor(place).astype(int) - 1
        return first, [_CUBIC(place - first - k) for k in range(4)]


# steps to each side that a cubic spline is not zero in
_REACH = 2
_CUBIC = BSpline.basis_element([-2, -1, 0, 1, 2], extrapolate=False)


def make_basis(fwhm):
    """Splines for a PSF of some FWHM."""
    step = max(fwhm / KNOTS_PER_FWHM, MIN_STEP)
    half = int(np.ceil(CORE_FWHM * fwhm / step))
    index = np.arange(-half, half + 1)
    inside = np.hypot(index[:, None], index) <= half
    number = np.where(inside, np.cumsum(inside).reshape(inside.shape) - 1, -1)
    return Basis(step=step, number=number)


@dataclass(frozen=True, kw_only=True)
class StarModel:
    """
    PSF of unit peak of its profile.

    ``coefficients`` (n_terms, n_splines); the terms are 1, u, v, u^2, u v,
    v^2 of positions scaled to -1 ... 1 over an image of ``shape``; ``scale``
    is that of their prior.
    """

    moffat: Moffat
    basis: Basis
    coefficients: np.ndarray
    shape: tuple
    centre: tuple = (0.0, 0.0)
    scale: float | None = None

    @cached_property
    def fwhm(self):
        """FWHM in pixels in the middle of the image."""
        oversampling = int(np.ceil(8 / self.moffat.fwhm))
        half = int(np.ceil(2 * self.moffat.fwhm)) * oversampling
        ny, nx = self.shape
        return measure_fwhm(self.grid(half, oversampling, (nx - 1) / 2,
                                      (ny - 1) / 2), oversampling)

    def at(self, x, y):
        """Function of offsets (n, p) from positions (n,)."""
        return partial(self.evaluate, x=x, y=y)

    def terms(self, x, y):
        """Polynomials at positions (n,), (n, n_terms)."""
        u, v = (2 * np.asarray(value, float) / max(size - 1, 1) - 1
                for value, size in ((x, self.shape[1]), (y, self.shape[0])))
        every = [np.ones_like(u), u, v, u * u, u * v, v * v]
        return np.stack(every[:len(self.coefficients)], -1)

    def evaluate(self, dx, dy, x, y):
        """Values (n, p) at offsets (n, p) from positions x, y (n,)."""
        dx, dy = dx + self.centre[0], dy + self.centre[1]
        value = self.moffat(dx, dy)
        terms = self.terms(x, y)
        for k, coefficients in enumerate(self.coefficients):
            value += terms[:, k, None] * self.basis.evaluate(coefficients,
                                                             dx, dy)
        return value

    def grid(self, half, oversampling, x, y):
        """Image of odd side around a position, (side, side)."""
        steps = np.arange(-half, half + 1) / oversampling
        dx, dy = np.meshgrid(steps, steps)
        values = self.evaluate(dx.reshape(1, -1), dy.reshape(1, -1),
                               np.array([x]), np.array([y]))
        return values.reshape(dx.shape)

    def without_splines(self, n_terms):
        """The profile, with room for some polynomial terms."""
        return replace(self, coefficients=np.zeros((n_terms,
                                                    self.basis.size)))

    def moved(self, dx, dy):
        """With the centre elsewhere."""
        return replace(self, centre=(self.centre[0] + dx,
                                     self.centre[1] + dy))
