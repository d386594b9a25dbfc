# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Units of images, and numbers per band that depend on them."""

from collections.abc import Mapping

import numpy as np
from astropy import units as u
from scipy.ndimage import map_coordinates

from vaephot.exceptions import ShapeMismatchError, UnitMismatchError
from vaephot.photometry.magnitudes import zeropoint_of_unit
from vaephot.utils.bands import per_band

__all__ = ['check_linear', 'flux_unit', 'pixel_areas', 'plain_copy',
           'read_gain', 'read_zeropoint', 'unit_factor']

# pixels along each axis whose area is computed
N_AREAS = 9


def unit_factor(unit, target, name, whose):
    """Factor from one unit to another; both or none must be there."""
    if unit is None and target is None:
        return 1.0
    if unit is None or target is None:
        msg = (f'{name} has {_unit_name(unit)} but {whose} '
               f'{_unit_name(target)}; give both or none a unit.')
        raise UnitMismatchError(msg, unit=unit, expected=target)
    try:
        return float(unit.to(target))
    except u.UnitConversionError as err:
        msg = (f'{name} has {_unit_name(unit)}, which cannot be converted '
               f'to that of {whose}, {target}.')
        raise UnitMismatchError(msg, unit=unit, expected=target) from err


def _unit_name(unit):
    return 'no unit' if unit is None else f'the unit {str(unit)!r}'


def flux_unit(unit):
    """Unit of flux per pixel for a surface brightness; None for others."""
    if unit is None:
        return None
    flux = unit * u.sr
    if u.rad in flux.decompose().bases or u.rad not in unit.decompose().bases:
        return None
    return u.uJy if flux.is_equivalent(u.Jy) else (unit * u.arcsec**2)


def pixel_areas(wcs, shape):
    """
    Solid angles in sr of the pixels of an image (ny, nx).

    One number, or an image where they differ by more than 0.1 %: the area
    is taken at some pixels, and interpolated linearly.
    """
    y, x = (np.linspace(0, size - 1, N_AREAS) for size in shape)
    corners = [np.stack(_unit_vectors(wcs, x + dx, y[:, None] + dy))
               for dx, dy in ((-0.5, 0), (0.5, 0), (0, -0.5), (0, 0.5))]
    sides = corners[1] - corners[0], corners[3] - corners[2]
    area = np.linalg.norm(np.cross(*sides, axis=0), axis=0)
    if np.ptp(area) < 1e-3 * area.mean():
        return float(area.mean())
    rows, columns = (np.linspace(0, N_AREAS - 1, size) for size in shape)
    return map_coordinates(area, np.meshgrid(rows, columns, indexing='ij'),
                           order=1)


def _unit_vectors(wcs, x, y):
    """Directions on the sphere of pixels, (x, y, z)."""
    x, y = np.broadcast_arrays(x, y)
    return wcs.pixel_to_world(x, y).cartesian.xyz.value


def plain_copy(item, name):
    """Float64 copy in native byte order; refuse what is not real."""
    array = np.asanyarray(item)
    if array.dtype == object:
        msg = (f'{name} is of type {type(item).__name__}; give an array of '
               'real numbers.')
        raise TypeError(msg)
    if array.dtype.kind not in 'biuf':
        msg = (f'{name} has dtype {array.dtype}; give real numbers.')
        raise TypeError(msg)
    return np.array(array, dtype=np.float64, order='C', copy=True,
                    subok=False)


def check_linear(unit, name):
    """Refuse a logarithmic unit."""
    if unit is not None and not isinstance(unit, u.UnitBase):
        msg = (f'{name} has the logarithmic unit {unit}; give fluxes.')
        raise UnitMismatchError(msg, unit=unit)


def _numbers(given, bands, name):
    """One float per band from one number, a sequence or a mapping."""
    if isinstance(given, Mapping):
        given = per_band(given, bands, name)
    values = plain_copy(given, name)
    if values.ndim == 0:
        values = np.full(len(bands), values)
    if values.ndim != 1:
        msg = (f'{name} has shape {values.shape}; give one number, or one '
               f'for each of the bands ({", ".join(bands)}).')
        raise ShapeMismatchError(msg, shape=values.shape)
    values = np.array(per_band(values, bands, name))
    if not np.isfinite(values).all():
        msg = f'{name} is {values}; it must be finite.'
        raise ValueError(msg)
    return values


def _check_positive(values, name):
    """Refuse numbers that are not positive."""
    if not (values > 0).all():
        msg = f'{name} is {values}; it must be positive.'
        raise ValueError(msg)
    return values


def read_gain(gain, unit, bands):
    """Electrons per data unit of every band."""
    if gain is None:
        return None
    if isinstance(gain, u.Quantity):
        gain = gain.value * _gain_factor(gain.unit, unit)
    return _check_positive(_numbers(gain, bands, 'gain'), 'gain')


def _gain_factor(gain_unit, unit):
    """Factor that makes a gain electrons per data unit."""
    counts = gain_unit * (unit or u.dimensionless_unscaled)
    for target in (u.electron, u.photon, u.count,
                   u.dimensionless_unscaled):
        if counts.is_equivalent(target):
            return counts.to(target)
    msg = (f'gain has the unit {str(gain_unit)!r} and the data '
           f'{_unit_name(unit)}; their product must be electrons.')
    raise UnitMismatchError(msg, unit=gain_unit, expected=u.electron / (
        unit or u.dimensionless_unscaled))


def read_zeropoint(zeropoint, unit, bands):
    """AB magnitude of one data unit, per band."""
    if isinstance(zeropoint, u.Quantity):
        if zeropoint.unit not in (u.mag, u.ABmag):
            msg = (f'zeropoint has the unit {str(zeropoint.unit)!r}; give '
                   'AB magnitudes.')
            raise UnitMismatchError(msg, unit=zeropoint.unit,
                                    expected=u.ABmag)
        zeropoint = zeropoint.value
    if zeropoint is not None:
        return _numbers(zeropoint, bands, 'zeropoint')
    known = zeropoint_of_unit(unit)
    return None if known is None else np.full(len(bands), known)
