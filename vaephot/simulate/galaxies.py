# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Galaxies: a bulge and a disk with its structure, or one Sersic law.

A `Galaxy` is a plain description in arcseconds. Its `Galaxy.components`
are drawn in Fourier space; `galaxy_profile` turns it into a GalSim
object of unit flux, the independent path that the drawing is tested
against.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammainc

from vaephot.exceptions import CatalogError
from vaephot.simulate._checks import check_number
from vaephot.simulate._galsim import drawing_accuracy, load_galsim
from vaephot.simulate.disk_features import (
    ARM_WIDTH,
    BAR_AXIS_RATIO,
    BAR_INDEX,
    KNOT_WIDTH,
    Structure,
    arm_cloud,
    knot_cloud,
)
from vaephot.simulate.transforms import (
    TRUNCATION,
    Component,
    sersic_exponent,
    shear_matrix,
    truncated_scale,
)

__all__ = ['INDEX_LIMITS', 'INDEX_STEP', 'TRUNCATION', 'Galaxy',
           'galaxy_profile', 'half_light_radius', 'round_index']

# Sersic index of the bulge (de Vaucouleurs) and of the disk.
BULGE_INDEX = 4.0
DISK_INDEX = 1.0

# Steps and limits of the Sersic index; each value costs one table.
INDEX_STEP = 0.25
INDEX_LIMITS = (0.5, 6.0)

# Share of the disk's colour that is on its own in the young stars:
# their light rises as wavelength to this power beyond that of the disk.
YOUNG_SLOPE = -1.0
# Wavelength in nm that the shares of a `Structure` hold for, VIS.
YOUNG_PIVOT_NM = 725.0

# A disk without knots, arms or bar.
SMOOTH = Structure()


