# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The 1-sigma error that a user gives."""

from collections.abc import Mapping

import numpy as np
from astropy import units as u

from vaephot.deblend.inputs.units import plain_copy, unit_factor
from vaephot.exceptions import ShapeMismatchError
from vaephot.utils.bands import per_band

__all__ = ['positive_variance', 'read_correlation', 'read_error']


def read_error(error, image, bands, is_2d):
    """1-sigma error, (n_bands, ny, nx) or (n_bands, 1, 1)."""
    shape = image.values.shape
    listed = isinstance(error, (list, tuple)) and any(
        isinstance(item, np.ndarray) for item in error)
    if not listed and not isinstance(error, Mapping):
        array = _plain_error(error, image.unit, 'error')
        if is_2d and array.shape == shape[1:]:
            array = array[None]
        if array.ndim == 0:
            array = np.full(shape[0], array)
        if array.ndim == 1:
            array = np.array(per_band(array, bands, 'error'))[:, None, None]
        return _check_error_shape(array, shape)
    items = per_band(error, bands, 'error')
    arrays = [_plain_error(item, image.unit, f'error of band {band!r}')
              for band, item in zip(bands, items, strict=True)]
    if all(array.ndim == 0 for array in arrays):
        return np.array(arrays)[:, None, None]
    return np.stack([_check_error_shape(
        array[None] if array.ndim == 2 else array.reshape(-1, 1, 1),
        (1, *shape[1:]), fill=True)[0] for array in arrays])


def _check_error_shape(array, shape, *, fill=False):
    """Refuse an error of another shape than the data."""
    if array.shape not in (shape, (shape[0], 1, 1)):
        msg = (f'error has shape {array.shape} but the data have '
               f'{shape[1:]} in {shape[0]} bands; give an array of the '
               'shape of the data, or one number per band.')
        raise ShapeMismatchError(msg, shape=array.shape, expected=shape)
    return np.broadcast_to(array, shape) if fill else array


def _plain_error(error, unit, name):
    """Error as float64 numbers in the unit of the data."""
    error_unit = None
    if isinstance(error, u.Quantity):
        error_unit, error = error.unit, error.value
    if isinstance(error, np.ma.MaskedArray):
        error = np.ma.filled(error.astype(float), np.nan)
    factor = unit_factor(error_unit, unit, name, 'the data')
    return plain_copy(error, name) * factor


def positive_variance(error, bad, bands):
    """Positive variance; pixels with an error out of range are masked."""
    wrong = ~np.isfinite(error) | (error <= 0)
    for band, err, out in zip(bands, error, wrong, strict=True):
        if out.all():
            value = err.flat[0]
            msg = (f'error of band {band!r} is {value} '
                   f'{"everywhere " if err.size > 1 else ""}(a 1-sigma '
                   'error must be positive and finite); give a number, a '
                   'map, or None to have it estimated.')
            raise ValueError(msg)
    if error.shape == bad.shape:
        bad |= wrong
        error = np.array(error)
        for err, out in zip(error, wrong, strict=True):
            err[out] = np.median(err[~out])
    variance = np.square(error)
    if not (variance > 0).all() or not np.isfinite(variance).all():
        msg = (f'error has the value {np.min(error):.3g} to '
               f'{np.max(error):.3g}, the square of which is out of range; '
               'use another unit.')
        raise ValueError(msg)
    return variance


def read_correlation(given, bands):
    """Factor of the noise of large sums, per band."""
    if isinstance(given, Mapping):
        given = per_band(given, bands, 'noise_correlation')
    elif (not isinstance(given, (list, tuple))
          and np.ndim(given) in (0, 2)):
        given = [given] * len(bands)
    else:
        given = per_band(given, bands, 'noise_correlation')
    factors = [_correlation_factor(item, band)
               for item, band in zip(given, bands, strict=True)]
    return np.array(factors)


def _correlation_factor(item, band):
    """Factor of one band from a number, a kernel or None."""
    if item is None:
        return 1.0
    name = f'noise_correlation of band {band!r}'
    array = plain_copy(item, name)
    if array.ndim not in (0, 2) or array.size == 0:
        msg = (f'{name} has shape {array.shape}; give a number or a 2D '
               'kernel.')
        raise ShapeMismatchError(msg, shape=array.shape)
    total = array.sum()
    if not (np.isfinite(total) and total > 0):
        what = 'is' if array.ndim == 0 else 'is a kernel of the sum'
        msg = f'{name} {what} {total}; it must be positive and finite.'
        raise ValueError(msg)
    return float(total if array.ndim == 0 else np.sqrt(total / array.max()))
