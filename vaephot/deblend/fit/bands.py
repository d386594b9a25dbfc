# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The bands of an image as the fit sees them: PSFs, planes and maps."""

import numpy as np
import torch

from vaephot.deblend.fit.draw import PERIODS
from vaephot.deblend.fit.transfer import BandTransfer
from vaephot.deblend.fit.windows import REACHES, SIDES, WindowChooser

__all__ = ['Bands']


class Bands:
    """
    PSFs of all bands, and what is drawn with them.

    ``transfer``: of each band; ``binning``, ``kind`` ``(n_bands,)``: the
    latter numbers the bands that share matrices.
    """

    def __init__(self, psfs, shapes, device='cpu', *, binned=True):
        self.device = str(device)
        self.transfer = [BandTransfer(psf, shape, device)
                         for psf, shape in zip(psfs, shapes, strict=True)]
        self._set(binned)

    def _set(self, binned):
        """What follows from the transfers."""
        self.chooser = WindowChooser(self.transfer, self.device)
        factors = [band.binning if binned else 1 for band in self.transfer]
        pairs = [(factor, band.oversampling) for factor, band
                 in zip(factors, self.transfer, strict=True)]
        self._pairs = sorted(set(pairs))
        self.binning, self.kind, self.sides = (
            torch.tensor(values, device=self.device) for values in (
                factors, [self._pairs.index(pair) for pair in pairs], SIDES))
        self.varies = any(band.psf.varies for band in self.transfer)
        self._stacks = {}
        self.fwhm = np.array([band.fwhm for band in self.transfer])
        self.point_error = np.array([band.point_error
                                     for band in self.transfer])

    def unbinned(self):
        """The same without binning, for images as the user has them."""
        other = object.__new__(Bands)
        other.device, other.transfer = self.device, self.transfer
        other._set(False)
        return other

    @property
    def n_kinds(self):
        """Number of sets of bands that share matrices."""
        return len(self._pairs)

    def drawing(self, kind, side, period, reach):
        """Arguments of `~vaephot.deblend.fit.draw.make_drawer`."""
        binning, oversampling = self._pairs[kind]
        return (SIDES[side], binning, PERIODS[period] * binning,
                min(REACHES[reach], oversampling), oversampling, self.device)

    def psf_places(self, xy):
        """Places (n, n_bands, 2) where the PSFs of groups are taken."""
        return np.stack([band.places(xy[:, b]) for b, band
                         in enumerate(self.transfer)], 1)

    def transfers(self, where, places, grid):
        """Transfer functions (m, n_ky, n_kx) of entries of one class."""
        group, band = where
        if not self.varies:
            return self._constant(grid)[band]
        keys = np.column_stack([
            band.cpu().numpy(),
            places[group.cpu().numpy(), band.cpu().numpy()]])
        unique, inverse = np.unique(keys, axis=0, return_inverse=True)
        values = torch.stack([self.transfer[int(b)].at((x, y), grid)
                              for b, x, y in unique.tolist()])
        return values[torch.as_tensor(inverse.ravel(), device=self.device)]

    def _constant(self, grid):
        """Transfer functions of all bands that a grid is for."""
        if grid.key not in self._stacks:
            binning, oversampling = grid.key[3], grid.key[2]
            here = self._pairs.index((binning, oversampling))
            shape = len(grid.ky), len(grid.kx)
            self._stacks[grid.key] = torch.stack([
                band.at((0.0, 0.0), grid) if kind == here else torch.zeros(
                    shape, dtype=torch.complex64, device=self.device)
                for band, kind in zip(self.transfer, self.kind.tolist(),
                                      strict=True)])
        return self._stacks[grid.key]
