# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""One band of a result of several, as a result of a 2D image."""

from dataclasses import replace

import numpy as np
from photutils.segmentation import SegmentationImage

from vaephot.results.covariance import FitGroup
from vaephot.utils.frames import is_mapping, pick_band
from vaephot.utils.grids import GridMap, linear_scale, map_labels

__all__ = ['band_view']

PER_BAND = ('flux', 'flux_err', 'mag', 'mag_err', 'snr', 'blendedness')


def _table(result, band):
    """Table without the columns of other bands and the suffix of this."""
    table = result.table.copy()
    if result.is_2d:
        return table
    points = {other: table.meta.pop(f'zeropoint_{other}', None)
              for other in result.bands}
    if points[band] is not None:
        table.meta['zeropoint'] = points[band]
    for name in PER_BAND:
        for other in result.bands:
            column = f'{name}_{other}'
            if column not in table.colnames:
                continue
            if other == band:
                table.rename_column(column, name)
            else:
                table.remove_column(column)
    return table


def _source(source, band, index, xy):
    """Source with the images and the flux of one band."""
    def flux(value):
        return value if np.ndim(value) == 0 else value[index]
    return replace(
        source, bboxes=None, x_centroid=float(xy[0]), y_centroid=float(xy[1]),
        bbox=source.bbox if source.bboxes is None else source.bboxes[band],
        model=pick_band(source.model, index, band),
        image=pick_band(source.image, index, band),
        flux=flux(source.flux), flux_err=flux(source.flux_err))


def _group(group, index, n_bands):
    """Covariance of the fluxes of one band and the parameters."""
    n = len(group.labels)
    size = len(group.covariance) // n
    own = np.concatenate([[index], np.arange(n_bands, size)])
    rows = (np.arange(n)[:, None] * size + own).ravel()
    return FitGroup(labels=group.labels,
                    covariance=group.covariance[np.ix_(rows, rows)])


def _segmentation(segm, source, target, shape):
    """Segmentation on another grid, with the maps of what is left."""
    out = SegmentationImage(map_labels(segm.data, source, target, shape))
    left = set(out.labels.tolist())
    maps = {parent: np.array([child for child in children if child in left],
                             segm.data.dtype)
            for parent, children in segm.parent_to_deblended_labels.items()}
    out._deblend_label_map = {parent: children for parent, children
                              in maps.items() if len(children)}
    return out


def _wcs(result, band):
    return result.wcs[band] if is_mapping(result.wcs) else result.wcs


def band_view(result, index):
    """
    Arguments of the result of one band.

    Parameters
    ----------
    result : `~vaephot.results.result.DeblendResult`
        The result of all.
    index : int
        Number of the band.

    Returns
    -------
    dict
        Arguments of `~vaephot.results.result.DeblendResult`.
    """
    band = result.bands[index]
    frames = {name: pick_band(getattr(result, name), index, band)
              for name in ('data', 'model_image', 'error', 'mask')}
    wcs, first = _wcs(result, band), _wcs(result, result.bands[0])
    table, segm = _table(result, band), result.segmentation_image
    xy = np.array([(s.x_centroid, s.y_centroid) for s in result], float)
    xy = xy.reshape(-1, 2)
    if result.on_own_grids and wcs is not first:
        to_band = GridMap(first, wcs)
        scale = linear_scale(to_band, segm.shape)
        segm = _segmentation(segm, first, wcs, frames['data'].shape)
        xy = np.stack(to_band(*xy.T), -1)
        for axis, values in zip('xy', xy.T, strict=True):
            if f'{axis}_centroid' in table.colnames:
                table[f'{axis}_centroid'] = values
                table[f'{axis}_err'] = table[f'{axis}_err'] * scale
    return {
        **frames, 'table': table, 'segmentation_image': segm,
        'sources': [_source(source, band, index, place)
                    for source, place in zip(result, xy, strict=True)],
        'bands': (band,), 'unit': result.unit, 'wcs': wcs, 'is_2d': True,
        'groups': [_group(group, index, len(result.bands))
                   for group in result.groups]}
