# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""One image as plain arrays, whatever container it came in."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from astropy import units as u
from astropy.nddata import (
    Cutout2D,
    InverseVariance,
    NDData,
    StdDevUncertainty,
    VarianceUncertainty,
)
from astropy.utils.masked import Masked

from vaephot.deblend.inputs.noise import impossible_pixels
from vaephot.deblend.inputs.units import (
    check_linear,
    flux_unit,
    pixel_areas,
    plain_copy,
    unit_factor,
)
from vaephot.exceptions import (
    BandMismatchError,
    ShapeMismatchError,
    VaephotWarning,
)
from vaephot.utils.bands import per_band

__all__ = ['Image', 'mask_impossible', 'read_data', 'read_mask',
           'stack_images', 'to_flux', 'to_unit']


@dataclass(kw_only=True)
class Image:
    """One image (or stack) as plain arrays."""

    values: np.ndarray
    mask: np.ndarray
    error: np.ndarray | None = None
    unit: u.UnitBase | None = None
    wcs: object | None = None
    # solid angle of the pixels in sr, as (ny, nx) or (1, 1) for each band,
    # where it was a surface brightness
    area: np.ndarray | None = None


def read_data(data, bands):
    """
    Images, names of the bands, whether one 2D image was given.

    Images are one stack, or a list where each may have a shape of its own.
    """
    if isinstance(bands, str):
        bands = (bands,)
    if isinstance(data, Mapping):
        names = tuple(data) if bands is None else tuple(bands)
        _check_names(names)
        things = per_band(data, names, 'data')
        images = [_read_image(item, f'data[{name!r}]', (2,))
                  for name, item in zip(names, things, strict=True)]
        return images, names, False
    if isinstance(data, (list, tuple)) and _is_list_of_images(data):
        image = [_read_image(item, f'data[{i}]', (2,))
                 for i, item in enumerate(data)]
        is_2d = False
    else:
        image = _read_image(data, 'data', (2, 3))
        is_2d = image.values.ndim == 2
        if is_2d:
            image.values, image.mask = image.values[None], image.mask[None]
            if image.error is not None:
                image.error = image.error[None]
    n_bands = len(image if isinstance(image, list) else image.values)
    names = (tuple(f'band{i + 1}' for i in range(n_bands))
             if bands is None else tuple(bands))
    _check_names(names)
    if len(names) != n_bands:
        msg = (f'data have {n_bands} bands but bands names {len(names)} '
               f'({", ".join(map(str, names))}); name each band once.')
        raise BandMismatchError(msg, bands=names, n_bands=n_bands)
    return image, names, is_2d


def _is_list_of_images(data):
    """Whether a list holds images, not the rows of one."""
    if any(isinstance(item, (NDData, u.Quantity, np.ma.MaskedArray))
           for item in data):
        return True
    shapes = {item.shape for item in data if isinstance(item, np.ndarray)}
    return len(shapes) > 1 and all(len(shape) == 2 for shape in shapes)


def _check_names(names):
    """Refuse names that are no strings or not unique."""
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong:
        msg = (f'bands has the entry {wrong[0]!r} of type '
               f'{type(wrong[0]).__name__}; names of bands are strings.')
        raise TypeError(msg)
    if len(set(names)) != len(names) or not names:
        msg = (f'bands is {names}; give at least one name, and each only '
               'once.')
        raise BandMismatchError(msg, bands=names)


def stack_images(images, names):
    """One stack from the images of the bands."""
    first = images[0]
    for name, image in zip(names, images, strict=True):
        to_unit(image, first.unit, name)
    errors = [image.error for image in images]
    have = [err is not None for err in errors]
    if any(have) and not all(have):
        msg = ('only some of the bands have an uncertainty; give all or '
               'none, or use the argument error.')
        raise BandMismatchError(msg, bands=tuple(names))
    return Image(values=np.stack([image.values for image in images]),
                 mask=np.stack([image.mask for image in images]),
                 error=np.stack(errors) if all(have) else None,
                 unit=first.unit, wcs=first.wcs, area=_stack_areas(images))


def mask_impossible(values, bad, sigma, bands):
    """Mask what no source can be, in place; whether there was any."""
    found = False
    for band, image, mask, noise in zip(bands, values, bad, sigma,
                                        strict=True):
        wrong = impossible_pixels(image, noise)
        if wrong is None:
            continue
        y, x = np.argwhere(wrong)[0].tolist()
        warnings.warn(
            f'{wrong.sum()} pixels of band {band!r} cannot be sources and '
            f'are masked: the first, ({x}, {y}), is {image[y, x]:.3g} in a '
            f'noise of {noise:.3g}.', VaephotWarning, stacklevel=5)
        image[wrong], mask[wrong], found = 0, True, True
    return found


def _stack_areas(images):
    """Solid angles of the pixels of all bands; 1 where not used."""
    if all(image.area is None for image in images):
        return None
    return np.stack(np.broadcast_arrays(*[
        np.ones((1, 1)) if image.area is None else image.area
        for image in images]))


