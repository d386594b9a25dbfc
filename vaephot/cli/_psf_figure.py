# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Draw a PSF and the stars it was built from; needs matplotlib."""

import numpy as np

from vaephot.utils.optional_deps import import_optional

__all__ = ['draw_psf']

# decades of brightness shown
DECADES = 5


def draw_psf(image, oversampling, frame, x, y):
    """
    Draw a PSF, its profile and where its stars are.

    Parameters
    ----------
    image : 2D `~numpy.ndarray`
        PSF in the middle of the frame, of odd side.
    oversampling : int
        Samples per pixel.
    frame : 2D `~numpy.ndarray`
        Image with the stars.
    x, y : `~numpy.ndarray`
        Positions of the stars in pixels.

    Returns
    -------
    `~matplotlib.figure.Figure`
    """
    figures = import_optional('matplotlib.figure', 'drawing a PSF')
    colors = import_optional('matplotlib.colors', 'drawing a PSF')
    figure = figures.Figure(figsize=(12, 4), layout='constrained')
    left, middle, right = figure.subplots(1, 3)
    low, high = np.percentile(frame, (5, 99.5))
    left.imshow(frame, origin='lower', cmap='gray_r', vmin=low,
                vmax=max(high, low + 1e-30))
    left.plot(x, y, 'o', mfc='none', color='C3', ms=10)
    left.set_title(f'{len(x)} stars')
    half = len(image) // 2
    top = image.max()
    extent = 2 * [-(half + 0.5) / oversampling, (half + 0.5) / oversampling]
    middle.imshow(np.maximum(image, top * 10.0 ** -DECADES), origin='lower',
                  extent=extent, norm=colors.LogNorm(top * 10.0 ** -DECADES,
                                                     top))
    middle.set_title('PSF')
    radius = np.hypot(*np.mgrid[-half:half + 1, -half:half + 1]).ravel()
    order = np.argsort(radius)
    right.plot(radius[order] / oversampling, image.ravel()[order] / top, ',')
    right.plot(radius[order] / oversampling,
               np.cumsum(image.ravel()[order]) / image.sum())
    right.set(yscale='log', ylim=(10.0 ** -DECADES, 1.5),
              xlim=(0, half / oversampling), title='profile, enclosed light')
    for axes in (left, middle, right):
        axes.set_xlabel('pixels')
    return figure
