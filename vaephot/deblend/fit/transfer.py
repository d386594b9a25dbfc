# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Quantities derived from the effective PSFs of an image."""

import math
from collections import OrderedDict
from threading import Lock

import numpy as np
import torch

__all__ = ['BandTransfer']

# frequencies, in units of Nyquist's, at which the decline of a PSF is known
PROFILE_STEP = 0.05
# a band is binned as long as this share of its PSF at most lies beyond
# Nyquist's frequency of the binned pixels
BINNING_CUT = 0.02
MAX_BINNING = 4
# transfer functions of a PSF that varies which are kept
MAX_KEPT = 256


def _point_error(image, oversampling):
    """Flux error of a point source for a pixel noise of one."""
    offset = len(image) // 2 % oversampling
    pixels = image[offset::oversampling, offset::oversampling]
    return pixels.sum() / np.sqrt((pixels ** 2).sum())


def _spill(image, oversampling):
    """Light of a PSF beyond squares of each half-width in pixels, (m,)."""
    distance = np.abs(np.arange(len(image)) - len(image) // 2)
    ring = np.maximum(distance[:, None], distance[None, :]).ravel()
    ring = -(-ring // oversampling)
    return 1 - np.cumsum(np.bincount(ring, image.ravel()))


def _wing(image, oversampling):
    """Largest pixel of a PSF beyond each distance in pixels, (m,)."""
    offset = np.arange(len(image)) - len(image) // 2
    ring = (np.hypot(offset[:, None], offset) / oversampling).astype(int)
    ring = ring.ravel()
    top = np.zeros(ring.max() + 2)
    np.maximum.at(top, ring, np.abs(image).ravel() * oversampling ** 2)
    return np.maximum.accumulate(top[::-1])[::-1]


def _waves(n, oversampling, frequency):
    """Plane waves at the samples of a centred image, (k, n)."""
    place = torch.arange(n, dtype=torch.float64) - n // 2
    return torch.exp(-1j * frequency[:, None] * place / oversampling)


def _decline(image, oversampling):
    """Largest transfer at and beyond each frequency, any direction, (k,)."""
    values = torch.as_tensor(np.array(image)).to(torch.complex128)
    k = torch.arange(0, oversampling + 1e-9, PROFILE_STEP,
                     dtype=torch.float64) * math.pi
    top = torch.zeros_like(k)
    for angle in torch.arange(8) * math.pi / 8:
        row, column = (_waves(len(image), oversampling, k * f(angle))
                       for f in (torch.sin, torch.cos))
        found = torch.einsum('ky,yx,kx->k', row, values, column)
        top = torch.maximum(top, found.abs())
    return torch.flip(torch.cummax(torch.flip(top, [0]), 0).values, [0])


class BandTransfer:
    """
    What the PSF of one band does to light.

    ``fwhm`` in pixels; ``point_error``: flux error of a point source for a
    pixel noise of one; ``wing``: largest pixel beyond each distance;
    ``decline``: largest transfer beyond each multiple of `PROFILE_STEP`;
    ``spill``: light beyond squares of each half-width; ``binning``: pixels
    that may be summed without loss.
    """

    def __init__(self, psf, shape, device='cpu'):
        ny, nx = shape
        self.psf = psf
        self.device = device
        image, self.oversampling = psf.sample((nx - 1) / 2, (ny - 1) / 2)
        self.fwhm = float(psf.fwhm)
        self.point_error = float(_point_error(image, self.oversampling))
        self.wing = _wing(image, self.oversampling)
        self.decline = _decline(image, self.oversampling)
        self.spill = _spill(image, self.oversampling)
        self.binning = self._binning()
        self._kept, self._lock = OrderedDict(), Lock()

    def _binning(self):
        """Largest power of two by which pixels may be summed."""
        factor = 1
        while factor < MAX_BINNING and self.beyond(
                1 / (2 * factor)) < BINNING_CUT:
            factor *= 2
        return factor

    def beyond(self, reach):
        """Largest transfer beyond a frequency in units of Nyquist's."""
        number = round(reach / PROFILE_STEP)
        return float(self.decline[min(number, len(self.decline) - 1)])

    def places(self, xy):
        """Places that the PSF of sources near (n, 2) is taken at, (n, 2)."""
        return np.rint(xy) if self.psf.varies else np.zeros((len(xy), 2))

    def at(self, place, grid):
        """Transfer function at a place on a grid, (n_ky, n_kx) complex64."""
        key = (*place, grid.key)
        found = self._kept.get(key)
        if found is None:
            found = self._make(place, grid)
            with self._lock:
                self._kept[key] = found
                if len(self._kept) > MAX_KEPT:
                    self._kept.popitem(last=False)
        return found

    def _make(self, place, grid):
        """What `at` returns; binned pixels have their comb in it."""
        image, oversampling = self.psf.sample(*place)
        values = torch.as_tensor(np.array(image)).to(torch.complex64)
        row, column = (_waves(len(image), oversampling, k).to(values.dtype)
                       for k in (grid.ky, grid.kx))
        off = (torch.arange(grid.binning, dtype=torch.float64)
               - (grid.binning - 1) / 2)
        combs = [torch.cos(k[:, None] * off).sum(1)
                 for k in (grid.ky, grid.kx)]
        found = (row @ values @ column.T) * combs[0][:, None] * combs[1]
        return found.to(device=self.device, dtype=torch.complex64)
