# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tiles of a mosaic: cores that cover it once, and halos around them.

A source belongs to the tile whose core holds its centre. Cores are half-open
cells, so that each place is in exactly one.
"""

from dataclasses import dataclass

import numpy as np

from vaephot.scale.sections import Window

__all__ = ['TileGrid', 'shared_width']

# halo in widths of the widest PSF: half of it is beyond where light of a
# neighbour matters (6 FWHM, as the fit has it), the other half holds the
# neighbour itself
HALO_FWHM = 12.0
# and at least this many pixels: a galaxy of 3 arcsec in VIS
MIN_HALO = 64


def shared_width(fwhm):
    """Default halo in pixels for PSFs of some widths."""
    return max(MIN_HALO, int(np.ceil(HALO_FWHM * max(fwhm))))


@dataclass(frozen=True, kw_only=True)
class TileGrid:
    """
    Square cells of a mosaic; those at the upper edges may be smaller.

    Parameters
    ----------
    shape : tuple of int
        ``(ny, nx)`` of the mosaic.
    side : int
        Of the cells, in pixels.
    """

    shape: tuple[int, int]
    side: int

    @property
    def n_cells(self):
        """Cells along y and x."""
        return tuple(-(-n // self.side) for n in self.shape)

    def __len__(self):
        n_y, n_x = self.n_cells
        return n_y * n_x

    def core(self, number):
        """`Window` of a cell."""
        iy, ix = divmod(number, self.n_cells[1])
        ny, nx = self.shape
        return Window(
            y0=iy * self.side, y1=min((iy + 1) * self.side, ny),
            x0=ix * self.side, x1=min((ix + 1) * self.side, nx))

    def meeting(self, window):
        """Numbers of the cells that meet a window, in their order."""
        n_y, n_x = self.n_cells
        rows = range(max(window.y0 // self.side, 0),
                     min(-(-window.y1 // self.side), n_y))
        columns = range(max(window.x0 // self.side, 0),
                        min(-(-window.x1 // self.side), n_x))
        return [iy * n_x + ix for iy in rows for ix in columns]

    def neighbours(self, number):
        """Numbers of the cells that touch a cell, itself not counted."""
        around = self.core(number).grown(1, self.shape)
        return [k for k in self.meeting(around) if k != number]

    def owner(self, x, y):
        """
        Number of the cell of each place (n,).

        Places beyond the edges of the mosaic belong to the cells there.
        """
        index = []
        for value, n in zip((y, x), self.n_cells, strict=True):
            # pixel centres are whole numbers
            cell = np.floor((np.asarray(value, float) + 0.5) / self.side)
            index.append(np.clip(cell, 0, n - 1).astype(int))
        return index[0] * self.n_cells[1] + index[1]
