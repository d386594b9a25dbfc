# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The noise and the sky of an image, where nobody says what they are."""

import numpy as np
from astropy.stats import gaussian_sigma_to_fwhm, sigma_clip
from scipy.ndimage import maximum_filter

__all__ = ['correlation_of_smoothing', 'estimate_noise',
           'estimate_smoothing', 'impossible_pixels', 'sky_image',
           'spread']

# clippings of the pixels that a plane is fitted to
N_CLIPS = 3

# an image whose estimated noise is less than this part of the value of its
# bright sources is taken as free of noise (single precision has 6e-8) ...
NOISELESS = 1e-6
# ... and gets this part of that value as its noise
NOISELESS_FLOOR = 1e-4
# bright sources: this quantile of the peaks above this part of the highest;
# a few stars do not decide for all the others
BRIGHT_QUANTILE, LOWEST_PEAK = 0.75, 1e-6
# least share of negative pixels of an image with noise, those of value 0 not
# counted
LEAST_NEGATIVE = 0.1
# pixels used for the estimate of the noise, and rows taken together, at most
NOISE_SAMPLE, STRIPE = 200_000, 16
# noise is quantised if values that each hold this share of a sample of the
# pixels hold together that share, if pixels beside an unusual one have the
# most common value not much less often than all; its least sigma in steps
QUANTISED_SAMPLE, COMMON_LEVEL, COMMON_SHARE = 10_000, 0.01, 0.8
MIN_INDEPENDENCE, LEAST_STEPS = 0.5, 0.1
# noise of so few steps has no median deviation to speak of: its standard
# deviation, cut at this many sigma, from this many rounds
COARSE, COARSE_CUT, N_COARSE = 1.5, 5.0, 5
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
# no source is this many sigma high and has no neighbour of this share: the
# PSF of a star with a FWHM of 1 pixel has 0.1
IMPOSSIBLE_SIGMA, IMPOSSIBLE_SHARE = 1e5, 1e-3
# and no source is that high: a fill value
FILL_SIGMA = 1e12


