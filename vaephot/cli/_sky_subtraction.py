# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Subtract the sky of images that still have one."""

import warnings

import numpy as np
from astropy.modeling.fitting import FittingWithOutlierRemoval, LinearLSQFitter
from astropy.modeling.models import Polynomial2D
from astropy.stats import sigma_clip
from astropy.utils.exceptions import AstropyUserWarning
from photutils.background import Background2D, MedianBackground
from photutils.segmentation import detect_sources
from photutils.utils import NoDetectionsWarning, circular_footprint
from scipy.ndimage import binary_dilation

from vaephot.deblend.inputs.noise import estimate_noise, sky_image

__all__ = ['subtract_sky']

# side of the meshes in pixels: large against galaxies, and an image has at
# least a few; a mesh counts if a tenth of it is sky
MESH, MIN_MESHES, MOST_MASKED = 64, 3, 90.0
# sources: so many pixels above so many sigma of the noise, and around them
SOURCE_SIGMA, SOURCE_PIXELS, AROUND = 2.0, 5, 5
# degree of the polynomial that is taken off before, in images larger than a
# mesh; pixels it is fitted to, and clippings of these
DEGREE, SAMPLE, N_CLIPS = 3, 200_000, 10
# rounds in which sources are masked anew
N_ROUNDS = 2


def _sky(image, bad, sources):
    """Background of an image (ny, nx) without bad pixels and sources."""
    mesh = max(1, min(MESH, min(image.shape) // MIN_MESHES))
    try:
        return Background2D(
            image, mesh, mask=sources & ~bad, coverage_mask=bad,
            exclude_percentile=MOST_MASKED,
            bkg_estimator=MedianBackground()).background
    except ValueError:  # too little sky in every mesh
        return sky_image(image, bad | sources, 'constant')


def _polynomial(image, bad):
    """Smooth polynomial through the good pixels, (ny, nx)."""
    good = np.flatnonzero(~bad)
    good = good[::max(1, good.size // SAMPLE)]
    axes = [np.linspace(-1, 1, n) for n in image.shape]
    y, x = (axis[index] for axis, index in zip(
        axes, np.unravel_index(good, image.shape), strict=True))
    fit = FittingWithOutlierRemoval(LinearLSQFitter(), sigma_clip,
                                    niter=N_CLIPS)
    degree = DEGREE if min(image.shape) > MESH else 0
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', AstropyUserWarning)
        found, _ = fit(Polynomial2D(degree), x, y, image.ravel()[good])
    return found(axes[1], axes[0][:, None])


def _find_sources(image, bad):
    """Pixels of sources and those around them, (ny, nx)."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', NoDetectionsWarning)
        found = detect_sources(
            image, SOURCE_SIGMA * estimate_noise(image, mask=bad),
            SOURCE_PIXELS, mask=bad)
    if found is None:
        return np.zeros(image.shape, bool)
    return binary_dilation(found.data > 0, circular_footprint(AROUND))


def subtract_sky(image, bad=None):
    """
    Image without its sky, which photutils finds where no source is.

    Parameters
    ----------
    image : `~numpy.ndarray`, (ny, nx)
        Image of one band.
    bad : `~numpy.ndarray` of bool, (ny, nx), or None, optional
        True for bad pixels; those that are not finite always are.

    Returns
    -------
    `~numpy.ndarray`, (ny, nx)
        In double precision; of bad pixels only a polynomial is taken off.
    """
    image = np.asarray(image, float)
    missing = ~np.isfinite(image)
    bad = missing if bad is None else missing | bad
    if bad.all():
        return image
    filled = np.where(bad, 0, image)
    smooth = _polynomial(filled, bad)  # meshes do not reach to the edges
    filled = np.where(bad, 0, filled - smooth)
    sources = np.zeros(image.shape, bool)
    for _ in range(N_ROUNDS):
        sources = _find_sources(
            np.where(bad, 0, filled - _sky(filled, bad, sources)), bad)
    return image - smooth - np.where(bad, 0, _sky(filled, bad, sources))
