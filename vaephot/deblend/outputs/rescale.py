# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Results in the unit of the data, where the fit saw scaled numbers."""

from dataclasses import replace

import numpy as np

from vaephot.utils.frames import each

__all__ = ['rescale', 'rescale_info']

# what is proportional to the data
FRAMES = ('data', 'model_image', 'background_image', 'error')
COLUMNS = ('model', 'image', 'flux', 'flux_err')


def rescale(result, factor):
    """Multiply images, fluxes and their errors of a result, a new one."""
    if factor == 1:
        return result
    table = result.table.copy()
    for name in table.colnames:
        if name.split('_')[0] == 'flux':
            table[name] = table[name] * factor
    return replace(
        result, table=table,
        segmentation_image=rescale_info(result.segmentation_image, factor),
        sources=[_times(source, COLUMNS, factor) for source in result],
        groups=[_rescale_group(group, len(result.bands), factor)
                for group in result.groups],
        **{name: _product(getattr(result, name), factor) for name in FRAMES})


def _product(value, factor):
    """A frame or a mapping of frames times a number; None for None."""
    return None if value is None else each(lambda item: item * factor, value)


def _times(source, names, factor):
    """A source with some of its attributes multiplied."""
    return replace(source, **{
        name: _product(getattr(source, name), factor) for name in names})


def _rescale_group(group, n_bands, factor):
    """Covariance of the sources of a group: its fluxes come first."""
    size = len(group.covariance) // len(group.labels)
    units = np.where(np.arange(size) < n_bands, factor, 1.0)
    units = np.tile(units, len(group.labels))
    return replace(group, covariance=group.covariance * np.outer(units,
                                                                 units))


def rescale_info(segmentation_image, factor):
    """Multiply the noise that a segmentation says was estimated, in place."""
    for band in getattr(segmentation_image, 'info', {}).get(
            'estimated', {}).values() if factor != 1 else ():
        if 'noise' in band:
            band['noise'] = band['noise'] * factor
    return segmentation_image