def to_flux(image, wcs):
    """Turn a surface brightness into flux per pixel, in place."""
    flux = flux_unit(image.unit)
    if flux is None or wcs is None:
        return
    shape = image.values.shape
    area = np.atleast_2d(pixel_areas(wcs, shape[-2:]))
    area = np.broadcast_to(area, (*shape[:-2], *area.shape))
    factor = float(image.unit.to(flux / u.sr)) * area
    image.values *= factor
    if image.error is not None:
        image.error *= factor
    image.unit, image.area = flux, area


def to_unit(image, unit, name):
    """Convert an image to the unit of the first band, in place."""
    factor = unit_factor(image.unit, unit, f'data of band {name!r}',
                         'the first band')
    if factor != 1:
        image.values *= factor
        if image.error is not None:
            image.error *= factor
        image.unit = unit


def _read_image(item, name, allowed_ndim):
    """Plain float64 copy of an image, with what came along."""
    error = unit = wcs = None
    mask = False
    if isinstance(item, Cutout2D):
        msg = (f'{name} is a Cutout2D; give its array, cutout.data, and '
               'wcs=cutout.wcs.')
        raise TypeError(msg)
    if isinstance(item, NDData):
        unit, wcs = item.unit, item.wcs
        error = _read_uncertainty(item.uncertainty, unit, name)
        if item.mask is not None:
            mask = np.asarray(item.mask).astype(bool)
        item = item.data
    if isinstance(item, Masked):
        mask, item = mask | item.mask, item.unmasked
    if isinstance(item, u.Quantity):
        unit, item = item.unit, item.value
    if isinstance(item, np.ma.MaskedArray):
        mask = mask | np.ma.getmaskarray(item)
        item = item.data
    check_linear(unit, name)
    values = plain_copy(item, name)
    _check_shape(values, name, allowed_ndim)
    try:
        mask = np.array(np.broadcast_to(mask, values.shape))
        if error is not None:
            error = np.array(np.broadcast_to(error, values.shape))
    except ValueError as err:
        msg = (f'mask or uncertainty of {name} does not have its shape '
               f'{values.shape}.')
        raise ShapeMismatchError(msg, shape=values.shape) from err
    return Image(values=values, mask=mask, error=error, unit=unit, wcs=wcs)


def _check_shape(values, name, allowed_ndim):
    """Refuse what is no image or stack of images."""
    if values.ndim not in allowed_ndim:
        msg = (f'{name} has {values.ndim} dimensions (shape {values.shape}); '
               'give (ny, nx)' + (', or (n_bands, ny, nx).'
                                  if 3 in allowed_ndim else '.'))
        raise ShapeMismatchError(msg, shape=values.shape)
    if values.size == 0:
        msg = f'{name} is empty, of shape {values.shape}.'
        raise ShapeMismatchError(msg, shape=values.shape)


def _read_uncertainty(uncertainty, unit, name):
    """1-sigma error in the unit of the data from an NDData uncertainty."""
    if uncertainty is None:
        return None
    kinds = {StdDevUncertainty: (1, 1), VarianceUncertainty: (2, 0.5),
             InverseVariance: (-2, -0.5)}
    kind = next((k for k in kinds if isinstance(uncertainty, k)), None)
    if kind is None:
        msg = (f'the uncertainty of {name} is of type '
               f'{type(uncertainty).__name__}; give StdDevUncertainty, '
               'VarianceUncertainty or InverseVariance, or use the argument '
               'error.')
        raise TypeError(msg)
    power, root = kinds[kind]
    values = plain_copy(uncertainty.array, f'the uncertainty of {name}')
    if uncertainty.unit is not None and unit is not None:
        values *= unit_factor(uncertainty.unit, unit**power,
                               f'the uncertainty of {name}', 'the data')
    with np.errstate(divide='ignore', invalid='ignore'):
        return values if root == 1 else values**root


def read_mask(mask, shape, bands):
    """Mask of every band, True for bad pixels."""
    if isinstance(mask, Mapping):
        mask = np.stack([np.broadcast_to(np.asarray(item), shape[1:])
                         for item in per_band(mask, bands, 'mask')])
    mask = np.asarray(mask)
    if mask.ndim == 0:  # numpy's "nomask"
        mask = np.broadcast_to(mask, shape)
    if mask.dtype.kind not in 'biu':
        msg = (f'mask has dtype {mask.dtype}; give booleans, True for bad '
               'pixels.')
        raise TypeError(msg)
    if mask.shape not in (shape, shape[1:]):
        msg = (f'mask has shape {mask.shape} but the data have {shape[1:]} '
               f'in {shape[0]} bands; give (ny, nx) or (n_bands, ny, nx).')
        raise ShapeMismatchError(msg, shape=mask.shape, expected=shape)
    return mask.astype(bool)
