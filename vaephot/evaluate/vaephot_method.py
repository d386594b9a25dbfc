# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The deblender of this package as a method."""

import numpy as np
from photutils.aperture import BoundingBox

from vaephot.evaluate.mosaic import (
    DetectSettings,
    detect_segments,
    image_psfs,
    make_mosaic,
)
from vaephot.results.flags import encode_flags

__all__ = ['vaephot', 'vaephot_blind']


def vaephot(observed, **options):
    """
    Measure told positions with ``VAEDeblender``.

    Parameters
    ----------
    observed : `~vaephot.evaluate.observed.ObservedBlends`
        The blends.
    **options
        As for `~vaephot.deblend.deblender.VAEDeblender`.

    Returns
    -------
    list of dict
        One per blend, in the order of the positions.
    """
    mosaic = make_mosaic(observed)
    lengths = [len(xy) for xy in observed.positions]
    told = np.concatenate([xy + corner for xy, corner in zip(
        observed.positions, mosaic.corners, strict=True)])
    if not len(told):
        return [_row(observed, mosaic, k, None, []) for k in
                range(len(observed))]
    result = _deblend(observed, mosaic, options, positions=told)
    ends = np.cumsum(lengths)
    return [_row(observed, mosaic, k, result, np.arange(end - n, end))
            for k, (end, n) in enumerate(zip(ends, lengths, strict=True))]


vaephot.uses_positions = True


def vaephot_blind(observed, *, p_source=0.5, **options):
    """
    Find and measure sources with ``VAEDeblender``.

    Every parent has a row in the table of the result, also one that is a
    fluctuation of the noise; ``p_source`` and the flag ``no_source`` tell
    them apart.

    Parameters
    ----------
    observed : `~vaephot.evaluate.observed.ObservedBlends`
        The blends.
    p_source : float, optional
        Rows of the table with a smaller ``p_source`` do not count as
        sources, nor do those flagged ``no_source``.
    **options
        As for `~vaephot.deblend.deblender.VAEDeblender`.

    Returns
    -------
    list of dict
        One per blend.
    """
    mosaic = make_mosaic(observed)
    result = _deblend(observed, mosaic, options)
    table = result.table
    xy = np.stack([table['x_centroid'], table['y_centroid']], axis=1)
    # not known of a source that could not be modelled: it stays
    counts = ~(_plain(table['p_source']) < p_source)
    counts &= np.asarray(table['flags']) & encode_flags('no_source') == 0
    return [_row(observed, mosaic, k, result, rows[counts[rows]])
            for k, rows in enumerate(mosaic.split(xy))]


def _deblend(observed, mosaic, options, **call):
    """Run the deblender on the mosaic."""
    from vaephot.deblend.deblender import VAEDeblender

    deblend = VAEDeblender(**options)
    settings = DetectSettings(n_pixels=options.get('n_pixels', 5))
    _, segm = detect_segments(mosaic, observed.sky_rms[0], settings)
    if segm is None:
        segm = np.zeros(mosaic.gap.shape, int)
    return deblend(
        mosaic.image, segm, error=observed.sky_rms, gain=observed.gain,
        mask=mosaic.mask, psf=image_psfs(observed), bands=observed.bands,
        noise_correlation=observed.noise_correlation, **call)


def _row(observed, mosaic, k, result, rows):
    """What was measured on one blend."""
    n, bands = len(rows), observed.bands
    if not n:
        return {'xy': np.zeros((0, 2)), 'flux': np.zeros((0, len(bands)))}
    table, corner = result.table[rows], mosaic.corners[k]
    columns = {name: np.stack([np.asarray(table[f'{name}_{band}'], float)
                               for band in bands], axis=1)
               for name in ('flux', 'flux_err')}
    shapes = {name: _plain(table[name]) for name in
              ('half_light_radius', 'axis_ratio')}
    sources = [result[int(label)] for label in table['label']]
    return {
        **columns, **shapes,
        'xy': np.stack([_plain(table['x_centroid']),
                        _plain(table['y_centroid'])], axis=1) - corner,
        'orientation': table['orientation'].to_value('rad'),
        'models': [_cut(source, corner, mosaic.shape)
                   for source in sources]}


def _plain(column):
    """Column as floats."""
    return np.asarray(getattr(column, 'value', column), float)


def _cut(source, corner, shape):
    """Model of a source, cut at the edges of its blend."""
    box, (x0, y0), (ny, nx) = source.bbox, corner, shape
    low = max(box.ixmin - x0, 0), max(box.iymin - y0, 0)
    high = min(box.ixmax - x0, nx), min(box.iymax - y0, ny)
    if low[0] >= high[0] or low[1] >= high[1]:
        # nothing of it falls on the blend
        return (BoundingBox(0, 1, 0, 1),
                np.zeros((len(source.model), 1, 1)))
    part = np.asarray(source.model)[
        :, low[1] + y0 - box.iymin:high[1] + y0 - box.iymin,
        low[0] + x0 - box.ixmin:high[0] + x0 - box.ixmin]
    return BoundingBox(int(low[0]), int(high[0]), int(low[1]),
                       int(high[1])), part
