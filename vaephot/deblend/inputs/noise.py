# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The noise and the sky of an image, where nobody says what they are."""

import numpy as np
from astropy.stats import gaussian_sigma_to_fwhm, sigma_clip

__all__ = ['correlation_of_smoothing', 'estimate_noise',
           'estimate_smoothing', 'sky_image']

# clippings of the pixels that a plane is fitted to
N_CLIPS = 3

# an image whose estimated noise is less than this part of its largest value
# is taken as free of noise (single precision has 6e-8) ...
NOISELESS = 1e-6
# ... and gets this part of its largest value as its noise
NOISELESS_FLOOR = 1e-4
# least share of negative pixels of an image with noise, those of value 0 not
# counted
LEAST_NEGATIVE = 0.1
# pixels used for the estimate of the noise, at most
NOISE_SAMPLE = 1_000_000
# median absolute deviation of a normal distribution of sigma 1
MAD_NORMAL = 0.6744897501960817
# an image was smoothed before if the noise of the differences between
# neighbours is below this share of what independent pixels have; smoothing
# with a Gaussian of FWHM 2 gives 0.54
MAX_STEP = 0.65
# below this share, that of a FWHM of 10 pixels, they are not noise at all
LEAST_STEP = 0.117
# sky: within this many sigma of the median
SKY_SIGMA = 3.0


def estimate_noise(image, *, mask=None):
    """
    Estimate the noise of the background of one image.

    The scatter about the median, from the median absolute deviation, with
    values beyond 3 sigma clipped until none is. An image without noise has
    none to estimate: where the result is below 1e-6 of the largest
    deviation, 1e-4 of that deviation is returned, and 1 for a constant
    image. Values of 0, as of pixels that were filled, are left out of images
    with noise, which has negative pixels.

    Parameters
    ----------
    image : 2D `~numpy.ndarray`
        Image.
    mask : 2D bool `~numpy.ndarray`, optional
        True for bad pixels.

    Returns
    -------
    float
        Standard deviation, positive.
    """
    values = image[~mask] if mask is not None else image.ravel()
    filled = values == 0
    if (values < 0).sum() > LEAST_NEGATIVE * (~filled).sum():
        values = values[~filled]
    step = max(1, values.size // NOISE_SAMPLE)
    values = values[::step]
    if values.size == 0:
        return 1.0
    largest = np.abs(values - np.median(values)).max()
    for _ in range(20):
        middle = np.median(values)
        sigma = np.median(np.abs(values - middle)) / MAD_NORMAL
        kept = values[np.abs(values - middle) <= 3 * sigma]
        if kept.size in (0, values.size):
            break
        values = kept
    if largest == 0:
        return 1.0
    if sigma < NOISELESS * largest:
        return float(NOISELESS_FLOOR * largest)
    return float(sigma)


def estimate_smoothing(image, noise, mask=None):
    """
    Estimate with what Gaussian an image was smoothed, from its noise.

    Parameters
    ----------
    image : 2D `~numpy.ndarray`
        Image.
    noise : float
        1-sigma noise of its pixels, as `estimate_noise` returns it.
    mask : 2D bool `~numpy.ndarray`, optional
        True for bad pixels.

    Returns
    -------
    float
        FWHM in pixels; 0 if neighbouring pixels of the sky are independent
        or nearly so, infinite if they are the same or nearly so: an image
        without noise.

    Notes
    -----
    Noise that was smoothed with a Gaussian of width s has the correlation
    ``exp(-d**2 / (4 * s**2))`` at a distance d. That of the differences
    between neighbours is ``sqrt(2 * (1 - correlation))`` of its noise. The
    values 0, as of pixels that were filled, are left out.
    """
    sky = np.abs(image - np.median(image)) < SKY_SIGMA * noise
    sky &= image != 0
    if mask is not None:
        sky &= ~mask
    steps = []
    for axis in (0, 1):
        pair = np.moveaxis(sky, axis, 0)
        step = np.moveaxis(np.diff(image, axis=axis), axis, 0)
        steps.append(step[pair[1:] & pair[:-1]])
    steps = np.abs(np.concatenate(steps))
    steps = steps[::max(1, steps.size // NOISE_SAMPLE)]
    step = np.median(steps) / MAD_NORMAL if steps.size else 0.0
    share = step / (np.sqrt(2) * noise)
    if share >= MAX_STEP:
        return 0.0
    if share <= LEAST_STEP:
        return np.inf
    sigma = np.sqrt(-0.25 / np.log1p(-share ** 2))
    return float(sigma * gaussian_sigma_to_fwhm)


def correlation_of_smoothing(fwhm):
    """
    How much smoothing raises the noise of large sums.

    Parameters
    ----------
    fwhm : `numpy.ndarray`, (n_bands,)
        What `estimate_smoothing` returned for each band.

    Returns
    -------
    `numpy.ndarray`, (n_bands,)
        Noise of a large sum over that of as many independent pixels of the
        same noise: the square root of the sum of their correlations. 1
        for an image without noise.
    """
    fwhm = np.where(np.isfinite(fwhm), fwhm, 0.0)
    sigma = fwhm / gaussian_sigma_to_fwhm
    return np.maximum(np.sqrt(4 * np.pi) * sigma, 1.0)


def sky_image(image, mask, kind):
    """
    Estimate the level of the sky, or a plane.

    Parameters
    ----------
    image : `numpy.ndarray`, (ny, nx)
        Image.
    mask : `numpy.ndarray` of bool, (ny, nx)
        Bad pixels.
    kind : {'constant', 'plane'}
        Median of the sigma-clipped pixels, or a least-squares plane through
        them.

    Returns
    -------
    `numpy.ndarray`, (ny, nx)
        0 if no pixel is good.
    """
    good = ~mask
    if not good.any():
        return np.zeros(image.shape)
    kept = ~np.ma.getmaskarray(sigma_clip(np.ma.array(image, mask=mask)))
    sky = np.full(image.shape, np.median(image[kept]))
    if kind == 'constant':
        return sky
    iy, ix = np.indices(image.shape)
    columns = np.stack([np.ones(image.shape), ix, iy], -1)
    for _ in range(N_CLIPS):
        plane = np.linalg.lstsq(columns[kept], image[kept], rcond=None)[0]
        sky = columns @ plane
        rest = np.ma.array(image - sky, mask=mask)
        kept = ~np.ma.getmaskarray(sigma_clip(rest))
    return sky
