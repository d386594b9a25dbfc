# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Width of the PSF from the point-like sources of an image."""

import numpy as np
from astropy.stats import gaussian_sigma_to_fwhm

__all__ = ['DEFAULT_FWHM', 'estimate_psf']

# without any point-like source: typical of well-sampled ground-based images
DEFAULT_FWHM = 3.0
# smaller are hot pixels and cosmic rays, larger are no stars
MIN_FWHM, MAX_FWHM = 1.0, 15.0
# sizes of point sources agree this well in ln(FWHM), even if undersampled
STELLAR_SPREAD = 0.06
# fewest stars, their least number over that of galaxies of similar sizes, and
# the width of the PSF over that of the smallest galaxy of images without any:
# 0.55 to 0.8 for simulated ones as seen by Euclid and HSC
MIN_STARS, STELLAR_EXCESS, NO_STAR = 4, 3.0, 0.65
# half the side of the cutouts in which sources are measured, and the most
# sources that are, the brightest first
ESTIMATE_HALF, ESTIMATE_SOURCES = 15, 500
# least sigma of the window of adaptive moments, in pixels: sums over fewer
# pixels are no moments
MIN_WINDOW = 1.3


def estimate_psf(image, noise, *, mask=None, smoothing=0.0):
    """
    Estimate the FWHM of a circular Gaussian PSF from point-like sources.

    Peaks of at least 20 sigma (10 if there are none) without a brighter or
    comparable neighbour are measured with adaptive Gaussian moments. Point
    sources are the smallest things on the sky and all alike, so the answer
    is the smallest size that several sources share; with fewer than five
    sources it is the smallest. Where sizes are not shared by more sources
    than those of galaxies would be, the answer is smaller than all, but not
    than ``smoothing``: models with too narrow a PSF describe what is wider,
    not the other way round.

    Parameters
    ----------
    image : 2D `~numpy.ndarray`
        Image of one band, without background.
    noise : float or 2D `~numpy.ndarray`
        1-sigma noise of the pixels.
    mask : 2D bool `~numpy.ndarray`, optional
        True for bad pixels.
    smoothing : float, optional
        FWHM in pixels of the Gaussian that the image was smoothed with.

    Returns
    -------
    fwhm : float
        In pixels; ``DEFAULT_FWHM`` (3 pixels) when no source can be
        measured.
    n_sources : int
        Number of sources that were measured.

    References
    ----------
    Adaptive moments: Bernstein & Jarvis 2002, AJ 123, 583, section 3.
    """
    image = np.asarray(image, dtype=float)
    bad = ~np.isfinite(image)
    if mask is not None:
        bad |= mask
    if image[bad].any():  # not 0 already
        image = np.where(bad, 0, image)
    for threshold in (20, 10):
        x, y = _isolated_peaks(image, bad, threshold * np.asarray(noise))
        sizes = _adaptive_fwhm(image, x, y)
        sizes = np.sort(sizes[(sizes > MIN_FWHM) & (sizes < MAX_FWHM)])
        if sizes.size:
            break
    if sizes.size == 0:
        return DEFAULT_FWHM, 0
    return _stellar_size(sizes, smoothing), sizes.size


def _isolated_peaks(image, bad, threshold):
    """Pixels above a threshold that are the highest around them."""
    half = ESTIMATE_HALF
    y, x = np.nonzero((image > threshold) & ~bad)
    inside = ((x >= half) & (x < image.shape[1] - half)
              & (y >= half) & (y < image.shape[0] - half))
    x, y = x[inside], y[inside]
    highest = np.ones(x.size, bool)
    for dy, dx in np.ndindex(3, 3):
        highest &= image[y, x] >= image[y + dy - 1, x + dx - 1]
    x, y = x[highest], y[highest]
    order = np.argsort(-image[y, x], kind='stable')[:4 * ESTIMATE_SOURCES]
    x, y = x[order], y[order]
    if x.size == 0:
        return x, y
    cutouts = _cutouts(image, x, y)
    # no bad pixel close by, no flat top, nothing comparable in the cutout
    whole = ~_cutouts(bad, x, y)[:, half - 3:half + 4,
                                 half - 3:half + 4].any(axis=(1, 2))
    peak = image[y, x]
    sharp = (cutouts == peak[:, None, None]).sum(axis=(1, 2)) == 1
    ring = np.hypot(*np.mgrid[-half:half + 1, -half:half + 1]) > 0.6 * half
    alone = cutouts[:, ring].max(axis=1) < 0.2 * peak
    keep = np.flatnonzero(whole & sharp & alone)[:ESTIMATE_SOURCES]
    return x[keep], y[keep]


def _cutouts(image, x, y):
    """Square cutouts around pixels, of shape (n, side, side)."""
    steps = np.arange(-ESTIMATE_HALF, ESTIMATE_HALF + 1)
    return image[y[:, None, None] + steps[:, None],
                 x[:, None, None] + steps]


def _adaptive_fwhm(image, x, y, *, n_iterations=30):
    """FWHM of the Gaussian that matches each source; NaN where none does."""
    cutouts = _cutouts(image, x, y)
    half = ESTIMATE_HALF
    steps = np.arange(-half, half + 1.0)
    x0, y0, size = (np.zeros(x.size), np.zeros(x.size), np.full(x.size, 1.5))
    with np.errstate(invalid='ignore', divide='ignore'):
        for _ in range(n_iterations):
            dx = steps - x0[:, None]
            dy = steps - y0[:, None]
            r2 = dx[:, None, :]**2 + dy[:, :, None]**2
            window = np.maximum(size, MIN_WINDOW)
            light = cutouts * np.exp(-0.5 * r2 / window[:, None, None]**2)
            total = light.sum(axis=(1, 2))
            # the window shrinks the offset and the mean square radius
            gain = 1 + (size / window)**2
            x0 += gain * np.einsum('nyx,nx->n', light, dx) / total
            y0 += gain * np.einsum('nyx,ny->n', light, dy) / total
            variance = (light * r2).sum(axis=(1, 2)) / total / 2
            new = 1 / (1 / variance - 1 / window**2)
            size = np.sqrt(np.clip(new, 0.1, (half / 2)**2))
        moved = np.hypot(x0, y0) > 1.5
    return np.where(moved | ~np.isfinite(size), np.nan,
                    size * gaussian_sigma_to_fwhm)


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
