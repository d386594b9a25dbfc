# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Noise of sky and sources, backgrounds, bad pixels and saturation."""

import numpy as np
from scipy.ndimage import binary_dilation, convolve1d, gaussian_filter

from vaephot.exceptions import CatalogError

__all__ = ['add_noise', 'background_residual', 'bad_pixels',
           'correlate_noise', 'correlated_noise', 'depth_factor',
           'large_sum_factor', 'noise_variance', 'saturate']

# Shapes of a residual background and their shares of its variance: an
# offset, a plane, and waves of this length over the side of the image.
BACKGROUND_SHARES = (0.4, 0.3, 0.3)
BACKGROUND_WAVE = 0.15

# Share of the bad pixels in single pixels, in columns, and in tracks of
# cosmic rays of up to this many pixels.
BAD_SHARES = (0.5, 0.2, 0.3)
TRACK_PIXELS = 25


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


def _box(width):
    """Weights of a square pixel of any width, sum of squares 1."""
    half = int(np.ceil((width - 1) / 2))
    place = np.arange(-half, half + 1)
    weights = np.clip(width / 2 + 0.5 - abs(place), 0, 1)
    return weights / np.sqrt((weights ** 2).sum())


def correlated_noise(rng, shape, width):
    """
    Draw noise of unit variance, correlated over a few pixels.

    White noise is averaged over squares of ``width`` pixels, as images
    resampled to smaller pixels are; the noise of a sum over many pixels
    is then about ``width`` times that of independent ones.

    Parameters
    ----------
    rng : `numpy.random.Generator`
        Source of randomness.
    shape : tuple of int
        (ny, nx).
    width : float
        Side of the squares; 1 gives independent pixels.

    Returns
    -------
    ndarray (ny, nx)
    """
    return correlate_noise(rng.normal(size=shape), width)


def correlate_noise(noise, width, *, mode='wrap'):
    """
    Average white noise over squares, keeping its variance.

    Parameters
    ----------
    noise : ndarray (ny, nx)
        White noise.
    width : float
        As for `correlated_noise`.
    mode : str, optional
        What is beyond the edges, as scipy.ndimage has it.

    Returns
    -------
    ndarray (ny, nx)
    """
    if width <= 1:
        return noise
    for axis in (0, 1):
        noise = convolve1d(noise, _box(width), axis=axis, mode=mode)
    return noise


def large_sum_factor(width):
    """
    Noise of a large sum over that of independent pixels.

    Parameters
    ----------
    width : float
        As for `correlated_noise`.

    Returns
    -------
    float
    """
    return float(_box(max(width, 1)).sum() ** 2)


def depth_factor(psf, width):
    """
    How correlation raises the flux error of a point source.

    Parameters
    ----------
    psf : ndarray (ny, nx)
        PSF at the pixels, of any sum; the flux is fitted with it.
    width : float
        As for `correlated_noise`.

    Returns
    -------
    float
        Flux error at a given noise per pixel, over that of independent
        pixels.
    """
    if width <= 1:
        return 1.0
    pad = int(np.ceil(width)) + 1
    smooth = np.pad(np.asarray(psf, float), pad)
    for axis in (0, 1):
        smooth = convolve1d(smooth, _box(width), axis=axis, mode='constant')
    return float(np.sqrt((smooth ** 2).sum() / (np.asarray(psf) ** 2).sum()))


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
    correlation : sequence of float or None, optional
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


def background_residual(rng, shape, rms):
    """
    Draw what an imperfect subtraction of the sky leaves.

    Parameters
    ----------
    rng : `numpy.random.Generator`
        Source of randomness.
    shape : tuple of int
        (ny, nx).
    rms : float
        Typical size of the residual.

    Returns
    -------
    ndarray (ny, nx)
        An offset, a plane and long waves.
    """
    ny, nx = shape
    offset, slope_y, slope_x = rng.normal(size=3)
    y, x = np.linspace(-1, 1, ny), np.linspace(-1, 1, nx)
    # a plane from -1 to 1 along one axis has the variance 1 / 3
    plane = np.sqrt(1.5) * (slope_y * y[:, None] + slope_x * x)
    waves = gaussian_filter(rng.normal(size=shape), BACKGROUND_WAVE
                            * np.array(shape), mode='wrap')
    scale = waves.std()
    waves = waves / scale if scale > 0 else waves
    parts = (np.full(shape, offset), plane, waves)
    return rms * sum(np.sqrt(share) * part for share, part in
                     zip(BACKGROUND_SHARES, parts, strict=True))


def bad_pixels(rng, shape, share):
    """
    Draw a mask of single pixels, columns and tracks of cosmic rays.

    Parameters
    ----------
    rng : `numpy.random.Generator`
        Source of randomness.
    shape : tuple of int
        (ny, nx).
    share : float
        Expected share of bad pixels, from 0 to below 1.

    Returns
    -------
    ndarray of bool (ny, nx)
        True where bad.

    Raises
    ------
    CatalogError
        If the share is impossible.
    """
    if not 0 <= share < 1:
        msg = (f'the share of bad pixels is {share}; it must be from 0 to '
               f'below 1.')
        raise CatalogError(msg, share=share)
    ny, nx = shape
    single, column, track = (share * part for part in BAD_SHARES)
    mask = rng.random(shape) < single
    mask[:, rng.random(nx) < column] = True
    length = (TRACK_PIXELS + 1) / 2
    for _ in range(rng.poisson(track * ny * nx / length)):
        n = int(rng.integers(1, TRACK_PIXELS + 1))
        angle = rng.uniform(0, np.pi)
        start = rng.uniform(0, (ny, nx))
        step = np.arange(n)[:, None] * (np.sin(angle), np.cos(angle))
        iy, ix = np.round(start + step).astype(int).T
        inside = (iy >= 0) & (iy < ny) & (ix >= 0) & (ix < nx)
        mask[iy[inside], ix[inside]] = True
    return mask


def saturate(image, levels, *, growth=0):
    """
    Clip an image at the saturation levels of its bands.

    Parameters
    ----------
    image : ndarray (n_bands, ny, nx)
        Image with noise.
    levels : ndarray (n_bands,)
        Largest pixel value; infinite where nothing saturates.
    growth : int, optional
        Pixels that the masks grow beyond the clipped ones.

    Returns
    -------
    image : ndarray (n_bands, ny, nx)
        A clipped copy.
    mask : ndarray of bool (n_bands, ny, nx)
        True where the image was clipped, and around.
    """
    levels = np.asarray(levels, float)[:, None, None]
    mask = image > levels
    if growth > 0 and mask.any():
        mask = np.array([binary_dilation(plane, iterations=growth)
                         for plane in mask])
    return np.minimum(image, levels), mask
