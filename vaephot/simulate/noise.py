# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Noise of the sky and of the sources, and saturation."""

import numpy as np
from scipy.ndimage import uniform_filter

__all__ = ['add_noise', 'correlated_noise', 'noise_variance', 'saturate']


def noise_variance(model, sky_rms, gain):
    """
    Variance of an image: sky plus photon noise of the sources.

    Parameters
    ----------
    model : ndarray (n_bands, ny, nx)
        Noiseless sources.
    sky_rms : ndarray (n_bands,)
        1-sigma noise of the empty sky, in the unit of the model.
    gain : ndarray (n_bands,)
        Electrons per unit.

    Returns
    -------
    ndarray (n_bands, ny, nx)
        In the squared unit of the model.
    """
    sky = np.asarray(sky_rms, float)[:, None, None]
    photons = np.maximum(model, 0) / np.asarray(gain, float)[:, None, None]
    return sky ** 2 + photons


def correlated_noise(rng, shape, width):
    """
    Draw noise of unit variance, correlated over a few pixels.

    White noise is averaged over squares of ``width`` pixels, as images
    resampled to smaller pixels are; the noise of a sum over many pixels
    is then ``width`` times that of independent ones.

    Parameters
    ----------
    rng : `numpy.random.Generator`
        Source of randomness.
    shape : tuple of int
        (ny, nx).
    width : int
        Side of the squares; 1 gives independent pixels.

    Returns
    -------
    ndarray (ny, nx)
    """
    white = rng.normal(size=shape)
    if width == 1:
        return white
    return uniform_filter(white, width, mode='wrap') * width


def add_noise(rng, model, sky_rms, gain, *, correlation=None):
    """
    Add sky and photon noise to noiseless sources.

    Parameters
    ----------
    rng : `numpy.random.Generator`
        Source of randomness.
    model : ndarray (n_bands, ny, nx)
        Noiseless sources.
    sky_rms, gain : ndarray (n_bands,)
        As for `noise_variance`.
    correlation : sequence of int or None, optional
        Width per band as for `correlated_noise`. `None`, the default,
        means independent pixels.

    Returns
    -------
    image : ndarray (n_bands, ny, nx)
        Sources with noise.
    error : ndarray (n_bands, ny, nx)
        1-sigma noise of each pixel.
    """
    error = np.sqrt(noise_variance(model, sky_rms, gain))
    widths = [1] * len(model) if correlation is None else correlation
    noise = np.array([correlated_noise(rng, model.shape[1:], width)
                      for width in widths])
    return model + noise * error, error


def saturate(image, levels):
    """
    Clip an image at the saturation levels of its bands.

    Parameters
    ----------
    image : ndarray (n_bands, ny, nx)
        Image with noise.
    levels : ndarray (n_bands,)
        Largest pixel value; infinite where nothing saturates.

    Returns
    -------
    image : ndarray (n_bands, ny, nx)
        A clipped copy.
    mask : ndarray of bool (n_bands, ny, nx)
        True where the image was clipped.
    """
    levels = np.asarray(levels, float)[:, None, None]
    return np.minimum(image, levels), image > levels
