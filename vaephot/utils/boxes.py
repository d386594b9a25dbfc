# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Square windows of images, also where they reach past the edge."""

import numpy as np

__all__ = ['cut_window', 'overlap']


def overlap(start, stop, first, last):
    """Common part of two ranges of pixels, empty if they do not meet."""
    low = max(start, first)
    return slice(low, max(low, min(stop, last)))


def cut_window(array, iy, ix, side, fill):
    """
    Square window of (n_bands, ny, nx), filled outside of the image: a copy.

    >>> import numpy as np
    >>> from vaephot.utils.boxes import cut_window
    >>> cut_window(np.ones((1, 4, 4)), -1, 3, 2, 0.0)[0]
    array([[0., 0.],
           [1., 0.]])
    """
    n_bands, ny, nx = array.shape
    out = np.full((n_bands, side, side), fill, dtype=array.dtype)
    rows = overlap(iy, iy + side, 0, ny)
    columns = overlap(ix, ix + side, 0, nx)
    out[:, rows.start - iy:rows.stop - iy,
        columns.start - ix:columns.stop - ix] = array[:, rows, columns]
    return out