def round_index(index):
    """
    Nearest Sersic index that has a table.

    Parameters
    ----------
    index : float
        Sersic index.

    Returns
    -------
    float
        Within ``INDEX_LIMITS``, in steps of ``INDEX_STEP``.
    """
    return float(np.clip(np.round(index / INDEX_STEP) * INDEX_STEP,
                         *INDEX_LIMITS))


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
        Share of the bulge in the total flux, 0 to 1, in the reference
        band.
    sersic_index : float or None, optional
        Index of a galaxy of one component. `None`, the default, means
        bulge plus disk.
    bulge_index : float, optional
        Index of the bulge.
    structure : `~vaephot.simulate.disk_features.Structure`, optional
        Knots, arms and bar of the disk; none by default.
    shear : tuple of float, optional
        Reduced shear (g1, g2) by gravitational lenses.
    """

    disk_radius: float
    bulge_radius: float
    disk_axis_ratio: float
    bulge_axis_ratio: float
    position_angle: float
    bulge_fraction: float
    sersic_index: float | None = None
    bulge_index: float = BULGE_INDEX
    structure: Structure = SMOOTH
    shear: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self):
        for name in ('disk_radius', 'bulge_radius'):
            if not 0 < getattr(self, name) < np.inf:
                msg = (f'{name} is {getattr(self, name)} arcsec; it must be '
                       f'positive.')
                raise CatalogError(msg, value=getattr(self, name))
        for name in ('disk_axis_ratio', 'bulge_axis_ratio'):
            if not 0 < getattr(self, name) <= 1:
                msg = (f'{name} is {getattr(self, name)}; it must be above '
                       f'0 and at most 1.')
                raise CatalogError(msg, value=getattr(self, name))
        if not 0 <= self.bulge_fraction <= 1:
            msg = (f'bulge_fraction is {self.bulge_fraction}; it must be '
                   f'from 0 to 1.')
            raise CatalogError(msg, value=self.bulge_fraction)
        check_number('a galaxy', 'the modulus of shear',
                     np.hypot(*self.shear), high=1.0)

    @property
    def is_single(self):
        """Whether the galaxy is one Sersic law."""
        return self.sersic_index is not None

    @property
    def half_light_radius(self):
        """Circularised half-light radius of the whole galaxy, arcsec."""
        if self.is_single:
            return self.disk_radius
        return half_light_radius(self.bulge_fraction, self.bulge_radius,
                                 self.disk_radius, self.bulge_index)

    @property
    def major_radius(self):
        """Largest half-light radius along a major axis, arcsec."""
        radii = [self.disk_radius / np.sqrt(self.disk_axis_ratio)]
        if not self.is_single and self.bulge_fraction > 0:
            radii.append(self.bulge_radius / np.sqrt(self.bulge_axis_ratio))
        return max(radii)

    @property
    def extent(self):
        """Radius in arcsec that holds all but 0.1 per cent of the light."""
        return TRUNCATION * self.major_radius

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

    def turned(self, angle):
        """
        Return the galaxy at another position angle.

        Parameters
        ----------
        angle : float
            Direction of the major axis, from +x to +y, in radians.

        Returns
        -------
        `Galaxy`
        """
        return replace(self, position_angle=float(angle))

    def with_structure(self, structure):
        """
        Return the galaxy with knots, arms and a bar.

        Parameters
        ----------
        structure : `~vaephot.simulate.disk_features.Structure`
            What replaces the structure of the galaxy.

        Returns
        -------
        `Galaxy`
        """
        return replace(self, structure=structure)

    def _matrix(self, axis_ratio):
        """Matrix of an ellipse of the galaxy."""
        matrix = shear_matrix(axis_ratio, self.position_angle)
        if any(self.shear):
            g1, g2 = self.shear
            lens = np.array([[1 + g1, g2], [g2, 1 - g1]])
            matrix = lens / np.sqrt(1 - g1 ** 2 - g2 ** 2) @ matrix
        return matrix

    @property
    def conformal_shear(self):
        """
        Flux-weighted conformal shear (eta1, eta2).

        Its modulus is -ln(axis ratio), its direction twice the position
        angle; that of lenses is included.
        """
        share = 0.0 if self.is_single else self.bulge_fraction
        disk = _eta(self._matrix(self.disk_axis_ratio))
        if share == 0:
            return disk
        bulge = _eta(self._matrix(self.bulge_axis_ratio))
        return (share * bulge[0] + (1 - share) * disk[0],
                share * bulge[1] + (1 - share) * disk[1])

    def components(self):
        """
        Take the galaxy apart.

        Returns
        -------
        list of `~vaephot.simulate.transforms.Component`
            Shares of the parts ``bulge`` and ``disk`` add to 1 each;
            ``young`` has the share of the knots in the disk.
        """
        disk_matrix = self._matrix(self.disk_axis_ratio)
        if self.is_single:
            return [Component(part='disk', share=1.0, matrix=disk_matrix,
                              radius=self.disk_radius,
                              index=self.sersic_index)]
        out = [Component(part='disk', share=self.structure.smooth_fraction,
                         radius=self.disk_radius, matrix=disk_matrix,
                         index=DISK_INDEX),
               *self._structure(disk_matrix)]
        if self.bulge_fraction > 0:
            out.append(Component(
                part='bulge', share=1.0, radius=self.bulge_radius,
                matrix=self._matrix(self.bulge_axis_ratio),
                index=self.bulge_index))
        return out

    def _structure(self, matrix):
        """Components of knots, arms and bar."""
        structure, radius, out = self.structure, self.disk_radius, []
        # clouds live in the plane of the disk, major axis along x
        c, s = np.cos(self.position_angle), np.sin(self.position_angle)
        turn = np.array([[c, -s], [s, c]])
        for part, share, cloud, width in (
                ('young', structure.knot_fraction, knot_cloud, KNOT_WIDTH),
                ('disk', structure.arm_fraction, arm_cloud, ARM_WIDTH)):
            if share > 0:
                points, weights = cloud(structure)
                out.append(Component(
                    part=part, share=share, radius=radius * width,
                    matrix=matrix @ turn, points=points * radius,
                    weights=weights))
        if structure.bar_fraction > 0:
            flat = shear_matrix(BAR_AXIS_RATIO, structure.bar_angle)
            out.append(Component(
                part='disk', share=structure.bar_fraction, index=BAR_INDEX,
                radius=radius * structure.bar_radius
                * np.sqrt(BAR_AXIS_RATIO), matrix=matrix @ turn @ flat))
        return out

    def part_fluxes(self, bulge_fractions, wavelengths_nm=None):
        """
        Shares of the parts in each band.

        Parameters
        ----------
        bulge_fractions : ndarray (n_bands,)
            Share of the bulge in the total flux.
        wavelengths_nm : ndarray (n_bands,) or None, optional
            Wavelengths of the bands. `None` gives knots the colour of
            the disk.

        Returns
        -------
        dict of ndarray (n_bands,)
            Factors of the ``share`` of each component, by part; the
            fluxes of all components add to 1 in each band.
        """
        bulge = np.asarray(bulge_fractions, float)
        if self.is_single:
            return {'disk': np.ones_like(bulge)}
        young = self.structure.knot_fraction
        excess = (np.ones_like(bulge) if wavelengths_nm is None else
                  (np.asarray(wavelengths_nm) / YOUNG_PIVOT_NM)
                  ** YOUNG_SLOPE)
        disk = (1 - bulge) / (1 - young + young * excess)
        return {'bulge': bulge, 'disk': disk, 'young': disk * excess}


def _eta(matrix):
    """Conformal shear of the ellipse that a matrix makes of a circle."""
    moments = matrix @ matrix.T
    trace = moments[0, 0] + moments[1, 1]
    difference = moments[0, 0] - moments[1, 1]
    modulus = np.hypot(difference, 2 * moments[0, 1])
    if modulus < 1e-15:
        return 0.0, 0.0
    # distortion e = (1 - q^2) / (1 + q^2) = tanh(eta)
    eta = np.arctanh(modulus / trace)
    return eta * difference / modulus, eta * 2 * moments[0, 1] / modulus


def _curve_of_growth(radius, index):
    """Share of the light within ``radius``, in half-light radii."""
    b = sersic_exponent(index)
    if index == DISK_INDEX:
        return gammainc(2 * index, b * radius ** (1 / index))
    ratio = truncated_scale(index)
    radius = np.minimum(radius, TRUNCATION) * ratio
    total = gammainc(2 * index, b * (TRUNCATION * ratio) ** (1 / index))
    return gammainc(2 * index, b * radius ** (1 / index)) / total


def half_light_radius(bulge_fraction, bulge_radius, disk_radius,
                      bulge_index=BULGE_INDEX):
    """
    Half-light radius of a bulge and a disk of circular isophotes.

    Parameters
    ----------
    bulge_fraction : float
        Share of the bulge in the flux.
    bulge_radius, disk_radius : float
        Half-light radii of the truncated bulge and of the exponential
        disk, in the same unit.
    bulge_index : float, optional
        Sersic index of the bulge.

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
        bulge = _curve_of_growth(radius / bulge_radius, bulge_index)
        disk = _curve_of_growth(radius / disk_radius, DISK_INDEX)
        return bulge_fraction * bulge + (1 - bulge_fraction) * disk - 0.5

    low, high = sorted((bulge_radius, disk_radius))
    return brentq(excess, 0.999 * low, 1.001 * high, xtol=1e-5 * low)


