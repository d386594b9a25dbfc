# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Compare galaxies with points in their places.

At the optimum of the fit the residual is orthogonal to what a small change of
a galaxy does to its image. So the chi-square that a point of the best flux
loses is the square of the part of the galaxy's image that the point's image
does not hold; nothing need be fitted.
"""

import numpy as np

from vaephot.utils.boxes import overlap

__all__ = ['point_cost', 'point_fluxes']

# half of the side of the stamps, in FWHM of the widest PSF and in pixels
HALF_FWHM, MIN_HALF = 3.0, 8
# pixels of all bands that are drawn at once; bounds the memory
CHUNK_PIXELS = 2_000_000


def _around(pixels, solution, k, corner, size):
    """Weight and model of a source on a square (n_bands, size, size)."""
    box = solution.boxes[k]
    x0, y0 = corner
    x = overlap(x0, x0 + size, box.ixmin, box.ixmax)
    y = overlap(y0, y0 + size, box.iymin, box.iymax)
    weight, model = np.zeros((2, len(pixels.data), size, size))
    inside = np.s_[:, y.start - y0:y.stop - y0, x.start - x0:x.stop - x0]
    model[inside] = solution.models[k][
        :, y.start - box.iymin:y.stop - box.iymin,
        x.start - box.ixmin:x.stop - box.ixmin]
    weight[inside] = pixels.weight(solution.model_image[:, y, x], y, x)
    return weight, model


def _products(engine, solution, rows):
    """Weighted products of galaxies and points, (3, n, n_bands)."""
    half = max(MIN_HALF, int(np.ceil(HALF_FWHM * engine.pixels.fwhm.max())))
    size = 2 * half + 1
    xy = solution.fit.parameters[rows, :2]
    corner = np.rint(xy).astype(int) - half
    out = np.zeros((len(xy), len(engine.pixels.data), 3))
    step = max(1, CHUNK_PIXELS // (out.shape[1] * size ** 2))
    for start in range(0, len(xy), step):
        some = range(start, min(start + step, len(xy)))
        points = engine.draw_points(xy[some], size, corner[some])
        for i, point in zip(some, points, strict=True):
            k = rows[i]
            weight, model = _around(engine.pixels, solution, k, corner[i],
                                    size)
            out[i] = [[np.sum(w * a * b) for a, b in ((m, m), (m, p), (p, p))]
                      for w, m, p in zip(weight, model, point, strict=True)]
    return np.moveaxis(out, 2, 0)


def point_fluxes(engine, solution, rows):
    """Best fluxes of points in place of some galaxies, (m, n_bands)."""
    _, both, point = _products(engine, solution, rows)
    return np.divide(both, point, out=np.zeros_like(both), where=point > 0)


def point_cost(engine, solution, rows):
    """Chi-square that points lose against some galaxies, (m,)."""
    own, both, point = _products(engine, solution, rows)
    kept = np.divide(both ** 2, point, out=np.zeros_like(both),
                     where=point > 0)
    return np.maximum(own - kept, 0).sum(1)
