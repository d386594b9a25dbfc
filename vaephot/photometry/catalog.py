# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The table of measurements of deblended sources."""

from dataclasses import dataclass, fields

import astropy.units as u
import numpy as np
from astropy.table import QTable
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales

from vaephot.exceptions import BandMismatchError, ShapeMismatchError
from vaephot.photometry.magnitudes import ab_magnitude, ab_magnitude_error

__all__ = ['Measurements', 'make_table', 'pixel_scale']

PER_BAND = ('flux', 'flux_err', 'blendedness')
OPTIONAL = ('p_source', 'p_point')


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """
    What was measured of ``n`` sources, in pixels and data units.

    Parameters
    ----------
    label, parent_label : `numpy.ndarray` of int, (n,)
        Label of the source, and of its parent in the input; 0 for none.
    x, y, x_err, y_err : `numpy.ndarray`, (n,)
        Position, centre of the first pixel 0, and its 1-sigma error.
    n_blended : `numpy.ndarray` of int, (n,)
        Number of children of the parent.
    area : `numpy.ndarray` of int, (n,)
        Pixels owned.
    half_light_radius : `numpy.ndarray`, (n,)
        Of the galaxy without PSF, in pixels.
    axis_ratio : `numpy.ndarray`, (n,)
        Minor to major axis, without PSF.
    orientation : `numpy.ndarray` or `~astropy.units.Quantity`, (n,)
        Of the major axis, from the x axis counter-clockwise; in radians
        if it has no unit.
    flux, flux_err : `numpy.ndarray`, (n, n_bands)
        Total flux and its 1-sigma error.
    blendedness : `numpy.ndarray`, (n, n_bands)
        Share of light of others at the place of the source.
    reduced_chi2 : `numpy.ndarray`, (n,)
        Over the box of the source, all bands.
    flags : `numpy.ndarray` of int, (n,)
        See `~vaephot.decode_flags`.
    p_source, p_point : `numpy.ndarray` or None, (n,)
        Probability to be a source of its own, and to be a point source.
        `None`, the default, if it is not known: NaN.

    Raises
    ------
    ShapeMismatchError
        If an array does not have a row for each source and, where it
        should, a column for each band.
    """

    label: np.ndarray
    parent_label: np.ndarray
    x: np.ndarray
    y: np.ndarray
    x_err: np.ndarray
    y_err: np.ndarray
    n_blended: np.ndarray
    area: np.ndarray
    half_light_radius: np.ndarray
    axis_ratio: np.ndarray
    orientation: np.ndarray
    flux: np.ndarray
    flux_err: np.ndarray
    blendedness: np.ndarray
    reduced_chi2: np.ndarray
    flags: np.ndarray
    p_source: np.ndarray | None = None
    p_point: np.ndarray | None = None

    def __post_init__(self):
        n_sources = len(self.label)
        want = {name: np.shape(self.flux) for name in PER_BAND}
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None and field.name in OPTIONAL:
                continue
            shape = want.get(field.name, (n_sources,))
            if np.shape(value) != shape or shape[0] != n_sources or (
                    field.name in PER_BAND and len(shape) != 2):
                msg = (f'{field.name} has the shape {np.shape(value)}, but '
                       f'there are {n_sources} sources and the flux has '
                       f'the shape {np.shape(self.flux)}.')
                raise ShapeMismatchError(msg, name=field.name,
                                         shape=np.shape(value))


def _numeric_pixel_scale(wcs):
    """Scale of a WCS without linear terms, at its first pixel."""
    corner = wcs.pixel_to_world([0, 1, 0], [0, 0, 1])
    sides = corner[0].separation(corner[1:]).arcsec
    return float(np.sqrt(sides[0] * sides[1]))


def pixel_scale(wcs):
    """
    Side of a pixel on the sky.

    Parameters
    ----------
    wcs : `~astropy.wcs.WCS` or other APE-14 WCS
        Of the image; for one that is not astropy's, the scale is that at
        the first pixel.

    Returns
    -------
    `~astropy.units.Quantity`
        In arcsec: the geometric mean of the two sides.

    Examples
    --------
    >>> from astropy.wcs import WCS
    >>> from vaephot.photometry import pixel_scale
    >>> wcs = WCS(naxis=2)
    >>> wcs.wcs.ctype = 'RA---TAN', 'DEC--TAN'
    >>> wcs.wcs.cdelt = -0.1 / 3600, 0.1 / 3600
    >>> pixel_scale(wcs).round(9)
    <Quantity 0.1 arcsec>
    """
    if not isinstance(wcs, WCS):
        return _numeric_pixel_scale(wcs) * u.arcsec
    celestial = wcs.celestial
    sides = [scale * u.Unit(unit) for scale, unit in zip(
        proj_plane_pixel_scales(celestial), celestial.wcs.cunit,
        strict=True)]
    return np.sqrt(sides[0] * sides[1]).to(u.arcsec)


def _add_bands(table, name, values, suffixes):
    """Add one column per band."""
    for suffix, column in zip(suffixes, values.T, strict=True):
        table[name + suffix] = column


