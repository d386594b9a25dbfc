# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Prepare the parts of a result and check that they belong together."""

import numpy as np

from vaephot.exceptions import BandMismatchError, ShapeMismatchError
from vaephot.results.source import attach_unit
from vaephot.utils.frames import is_mapping

__all__ = ['as_image_psf', 'check_parts', 'prepare_frame']


def prepare_frame(frame, unit, is_2d):
    """Attach the unit to a frame; drop the band axis of a 2D image."""
    if frame is None:
        return None
    if is_2d and not is_mapping(frame) and frame.ndim == 3:
        frame = frame[0]
    return attach_unit(frame, unit)


def as_image_psf(psf):
    """ImagePSF of one band from a pair (2D image, oversampling)."""
    if psf is None:
        return None
    from photutils.psf import ImagePSF  # it loads matplotlib

    if isinstance(psf, ImagePSF):
        return psf
    image, oversampling = psf
    # photutils' convention: samples of a density of unit integral
    density = image * (oversampling ** 2 / np.sum(image))
    return ImagePSF(density, oversampling=oversampling)


def check_parts(result):
    """Raise unless images, bands, table, sources and noise agree."""
    shape, bands = _check_data(result)
    _check_bands(result, bands)
    _check_table(result)
    if result.segmentation_image.shape != shape:
        msg = (f'the segmentation has the shape '
               f'{result.segmentation_image.shape}, the data {shape}.')
        raise ShapeMismatchError(msg, shape=shape)
    _check_per_band(result, 'psf', [] if result.psf is None else [result.psf])
    _check_per_band(result, 'noise', (result.noise or {}).values())


def _check_data(result):
    """Return (ny, nx) of the first band and the bands of the data."""
    if result.on_own_grids:
        return (np.shape(result.data.get(result.bands[0])),
                list(result.data))
    shape = result.data.shape
    if len(shape) != (2 if result.is_2d else 3):
        msg = (f'data have the shape {shape}; allowed are (ny, nx) with '
               'is_2d and (n_bands, ny, nx) without.')
        raise ShapeMismatchError(msg, shape=shape)
    return shape[-2:], [None] * (1 if result.is_2d else shape[0])


def _check_bands(result, bands):
    """Raise unless the names of the bands are those of the data."""
    if len(result.bands) != len(bands) or (
            result.on_own_grids and set(result.bands) != set(bands)):
        msg = (f'the data have {len(bands)} bands but {len(result.bands)} '
               f'names ({", ".join(result.bands)}).')
        raise BandMismatchError(msg, bands=result.bands)


def _check_table(result):
    """Raise unless the rows of the table are the sources."""
    labels = [source.label for source in result.sources]
    if labels != list(result.table['label']):
        msg = (f'the table has {len(result.table)} rows, and the labels do '
               f'not follow those of the {len(labels)} sources.')
        raise ShapeMismatchError(msg, labels=labels)


def _check_per_band(result, name, values):
    """Raise unless each of the values has an entry for each band."""
    for value in values:
        if len(value) != len(result.bands):
            msg = (f'{name} has {len(value)} entries; it needs one for each '
                   f'of the {len(result.bands)} bands '
                   f'({", ".join(result.bands)}).')
            raise BandMismatchError(msg, bands=result.bands)
