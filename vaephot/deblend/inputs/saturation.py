# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Saturated pixels: above a level that is known, or of tops that are cut."""

from collections.abc import Mapping
from numbers import Real

import numpy as np
from astropy import units as u
from scipy import ndimage

from vaephot.deblend.inputs.units import plain_copy, unit_factor
from vaephot.utils.bands import per_band

__all__ = ['find_cut_tops', 'level_of_header', 'mask_above_level']

# a flat top: so many pixels in touch within this share of the highest one,
# so many times above the noise. Next to the peak of a PSF of a FWHM of 15
# pixels there is 1.2 % less
N_FLAT, FLAT, MIN_SIGNAL = 4, 0.003, 200.0
# and beside it, at most this share of its height: a smooth top has 0.976
BESIDE = 0.95
# pixels reach the level that flat tops have from this share of it on
MARGIN = 0.97
# a hollow top, of counters that overflow: a pixel with less than this share
# of both neighbours in a row or column, and than this many of all eight. Two
# stars whose PSF is no narrower than 1.6 pixels leave 0.68 between them
HOLLOW, N_HIGHER = 0.5, 5
# but with more than this share, or it is dead
DEAD = 0.1
# half the side of the windows around hollow tops
REACH = 25
_TOUCH = np.ones((3, 3), int)


def mask_above_level(images, saturation, bands):
    """
    Mask pixels from a level on, in place; which bands the user gave one of.

    ``images`` is one stack of all bands or a list; the level is that of the
    user, one or one per band, else of the header.
    """
    levels = _levels(saturation, bands)
    if isinstance(images, list):
        places = [(image, Ellipsis) for image in images]
    else:
        places = [(images, i) for i in range(len(bands))]
    for (image, row), level in zip(places, levels, strict=True):
        if isinstance(level, u.Quantity):
            level = level.value * unit_factor(level.unit, image.unit,
                                              'saturation', 'the data')
        level = image.saturation if level is None else level
        if level is not None:
            image.mask[row] |= image.values[row] >= level
    return {band: level is not None
            for band, level in zip(bands, levels, strict=True)}


def level_of_header(header):
    """Level of saturation that a header or mapping names, or None."""
    level = header.get('SATURATE')
    if isinstance(level, Real) and np.isfinite(level) and level > 0:
        return float(level)
    return None


def _levels(saturation, bands):
    """Level of every band, None where the user gave none."""
    if saturation is None:
        return [None] * len(bands)
    if isinstance(saturation, Mapping):
        saturation = per_band(saturation, bands, 'saturation')
    elif np.ndim(saturation) == 0:
        saturation = [saturation] * len(bands)
    levels = per_band(saturation, bands, 'saturation')
    for level in levels:
        if level is None:
            continue
        value = plain_copy(getattr(level, 'value', level), 'saturation')
        if value.ndim or np.isnan(value) or value <= 0:
            msg = (f'saturation is {level}; it must be a positive level in '
                   'the unit of the data, or None.')
            raise ValueError(msg)
    return levels


def find_cut_tops(image, noise):
    """
    Pixels (ny, nx) of sources whose tops are flat or hollow.

    ``noise`` is the 1-sigma noise, (ny, nx) or a number.
    """
    bright = image > MIN_SIGNAL * noise
    if not bright.any():
        return bright
    return _flat_tops(image, bright) | _hollow_tops(image, bright)


def _flat_tops(image, bright):
    """Pixels at or above the lowest level of tops that are flat."""
    regions, _ = ndimage.label(bright, _TOUCH)
    levels = []
    for i, window in enumerate(ndimage.find_objects(regions), 1):
        part = np.where(regions[window] == i, image[window], 0)
        top = part.max()
        flat, _ = ndimage.label(part >= (1 - FLAT) * top, _TOUCH)
        number = np.bincount(flat.ravel())[1:]
        flat = flat == number.argmax() + 1
        beside = ndimage.binary_dilation(flat, _TOUCH) & ~flat
        if (number.max() >= N_FLAT and beside.any()
                and np.median(part[beside]) < BESIDE * top):
            levels.append(top)
    return image >= MARGIN * min(levels, default=np.inf)


def _hollow_tops(image, bright):
    """Pixels in touch with hollow ones and no lower."""
    out = np.zeros(image.shape, bool)
    for y, x in np.argwhere(_hollow(image, bright)):
        window = (slice(max(y - REACH, 0), y + REACH + 1),
                  slice(max(x - REACH, 0), x + REACH + 1))
        core, _ = ndimage.label(image[window] >= image[y, x], _TOUCH)
        out[window] |= core == core[y - window[0].start, x - window[1].start]
    return out


def _hollow(image, bright):
    """Pixels with much less than bright ones on both sides."""
    padded = np.pad(np.where(bright, image, 0), 1)
    ny, nx = image.shape
    shifted = {(dy, dx): padded[1 + dy:1 + dy + ny, 1 + dx:1 + dx + nx]
               for dy in (-1, 0, 1) for dx in (-1, 0, 1)}
    low = np.maximum(np.minimum(shifted[0, -1], shifted[0, 1]),
                     np.minimum(shifted[-1, 0], shifted[1, 0]))
    n_higher = sum((shifted[step] > image).astype(int) for step in shifted)
    return ((image < HOLLOW * low) & (image > DEAD * low)
            & (n_higher >= N_HIGHER))
