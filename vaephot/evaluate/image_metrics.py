# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""How much an image of one source looks like its true, noiseless image."""

import numpy as np
from scipy.ndimage import gaussian_filter

__all__ = ['IMAGE_METRICS', 'cosine_similarity', 'image_metrics',
           'overlap', 'relative_residual', 'structural_similarity',
           'true_segmentation']

IMAGE_METRICS = ('residual', 'cosine', 'ssim', 'iou')
# window and constants of the structural similarity (Wang et al. 2004,
# IEEE Trans. Image Process. 13, 600, section III.C)
SSIM_SIGMA = 1.5
SSIM_CONSTANTS = (0.01, 0.03)


def relative_residual(true, measured):
    """
    Absolute difference of two images over the sum of the true one.

    Parameters
    ----------
    true, measured : array_like, (ny, nx)
        The images.

    Returns
    -------
    float
        0 for the truth, 1 for nothing at all, more for what is worse.
    """
    true, measured = np.asarray(true, float), np.asarray(measured, float)
    return float(np.abs(measured - true).sum() / np.abs(true).sum())


def cosine_similarity(true, measured):
    """
    Cosine of the angle between two images, blind to their flux.

    Parameters
    ----------
    true, measured : array_like, (ny, nx)
        The images.

    Returns
    -------
    float
        1 for the same shape, 0 for nothing in common.
    """
    true, measured = np.asarray(true, float), np.asarray(measured, float)
    norm = np.sqrt((true ** 2).sum() * (measured ** 2).sum())
    return float((true * measured).sum() / norm) if norm > 0 else 0.0


def structural_similarity(true, measured):
    """
    Mean structural similarity (SSIM) of two images.

    Parameters
    ----------
    true, measured : array_like, (ny, nx)
        The images; the range of the true one is that of the data.

    Returns
    -------
    float
        1 for the truth.

    References
    ----------
    Wang et al. 2004, IEEE Trans. Image Process. 13, 600, equation 13, with
    their Gaussian window of 1.5 pixels.
    """
    x, y = np.asarray(true, float), np.asarray(measured, float)
    c1, c2 = (k * (x.max() - x.min()) for k in SSIM_CONSTANTS)

    def mean(image):
        return gaussian_filter(image, SSIM_SIGMA, truncate=3.5)

    mx, my = mean(x), mean(y)
    vx, vy = mean(x * x) - mx * mx, mean(y * y) - my * my
    covariance = mean(x * y) - mx * my
    similarity = ((2 * mx * my + c1 ** 2) * (2 * covariance + c2 ** 2)
                  / ((mx ** 2 + my ** 2 + c1 ** 2) * (vx + vy + c2 ** 2)))
    return float(similarity.mean())


def overlap(true, measured, threshold):
    """
    Intersection over union of the pixels above a threshold.

    Parameters
    ----------
    true, measured : array_like, (ny, nx)
        The images.
    threshold : float
        Level that makes a pixel part of a source.

    Returns
    -------
    float
        1 for the same pixels; NaN if there are none in the true image.
    """
    own, other = np.asarray(true) > threshold, np.asarray(measured) > threshold
    if not own.any():
        return np.nan
    return float((own & other).sum() / (own | other).sum())


def image_metrics(true, measured, threshold):
    """
    Compute all image metrics of one source in one band.

    Parameters
    ----------
    true, measured : array_like, (ny, nx)
        Noiseless true image and measured image.
    threshold : float
        Level for `overlap`, such as the noise of the sky.

    Returns
    -------
    dict
        ``residual``, ``cosine``, ``ssim`` and ``iou``.
    """
    return {'residual': relative_residual(true, measured),
            'cosine': cosine_similarity(true, measured),
            'ssim': structural_similarity(true, measured),
            'iou': overlap(true, measured, threshold)}


def true_segmentation(models, threshold):
    """
    Pixels that each source outshines the others in.

    Parameters
    ----------
    models : array_like, (n, ny, nx)
        Noiseless sources in one band.
    threshold : float
        Least value of the brightest source.

    Returns
    -------
    `~numpy.ndarray` of int, (ny, nx)
        Row of the source plus 1; 0 below the threshold.
    """
    models = np.asarray(models)
    return np.where(models.max(0) > threshold, models.argmax(0) + 1, 0)
