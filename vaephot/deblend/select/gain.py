# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Chi-square of the pixels that new sources gain."""

import numpy as np

from vaephot.utils.boxes import overlap

__all__ = ['chi2_gain']

# pixels of sky around a group that its chi-square is summed over
SKY = 8


def chi2_gain(pixels, before, after, n_old):
    """
    What sources that were added gain in chi-square, (n_new,).

    The first ``n_old`` sources of ``after`` were in ``before``. The gain of
    each pixel of a piece goes to the nearest new source.
    """
    data = pixels.data
    xy = after.fit.parameters[:, :2]
    gain = np.zeros(len(xy) - n_old)
    for group in after.groups:
        new = np.array([i for i in group.core if i >= n_old], int)
        if not len(new):
            continue
        x0, x1, y0, y1 = np.rint(group.span).astype(int)
        rows = overlap(y0 - SKY, y1 + SKY, 0, data.shape[1])
        columns = overlap(x0 - SKY, x1 + SKY, 0, data.shape[2])
        box = (slice(None), rows, columns)
        weight = pixels.weight(after.model_image[box], rows, columns)
        square = [weight * (data[box] - s.model_image[box]) ** 2
                  for s in (before, after)]
        saved = (square[0] - square[1]).sum(0)
        y, x = np.ogrid[rows, columns]
        distance = [(x - xy[i, 0]) ** 2 + (y - xy[i, 1]) ** 2 for i in new]
        nearest = np.argmin(distance, axis=0)
        gain[new - n_old] = np.bincount(nearest.ravel(), saved.ravel(),
                                        len(new))
    return gain
