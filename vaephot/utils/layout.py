# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Stamps side by side on one image."""

import numpy as np

__all__ = ['lay_out']


def lay_out(image, mask, gap):
    """
    Lay stamps out in rows and columns, with masked gaps around them.

    Parameters
    ----------
    image : `~numpy.ndarray`, (n, n_bands, ny, nx)
        Stamps.
    mask : `~numpy.ndarray` of bool, (n, n_bands, ny, nx)
        True for bad pixels.
    gap : int
        Width of the gaps in pixels.

    Returns
    -------
    image : `~numpy.ndarray`, (n_bands, ny, nx)
        One image; 0 in the gaps.
    mask : `~numpy.ndarray` of bool, (n_bands, ny, nx)
        True in the gaps and for bad pixels.
    corners : `~numpy.ndarray` of int, (n, 2)
        (x, y) of the first pixel of each stamp.
    """
    n, n_bands, ny, nx = image.shape
    n_columns = int(np.ceil(np.sqrt(n)))
    n_rows = -(-n // n_columns)
    frame = (n_bands, gap + n_rows * (ny + gap), gap + n_columns * (nx + gap))
    whole, bad = np.zeros(frame), np.ones(frame, bool)
    row, column = np.divmod(np.arange(n), n_columns)
    corners = gap + np.stack([column * (nx + gap), row * (ny + gap)], axis=1)
    for k, (x0, y0) in enumerate(corners):
        box = np.s_[:, y0:y0 + ny, x0:x0 + nx]
        whole[box], bad[box] = image[k], mask[k]
    return whole, bad, corners
