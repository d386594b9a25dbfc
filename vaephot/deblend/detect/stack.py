# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""One image in units of its noise from all bands, and what stands out."""

import numpy as np
from astropy.stats import gaussian_sigma_to_fwhm
from photutils.segmentation import detect_sources
from scipy.ndimage import convolve1d
from scipy.ndimage import label as label_regions

__all__ = ['convolve_line', 'detect', 'detection_image', 'gaussian_line']

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


def detection_image(observation, *, smooth=PEAK_SMOOTHING):
    """
    Stack the bands, weighted by their signal to noise.

    Each band is matched-filtered with a Gaussian and divided by the noise
    of the result; the bands are then added with the mean signal to noise of
    the significant pixels as weights. Bad pixels have no weight.

    Parameters
    ----------
    observation : `~vaephot.deblend.inputs.read.Observation`
        Images.
    smooth : float, optional
        FWHM of the Gaussian in units of that of the PSF of the band; 0 for
        none. The default of 0.5 keeps peaks apart; 1 is best for finding
        faint sources. A band that was smoothed before is taken as it is.

    Returns
    -------
    `~numpy.ndarray` of float64, (ny, nx)
        Image in units of its noise, which is 1 at each pixel if the errors
        hold; 0 where no band has data.
    """
    return _stack(observation, [
        0.0 if width > 0 else smooth for width in observation.smoothing])[0]


def detect(observation, n_pixels):
    """
    Detect sources in the stack of the bands.

    The stack is smoothed with the PSFs. The threshold is 1.5 times the
    noise of single pixels or 4 times that of the smoothed stack, whichever
    is less.

    Parameters
    ----------
    observation : `~vaephot.deblend.inputs.read.Observation`
        Images.
    n_pixels : int
        Least number of connected pixels.

    Returns
    -------
    `~photutils.segmentation.SegmentationImage` or None
        `None` if there is no source.
    """
    image, reduction = _stack(observation, [1.0] * len(observation.psfs))
    threshold = min(THRESHOLD * reduction, MAX_SMOOTHED_THRESHOLD)
    mask = observation.mask.all(axis=0)
    # detect_sources warns where there is nothing
    regions, n_regions = label_regions((image > threshold) & ~mask,
                                       np.ones((3, 3)))
    if n_regions == 0 or np.bincount(regions.flat)[1:].max() < n_pixels:
        return None
    return detect_sources(image, threshold, n_pixels, mask=mask)


def _stack(observation, smooth):
    """
    Weighted stack, and by what factor smoothing lowered its noise.

    ``smooth`` is one number per band.
    """
    signals, weights, lowered = [], [], []
    for i, psf in enumerate(observation.psfs):
        factor = observation.noise_correlation[i] if smooth[i] > 0 else 1.0
        good, variance = ~observation.mask[i], observation.variance[i]
        line = gaussian_line(smooth[i] * psf.fwhm)
        signal = convolve_line(np.where(good, observation.data[i], 0)
                               / variance, line)
        cover = convolve_line(good.astype(float), line**2)
        power = (cover / variance if variance.size == 1
                 else convolve_line(good / variance, line**2))
        has_data = cover > MIN_COVER * (line @ line)**2
        signals.append(np.divide(signal, np.sqrt(power) * factor,
                                 out=np.zeros_like(signal), where=has_data))
        weights.append(has_data)
        lowered.append(1 / (line @ line))
    if len(signals) == 1:
        return signals[0], lowered[0]
    signals = np.array(signals)
    weights = np.array(weights) * _band_weights(signals)[:, None, None]
    norm = np.sqrt(np.square(weights).sum(axis=0))
    image = np.einsum('byx,byx->yx', weights, signals)
    return (np.divide(image, norm, out=np.zeros_like(image),
                      where=norm > 0), float(np.mean(lowered)))


def gaussian_line(fwhm):
    """Gaussian of sum 1; its outer product with itself is the kernel."""
    sigma = fwhm / gaussian_sigma_to_fwhm
    half = int(np.ceil(3 * sigma))
    if half == 0:
        return np.ones(1)
    line = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma)**2)
    return line / line.sum()


def convolve_line(image, line):
    """Convolve with a separable kernel; there is nothing outside."""
    for axis in (0, 1):
        image = convolve1d(image, line, axis=axis, mode='constant')
    return image


def _band_weights(signals):
    """Mean signal to noise per band where the plain mean is significant."""
    mean = signals.mean(axis=0) * np.sqrt(len(signals))
    bright = mean > 3
    if len(signals) == 1 or not bright.any():
        return np.ones(len(signals))
    weights = np.maximum(signals[:, bright].mean(axis=1), 0)
    best = weights.max()
    if best <= 0:
        return np.ones(len(signals))
    return np.maximum(weights / best, MIN_BAND_WEIGHT)
