# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Compare the width of a PSF with that of the stars of its image."""

import warnings

import numpy as np

from vaephot.deblend.inputs.psf.from_stars.star_choice import (
    HALF,
    choose_stars,
    find_candidates,
    measure_width,
)
from vaephot.exceptions import VaephotWarning

__all__ = ['check_width']

# fewest stars that contradict a PSF that is wider or narrower than they are.
# Galaxies of one width may be taken for stars, but no source is narrower
# than the PSF
MIN_WIDER, MIN_NARROWER = 5, 10
# and ratios of the widths that are wrong
WIDER, NARROWER = 1.3, 0.6
# side of the part of a large image that is searched for stars
MAX_SIDE = 2048


def check_width(psf, image, noise, bad):
    """
    Warn of a `BandPSF` whose width is not that of the stars of the image.

    ``image`` and ``bad`` (ny, nx), ``noise`` of that shape or a number.
    """
    noise = np.broadcast_to(noise, image.shape)
    part = tuple(slice(max(0, (n - MAX_SIDE) // 2), (n + MAX_SIDE) // 2)
                 for n in image.shape)
    found = find_candidates(image[part], noise[part], bad[part])
    rows = choose_stars(found)
    if len(rows) < MIN_WIDER:
        return
    stars = float(np.median(found.fwhm[rows]))
    own = _width(psf, image.shape)
    ratio = own / stars
    if WIDER > ratio > NARROWER or (ratio < 1 and len(rows) < MIN_NARROWER):
        return
    warnings.warn(
        f'the psf of band {psf.band!r} is {ratio:.2g} times as wide as '
        f'{len(rows)} stars of the image: a Gaussian that matches it has a '
        f'FWHM of {own:.3g} pixels, those of the stars have {stars:.3g}. Is '
        'it oversampled (give an ImagePSF with oversampling), of another '
        'pixel scale or of another image?', VaephotWarning, stacklevel=6)


def _width(psf, shape):
    """FWHM of the Gaussian that matches a PSF on the pixels of an image."""
    image, step = psf.sample((shape[1] - 1) / 2, (shape[0] - 1) / 2)
    half = len(image) // 2
    pixels = image[half % step::step, half % step::step]
    middle = half // step
    side = min(middle, HALF)
    return measure_width(pixels[middle - side:middle + side + 1,
                                middle - side:middle + side + 1])
