# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Centre and width of an image of a PSF."""

import numpy as np
from astropy.stats import gaussian_sigma_to_fwhm
from scipy.ndimage import map_coordinates

__all__ = ['centroid', 'measure_fwhm']


def centroid(data, *, n_iterations=50):
    """
    Centroid under a Gaussian window that follows the light.

    The window makes noise and wings count little; it is twice as wide as
    the PSF, so that pixels wider than the PSF bias it little.

    Parameters
    ----------
    data : 2D `~numpy.ndarray`
        Image of one PSF.
    n_iterations : int, optional
        Largest number of steps; about ten are needed.

    Returns
    -------
    x, y : float
    """
    iy, ix = np.unravel_index(np.argmax(data), data.shape)
    n_bright = np.count_nonzero(data >= 0.5 * data[iy, ix])
    fwhm = np.sqrt(n_bright / np.pi) * 2
    sigma = 2 * max(fwhm / gaussian_sigma_to_fwhm, 0.6)
    x, y = float(ix), float(iy)
    xs, ys = np.arange(data.shape[1]), np.arange(data.shape[0])
    for _ in range(n_iterations):
        window = data * np.exp(-0.5 * ((ys - y) / sigma)**2)[:, None]
        window *= np.exp(-0.5 * ((xs - x) / sigma)**2)
        total = window.sum()
        if total <= 0:
            return float(ix), float(iy)
        dx = (window.sum(axis=0) @ (xs - x)) / total
        dy = (window.sum(axis=1) @ (ys - y)) / total
        # a window twice as wide as the PSF shows 4/5 of an offset
        x = float(np.clip(x + 1.25 * dx, 0, data.shape[1] - 1))
        y = float(np.clip(y + 1.25 * dy, 0, data.shape[0] - 1))
        if max(abs(dx), abs(dy)) < 1e-5:
            break
    return x, y


def measure_fwhm(image, oversampling=1):
    """
    Measure the FWHM of an image of a PSF from the area above half maximum.

    Parameters
    ----------
    image : 2D `~numpy.ndarray`
        Image with the PSF at its central pixel.
    oversampling : int, optional
        Samples per pixel.

    Returns
    -------
    float
        FWHM in pixels of the circle with that area.
    """
    image = np.pad(image, 3)  # the spline needs the fall to zero
    n_bright = np.count_nonzero(image >= 0.5 * image.max())
    half = int(np.ceil(2 * np.sqrt(n_bright))) + 2
    factor = int(np.clip(np.ceil(64 / half), 1, 32))
    iy, ix = np.unravel_index(np.argmax(image), image.shape)
    steps = np.arange(-half * factor, half * factor + 1) / factor
    y, x = np.meshgrid(iy + steps, ix + steps, indexing='ij')
    fine = map_coordinates(image, [y, x], order=3, mode='constant')
    area = np.count_nonzero(fine >= 0.5 * fine.max()) / factor**2
    return float(2 * np.sqrt(area / np.pi) / oversampling)
