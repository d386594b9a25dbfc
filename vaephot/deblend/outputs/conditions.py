# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Which sources have which kind of trouble, as boolean arrays (n,)."""

import numpy as np

from vaephot.results.flags import encode_flags
from vaephot.utils.labels import values_of_labels

__all__ = ['any_around', 'at_edge', 'fits_poorly', 'pack_flags', 'unseen']

# sources whose reduced chi-square exceeds 1 by this many of its 1-sigma
# errors, and by this much in itself, are poorly fitted; the second flags as
# many simulated galaxies as 0.3 did of the chi-square of single pixels
POOR_SIGMA = 5.0
POOR_EXCESS = 2.0


def any_around(image, xy, radius):
    """Whether any pixel of a mask (ny, nx) is set within a radius (n,)."""
    ny, nx = image.shape
    low = np.maximum(np.floor(xy - radius[:, None]), 0).astype(int)
    high = np.minimum(np.ceil(xy + radius[:, None]) + 1,
                      (nx, ny)).astype(int)
    return np.array([bool(image[y0:max(y1, y0), x0:max(x1, x0)].any())
                     for (x0, y0), (x1, y1) in zip(
                         low.tolist(), high.tolist(), strict=True)], bool)


def unseen(mask, segm, parent, xy, radius):
    """
    Bands in which a source has no good pixel of its own, (n, n_bands).

    Its own pixels are those of its parent, or those around it if it has
    none.
    """
    loose = parent == 0
    areas = values_of_labels(segm, segm.areas, parent)
    columns = []
    for bad in mask:
        labels, count = np.unique(segm.data[bad], return_counts=True)
        place = np.searchsorted(labels, parent)
        place[place == len(labels)] = 0
        hidden = np.where(labels[place] == parent, count[place], 0) if len(
            labels) else np.zeros(len(parent), int)
        seen = areas > hidden
        seen[loose] = any_around(~bad, xy[loose], radius[loose])
        columns.append(~seen)
    return np.column_stack(columns)


def at_edge(xy, radius, shape):
    """Sources nearer to the edge of a frame (ny, nx) than their radius."""
    far = np.array(shape[::-1]) - 0.5
    return ((xy < radius[:, None] - 0.5)
            | (xy > far - radius[:, None])).any(1)


def fits_poorly(reduced_chi2, n_samples):
    """Whether the reduced chi-square of so many samples is too large."""
    excess = reduced_chi2 - 1
    limit = POOR_SIGMA * np.sqrt(2 / np.maximum(n_samples, 1))
    return (excess > limit) & (excess > POOR_EXCESS)


def pack_flags(conditions, n):
    """One integer per source from boolean arrays by name of the flag."""
    flags = np.zeros(n, int)
    for name, rows in conditions.items():
        flags[rows] |= encode_flags(name)
    return flags
