# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""One image in units of its noise from all bands, and what stands out."""

import numpy as np
from astropy.stats import gaussian_sigma_to_fwhm
from numpy.lib.stride_tricks import sliding_window_view
from photutils.segmentation import detect_sources
from scipy.ndimage import label as label_regions

__all__ = ['above_threshold', 'detect', 'detection_image', 'filter_matrix',
           'gaussian_line', 'segments_of', 'stack_sums', 'weights_of_sums']

# threshold in units of the noise of single pixels, as is usual after
# smoothing ...
THRESHOLD = 1.5
# ... but never more than this in units of the noise of the smoothed image,
# or wide PSFs would cost faint sources
MAX_SMOOTHED_THRESHOLD = 4.0
# smoothing that finds peaks, in units of the FWHM of the PSF: widens
# sources by 12 % only
PEAK_SMOOTHING = 0.5
# a band counts at least this much of the best one
MIN_BAND_WEIGHT = 0.1
# least share of the kernel's weight that good pixels must hold
MIN_COVER = 0.01
# rows that are smoothed at once, so that what is needed stays in the cache
STRIP_ROWS = 64
# larger values than this, in units of the noise, are cut: single precision
# holds 3e38
LARGEST = 1e30
# signal to noise of the mean of the bands that the bands are compared at
BRIGHT = 3.0


def detection_image(observation, *, smooth=PEAK_SMOOTHING):
    """
    Stack of the bands in units of its noise, (ny, nx) of float32.

    Each band is smoothed with a Gaussian of ``smooth`` times the FWHM of
    its PSF, not at all if it was smoothed before, and divided by the noise
    of the result; the mean signal to noise of the significant pixels is its
    weight. Bad pixels have no weight; where no band has data, it is 0.
    """
    return _stack(observation, [
        0.0 if width > 0 else smooth for width in observation.smoothing])[0]


def detect(observation, n_pixels):
    """
    Segmentation of the stack smoothed with the PSFs, None if it is empty.

    The threshold is 1.5 times the noise of single pixels or 4 times that of
    the smoothed stack, whichever is less.
    """
    return segments_of(above_threshold(observation), n_pixels)


def segments_of(bright, n_pixels):
    """Segmentation of bright pixels (ny, nx), None if it is empty."""
    # detect_sources warns where there is nothing
    regions, n_regions = label_regions(bright, np.ones((3, 3)))
    if n_regions == 0 or np.bincount(regions.flat)[1:].max() < n_pixels:
        return None
    return detect_sources(bright, 0.5, n_pixels)


def above_threshold(observation):
    """Good pixels where the smoothed stack is above the threshold."""
    image, reduction = _stack(observation, [1.0] * len(observation.psfs))
    threshold = min(THRESHOLD * reduction, MAX_SMOOTHED_THRESHOLD)
    return (image > threshold) & ~observation.mask.all(axis=0)


def stack_sums(observation):
    """
    Signal of the bands of the smoothed stack in its significant pixels.

    Returns the sums (n_bands,) and the number of pixels; those of several
    parts of an image add up.
    """
    signals, _, _ = _signals(observation, [1.0] * len(observation.psfs))
    return _sum_bright(signals)


def _signals(observation, smooth):
    """Of each band: signal to noise, where data are, lowered noise."""
    signals, covered, lowered = [], [], []
    for i, psf in enumerate(observation.psfs):
        factor = observation.noise_correlation[i] if smooth[i] > 0 else 1.0
        line = gaussian_line(smooth[i] * psf.fwhm)
        signal, has_data = _band_signal(
            observation.data[i], observation.variance[i],
            observation.mask[i], line)
        signal /= np.float32(factor)
        signals.append(signal)
        covered.append(has_data)
        lowered.append(1 / (line @ line))
    return signals, covered, lowered


def _stack(observation, smooth):
    """Stack (ny, nx), and by what factor smoothing lowered its noise."""
    signals, covered, lowered = _signals(observation, smooth)
    image = _add_bands(signals, covered, observation.stack_weights)
    return image, float(np.mean(lowered))


def _add_bands(signals, covered, weights=None):
    """Weighted sum of bands, (ny, nx); the bands are written to."""
    if len(signals) == 1:
        return signals[0]
    if weights is None:
        weights = weights_of_sums(_sum_bright(signals)[0])
    norm = np.zeros_like(signals[0])
    for weight, signal, has_data in zip(weights, signals, covered,
                                        strict=True):
        signal *= weight
        norm += weight ** 2 if has_data is None else weight ** 2 * has_data
    image = signals[0]
    for signal in signals[1:]:
        image += signal
    return np.divide(image, np.sqrt(norm), out=image, where=norm > 0)


