# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The noise and the sky of an image, where nobody says what they are."""

import numpy as np
from astropy.stats import gaussian_sigma_to_fwhm, sigma_clip
from scipy.ndimage import maximum_filter

__all__ = ['correlation_of_smoothing', 'estimate_noise',
           'estimate_smoothing', 'has_negative', 'impossible_pixels',
           'quantum', 'sky_image', 'spread', 'stripes', 'without_crowding']

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
# the darkest blocks of an image are its sky, however crowded it is: their
# side in pixels, least share of good pixels, share of all blocks, and least
# number; what their noise must fall below that of the whole image by
DARK_SIDE, DARK_GOOD, DARK_SHARE, MIN_DARK = 6, 0.7, 0.1, 10
DARK_TOLERANCE, DARK_SIGMA = 0.1, 3.0
# blocks whose variance exceeds the others' by so many of its sigma hold
# sources or cosmics; smoothing (Gaussian sigma in pixels) of noise at most
DARK_CLIP, MAX_DARK_SMOOTHING = 5.0, 2.0
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


def stripes(image, mask=None):
    """Stripes of rows all over an image, (n, rows, nx), and good pixels."""
    ny, nx = image.shape
    rows = min(STRIPE, ny)
    n = ny // rows
    step = max(1, n * rows * nx // NOISE_SAMPLE)
    values = image[:n * rows].reshape(n, rows, nx)[::step]
    if mask is None:
        return values, np.ones(values.shape, bool)
    return values, ~mask[:n * rows].reshape(n, rows, nx)[::step]


def has_negative(values):
    """Whether so many of the values are negative that there is noise."""
    return (values < 0).sum() > LEAST_NEGATIVE * np.count_nonzero(values)


def quantum(values, good):
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
    is constant. Where sources fill the image, the noise is that of its
    darkest blocks.
    """
    parts, good = stripes(image, mask)
    step = quantum(parts, good)
    values = parts[good]
    if step == 0 and has_negative(values):
        values = values[values != 0]
    if values.size == 0:
        return 1.0
    sigma = (_clipped_spread(values) if step == 0
             else _quantised_spread(values, step))
    if sigma > COARSE * step:
        sigma = without_crowding(sigma, parts, good & (parts != 0))
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


def without_crowding(sigma, values, good):
    """
    Noise of the darkest blocks of stripes (n, rows, nx), or ``sigma``.

    It is that of the pixels about the mean of their block, which does not
    depend on how dark that is, and that of the blocks by the correlation of
    neighbouring pixels, as smoothing with a Gaussian makes it. ``sigma``,
    the scatter of all pixels, counts unless the other is lower by more than
    its errors.
    """
    mean, variance, step, n_good = _block_moments(values, good)
    if len(mean) < MIN_DARK:
        return sigma
    order = np.argsort(mean)[:max(MIN_DARK, int(DARK_SHARE * len(mean)))]
    dark, limit = variance[order], np.median(variance[order])
    limit += DARK_CLIP * spread(dark)
    order = order[dark <= limit]
    weight = n_good[order]
    within, step = (np.average(column[order], weights=weight)
                    for column in (variance, step))
    dark = _unsmoothed(within, step)
    error = DARK_SIGMA / np.sqrt(2 * weight.sum())
    return dark if dark < (1 - max(DARK_TOLERANCE, error)) * sigma else sigma


def _block_moments(values, good):
    """
    Moments of the blocks of stripes, (n_blocks,) each.

    Mean, variance, half the mean square of the steps between neighbours,
    and the number of good pixels, of blocks with enough of these.
    """
    n, rows, nx = values.shape
    side = DARK_SIDE
    cut = np.s_[:, :rows // side * side, :nx // side * side]
    blocks, fine = (array[cut].reshape(
        n, rows // side, side, nx // side, side).swapaxes(2, 3).reshape(
            -1, side, side) for array in (values, good))
    blocks = blocks[enough := fine.sum((1, 2)) >= DARK_GOOD * side ** 2]
    fine = fine[enough]
    count = fine.sum((1, 2))
    mean = np.where(fine, blocks, 0).sum((1, 2)) / count
    left = np.where(fine, blocks - mean[:, None, None], 0)
    variance = (left ** 2).sum((1, 2)) / (count - 1)
    square, pairs = np.zeros((2, len(blocks)))
    for axis in (1, 2):
        both = _both(fine, axis)
        square += (np.diff(left, axis=axis) ** 2 * both).sum((1, 2))
        pairs += both.sum((1, 2))
    return mean, variance, 0.5 * square / np.maximum(pairs, 1), count


def _unsmoothed(within, step):
    """Noise of pixels from their variance in blocks and that of steps."""
    smoothing = np.linspace(0.25, MAX_DARK_SMOOTHING, 36)
    lag = np.arange(DARK_SIDE)
    weight = np.where(lag == 0, DARK_SIDE, 2 * (DARK_SIDE - lag))
    correlation = np.exp(-0.25 * np.divide.outer(lag, smoothing) ** 2)
    mean = (weight @ correlation / DARK_SIDE ** 2) ** 2
    seen = (1 - mean) / (1 - 1 / DARK_SIDE ** 2)
    ratio = (1 - correlation[1]) / seen
    found = step / within if within > 0 else 0.0
    if found < ratio[-1]:
        return np.inf
    return float(np.sqrt(within / np.interp(-found, -ratio, seen)))


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
    values, sky = stripes(image, mask)
    step = quantum(values, sky)
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
