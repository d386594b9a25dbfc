# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Images of the free background of the fit groups.

Given the models, the best background of a group is the least-squares fit to
what they leave in its region: that of the fit itself. Where regions overlap
it is their mean, between them that of the nearest.
"""

import numpy as np
from scipy.ndimage import distance_transform_edt

from vaephot.deblend.inputs.noise import sky_image

__all__ = ['fit_backgrounds']


def _columns(kind, shape):
    """Images of a background (n, h, w) on a region (h, w)."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape),
                       indexing='ij')
    return np.stack([np.ones_like(x), x, y][:1 if kind == 'constant' else 3])


def _inside(corner, size, shape):
    """Rows and columns of a region that lie in a frame (ny, nx)."""
    return tuple(slice(max(low, 0), max(min(low + n, most), 0))
                 for low, n, most in zip(corner[::-1].tolist(),
                                         size[::-1].tolist(), shape,
                                         strict=True))


def _fit(left, weight, kind):
    """Background on a region from residual and weight (h, w), or None."""
    if not weight.any():
        return None
    columns = _columns(kind, left.shape)
    root = np.sqrt(weight / weight.max())
    levels = np.linalg.lstsq((columns * root).reshape(len(columns), -1).T,
                             (left * root).ravel(), rcond=None)[0]
    return np.tensordot(levels, columns, 1)


def _background(left, weight, regions, kind):
    """Background of a band (ny, nx) from those of its regions."""
    total, count = np.zeros(left.shape), np.zeros(left.shape, np.int32)
    for region in regions:
        found = _fit(left[region], weight[region], kind)
        if found is not None:
            total[region] += found
            count[region] += 1
    if not count.any():
        return sky_image(left, weight == 0, kind)
    total /= np.maximum(count, 1)
    if (count > 0).all():
        return total
    return total[tuple(distance_transform_edt(
        count == 0, return_distances=False, return_indices=True))]


def _weights(view, i):
    """Inverse variance of a band, 0 in bad pixels, (ny, nx)."""
    variance = view.variance[i]
    if view.gain is not None:
        variance = variance + np.maximum(view.model_image[i],
                                         0) / view.gain[i]
    return np.where(view.mask[i], 0, 1 / variance)


def fit_backgrounds(engine, scene, views):
    """
    Free background of each view, (n_bands, ny, nx), or None for all.

    ``engine`` fitted the sources of ``scene``, ``views`` are its pixel
    grids.
    """
    kind = engine.settings.background
    if kind is None:
        return [None] * len(views)
    n_bands = sum(len(view.rows) for view in views)
    corner = size = np.zeros((0, n_bands, 2), int)
    if scene.groups:
        corner, size = engine.fitter.problem(scene.groups,
                                             scene.sources).regions()
    size = size * np.array([plane.binning for plane in
                            engine.fitter.planes])[:, None]
    return [np.stack([
        _background(view.data[i] - view.model_image[i], _weights(view, i),
                    [_inside(*region, view.data.shape[1:]) for region in zip(
                        corner[:, band], size[:, band], strict=True)], kind)
        for i, band in enumerate(view.rows.tolist())]) for view in views]
