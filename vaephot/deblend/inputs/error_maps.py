# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The 1-sigma error that a user gives."""

import warnings
from collections.abc import Mapping

import numpy as np
from astropy import units as u
from astropy.nddata import NDUncertainty
from astropy.utils.masked import Masked

from vaephot.deblend.inputs.noise import estimate_noise
from vaephot.deblend.inputs.pixels import standard_deviation
from vaephot.deblend.inputs.units import (
    flux_unit,
    plain_copy,
    unit_factor,
)
from vaephot.exceptions import ShapeMismatchError, VaephotWarning
from vaephot.utils.bands import per_band

__all__ = ['check_level', 'check_not_image', 'positive_error',
           'read_correlation', 'read_error', 'warn_background']

# an error off by more than this factor from the scatter of the sky is said;
# what kind of number it may be, to this in ln
MAX_EXCESS, SAME_KIND = 3.0, 0.3
# and that is less by this one where sources may fill the image
LARGE_EXCESS = 30.0
# these quantiles of the pixels of an image are sky, if there are so many
# pixels; a background is one from so many sigma on
DARKEST, MIN_SKY, BACKGROUND = (0.02, 0.98), 2500, 5.0
# pixels whose error is so many times the typical one have no weight: in maps
# of the noise that is how areas without data are filled
NO_WEIGHT = 1e6
# no noise of large sums is that many times more than that of pixels, or less
MAX_CORRELATION = 1e6
# pixels compared with those of the image
N_COMPARED = 10_000


def read_error(error, image, bands):
    """1-sigma error, (n_bands, ny, nx) or (n_bands, 1, 1)."""
    shape = image.values.shape
    listed = isinstance(error, (list, tuple)) and any(
        isinstance(item, (np.ndarray, NDUncertainty)) for item in error)
    if not listed and not isinstance(error, Mapping):
        array, per_area = _plain_error(error, image, 'error')
        if shape[0] == 1 and array.shape == shape[1:]:
            array = array[None]
        if array.ndim == 0:
            array = np.full(shape[0], array)
        if array.ndim == 1:
            array = np.array(per_band(array, bands, 'error'))[:, None, None]
        array = _check_error_shape(array, shape)
        return array * image.area if per_area else array
    arrays = []
    for i, item in enumerate(per_band(error, bands, 'error')):
        array, per_area = _plain_error(item, image,
                                       f'error of band {bands[i]!r}')
        array = (array[None] if array.ndim == 2
                 else array.reshape(-1, 1, 1))
        array = _check_error_shape(array, (1, *shape[1:]))
        arrays.append(array[0] * (image.area[i] if per_area else 1.0))
    return np.stack(np.broadcast_arrays(*arrays))


def _check_error_shape(array, shape):
    """Refuse an error of another shape than the data."""
    if array.shape not in (shape, (shape[0], 1, 1)):
        msg = (f'error has shape {array.shape} but the data have '
               f'{shape[1:]} in {shape[0]} bands; give an array of the '
               'shape of the data, or one number per band.')
        raise ShapeMismatchError(msg, shape=array.shape, expected=shape)
    return array


def _plain_error(error, image, name):
    """Error in the unit of the data, or of that per sr, and whether it is."""
    error_unit, per_area = None, False
    if isinstance(error, NDUncertainty):
        error, error_unit = standard_deviation(error, name)
    if isinstance(error, u.Quantity):
        error_unit, error = error.unit, error.value
    if isinstance(error, Masked):
        error = error.filled(np.nan)
    if isinstance(error, np.ma.MaskedArray):
        error = np.ma.filled(error.astype(float), np.nan)
    if image.area is not None and flux_unit(error_unit) is not None:
        factor, per_area = error_unit.to(image.unit / u.sr), True
    else:
        factor = unit_factor(error_unit, image.unit, name, 'the data')
    values = plain_copy(error, name)
    values *= factor
    return values, per_area


