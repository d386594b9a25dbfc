# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Bands by pixel grid, and what each argument says of those of one."""

import warnings
from collections.abc import Mapping

from astropy.wcs import WCS

from vaephot.deblend.inputs.pixels import Image
from vaephot.exceptions import ShapeMismatchError, VaephotWarning
from vaephot.utils.bands import per_band
from vaephot.utils.grids import same_grid

__all__ = ['check_coordinates', 'coordinates_of', 'find_layers',
           'share_of', 'single_image']


def coordinates_of(wcs, images, bands):
    """Celestial WCS of every band, None where there is none."""
    if isinstance(wcs, (Mapping, list, tuple)):
        return [_celestial(item, f'wcs of band {band!r}') for band, item
                in zip(bands, per_band(wcs, bands, 'wcs'), strict=True)]
    if wcs is not None:
        return [_celestial(wcs, 'wcs')] * len(bands)
    if isinstance(images, list):
        return [_carried(image.wcs, f'data of band {band!r}')
                for band, image in zip(bands, images, strict=True)]
    return [_carried(images.wcs, 'data')] * len(bands)


def _celestial(wcs, name):
    """The two celestial axes of a WCS; None for None."""
    if wcs is None:
        return None
    if isinstance(wcs, WCS) and wcs.has_celestial:
        return wcs if wcs.naxis == 2 else wcs.celestial
    types = getattr(wcs, 'world_axis_physical_types', None)
    if not isinstance(wcs, WCS) and types is not None and len(types) == 2 and (
            all(str(kind).startswith('pos') for kind in types)):
        return wcs
    what = (f'is of type {type(wcs).__name__}' if types is None else
            f'has no two celestial axes ({", ".join(map(str, types))})')
    msg = (f'{name} {what}; give a celestial WCS, or None for no sky '
           'coordinates.')
    raise (TypeError if types is None else ValueError)(msg)


def _carried(wcs, name):
    """Celestial axes of a WCS that came with an image, if it has any."""
    try:
        return _celestial(wcs, f'WCS of {name}')
    except ValueError as err:
        warnings.warn(f'{err} It is not used.', VaephotWarning, stacklevel=5)
        return None


def _shape_of(images, i):
    """Shape of the image of a band."""
    return (images[i].values.shape if isinstance(images, list)
            else images.values.shape[1:])


def find_layers(images, systems):
    """Numbers of the bands by grid, the grid of the first band first."""
    layers = []
    for i, wcs in enumerate(systems):
        shape = _shape_of(images, i)
        for layer in layers:
            first = systems[layer[0]]
            if shape == _shape_of(images, layer[0]) and (
                    first is None or wcs is None
                    or same_grid(first, wcs, shape)):
                layer.append(i)
                break
        else:
            layers.append([i])
    return layers


def check_coordinates(systems, images, bands):
    """Bands on several grids each need coordinates."""
    missing = [i for i, wcs in enumerate(systems) if wcs is None]
    if missing:
        first = _shape_of(images, 0)
        i = next((i for i in missing if _shape_of(images, i) != first),
                 missing[0])
        shape = _shape_of(images, i)
        msg = (f'the image of band {bands[i]!r} has shape {shape} and no '
               f'WCS, that of the first band, {bands[0]!r}, has shape '
               f'{first}; bands on several pixel grids each need a WCS: '
               'give NDData with one, or wcs per band.')
        raise ShapeMismatchError(msg, band=bands[i], shape=shape)


def single_image(images, i):
    """Image of one band."""
    if isinstance(images, list):
        return images[i]
    return Image(values=images.values[i], mask=images.mask[i],
                 error=None if images.error is None else images.error[i],
                 unit=images.unit,
                 area=None if images.area is None else images.area[i],
                 saturated=(None if images.saturated is None
                            else images.saturated[i]))


def share_of(given, name, rows, bands):
    """What an argument says of some of the bands."""
    value = given[name]
    if value is None or callable(value):
        return value
    if isinstance(value, Mapping):
        each = per_band(value, bands, name)
        return {bands[i]: each[i] for i in rows}
    n_numbers = 1 if name in ('gain', 'zeropoint') else 0
    listed = isinstance(value, (list, tuple)) or (
        hasattr(value, 'ndim') and value.ndim in (
            {'error': (1, 3), 'mask': (3,), 'psf': (1, 3),
             'noise_correlation': (1, 3)}.get(name, (n_numbers,))))
    if not listed:
        return value
    if len(value) != len(bands):
        per_band(value, bands, name)  # says what is wrong
    if isinstance(value, (list, tuple)):
        return [value[i] for i in rows]
    return value[list(rows)]
