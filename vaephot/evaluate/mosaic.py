# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Blends side by side on one image, and their catalogues taken apart."""

from dataclasses import dataclass, field

import numpy as np
from photutils.psf import ImagePSF
from scipy.ndimage import convolve1d
from scipy.special import ndtr

from vaephot.deblend.detect.stack import segments_of
from vaephot.utils.layout import lay_out

__all__ = ['GAP', 'DetectSettings', 'Mosaic', 'detect_segments',
           'image_psfs', 'make_mosaic', 'smoothing_line']

# masked pixels around each blend
GAP = 16
# detection as photutils' guide has it: a Gaussian of this FWHM in pixels on
# a square of 5 pixels, and a threshold in units of the noise of the image
KERNEL_FWHM = 2.0
KERNEL_HALF = 2
THRESHOLD = 1.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Mosaic:
    """
    Blends in rows and columns with gaps of masked pixels.

    Parameters
    ----------
    image : `~numpy.ndarray`, (n_bands, ny, nx)
        The images; 0 in the gaps.
    mask : `~numpy.ndarray` of bool, (n_bands, ny, nx)
        True in the gaps and for bad pixels.
    gap : `~numpy.ndarray` of bool, (ny, nx)
        True between the blends.
    corners : `~numpy.ndarray` of int, (n, 2)
        (x, y) of the first pixel of each blend.
    shape : tuple of int
        (ny, nx) of each blend.
    """

    image: np.ndarray = field(repr=False)
    mask: np.ndarray = field(repr=False)
    gap: np.ndarray = field(repr=False)
    corners: np.ndarray = field(repr=False)
    shape: tuple

    def split(self, xy):
        """
        Tell which rows of a catalogue of the mosaic lie on each blend.

        Parameters
        ----------
        xy : array_like, (m, 2)
            Positions on the mosaic.

        Returns
        -------
        list of `~numpy.ndarray` of int
            Rows of each blend.
        """
        ny, nx = self.shape
        out = []
        for corner in self.corners:
            x, y = (np.asarray(xy) - corner).T
            out.append(np.flatnonzero((x > -0.5) & (x < nx - 0.5)
                                      & (y > -0.5) & (y < ny - 0.5)))
        return out

    def split_rows(self, xy, flux, flux_err, segmentation):
        """
        Take a catalogue of the mosaic apart.

        Parameters
        ----------
        xy : `~numpy.ndarray`, (m, 2)
            Positions on the mosaic.
        flux, flux_err : `~numpy.ndarray`, (m, n_bands)
            Fluxes and their errors.
        segmentation : `~numpy.ndarray` of int, (ny, nx)
            Pixels of each row of the catalogue, its number plus 1.

        Returns
        -------
        list of dict
            What `vaephot.evaluate.methods` wants of each blend.
        """
        ny, nx = self.shape
        out = []
        for rows, (x0, y0) in zip(self.split(xy), self.corners,
                                  strict=True):
            # rows are numbered anew on each blend
            order = np.zeros(len(xy) + 1, int)
            order[rows + 1] = np.arange(1, len(rows) + 1)
            out.append({
                'xy': xy[rows] - (x0, y0), 'flux': flux[rows],
                'flux_err': flux_err[rows],
                'segmentation': order[segmentation[y0:y0 + ny,
                                                   x0:x0 + nx]]})
        return out


def make_mosaic(observed):
    """
    Lay blends out side by side; a single one is left without a gap.

    Parameters
    ----------
    observed : ObservedBlends
        The blends.

    Returns
    -------
    Mosaic
    """
    ny, nx = observed.image.shape[2:]
    image, mask, corners = lay_out(observed.image, observed.mask,
                                   GAP if len(observed.image) > 1 else 0)
    empty = np.ones(mask.shape[1:], bool)
    for x0, y0 in corners:
        empty[y0:y0 + ny, x0:x0 + nx] = False
    return Mosaic(image=image, mask=mask, gap=empty, corners=corners,
                  shape=(ny, nx))


@dataclass(frozen=True, kw_only=True)
class DetectSettings:
    """
    How segments are detected.

    Parameters
    ----------
    threshold : float, optional
        Threshold of the smoothed image in units of the noise of the
        image that was not smoothed.
    n_pixels : int, optional
        Least number of connected pixels.
    """

    threshold: float = THRESHOLD
    n_pixels: int = 5


def smoothing_line():
    """
    Gaussian that smooths images before the detection.

    Returns
    -------
    `~numpy.ndarray`, (5,)
        Integrated over the pixels, of sum 1; its outer product with itself
        is the kernel of photutils' guide.
    """
    edges = np.arange(2 * KERNEL_HALF + 2) - KERNEL_HALF - 0.5
    line = np.diff(ndtr(edges * 2 * np.sqrt(2 * np.log(2)) / KERNEL_FWHM))
    return line / line.sum()


def detect_segments(mosaic, sky_rms, settings=None):
    """
    Detect segments in the first band of a mosaic.

    Parameters
    ----------
    mosaic : Mosaic
        The mosaic.
    sky_rms : float
        Noise of the sky in the first band.
    settings : DetectSettings or None, optional
        `None` means the defaults, those of photutils' guide.

    Returns
    -------
    smooth : `~numpy.ndarray`, (ny, nx)
        The smoothed image.
    segments : `~photutils.segmentation.SegmentationImage` or None
        `None` if there is nothing.
    """
    settings = settings or DetectSettings()
    line = smoothing_line()
    smooth = mosaic.image[0]
    for axis in (0, 1):
        smooth = convolve1d(smooth, line, axis=axis, mode='constant')
    bright = (smooth > settings.threshold * sky_rms) & ~mosaic.mask[0]
    return smooth, segments_of(bright, settings.n_pixels)


def image_psfs(observed):
    """
    Return the told PSFs as photutils models.

    Parameters
    ----------
    observed : ObservedBlends
        The blends.

    Returns
    -------
    list of `~photutils.psf.ImagePSF`
        One per band.
    """
    scale = observed.oversampling ** 2
    return [ImagePSF(psf / psf.sum() * scale,
                     oversampling=observed.oversampling)
            for psf in observed.psf]
