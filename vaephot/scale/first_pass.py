# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
What the whole mosaic says before any tile is deblended.

Its noise, PSF and the weights of its bands are measured in sections that do
not depend on the tiles, and so are the parents: a tile takes all of these as
they are. So two tiles that see one source see it alike.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates

from vaephot.deblend.detect.stack import stack_sums, weights_of_sums
from vaephot.scale.tile_data import observe, read_bands

__all__ = ['Sky', 'join_sky', 'measure_section']

# levels of noise that differ by less than this share are one: that is the
# accuracy of the measurement in a section
SAME_LEVEL = 0.1
# least share of good pixels of a section that says something of the sky
MIN_GOOD = 0.1


@dataclass(frozen=True, kw_only=True, eq=False)
class Sky:
    """
    Noise, PSF and weights of the bands of a mosaic.

    Parameters
    ----------
    side : int
        Of the sections, in pixels.
    factor : `~numpy.ndarray`, (n_bands,)
        Noise of a large sum over that of independent pixels.
    factors : `~numpy.ndarray`, (n_bands, n_y, n_x)
        That of each section.
    errors : `~numpy.ndarray` or None, (n_bands, n_y, n_x)
        Noise of a pixel in each section, where no error was given.
    noise : `~numpy.ndarray`, (n_bands,)
        Typical noise of a pixel.
    psf_fwhm : tuple of float
        In pixels.
    weights : `~numpy.ndarray`, (n_bands,)
        Of the bands in the stack that sources are detected on.
    """

    side: int
    factor: np.ndarray
    factors: np.ndarray
    errors: np.ndarray | None
    noise: np.ndarray
    psf_fwhm: tuple[float, ...]
    weights: np.ndarray

    @property
    def varies(self):
        """Whether the noise of large sums depends on the place."""
        return bool((self.factors != self.factor[:, None, None]).any())

    @property
    def error_estimated(self):
        """Whether no error was given."""
        return self.errors is not None

    def factor_map(self, window):
        """Factors of the pixels of a window, (n_bands, ny, nx)."""
        return _interpolate(self.factors, window, self.side)

    def error_map(self, window):
        """Estimated errors of the pixels of a window, (n_bands, ny, nx)."""
        return _interpolate(self.errors, window, self.side)


def _interpolate(cells, window, side):
    """Values of cells (n_bands, n_y, n_x) between their middles."""
    if (cells == cells[:, :1, :1]).all():
        return np.broadcast_to(cells[:, :1, :1],
                               (len(cells), *window.shape)).copy()
    y = (np.arange(window.y0, window.y1) + 0.5) / side - 0.5
    x = (np.arange(window.x0, window.x1) + 0.5) / side - 0.5
    places = np.meshgrid(y, x, indexing='ij')
    return np.stack([map_coordinates(band, places, order=1, mode='nearest')
                     for band in cells])


def measure_section(plan, number):
    """Noise, PSF and light of the bands in one section, for JSON."""
    window = plan.sections.core(number)
    mask = read_bands(plan, window)[2]
    good = float(1 - mask.mean((1, 2)).max())
    if good < MIN_GOOD:
        return {'good': good}
    seen = observe(plan, window)
    scale = seen.scale
    sums, count = stack_sums(seen)
    return {
        'good': good, 'factor': seen.noise_correlation.tolist(),
        'measured': seen.noise.measured.tolist(),
        'error': [float(np.sqrt(np.median(v)) / scale)
                  for v in seen.variance],
        'estimated': bool(seen.error_estimated),
        'psf_fwhm': [float(psf.fwhm) for psf in seen.psfs],
        'sums': sums.tolist(), 'count': int(count)}


def _median(rows, usable, default):
    """Median of the usable rows, (n_bands,); a default without any."""
    return np.array([np.median(column[use]) if use.any() else default
                     for column, use in zip(rows.T, usable.T, strict=True)])


def join_sky(plan, found):
    """
    `Sky` of the mosaic.

    ``found``: what `measure_section` returned of each section, in order.
    """
    n_bands = len(plan.bands)
    known = [row for row in found if 'factor' in row]
    if not known:
        return Sky(side=plan.sections.side, factor=np.ones(n_bands),
                   factors=np.ones((n_bands, 1, 1)),
                   errors=None, noise=np.ones(n_bands),
                   psf_fwhm=(1.0,) * n_bands, weights=np.ones(n_bands))
    measured = np.array([row['measured'] for row in known], bool)
    factor = _median(np.array([row['factor'] for row in known]), measured,
                     1.0)
    cells = [_cell(row, factor) for row in found]
    errors = None
    level = np.median([row['error'] for row in known], 0)
    if known[0]['estimated']:
        errors = _grid(plan, [row.get('error', level) for row in found])
    widths = np.median([row['psf_fwhm'] for row in known], 0)
    sums = np.sum([row['sums'] for row in known], 0)
    return Sky(side=plan.sections.side, factor=factor,
               factors=_grid(plan, cells), errors=errors,
               noise=level, psf_fwhm=tuple(widths.tolist()),
               weights=weights_of_sums(sums))


def _cell(row, factor):
    """Factors of a section: that of all unless it clearly differs."""
    if 'factor' not in row:
        return factor
    own = np.array(row['factor'])
    differs = (np.array(row['measured'], bool)
               & (np.abs(own / factor - 1) > SAME_LEVEL))
    return np.where(differs, own, factor)


def _grid(plan, rows):
    """Values of the sections as (n_bands, n_y, n_x)."""
    n_y, n_x = plan.sections.n_cells
    return np.array(rows, float).T.reshape(-1, n_y, n_x)
