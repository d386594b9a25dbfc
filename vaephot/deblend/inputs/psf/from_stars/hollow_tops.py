# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Saturated cores whose counter has overflowed."""

import numpy as np
from scipy import ndimage

__all__ = ['hollow_tops']

# neighbours of a hollow pixel are so many times above the noise
MIN_SIGNAL = 200.0
# if more than this share of the image is, the noise is not what it was said
MAX_BRIGHT = 0.1
# it has less than this share of both neighbours in a row or column, and than
# this many of all eight. Two stars whose PSF is no narrower than 1.6 pixels
# leave 0.68 between them, and a cosmic ray beside a star is too small. It is
# bright itself, or it is dead
HOLLOW, N_HIGHER = 0.5, 5
# its neighbours are nearly the brightest of a square of this side: between two
# stars they are not
NEAR = 9
# half the side of the windows around hollow pixels
REACH = 25
_TOUCH = np.ones((3, 3), int)


def hollow_tops(image, noise):
    """
    Pixels of saturated cores that are darker inside, (ny, nx).

    Counters that overflow start again from zero. What is in touch with a
    hollow pixel and more than half of its neighbours counts. ``noise`` is
    the 1-sigma noise, (ny, nx) or a number.
    """
    bright = image > MIN_SIGNAL * noise
    out = np.zeros(image.shape, bool)
    if not 0 < np.count_nonzero(bright) < MAX_BRIGHT * bright.size:
        return out
    hollow, beside = _hollow(image, bright)
    places = np.argwhere(hollow)
    for y, x in places[np.argsort(-beside[hollow], kind='stable')]:
        window = (slice(max(y - REACH, 0), y + REACH + 1),
                  slice(max(x - REACH, 0), x + REACH + 1))
        at = y - window[0].start, x - window[1].start
        if out[window][at]:
            continue
        core = image[window] >= HOLLOW * beside[y, x]
        core[at] = True
        number, _ = ndimage.label(core, _TOUCH)
        out[window] |= ndimage.binary_fill_holes(number == number[at])
    return out


def _hollow(image, bright):
    """Pixels much below both neighbours (ny, nx), and these neighbours."""
    padded = np.pad(np.where(bright, image, 0), 1)
    ny, nx = image.shape
    shifted = {(dy, dx): padded[1 + dy:1 + dy + ny, 1 + dx:1 + dx + nx]
               for dy in (-1, 0, 1) for dx in (-1, 0, 1)}
    low = np.maximum(np.minimum(shifted[0, -1], shifted[0, 1]),
                     np.minimum(shifted[-1, 0], shifted[1, 0]))
    n_higher = sum((shifted[step] > image).astype(int) for step in shifted)
    top = low >= HOLLOW * ndimage.maximum_filter(padded[1:-1, 1:-1], NEAR)
    return (bright & top & (image < HOLLOW * low)
            & (n_higher >= N_HIGHER)), low