def _sum_bright(signals):
    """Sum of each band where the plain mean is significant, and pixels."""
    n_bands = len(signals)
    mean = sum(signals[1:], signals[0].copy())
    bright = mean > BRIGHT * n_bands ** 0.5
    return (np.array([signal[bright].sum(dtype=float)
                      for signal in signals]), int(bright.sum()))


def weights_of_sums(sums):
    """Weights of bands from their signal in significant pixels."""
    sums = np.maximum(np.asarray(sums, float), 0)
    best = sums.max()
    if best <= 0:
        return np.ones(len(sums), np.float32)
    return np.maximum(sums / best, MIN_BAND_WEIGHT).astype(np.float32)


def _band_signal(data, variance, mask, line):
    """
    Signal to noise of a smoothed band, and where it has data.

    All are (ny, nx), the variance may be (1, 1); ``None`` instead of a map
    of where there are data says that they are everywhere.
    """
    out = np.empty(data.shape, np.float32)
    has_data = np.ones(data.shape, bool) if mask.any() else None
    scale, half = np.sqrt(variance.min()), len(line) // 2
    cover = [_edge_cover(n, line) for n in data.shape]
    for start in range(0, len(data), STRIP_ROWS):
        rows = slice(start, min(start + STRIP_ROWS, len(data)))
        outer = slice(max(start - half, 0), rows.stop + half)
        inner = slice(rows.start - outer.start, rows.stop - outer.start)
        signal = _single(data[outer], scale)
        weight = 1 if variance.size == 1 else _single(
            scale ** 2 / variance[outer], 1.0)
        good = None
        if has_data is not None and mask[outer].any():
            good = ~mask[outer]
            signal *= good
            has_data[rows] = (_smooth(good, line ** 2)[inner]
                              > MIN_COVER * (line @ line) ** 2)
        if good is None and variance.size == 1:
            power = np.outer(cover[0][rows], cover[1])
        else:
            power = _smooth(weight if good is None else weight * good,
                            line ** 2)[inner]
        signal = _smooth(signal * weight, line)[inner]
        out[rows] = _ratio(signal, power, has_data, rows)
    return out, has_data


def _single(values, scale):
    """Values (ny, nx) over a scale in single precision."""
    scaled = values / scale
    return np.clip(scaled, -LARGEST, LARGEST, out=scaled).astype(np.float32)


def _ratio(signal, power, has_data, rows):
    """Signal over the root of its variance, 0 without data, (n_rows, nx)."""
    if has_data is None:
        return signal / np.sqrt(power)
    return np.divide(signal, np.sqrt(power), out=np.zeros_like(signal),
                     where=has_data[rows])


def _edge_cover(n, line):
    """Sum of the squared kernel (n_line,) within n pixels, (n,)."""
    return np.convolve(np.ones(n, np.float32), (line ** 2).astype('f4'),
                       'full')[len(line) // 2:][:n]


def gaussian_line(fwhm):
    """Gaussian of sum 1; its outer product with itself is the kernel."""
    sigma = fwhm / gaussian_sigma_to_fwhm
    half = int(np.ceil(3 * sigma))
    if half == 0:
        return np.ones(1)
    line = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma)**2)
    return line / line.sum()


def filter_matrix(line, outer, inner):
    """Convolution of a range of pixels for those inside, (n_in, n_out)."""
    n_in, n_out = inner.stop - inner.start, outer.stop - outer.start
    shift = n_in - 1 - len(line) // 2 + inner.start - outer.start
    padded = np.zeros(n_in + n_out - 1)
    first, last = max(shift, 0), min(shift + len(line), len(padded))
    padded[first:last] = line[first - shift:last - shift]
    return sliding_window_view(padded, n_out)[::-1].copy()


def _smooth(image, line):
    """Convolve (ny, nx) with a separable symmetric kernel, 0 outside."""
    line = line.astype(np.float32)
    half = len(line) // 2
    if half == 0:
        return image * line[0] ** 2
    ny, nx = image.shape
    padded = np.zeros((ny + 2 * half, nx + 2 * half), np.float32)
    padded[half:-half, half:-half] = image
    return _along(_along(padded, line).T, line).T


def _along(padded, line):
    """Convolve the rows' axis of (ny + n_line - 1, nx), (ny, nx)."""
    half = len(line) // 2
    n = len(padded) - 2 * half
    out = line[half] * padded[half:half + n]
    for k in range(half):
        pair = padded[k:k + n] + padded[2 * half - k:][:n]
        pair *= line[k]
        out += pair
    return out