def _stripes(image, mask=None):
    """Stripes of rows all over an image, (n, rows, nx), and good pixels."""
    ny, nx = image.shape
    rows = min(STRIPE, ny)
    n = ny // rows
    step = max(1, n * rows * nx // NOISE_SAMPLE)
    values = image[:n * rows].reshape(n, rows, nx)[::step]
    if mask is None:
        return values, np.ones(values.shape, bool)
    return values, ~mask[:n * rows].reshape(n, rows, nx)[::step]


def _quantum(values, good):
    """Step between the values of quantised noise; 0 if there is none."""
    sample = values[good]
    sample = sample[::max(1, sample.size // QUANTISED_SAMPLE)]
    levels, counts = np.unique(sample, return_counts=True)
    common = counts >= COMMON_LEVEL * sample.size
    if common.sum() < 2 or counts[common].sum() < COMMON_SHARE * sample.size:
        return 0.0
    # noise is independent of the pixel beside, sources are not
    usual = values == levels[np.argmax(counts)]
    pairs = good[..., 1:] & good[..., :-1] & ~usual[..., 1:]
    beside = (pairs & usual[..., :-1]).sum() / max(pairs.sum(), 1)
    if beside < MIN_INDEPENDENCE * usual[good].mean():
        return 0.0
    return float(np.diff(levels[common]).min())


def _dither(shape, step):
    """Uniform values that fill the steps between quantised ones."""
    return step * (np.random.default_rng(0).random(shape) - 0.5)


def estimate_noise(image, *, mask=None):
    """
    Estimate the 1-sigma noise of the background of an image (ny, nx).

    The scatter about the median, from the median absolute deviation, with
    values beyond 3 sigma clipped until none is. Values of 0, as of pixels
    that were filled, are left out of images with noise, which has negative
    pixels; not so of quantised ones, where 0 is a value as others. An image
    without noise gets 1e-4 of the value of its bright sources, or 1 if it
    is constant.
    """
    values, good = _stripes(image, mask)
    step = _quantum(values, good)
    values = values[good]
    if step == 0 and ((values < 0).sum()
                      > LEAST_NEGATIVE * np.count_nonzero(values)):
        values = values[values != 0]
    if values.size == 0:
        return 1.0
    sigma = (_clipped_spread(values) if step == 0
             else _quantised_spread(values, step))
    bright = _bright_peak(image, mask, sigma)
    if sigma < NOISELESS * bright:
        return float(NOISELESS_FLOOR * bright)
    return float(sigma) if sigma > 0 else 1.0


def _quantised_spread(values, step):
    """Standard deviation of quantised noise, sources clipped."""
    filled = _clipped_spread(values + _dither(values.shape, step))
    # the variance of the dither is not that of the noise
    sigma = np.sqrt(max(filled**2 - step**2 / 12, (LEAST_STEPS * step)**2))
    middle = np.median(values)
    for _ in range(N_COARSE if sigma < COARSE * step else 0):
        kept = values[np.abs(values - middle) <= COARSE_CUT * sigma]
        middle, sigma = kept.mean(), max(kept.std(), LEAST_STEPS * step)
    return sigma


def spread(values):
    """Standard deviation from the median absolute deviation."""
    return float(np.median(np.abs(values - np.median(values))) / MAD_NORMAL)


def _clipped_spread(values):
    """The same of what lies within 3 sigma of the median."""
    for _ in range(20):
        sigma = spread(values)
        kept = values[np.abs(values - np.median(values)) <= 3 * sigma]
        if kept.size in (0, values.size):
            break
        values = kept
    return sigma


def _beside(image):
    """Highest of the eight pixels around each."""
    around = np.ones((3, 3), bool)
    around[1, 1] = False
    return maximum_filter(image, footprint=around, mode='nearest')


def _bright_peak(image, mask, sigma):
    """
    Value of bright sources; 0 if nothing is far above the noise.

    A few stars or hot pixels above all others do not decide.
    """
    values = image if mask is None else np.where(mask, 0, image)
    if max(values.max(), -values.min()) * NOISELESS <= sigma:
        return 0.0
    values = np.abs(values)
    beside = _beside(values)
    # neither flat as filled pixels nor without light around as hot ones
    peaks = (values > beside) & (beside >= IMPOSSIBLE_SHARE * values)
    found = values[peaks if peaks.any() else values > 0]
    return float(np.quantile(found[found > LOWEST_PEAK * found.max()],
                             BRIGHT_QUANTILE, method='lower'))


def impossible_pixels(image, sigma):
    """
    Pixels that no source can have, (ny, nx), or None if there are none.

    ``sigma`` is the noise; bad pixels of the image are 0. They are fill
    values, or single pixels far above the noise and all pixels beside them.
    """
    if max(image.max(), -image.min()) <= IMPOSSIBLE_SIGMA * sigma:
        return None
    values = np.abs(image)
    alone = (values > IMPOSSIBLE_SIGMA * sigma) & (
        _beside(values) < IMPOSSIBLE_SHARE * values)
    wrong = alone | (values > FILL_SIGMA * sigma)
    return wrong if wrong.any() else None


def estimate_smoothing(image, noise, mask=None):
    """
    FWHM in pixels of the Gaussian that an image (ny, nx) was smoothed with.

    ``noise`` is what `estimate_noise` returns. 0 if neighbouring pixels of
    the sky are independent or nearly so, infinite if they are the same or
    nearly so: an image without noise.

    Noise that was smoothed with a Gaussian of width s has the correlation
    ``exp(-d**2 / (4 * s**2))`` at a distance d. That of the differences
    between neighbours is ``sqrt(2 * (1 - correlation))`` of its noise. The
    values 0, as of pixels that were filled, are left out.
    """
    values, sky = _stripes(image, mask)
    step = _quantum(values, sky)
    if step > 0:
        values = values + _dither(values.shape, step)
        noise = np.hypot(noise, step / np.sqrt(12))
    sky = sky & (values != 0) & (
        np.abs(values - np.median(values)) < SKY_SIGMA * noise)
    steps = np.abs(np.concatenate([
        np.diff(values, axis=axis)[_both(sky, axis)] for axis in (1, 2)]))
    step = np.median(steps) / MAD_NORMAL if steps.size else 0.0
    share = step / (np.sqrt(2) * noise)
    if share >= MAX_STEP:
        return 0.0
    if share <= LEAST_STEP:
        return np.inf
    sigma = np.sqrt(-0.25 / np.log1p(-share ** 2))
    return float(sigma * gaussian_sigma_to_fwhm)


def _both(sky, axis):
    """Where two neighbours along an axis are both sky."""
    first = np.delete(sky, -1, axis)
    return first & np.delete(sky, 0, axis)


def correlation_of_smoothing(fwhm):
    """
    Noise of a large sum over that of independent pixels, (n_bands,).

    ``fwhm`` (n_bands,) is what `estimate_smoothing` returned. The factor is
    the square root of the sum of the correlations; 1 without noise.
    """
    fwhm = np.where(np.isfinite(fwhm), fwhm, 0.0)
    sigma = fwhm / gaussian_sigma_to_fwhm
    return np.maximum(np.sqrt(4 * np.pi) * sigma, 1.0)


def sky_image(image, mask, kind):
    """
    Estimate the level of the sky of an image, (ny, nx), or a plane.

    ``kind`` is ``'constant'``, the median of the sigma-clipped pixels, or
    ``'plane'``, a least-squares plane through them. 0 if no pixel is good.
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
