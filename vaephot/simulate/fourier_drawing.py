# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Draw sources through PSFs in Fourier space.

A source is the product of its transform, that of the PSF and a shift;
frequencies beyond those of the pixels are folded back, so that PSFs
that the pixels undersample are drawn exactly. All bands share the
transforms of the source.
"""

from functools import lru_cache

import numpy as np
from scipy.fft import ifft2, next_fast_len

__all__ = ['PSFStack', 'Renderer', 'grid_size']

# Sides of the grids are multiples of this, so that few of them occur.
GRID_STEP = 16

# Transfer functions that are kept, of one grid size each.
KEPT_GRIDS = 24


def grid_size(n_pixels):
    """
    Side of the smallest grid of at least some pixels.

    Parameters
    ----------
    n_pixels : float
        Pixels needed.

    Returns
    -------
    int
        A multiple of 16 that is fast to transform.
    """
    size = GRID_STEP * int(np.ceil(max(n_pixels, 2 * GRID_STEP) / GRID_STEP))
    while next_fast_len(size) != size:
        size += GRID_STEP
    return size


class PSFStack:
    """
    PSFs of all bands, of one place or of nodes across a field.

    Parameters
    ----------
    psfs : sequence of sequence of `~vaephot.simulate.psfs.SampledPSF`
        One sequence per node, each with one PSF per band.
    """

    def __init__(self, psfs):
        self.psfs = tuple(tuple(node) for node in psfs)
        self.pixel_scale = self.psfs[0][0].pixel_scale
        self.half_pixels = max(p.n_pixels for p in self.psfs[0]) / 2
        self._transfer = lru_cache(maxsize=KEPT_GRIDS)(self._compute)
        self._reach = [self._find_reach(k) for k in range(self.n_bands)]

    @property
    def n_bands(self):
        """Number of bands."""
        return len(self.psfs[0])

    def _find_reach(self, k):
        """Highest frequency with light, cycles per pixel."""
        return max(node[k].reach for node in self.psfs)

    def half_frequencies(self, k, n_grid):
        """
        Largest integer frequency of a band on a grid.

        Parameters
        ----------
        k : int
            Number of the band.
        n_grid : int
            Side of the grid in pixels.

        Returns
        -------
        int
            In cycles per grid.
        """
        return int(np.ceil(self._reach[k] * n_grid))

    def _compute(self, n_grid):
        out = []
        for node in self.psfs:
            bands = []
            for k, psf in enumerate(node):
                half = self.half_frequencies(k, n_grid)
                bands.append(psf.transfer(n_grid, half))
            out.append(bands)
        return out

    def transfers(self, n_grid, weights=None):
        """
        Transfer functions of all bands.

        Parameters
        ----------
        n_grid : int
            Side of the grid in pixels.
        weights : ndarray (n_nodes,) or None, optional
            Shares of the nodes. `None` takes the first.

        Returns
        -------
        list of ndarray
            One per band, over (ky, kx >= 0).
        """
        nodes = self._transfer(n_grid)
        if weights is None or len(nodes) == 1:
            return nodes[0]
        used = np.flatnonzero(weights)
        return [sum(weights[i] * nodes[i][k] for i in used)
                for k in range(self.n_bands)]


class Renderer:
    """
    Draws sources through one set of PSFs.

    Parameters
    ----------
    stack : `PSFStack`
        The PSFs.
    """

    def __init__(self, stack):
        self.stack = stack

    def grid_for(self, bbox, x, y, extent):
        """
        Side of a grid on which no light wraps into a box.

        Parameters
        ----------
        bbox : `photutils.aperture.BoundingBox`
            Pixels to draw.
        x, y : float
            Position of the source in pixels.
        extent : float
            Radius of the source in arcsec, without the PSF.

        Returns
        -------
        int
        """
        radius = extent / self.stack.pixel_scale + self.stack.half_pixels
        far = max(x - bbox.ixmin, bbox.ixmax - 1 - x, y - bbox.iymin,
                  bbox.iymax - 1 - y)
        return grid_size(max(far + radius, *bbox.shape))

    def draw(self, components, fluxes, bbox, x, y, extent, *, weights=None):
        """
        Draw a source.

        Parameters
        ----------
        components : sequence
            Objects with ``part``, ``share`` and ``transform(kx, ky)``,
            such as `~vaephot.simulate.transforms.Component`. Empty for
            a point.
        fluxes : dict of ndarray (n_bands,)
            Flux of each part; a point has the part ``point``.
        bbox : `photutils.aperture.BoundingBox`
            Pixels to draw.
        x, y : float
            Position in pixels, the first pixel centre being 0.
        extent : float
            Radius of the source in arcsec, without the PSF.
        weights : ndarray (n_nodes,) or None, optional
            Shares of the nodes of the PSF.

        Returns
        -------
        ndarray (n_bands, ny, nx)
        """
        n = self.grid_for(bbox, x, y, extent)
        transfers = self.stack.transfers(n, weights)
        half = max(len(t) for t in transfers) // 2
        k = np.arange(-half, half + 1)
        step = 1 / (n * self.stack.pixel_scale)
        transforms = [(c, c.transform(k[half:] * step, k * step))
                      for c in components]
        ny, nx = bbox.shape
        out = np.empty((self.stack.n_bands, ny, nx))
        wave = -2j * np.pi / n
        shift = (np.exp(wave * k * (y - bbox.iymin))[:, None]
                 * np.exp(wave * k[half:] * (x - bbox.ixmin))[None, :])
        # columns of positive frequency stand for their mirror images too
        shift[:, 1:] *= 2
        for b, transfer in enumerate(transfers):
            m = len(transfer) // 2
            window = np.s_[half - m:half + m + 1, :m + 1]
            spectrum = transfer * shift[window]
            if transforms:
                spectrum *= sum(
                    c.share * fluxes[c.part][b] * values[window]
                    for c, values in transforms)
            else:
                spectrum *= fluxes['point'][b]
            out[b] = _folded_image(spectrum, m, n)[:ny, :nx]
        return out


def _folded_image(spectrum, half, n):
    """Image of a spectrum whose frequencies are folded to the grid."""
    if 2 * half < n:
        return _image_of_few(spectrum, half, n)
    rows = np.zeros((n, half + 1), complex)
    _fold(rows, spectrum, -half)
    folded = np.zeros((n, n), complex)
    _fold(folded.T, rows.T, 0)
    return ifft2(folded, overwrite_x=True).real


def _fold(out, values, start):
    """Add rows whose numbers begin at ``start`` to rows modulo n."""
    n, row = len(out), 0
    while row < len(values):
        place = (start + row) % n
        count = min(n - place, len(values) - row)
        out[place:place + count] += values[row:row + count]
        row += count


def _image_of_few(spectrum, half, n):
    """As `_folded_image` where nothing is to be folded."""
    from scipy.fft import ifft, irfft

    rows = np.zeros((n, half + 1), complex)
    _fold(rows, spectrum, -half)
    columns = ifft(rows, axis=0, overwrite_x=True)
    # irfft counts the mirror images itself
    columns[:, 1:] /= 2
    return irfft(columns, n, axis=1)
