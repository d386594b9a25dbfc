# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Areas without data: filled with 0 or another number."""

import numpy as np
from scipy import ndimage

from vaephot.deblend.inputs.noise import (
    FILL_SIGMA,
    has_negative,
    quantum,
    spread,
    stripes,
)

__all__ = ['filled_areas']

# noise is never the same on a square of so many pixels on a side; whole
# numbers may be
SIDE, WHOLE_SIDE = 3, 8
# above this many sigma it may be a saturated star
HIGH = 1e3
# steps of whole numbers over their scatter, beyond which squares are chance
MAX_STEPS = 2.0


def filled_areas(image, bad):
    """
    Squares of the same number in an image with noise, (ny, nx), or None.

    ``bad`` (ny, nx) are pixels that are known to be so. What is far above the
    noise may be a saturated star, or so absurd that it is told elsewhere. An
    image that has no noise elsewhere, and so hardly a negative pixel, is only
    one of no data if all of it is 0.
    """
    same = ((image[1:, 1:] == image[:-1, :-1])
            & (image[1:, :-1] == image[:-1, 1:])
            & (image[1:, :-1] == image[1:, 1:]))
    good = ~bad
    if not image[good].any():
        return good
    if not same.any():
        return None
    found = _squares(same, WHOLE_SIDE)
    values, fine = stripes(image, bad | found)
    step = quantum(values, fine)
    if step == 0:
        found = _squares(same, SIDE)
        values, fine = stripes(image, bad | found)
    values = values[fine]
    if not has_negative(values) or step > MAX_STEPS * values.std():
        return None
    found &= good
    sigma, level = spread(values) or step, np.median(values)
    found &= image < level + HIGH * sigma
    found &= image > level - FILL_SIGMA * sigma
    return found if found.any() else None


def _squares(same, side):
    """Pixels of squares of equal ones from those of side 2, (ny, nx)."""
    core = ndimage.grey_opening(same.view(np.uint8), side - 1,
                                mode='constant').astype(bool)
    out = np.zeros(tuple(n + 1 for n in same.shape), bool)
    for rows in (np.s_[1:], np.s_[:-1]):
        for columns in (np.s_[1:], np.s_[:-1]):
            out[rows, columns] |= core
    return out
