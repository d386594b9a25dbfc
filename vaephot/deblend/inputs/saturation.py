# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Saturated pixels: above a level that is known, or flat tops of stars."""

from collections.abc import Mapping

import numpy as np
from astropy import units as u
from scipy import ndimage

from vaephot.deblend.inputs.units import plain_copy, unit_factor
from vaephot.exceptions import ShapeMismatchError
from vaephot.utils.bands import per_band

__all__ = ['SATURATION_KEYWORDS', 'flat_tops', 'header_level',
           'mark_saturated']

# keywords of headers, in the order they are looked for
SATURATION_KEYWORDS = ('SATURATE', 'SATURLEV', 'SATLEVEL', 'SATURAT',
                       'SAT_LVL', 'SATUR')
# units that such keywords are in
COUNTS = (u.adu, u.ct, u.electron, u.DN, u.ph)
# a level that more pixels exceed is not one of this image
MAX_SHARE = 0.01
# a top is flat if so many adjacent pixels, of which noise is a hundredth at
# most, agree to this share, and around them it is darker than by this one;
# by symmetry up to four pixels of a star may be the same
TOP_SIGMA, TOP_PIXELS, TOP_SPREAD, TOP_DROP = 100.0, 6, 1e-3, 0.03
AROUND = np.ones((3, 3), bool)


def header_level(header, values, unit):
    """
    Saturation level that a header states for an image, or None.

    ``header`` is any mapping. What is not a positive number, is in a unit
    other than counts, or is exceeded by more than a hundredth of the pixels
    does not count.
    """
    if unit is not None and not any(unit.is_equivalent(one)
                                    for one in COUNTS):
        return None
    for keyword in SATURATION_KEYWORDS:
        level = header.get(keyword)
        if isinstance(level, bool) or not isinstance(
                level, (int, float, np.number)):
            continue
        if np.isfinite(level) and level > 0 and np.mean(
                values >= level) <= MAX_SHARE:
            return float(level)
    return None


def _levels(given, units, bands):
    """Saturation level of each band in its unit; NaN where not known."""
    if not isinstance(given, (Mapping, list, tuple)) and np.ndim(given) == 0:
        given = [given] * len(bands)
    levels = []
    for band, item, unit in zip(bands, per_band(given, bands, 'saturation'),
                                units, strict=True):
        if item is None:
            levels.append(np.nan)
            continue
        name = f'saturation of band {band!r}'
        factor = (unit_factor(item.unit, unit, name, 'the data')
                  if isinstance(item, u.Quantity) else 1.0)
        value = plain_copy(getattr(item, 'value', item), name)
        if value.ndim:
            msg = f'{name} has shape {value.shape}; give one number.'
            raise ShapeMismatchError(msg, shape=value.shape)
        if not value > 0:
            msg = f'{name} is {value}; it must be positive.'
            raise ValueError(msg)
        levels.append(float(value) * factor)
    return levels


def mark_saturated(images, saturation, bands):
    """
    Mark the saturated pixels of images whose level is known, in place.

    ``images`` are a stack or a list, in their own units; ``saturation`` is
    what the user gave, `None`: what their headers say.
    """
    parts = images if isinstance(images, list) else [images]
    units = [image.unit for image in parts]
    units *= len(bands) // len(units)
    levels = ([np.nan] * len(bands) if saturation is None
              else _levels(saturation, units, bands))
    number = 0
    for image in parts:
        stack = image.values if image.values.ndim == 3 else image.values[None]
        own = levels[number:number + len(stack)]
        number += len(stack)
        if saturation is None:
            own = [header_level(image.header, band, image.unit) or np.nan
                   for band in stack]
        if not np.isnan(own).all():
            with np.errstate(invalid='ignore'):
                found = stack >= np.array(own)[:, None, None]
            image.saturated = found.reshape(image.values.shape)


def flat_tops(image, bad, sigma):
    """
    Pixels of flat tops far above the noise, (ny, nx), or None.

    ``bad`` (ny, nx) are pixels that do not count, ``sigma`` is the noise.
    Where a detector saturates, adjacent pixels have the same value, or
    nearly so after calibration, and the star falls off steeply around.
    """
    high = (image > TOP_SIGMA * sigma) & ~bad
    if np.count_nonzero(high) < TOP_PIXELS:
        return None
    top = high & (image >= (1 - TOP_SPREAD) * ndimage.maximum_filter(
        np.where(bad, 0, image), 3))
    labels, _ = ndimage.label(top, AROUND)
    found, levels = np.zeros(image.shape, bool), []
    for number, window in enumerate(ndimage.find_objects(labels), 1):
        wide = tuple(slice(max(part.start - 1, 0), part.stop + 1)
                     for part in window)
        own = labels[wide] == number
        if np.count_nonzero(own) < TOP_PIXELS:
            continue
        level = np.median(image[wide][own])
        ring = ndimage.binary_dilation(own, AROUND) & ~own & ~bad[wide]
        if ring.any() and np.median(image[wide][ring]) < (
                1 - TOP_DROP) * level:
            # interpolated images blur the border
            exact = np.ptp(image[wide][own]) == 0
            found[wide] |= own if exact else ndimage.binary_dilation(
                own, AROUND)
            levels.append(level)
    if not levels:
        return None
    return found | (high & (image >= (1 - TOP_SPREAD) * max(levels)))
