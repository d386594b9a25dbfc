# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Fourier transforms of galaxies, without GalSim's setting up.

A galaxy is a sum of `Component` objects: a Sersic law or a cloud of
Gaussian blobs, each on an ellipse. Their transforms are analytic or read
off a table, and agree with GalSim's to 1e-4 of the flux.
"""

from dataclasses import dataclass, field
from functools import cache

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.optimize import brentq
from scipy.special import gammainc, gammaincinv, j0

__all__ = ['TRUNCATION', 'Component', 'radial_transform', 'sersic_exponent',
           'shear_matrix', 'truncated_scale']

# Sersic laws other than the exponential end here, in half-light radii:
# the r**(1/4) law has infinite wings that real galaxies have not.
TRUNCATION = 6.0

# Half-light radius of an exponential disk over its scale length.
EXPONENTIAL_RADIUS = 1.6783469900166605

# Table of a radial transform: largest frequency in cycles per half-light
# radius (beyond, nothing is left), steps per cycle that are computed and
# those that a spline makes of them, and radii of the integral.
TABLE_REACH = 40
COMPUTED_STEPS = 40
TABLE_STEPS = 320
TABLE_RADII = 1000


def sersic_exponent(index):
    """
    Factor b of a Sersic law whose radii are in half-light radii.

    Parameters
    ----------
    index : float
        Sersic index.

    Returns
    -------
    float
        Such that half of the light of the infinite law is inside 1
        (Ciotti 1991, A&A 249, 99, eq. 3).
    """
    return gammaincinv(2 * index, 0.5)


@cache
def truncated_scale(index):
    """
    Half-light radius of a truncated law over that of the infinite one.

    Parameters
    ----------
    index : float
        Sersic index.

    Returns
    -------
    float
        For a truncation at ``TRUNCATION`` half-light radii of the
        truncated law.
    """
    b = sersic_exponent(index)

    def excess(ratio):
        inner = gammainc(2 * index, b * ratio ** (1 / index))
        outer = gammainc(2 * index,
                         b * (TRUNCATION * ratio) ** (1 / index))
        return inner / outer - 0.5

    return brentq(excess, 1e-3, 1.0)


@cache
def _legendre_nodes():
    """Nodes and weights of the integral over radius."""
    return np.polynomial.legendre.leggauss(TABLE_RADII)


@cache
def _sersic_table(index):
    """Transform of a truncated law on an even grid of frequencies."""
    # radii r = t**4 crowd where the law is steep; Gauss-Legendre in t
    node, weight = _legendre_nodes()
    t = (node + 1) / 2 * TRUNCATION ** 0.25
    weight = weight / 2 * TRUNCATION ** 0.25
    radius = t ** 4
    inner = radius * truncated_scale(index)
    law = np.exp(-sersic_exponent(index) * inner ** (1 / index))
    ring = law * radius * 4 * t ** 3 * weight
    k = np.arange(TABLE_REACH * COMPUTED_STEPS + 1) / COMPUTED_STEPS
    computed = j0(2 * np.pi * k[:, None] * radius) @ ring / ring.sum()
    # the transform is even, so its slope at zero frequency is zero
    spline = CubicSpline(k, computed, bc_type=((1, 0.0), 'not-a-knot'))
    table = spline(np.arange(TABLE_REACH * TABLE_STEPS + 1) / TABLE_STEPS)
    table[-2:] = 0.0
    table.setflags(write=False)
    return table


def radial_transform(index, k_squared):
    """
    Fourier transform of a round Sersic law of unit flux.

    Parameters
    ----------
    index : float
        Sersic index; 1 is an exponential without an end, others end at
        ``TRUNCATION`` half-light radii.
    k_squared : ndarray
        Squared frequency in cycles per half-light radius.

    Returns
    -------
    ndarray
        Of the shape of ``k_squared``.
    """
    if index == 1:
        scaled = 1 + (2 * np.pi / EXPONENTIAL_RADIUS) ** 2 * k_squared
        return 1 / (scaled * np.sqrt(scaled))
    table = _sersic_table(index)
    place = np.sqrt(k_squared)
    place *= TABLE_STEPS
    np.minimum(place, len(table) - 2, out=place)
    low = place.astype(np.intp)
    place -= low
    left = table[low]
    return left + place * (table[low + 1] - left)


def shear_matrix(axis_ratio, angle):
    """
    Matrix of unit determinant that makes a circle an ellipse.

    Parameters
    ----------
    axis_ratio : float
        Minor over major axis.
    angle : float
        Direction of the major axis, from +x to +y, in radians.

    Returns
    -------
    ndarray (2, 2)
    """
    root = np.sqrt(axis_ratio)
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s], [s, c]])
    return turn @ np.diag([1 / root, root]) @ turn.T


@dataclass(frozen=True, kw_only=True)
class Component:
    """
    Part of a galaxy with one spectrum and unit flux.

    Parameters
    ----------
    part : {'bulge', 'disk', 'young'}
        Spectrum that it has.
    share : float
        Share of the light of that part.
    radius : float
        Circularised half-light radius of a Sersic law, or sigma of the
        blobs of a cloud, in arcsec.
    matrix : ndarray (2, 2)
        Takes the round law to the sky; its determinant is 1.
    index : float or None, optional
        Sersic index. `None` means a cloud.
    points : ndarray (n, 2) or None, optional
        Places of the blobs in arcsec, x and y, before ``matrix``.
    weights : ndarray (n,) or None, optional
        Shares of the blobs, of sum 1.
    """

    part: str
    share: float
    radius: float
    matrix: np.ndarray = field(repr=False)
    index: float | None = None
    points: np.ndarray | None = field(default=None, repr=False)
    weights: np.ndarray | None = field(default=None, repr=False)

    def transform(self, kx, ky):
        """
        Fourier transform on a grid of frequencies.

        Parameters
        ----------
        kx, ky : ndarray (n_x,), (n_y,)
            In cycles per arcsec.

        Returns
        -------
        ndarray (n_y, n_x)
            Real for Sersic laws, complex for clouds.
        """
        (a, b), (c, d) = self.matrix
        # k . (A r) = (A^T k) . r, so a law at |A^T k|
        square = (((a * a + b * b) * kx ** 2)[None, :]
                  + ((c * c + d * d) * ky ** 2)[:, None])
        cross = 2 * (a * c + b * d)
        if cross:
            square += (cross * ky)[:, None] * kx[None, :]
        square *= self.radius ** 2
        if self.index is not None:
            return radial_transform(self.index, square)
        blob = np.exp(-2 * np.pi ** 2 * square)
        return blob * self._cloud(kx, ky)

    def _cloud(self, kx, ky):
        """Transform of the points alone."""
        x, y = self.matrix @ self.points.T
        wave_x = np.exp(-2j * np.pi * x[:, None] * kx)
        wave_y = np.exp(-2j * np.pi * ky[:, None] * y)
        return (wave_y * self.weights) @ wave_x
