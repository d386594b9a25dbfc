# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Galaxies: a bulge and a disk, optionally with knots, or one Sersic law.

A `Galaxy` is a plain description in arcseconds; `galaxy_profile` turns
it into a GalSim object of unit flux.
"""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammainc, gammaincinv

from vaephot.simulate._galsim import drawing_accuracy, load_galsim

__all__ = ['Galaxy', 'galaxy_profile', 'half_light_radius']

# Bulges and single Sersic laws end here, in half-light radii: the
# r**(1/4) law has infinite wings that real bulges have not.
TRUNCATION = 6.0

# Sersic index of the bulge (de Vaucouleurs) and of the disk.
BULGE_INDEX = 4.0
DISK_INDEX = 1.0

# Steps of the Sersic index; each value costs one table in GalSim.
INDEX_STEP = 0.25


@dataclass(frozen=True, kw_only=True)
class Galaxy:
    """
    Shape of one galaxy, without its PSF.

    Parameters
    ----------
    disk_radius, bulge_radius : float
        Circularised half-light radii (root of the product of the axes)
        in arcsec. A single Sersic galaxy uses ``disk_radius``.
    disk_axis_ratio, bulge_axis_ratio : float
        Minor over major axis, larger than 0, at most 1.
    position_angle : float
        Direction of the common major axis, from +x to +y, in radians.
    bulge_fraction : float
        Share of the bulge in the total flux, 0 to 1; the mean over the
        bands where they differ.
    sersic_index : float or None, optional
        Index of a galaxy of one component. `None`, the default, means
        bulge plus disk.
    knot_fraction : float, optional
        Share of the disk's light in star-forming knots, 0 to 1.
    n_knots : int, optional
        Number of knots.
    knot_seed : int, optional
        Seed of the positions of the knots.
    """

    disk_radius: float
    bulge_radius: float
    disk_axis_ratio: float
    bulge_axis_ratio: float
    position_angle: float
    bulge_fraction: float
    sersic_index: float | None = None
    knot_fraction: float = 0.0
    n_knots: int = 0
    knot_seed: int = 0

    @property
    def half_light_radius(self):
        """Circularised half-light radius of the whole galaxy, arcsec."""
        if self.sersic_index is not None:
            return self.disk_radius
        return half_light_radius(self.bulge_fraction, self.bulge_radius,
                                 self.disk_radius)

    @property
    def major_radius(self):
        """Largest half-light radius along a major axis, arcsec."""
        radii = [self.disk_radius / np.sqrt(self.disk_axis_ratio)]
        if self.sersic_index is None and self.bulge_fraction > 0:
            radii.append(self.bulge_radius / np.sqrt(self.bulge_axis_ratio))
        return max(radii)

    def scaled(self, factor):
        """
        Return the galaxy enlarged by a factor.

        Parameters
        ----------
        factor : float
            Ratio of the new radii to the old ones.

        Returns
        -------
        `Galaxy`
        """
        return replace(self, disk_radius=self.disk_radius * factor,
                       bulge_radius=self.bulge_radius * factor)

    @property
    def conformal_shear(self):
        """
        Flux-weighted conformal shear (eta1, eta2).

        Its modulus is -ln(axis ratio), its direction twice the position
        angle.
        """
        share = (0.0 if self.sersic_index is not None
                 else self.bulge_fraction)
        eta = -(share * np.log(self.bulge_axis_ratio)
                + (1 - share) * np.log(self.disk_axis_ratio))
        angle = 2 * self.position_angle
        return eta * np.cos(angle), eta * np.sin(angle)


def _sersic_exponent(index):
    """Factor b of the exponent for radii in half-light radii."""
    return gammaincinv(2 * index, 0.5)


@cache
def _truncated_scale(index):
    """Half-light radius of a truncated law over the untruncated one."""
    b = _sersic_exponent(index)

    def excess(ratio):
        inner = gammainc(2 * index, b * ratio ** (1 / index))
        outer = gammainc(2 * index,
                         b * (TRUNCATION * ratio) ** (1 / index))
        return inner / outer - 0.5

    return brentq(excess, 1e-3, 1.0)


def _curve_of_growth(radius, index, *, truncated):
    """Share of the light within ``radius``, in half-light radii."""
    b = _sersic_exponent(index)
    if not truncated:
        return gammainc(2 * index, b * radius ** (1 / index))
    ratio = _truncated_scale(index)
    radius = np.minimum(radius, TRUNCATION) * ratio
    total = gammainc(2 * index, b * (TRUNCATION * ratio) ** (1 / index))
    return gammainc(2 * index, b * radius ** (1 / index)) / total


def half_light_radius(bulge_fraction, bulge_radius, disk_radius):
    """
    Half-light radius of a bulge and a disk of circular isophotes.

    Parameters
    ----------
    bulge_fraction : float
        Share of the bulge in the flux.
    bulge_radius, disk_radius : float
        Half-light radii of the truncated r**(1/4) bulge and of the
        exponential disk, in the same unit.

    Returns
    -------
    float
        In the unit of the radii.

    Examples
    --------
    >>> from vaephot.simulate.galaxies import half_light_radius
    >>> half_light_radius(0.0, 0.2, 0.4)
    0.4
    """
    if bulge_fraction <= 0:
        return disk_radius
    if bulge_fraction >= 1:
        return bulge_radius

    def excess(radius):
        bulge = _curve_of_growth(radius / bulge_radius, BULGE_INDEX,
                                 truncated=True)
        disk = _curve_of_growth(radius / disk_radius, DISK_INDEX,
                                truncated=False)
        return bulge_fraction * bulge + (1 - bulge_fraction) * disk - 0.5

    low, high = sorted((bulge_radius, disk_radius))
    return brentq(excess, 0.999 * low, 1.001 * high)


def _sersic(index, radius, axis_ratio, angle, gsparams):
    """Elliptical Sersic law of unit flux."""
    galsim = load_galsim()
    # unit radius first: GalSim then finds its table in a cache
    if index == DISK_INDEX:
        profile = galsim.Exponential(half_light_radius=1.0,
                                     gsparams=gsparams)
    else:
        profile = galsim.Sersic(index, half_light_radius=1.0,
                                trunc=TRUNCATION, gsparams=gsparams)
    return profile.dilate(radius).shear(q=axis_ratio,
                                        beta=angle * galsim.radians)


def _knots(galaxy, gsparams):
    """Knots spread like the disk, of unit flux in all."""
    galsim = load_galsim()
    spread = galsim.Exponential(half_light_radius=galaxy.disk_radius)
    knots = galsim.RandomKnots(
        galaxy.n_knots, profile=spread, gsparams=gsparams,
        rng=galsim.BaseDeviate(galaxy.knot_seed + 1))
    return knots.shear(q=galaxy.disk_axis_ratio,
                       beta=galaxy.position_angle * galsim.radians)


def galaxy_profile(galaxy, *, bulge_fraction=None, gsparams=None):
    """
    Turn a galaxy into a GalSim profile of unit flux.

    Parameters
    ----------
    galaxy : `Galaxy`
        The shape.
    bulge_fraction : float or None, optional
        Share of the bulge in the band to draw. `None` takes that of
        the galaxy.
    gsparams : `galsim.GSParams` or None, optional
        Accuracy. `None` takes that of normalised stamps.

    Returns
    -------
    `galsim.GSObject`
        Unit flux, centred on the origin, lengths in arcsec.
    """
    gsparams = drawing_accuracy() if gsparams is None else gsparams
    angle = galaxy.position_angle
    if galaxy.sersic_index is not None:
        return _sersic(galaxy.sersic_index, galaxy.disk_radius,
                       galaxy.disk_axis_ratio, angle, gsparams)
    share = (galaxy.bulge_fraction if bulge_fraction is None
             else bulge_fraction)
    knots = galaxy.knot_fraction if galaxy.n_knots else 0.0
    parts = []
    if share < 1:
        disk = _sersic(DISK_INDEX, galaxy.disk_radius,
                       galaxy.disk_axis_ratio, angle, gsparams)
        parts.append((1 - share) * (1 - knots) * disk)
        if knots:
            parts.append((1 - share) * knots * _knots(galaxy, gsparams))
    if share > 0:
        parts.append(share * _sersic(BULGE_INDEX, galaxy.bulge_radius,
                                     galaxy.bulge_axis_ratio, angle,
                                     gsparams))
    return load_galsim().Add(parts, gsparams=gsparams)