def _component_profile(component, gsparams):
    """Turn a component into a GalSim profile of unit flux."""
    galsim = load_galsim()
    if component.index is None:
        blob = galsim.Gaussian(sigma=component.radius, gsparams=gsparams)
        profile = galsim.Add([
            weight * blob.shift(*point) for point, weight in
            zip(component.points, component.weights, strict=True)])
    else:
        # unit radius first: GalSim then finds its table in a cache
        profile = (
            galsim.Exponential(half_light_radius=1.0, gsparams=gsparams)
            if component.index == DISK_INDEX else
            galsim.Sersic(component.index, half_light_radius=1.0,
                          trunc=TRUNCATION, gsparams=gsparams))
        profile = profile.dilate(component.radius)
    return profile.transform(*component.matrix.ravel())


def galaxy_profile(galaxy, *, bulge_fraction=None, wavelength_nm=None,
                   gsparams=None):
    """
    Turn a galaxy into a GalSim profile of unit flux.

    Parameters
    ----------
    galaxy : `Galaxy`
        The shape.
    bulge_fraction : float or None, optional
        Share of the bulge in the band to draw. `None` takes that of
        the galaxy.
    wavelength_nm : float or None, optional
        Wavelength of the band, which sets the share of young stars.
        `None` gives them the colour of the disk.
    gsparams : `galsim.GSParams` or None, optional
        Accuracy. `None` takes that of normalised stamps.

    Returns
    -------
    `galsim.GSObject`
        Unit flux, centred on the origin, lengths in arcsec.
    """
    gsparams = drawing_accuracy() if gsparams is None else gsparams
    share = (galaxy.bulge_fraction if bulge_fraction is None
             else bulge_fraction)
    waves = None if wavelength_nm is None else np.array([wavelength_nm])
    fluxes = galaxy.part_fluxes(np.array([share]), waves)
    parts = [float(component.share * fluxes[component.part][0])
             * _component_profile(component, gsparams)
             for component in galaxy.components()]
    return load_galsim().Add([part for part in parts if part.flux > 0],
                             gsparams=gsparams)