def check_not_image(error, values, bands):
    """Refuse the images themselves, or their squares, as their error."""
    if error.shape != values.shape:
        return
    for band, err, data in zip(bands, error, values, strict=True):
        step = max(1, data.size // N_COMPARED)
        err, data = err.ravel()[::step], data.ravel()[::step]
        if (data != data[0]).any() and np.array_equal(err, data):
            msg = (f'error of band {band!r} is the image itself; give its '
                   '1-sigma noise, or None to have it estimated.')
            raise ValueError(msg)


def _is_off(value):
    """Whether a ratio differs from 1 by more than an error may."""
    return not 1 / MAX_EXCESS <= value <= MAX_EXCESS


def _excess(level, expected, image, error):
    """
    What scatters otherwise than an error says, and the scatter over that.

    ``level`` (ratio, large_ratio, measured) of a band, ``expected`` the
    factor that was given, ``image`` and ``error`` of the band; (None, 1) if
    all is well.
    """
    ratio, large_ratio, measured = level
    if measured:
        large = large_ratio / expected
        return (('large areas of the sky scatter', large)
                if _is_off(large) and _is_off(ratio) else (None, 1.0))
    # resampled pixels scatter less, what little sky there is may be none
    if np.isfinite(ratio) and ratio > MAX_EXCESS:
        return 'pixels of the sky scatter', ratio
    if np.isnan(ratio) and image.any():
        ratio = estimate_noise(image / error)
    if ratio > LARGE_EXCESS:
        return 'the pixels scatter', ratio
    return None, 1.0


def check_level(level, expected, values, error, bands):
    """
    Warn of errors that neither pixels nor areas of the sky scatter by.

    ``level`` is the `NoiseLevel`, ``expected`` (n_bands,) what it should be,
    ``values`` (n_bands, ny, nx) the images, 0 where bad.
    """
    for i, band in enumerate(bands):
        what, excess = _excess(
            (level.ratio[i], level.large_ratio[i], level.measured[i]),
            expected[i], values[i], error[i])
        if what is None:
            continue
        typical = float(np.median(error[i]))
        sky = excess * typical
        kinds = {'a variance': sky**2, 'an inverse variance': sky**-2.0}
        kind = next((f' as {kind} would be' for kind, value in kinds.items()
                     if abs(np.log(typical / value)) < SAME_KIND), '')
        used = ('The fit goes by the scatter unless noise_correlation is '
                'given.' if level.measured[i] else
                'There is too little sky for the fit to go by it.')
        warnings.warn(
            f'error of band {band!r} is {typical:.3g}{kind}, but {what} as '
            f'if it were {sky:.3g}; give the 1-sigma noise. {used}',
            VaephotWarning, stacklevel=5)


def warn_background(observation):
    """Warn of images the sky of which is far from 0."""
    for layer, _, _ in observation.grids:
        for band, image, variance, bad in zip(
                layer.bands, layer.data, layer.variance, layer.mask,
                strict=True):
            values = image[~bad]
            if values.size < MIN_SKY:
                continue
            noise = float(np.sqrt(np.median(variance)))
            low, high = np.quantile(values, DARKEST)
            level = np.median(values)
            if low > BACKGROUND * noise or high < -BACKGROUND * noise:
                warnings.warn(
                    f'data of band {band!r} have a background of '
                    f'{level / layer.scale:.3g}, {abs(level) / noise:.3g} '
                    'times the noise, in all pixels; subtract it '
                    '(--subtract-background, photutils Background2D).',
                    VaephotWarning, stacklevel=3)


def positive_error(error, bad, bands):
    """
    Positive error; pixels whose error is out of range are masked.

    A band whose map is so everywhere has no data if another has some.
    """
    wrong = ~(np.isfinite(error) & (error > 0))
    for band, err, out in zip(bands, error, wrong, strict=True):
        if out.all() and err.size > 1 and not wrong.all():
            warnings.warn(
                f'error of band {band!r} is {err.flat[0]} and the like '
                'everywhere; the band is taken to have no data.',
                VaephotWarning, stacklevel=5)
        elif out.all():
            value = err.flat[0]
            msg = (f'error of band {band!r} is {value} '
                   f'{"everywhere " if err.size > 1 else ""}(a 1-sigma '
                   'error must be positive and finite); give a number, a '
                   'map, or None to have it estimated.')
            raise ValueError(msg)
    if error.shape == bad.shape:
        for err, out in zip(error, wrong, strict=True):
            if not out.all():
                out |= err > NO_WEIGHT * np.median(err[~out])
        bad |= wrong
        for err, out in zip(error, wrong, strict=True):
            if out.any():
                err[out] = np.median(err[~out] if not out.all()
                                     else error[~wrong])
    low, high = error.min(), error.max()
    with np.errstate(over='ignore', under='ignore'):
        fits = low**2 > 0 and np.isfinite(high**2)
    if not fits:
        msg = (f'error has the value {low:.3g} to {high:.3g}, the square of '
               'which is out of range; use another unit.')
        raise ValueError(msg)
    return error


def read_correlation(given, bands):
    """Factor of the noise of large sums, per band; NaN: to be measured."""
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
    """Factor of one band from a number or a kernel; NaN for None."""
    if item is None:
        return np.nan
    name = f'noise_correlation of band {band!r}'
    array = plain_copy(item, name)
    if array.ndim not in (0, 2) or array.size == 0:
        msg = (f'{name} has shape {array.shape}; give a number or a 2D '
               'kernel.')
        raise ShapeMismatchError(msg, shape=array.shape)
    total = array.sum()
    if not 1 / MAX_CORRELATION <= total <= MAX_CORRELATION:
        what = 'is' if array.ndim == 0 else 'is a kernel of the sum'
        msg = (f'{name} {what} {total}; it must be positive and no more than '
               f'{MAX_CORRELATION:g}.')
        raise ValueError(msg)
    return float(total if array.ndim == 0 else np.sqrt(total / array.max()))
