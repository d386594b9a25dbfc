# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
What the PSFs of an image do to light.

How far it reaches, how well a point source can be measured, and what draws
sources through the PSFs, in the precision that their brightness asks for.
"""

import copy
from collections import OrderedDict
from functools import cached_property

import numpy as np
import torch
from astropy.stats import gaussian_sigma_to_fwhm

from vaephot.deblend.windows import Windows, grid_length
from vaephot.models.render import (
    BandRenderer,
    Renderer,
    make_transfer,
    padded_size,
)

__all__ = ['EDGE_SIGMA', 'Optics']

# light per pixel, in units of the noise, that matters beyond a stamp
EDGE_SIGMA = 0.1
# share of the light of a PSF that its core holds
CORE_SHARE = 0.99
# frequencies of all renderers that are kept; on a 64-bit machine about
# 50 bytes each
KEPT_POINTS = 4_000_000
# brightest pixel, in units of the noise, for which single precision and the
# frequencies that make up the core of the PSF will do
SINGLE_MAX = 3000.0
# and for which those will do in fits: ripples around brighter ones exceed the
# noise on many pixels
COARSE_MAX = 10_000.0
# smallest half-light radius that brightness is told by, in pixels
MIN_RADIUS = 0.1


def _point_error(image, oversampling):
    """Flux error of a point source for a pixel noise of one."""
    offset = len(image) // 2 % oversampling
    pixels = image[offset::oversampling, offset::oversampling]
    return pixels.sum() / np.sqrt((pixels ** 2).sum())


def _core_reach(image, oversampling):
    """Half-width [px] of the square that holds nearly all of a PSF."""
    distance = np.abs(np.arange(len(image)) - len(image) // 2)
    ring = np.maximum(distance[:, None], distance[None, :]).ravel()
    enclosed = np.cumsum(np.bincount(ring, image.ravel()))
    return int(np.ceil(np.argmax(enclosed >= CORE_SHARE) / oversampling))


def _wing(image, oversampling):
    """Largest pixel of a PSF beyond each distance in pixels."""
    offset = np.arange(len(image)) - len(image) // 2
    ring = (np.hypot(offset[:, None], offset) / oversampling).astype(int)
    ring = ring.ravel()
    top = np.zeros(ring.max() + 2)
    np.maximum.at(top, ring, np.abs(image).ravel() * oversampling ** 2)
    return np.maximum.accumulate(top[::-1])[::-1]


class _Kept(OrderedDict):
    """Renderers of latest use, as many as memory is meant for."""

    def __getitem__(self, key):
        self.move_to_end(key)
        return super().__getitem__(key)

    def __setitem__(self, key, renderer):
        super().__setitem__(key, renderer)
        points = [kept.n_points for kept in self.values()]
        while sum(points) > KEPT_POINTS and len(points) > 1:
            self.popitem(last=False)
            points.pop(0)


class Optics:
    """
    PSFs of the bands on one pixel grid, and what they do to light.

    Parameters
    ----------
    psfs : sequence of `~vaephot.deblend.inputs.psf.BandPSF`
        PSF of each band.
    shape : tuple of int
        ``(ny, nx)`` of the image, in whose middle PSFs are looked at.
    dtype : `torch.dtype`, optional
        Precision of what is drawn.
    device : str, optional
        Where it is drawn.

    Attributes
    ----------
    samples : list of tuple
        Image of each PSF and its samples per pixel.
    fwhm : `numpy.ndarray`, (n_bands,)
        In pixels.
    point_error : `numpy.ndarray`, (n_bands,)
        Flux error of an isolated point source for a pixel noise of one.
    wings : list of `numpy.ndarray`
        Largest pixel of each PSF beyond each distance in pixels.
    numbers : list of dict
        What the encoder is told of each PSF, by the binning of its pixels,
        as far as that was asked for; the same for a PSF turned by 180
        degrees.
    core_reach : int
        Half-width in pixels of the square that holds `CORE_SHARE` of the
        light of every PSF.
    """

    def __init__(self, psfs, shape, *, dtype=torch.float64, device='cpu'):
        ny, nx = shape
        self.psfs = psfs
        self.is_fine = False
        self.dtype = dtype
        self.device = device
        self.samples = [psf.sample((nx - 1) / 2, (ny - 1) / 2)
                        for psf in psfs]
        self.fwhm = np.array([psf.fwhm for psf in psfs])
        self.point_error = np.array([_point_error(*sample)
                                     for sample in self.samples])
        self.wings = [_wing(*sample) for sample in self.samples]
        self.numbers = [{} for _ in psfs]
        self.core_reach = max(_core_reach(*sample)
                              for sample in self.samples)
        self._renderers = _Kept()

    def wing_reach(self, bright, limit=EDGE_SIGMA):
        """
        How far the light of sources matters.

        Parameters
        ----------
        bright : `numpy.ndarray`, (n, n_bands)
            Fluxes in units of the noise of a pixel.
        limit : float, optional
            Light per pixel, in the same units, that does not.

        Returns
        -------
        `numpy.ndarray` of int, (n,)
            Pixels.
        """
        far = [np.argmax(wing * flux[:, None] <= limit, axis=1)
               for wing, flux in zip(self.wings, bright.T, strict=True)]
        return np.max(far, axis=0)

    # ---------------------------------------------------------- precision
    def _with(self, **changes):
        """The same but for some attributes."""
        other = copy.copy(self)
        for name in ('single', 'fine'):
            other.__dict__.pop(name, None)
        vars(other).update(changes, _renderers=_Kept())
        return other

    @cached_property
    def single(self):
        """The same in single precision, for looks between fits."""
        return self._with(dtype=torch.float32)

    @cached_property
    def fine(self):
        """The same with all frequencies, for very bright sources."""
        return self._with(is_fine=True)

    def are_glaring(self, bright):
        """
        Which point sources need all frequencies in a fit.

        Parameters
        ----------
        bright : `numpy.ndarray`, (n, n_bands)
            Their fluxes in units of the noise of a pixel.

        Returns
        -------
        `numpy.ndarray` of bool, (n,)
        """
        sharp = [wing[0] for wing in self.wings]
        return (bright * sharp > COARSE_MAX).any(1)

    def fine_enough(self, bright, radius):
        """
        The same in the precision and with the frequencies that sources need.

        Parameters
        ----------
        bright : `numpy.ndarray`, (n, n_bands)
            Their fluxes in units of the noise of a pixel.
        radius : `numpy.ndarray`, (n,)
            Their half-light radii in pixels.

        Returns
        -------
        Optics
            Single precision will do unless a pixel is very bright.
        """
        sharp = [wing[0] for wing in self.wings]
        spread = 2 / (np.pi * np.maximum(radius, MIN_RADIUS) ** 2)
        peak = bright * np.minimum(sharp, spread[:, None])
        return self.fine if peak.max(initial=0) > SINGLE_MAX else self.single

    def tensor(self, values):
        """
        Pixels in the precision and at the place of what is drawn.

        Parameters
        ----------
        values : `numpy.ndarray`
            Pixels.

        Returns
        -------
        `torch.Tensor`
        """
        return torch.as_tensor(np.ascontiguousarray(values),
                               dtype=self.dtype, device=self.device)

    # ------------------------------------------------------------ drawing
    def _transfer(self, band, centres, n_grid):
        """Transfer functions of a band at positions in the image."""
        psf = self.psfs[band]
        samples = [psf.sample(x, y)
                   for x, y in (centres if psf.varies else centres[:1])]
        return make_transfer([image for image, _ in samples],
                             samples[0][1], n_grid, fine=self.is_fine,
                             device=self.device, dtype=self.dtype)

    def _band_renderer(self, band, centres, side, n_grid):
        """Renderer of one band at positions in the image."""
        key = band, side, n_grid
        if key in self._renderers:
            return self._renderers[key]
        renderer = BandRenderer(side, self._transfer(band, centres, n_grid),
                                n_grid)
        if not self.psfs[band].varies:
            self._renderers[key] = renderer
        return renderer

    def renderer(self, size, centres, reach=0):
        """
        Renderer of stamps.

        Parameters
        ----------
        size : int
            Side of the stamps.
        centres : sequence of (x, y)
            Where the stamps lie; one each.
        reach : int, optional
            Distance at which light still matters, in pixels: it is not
            folded back into the stamp.

        Returns
        -------
        `~vaephot.models.render.Renderer`
        """
        n_grid = max(padded_size(size), 8 * -(-(size + reach) // 8))
        return Renderer.from_bands([
            self._band_renderer(band, centres, size, n_grid)
            for band in range(len(self.psfs))])

    def windows(self, band, centres, size, flux, scale=1.0, place=None):
        """
        Windows of the sources of a batch in one band.

        Parameters
        ----------
        band : int
            Band.
        centres : sequence of (x, y)
            Where the stamps lie; one each.
        size : int
            Side of the stamps.
        flux : `torch.Tensor`, (n_groups, n_sources), or None
            What is known about the fluxes of the sources.
        scale : float, optional
            Pixels of the band on the side of one of the parameters.
        place : callable, optional
            Called with a renderer, returns it on the grid of the stamps.

        Returns
        -------
        `~vaephot.deblend.windows.Windows` or None
            `None` where whole stamps are drawn: nothing is known about
            the fluxes, or the device draws many pixels at once.
        """
        if flux is None or self.device != 'cpu':
            return None

        def make(side):
            drawn = self._band_renderer(band, centres, side,
                                        grid_length(side))
            return drawn if place is None else place(drawn)
        sigma = self.fwhm[band] / gaussian_sigma_to_fwhm
        return Windows(size, make, self.tensor(self.wings[band]),
                       float(sigma), flux, scale=scale)
