# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Parts of a result as results: one band, or some of the sources."""

from dataclasses import replace

import numpy as np
from photutils.segmentation import SegmentationImage

from vaephot.results.covariance import FitGroup
from vaephot.utils.frames import is_mapping, pick_band
from vaephot.utils.grids import GridMap, linear_scale, map_labels

__all__ = ['band_view', 'row_view', 'segmentation_with_maps']

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


def segmentation_with_maps(data, maps):
    """
    Segmentation with the labels of parents and children.

    Parameters
    ----------
    data : `numpy.ndarray` of int, (ny, nx)
        Labels.
    maps : dict
        Labels of the children by that of the parent; those that are not
        in the data are left out.

    Returns
    -------
    `~photutils.segmentation.SegmentationImage`
    """
    segm = SegmentationImage(data)
    left = set(segm.labels.tolist())
    kept = {parent: [child for child in children if child in left]
            for parent, children in maps.items()}
    segm._deblend_label_map = {
        parent: np.array(children, segm.data.dtype)
        for parent, children in kept.items() if children}
    return segm


def _wcs(result, band):
    return result.wcs[band] if is_mapping(result.wcs) else result.wcs


def band_view(result, index):
    """Arguments of the result of one band, given by its number."""
    band = result.bands[index]
    table, segm, places = _on_band(result, band)
    return {
        **{name: pick_band(getattr(result, name), index, band)
           for name in ('data', 'model_image', 'background_image', 'error',
                        'mask')},
        'table': table, 'segmentation_image': segm,
        'sources': [_source(source, band, index, place)
                    for source, place in zip(result, places, strict=True)],
        'bands': (band,), 'unit': result.unit, 'wcs': _wcs(result, band),
        'is_2d': True,
        'groups': [_group(group, index, len(result.bands))
                   for group in result.groups],
        'psf': None if result.psf is None else result.psf[index:index + 1],
        'noise': None if result.noise is None else {
            name: values[index:index + 1]
            for name, values in result.noise.items()}}


def _on_band(result, band):
    """Table, segmentation and positions, (n, 2), in the pixels of a band."""
    first, wcs = _wcs(result, result.bands[0]), _wcs(result, band)
    table, segm = _table(result, band), result.segmentation_image
    xy = np.array([(s.x_centroid, s.y_centroid) for s in result], float)
    xy = xy.reshape(-1, 2)
    if not result.on_own_grids or wcs is first:
        return table, segm, xy
    to_band = GridMap(first, wcs)
    scale = linear_scale(to_band, segm.shape)
    xy = np.stack(to_band(*xy.T), -1)
    for axis, values in zip('xy', xy.T, strict=True):
        if f'{axis}_centroid' in table.colnames:
            table[f'{axis}_centroid'] = values
            table[f'{axis}_err'] = table[f'{axis}_err'] * scale
    labels = map_labels(segm.data, first, wcs, result.data[band].shape)
    return (table, segmentation_with_maps(
        labels, segm.parent_to_deblended_labels), xy)


def row_view(result, rows):
    """Arguments of the result of the sources in a slice of the table."""
    segm = result.segmentation_image
    sources = result.sources[rows]
    labels = [source.label for source in sources]
    parts = [group.of_labels(labels) for group in result.groups]
    return {
        **{name: getattr(result, name)
           for name in ('data', 'bands', 'background_image', 'error', 'mask',
                        'unit', 'wcs', 'is_2d', 'psf', 'noise')},
        'table': result.table[rows], 'sources': sources,
        'segmentation_image': segmentation_with_maps(
            np.where(np.isin(segm.data, labels), segm.data, 0),
            segm.parent_to_deblended_labels),
        'groups': [group for group in parts if group.labels]}
