# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Width of the PSF where there are too few stars to build one."""

import numpy as np

__all__ = ['DEFAULT_FWHM', 'estimate_width']

# without any source: typical of well-sampled ground-based images
DEFAULT_FWHM = 3.0
# sizes of point sources agree this well in ln(FWHM), even if undersampled
STELLAR_SPREAD = 0.06
# fewest stars, their least number over that of galaxies of similar sizes, and
# the width of the PSF over that of the smallest galaxy of images without any:
# 0.55 to 0.8 for simulated ones as seen by Euclid and HSC
MIN_STARS, STELLAR_EXCESS, NO_STAR = 4, 3.0, 0.65


def estimate_width(sizes, smoothing=0.0):
    """
    Estimate the FWHM of the PSF from those of sources.

    Point sources are the smallest things on the sky and all alike, so the
    answer is the smallest size that several sources share; with fewer than
    five sources it is the smallest. Where sizes are not shared by more
    sources than those of galaxies would be, the answer is smaller than all,
    but not than ``smoothing``: models with too narrow a PSF describe what is
    wider, not the other way round.

    Parameters
    ----------
    sizes : `~numpy.ndarray`, (n,)
        FWHM of sources in pixels.
    smoothing : float, optional
        FWHM in pixels of the Gaussian that the image was smoothed with.

    Returns
    -------
    float
        In pixels; ``DEFAULT_FWHM`` (3 pixels) without sources.
    """
    if sizes.size == 0:
        return DEFAULT_FWHM
    return _stellar_size(np.sort(sizes), smoothing)


def _stellar_size(sizes, smoothing):
    """
    Smallest place where sorted sizes lie as close as anywhere.

    Where there are hardly more than beside it, there are no stars.
    """
    if sizes.size < 5:
        return float(sizes[0])
    width = max(3, sizes.size // 10)
    logs = np.log(sizes)
    spans = logs[width - 1:] - logs[:logs.size - width + 1]
    start = int(np.argmax(spans <= max(2 * spans.min(), STELLAR_SPREAD)))
    apart = (logs - np.median(logs[start:start + width])) / STELLAR_SPREAD
    alike, smaller = np.abs(apart) <= 1, apart < -1
    # in as wide a range of sizes as those alike
    larger = 0.5 * ((apart > 1) & (apart < 5)).sum()
    if alike.sum() < max(MIN_STARS, STELLAR_EXCESS * max(larger,
                                                         smaller.sum())):
        before = np.sqrt(max(sizes[0] ** 2 - smoothing ** 2, 0))
        return float(np.hypot(NO_STAR * before, smoothing))
    return float(np.median(sizes[alike]))
