# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Saturated cores whose counter has overflowed."""

import numpy as np
from scipy import ndimage

__all__ = ['hollow_tops']

# neighbours of a hollow pixel are so many times above the noise
MIN_SIGNAL = 200.0
# it has less than this share of both neighbours in a row or column, and than
# this many of all eight. Two stars whose PSF is no narrower than 1.6 pixels
# leave 0.68 between them, and a cosmic ray beside a star is too small
HOLLOW, N_HIGHER = 0.5, 5
# but more than this share, or it is dead
DEAD = 0.1
# half the side of the windows around hollow pixels
REACH = 25
_TOUCH = np.ones((3, 3), int)


def hollow_tops(image, noise):
    """
    Pixels of saturated cores that are darker inside, (ny, nx).

    Counters that overflow start again from zero. All pixels that are in
    touch with a hollow one and no lower count. ``noise`` is the 1-sigma
    noise, (ny, nx) or a number.
    """
    bright = image > MIN_SIGNAL * noise
    out = np.zeros(image.shape, bool)
    for y, x in np.argwhere(_hollow(image, bright)):
        window = (slice(max(y - REACH, 0), y + REACH + 1),
                  slice(max(x - REACH, 0), x + REACH + 1))
        core, _ = ndimage.label(image[window] >= image[y, x], _TOUCH)
        out[window] |= core == core[y - window[0].start, x - window[1].start]
    return out


def _hollow(image, bright):
    """Pixels with much less than bright ones on both sides, (ny, nx)."""
    if not bright.any():
        return bright
    padded = np.pad(np.where(bright, image, 0), 1)
    ny, nx = image.shape
    shifted = {(dy, dx): padded[1 + dy:1 + dy + ny, 1 + dx:1 + dx + nx]
               for dy in (-1, 0, 1) for dx in (-1, 0, 1)}
    low = np.maximum(np.minimum(shifted[0, -1], shifted[0, 1]),
                     np.minimum(shifted[-1, 0], shifted[1, 0]))
    n_higher = sum((shifted[step] > image).astype(int) for step in shifted)
    return ((image < HOLLOW * low) & (image > DEAD * low)
            & (n_higher >= N_HIGHER))