def _add_photometry(table, m, suffixes, unit, zeropoint):
    """Add fluxes, magnitudes and what is derived from them."""
    flux, flux_err = (np.asarray(values, float)
                      for values in (m.flux, m.flux_err))
    with np.errstate(divide='ignore', invalid='ignore'):
        snr = flux / flux_err
    scale = 1 if unit is None else unit
    _add_bands(table, 'flux', flux * scale, suffixes)
    _add_bands(table, 'flux_err', flux_err * scale, suffixes)
    if zeropoint is not None:
        _add_bands(table, 'mag', ab_magnitude(flux, zeropoint) * u.ABmag,
                   suffixes)
        _add_bands(table, 'mag_err',
                   ab_magnitude_error(flux, flux_err) * u.mag, suffixes)
    _add_bands(table, 'snr', snr, suffixes)
    _add_bands(table, 'blendedness', np.asarray(m.blendedness, float),
               suffixes)


def _orientation(angle):
    """Angle in degrees, wrapped to more than -90 and up to 90."""
    degrees = u.Quantity(angle, getattr(angle, 'unit', u.rad)).to_value(u.deg)
    return (90 - (90 - degrees) % 180) * u.deg


def _check_bands(measurements, bands, is_2d):
    n_bands = measurements.flux.shape[1]
    if len(bands) != n_bands or len(set(bands)) != n_bands or (
            is_2d and n_bands != 1):
        msg = (f'the fluxes are of {n_bands} bands but the names are '
               f'({", ".join(bands)}); give one distinct name for each, '
               'and a single one for a 2D image.')
        raise BandMismatchError(msg, bands=tuple(bands), n_bands=n_bands)


def make_table(measurements, *, bands, unit=None, zeropoint=None, wcs=None,
               is_2d=False, meta=None):
    """
    Put measurements into a table with names and units.

    Parameters
    ----------
    measurements : `Measurements`
        In pixels and data units.
    bands : sequence of str
        Names of the bands.
    unit : `~astropy.units.UnitBase` or None, optional
        Unit of the fluxes; `None` for plain numbers.
    zeropoint : float, array-like or None, optional
        AB magnitude of a flux of 1, one or one for each band. `None`
        leaves out the magnitudes.
    wcs : WCS or None, optional
        Adds sky positions, and turns radii into arcsec.
    is_2d : bool, optional
        Whether the data were one 2D image: names then have no suffix.
    meta : dict or None, optional
        Meta data of the table; ``zeropoint`` of each band is added.

    Returns
    -------
    `~astropy.table.QTable`
        One row for each source. Columns of several bands stand together:
        all fluxes, then all errors, and so on.

    Raises
    ------
    BandMismatchError
        If fluxes, names and zeropoints are not of the same bands.

    Examples
    --------
    >>> import numpy as np
    >>> from vaephot.photometry import Measurements, make_table
    >>> one, number = np.array([1]), np.array([0.5])
    >>> m = Measurements(
    ...     label=one, parent_label=one, x=number, y=number, x_err=number,
    ...     y_err=number, n_blended=one, area=one, half_light_radius=number,
    ...     axis_ratio=number, orientation=number, flux=number[:, None],
    ...     flux_err=number[:, None], blendedness=number[:, None],
    ...     reduced_chi2=number, flags=one)
    >>> make_table(m, bands=['r'], is_2d=True)['flux']
    <Column name='flux' dtype='float64' length=1>
    0.5
    """
    m = measurements
    _check_bands(m, bands, is_2d)
    suffixes = [''] if is_2d else [f'_{band}' for band in bands]
    if zeropoint is not None:
        zeropoint = np.asarray(zeropoint, float)
        if zeropoint.shape not in ((), (len(bands),)):
            msg = (f'there are {zeropoint.size} zeropoints but '
                   f'{len(bands)} bands ({", ".join(bands)}).')
            raise BandMismatchError(msg, bands=tuple(bands))
    table = QTable(meta=dict(meta or {}))
    if zeropoint is not None:
        each = np.broadcast_to(zeropoint, len(bands)).tolist()
        table.meta.update({f'zeropoint{suffix}': value for suffix, value
                           in zip(suffixes, each, strict=True)})
    table['label'], table['parent_label'] = m.label, m.parent_label
    for name in ('x', 'y'):
        table[f'{name}_centroid'] = getattr(m, name)
    table['x_err'], table['y_err'] = m.x_err, m.y_err
    if wcs is not None:
        sky_wcs = wcs.celestial if isinstance(wcs, WCS) else wcs
        table['sky_centroid'] = sky_wcs.pixel_to_world(m.x, m.y)
    table['n_blended'] = m.n_blended
    for name in OPTIONAL:
        known = getattr(m, name)
        table[name] = (np.full(len(m.label), np.nan) if known is None
                       else np.asarray(known, float))
    table['area'] = m.area
    scale = u.pix if wcs is None else pixel_scale(wcs)
    table['half_light_radius'] = m.half_light_radius * scale
    table['axis_ratio'] = m.axis_ratio
    table['orientation'] = _orientation(m.orientation)
    _add_photometry(table, m, suffixes, unit, zeropoint)
    table['reduced_chi2'] = m.reduced_chi2
    table['flags'] = m.flags
    return table
