# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
A sky of square cells, each with a seed of its own.

So any part of a mosaic can be drawn alone and fits to the others, and the
mosaic does not depend on the parts that it was drawn in.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from photutils.aperture import BoundingBox

from vaephot.exceptions import CatalogError
from vaephot.simulate._checks import check_count, check_number
from vaephot.simulate.blends import noise_levels
from vaephot.simulate.field_sources import draw_sources, make_wcs
from vaephot.simulate.fields import FieldConfig
from vaephot.simulate.image_noise import (
    bad_pixels,
    correlate_noise,
    noise_variance,
    saturate,
)
from vaephot.simulate.instrument import (
    Instrument,
    draw_source,
    source_bbox,
)
from vaephot.simulate.survey import get_survey
from vaephot.utils.boxes import overlap

__all__ = ['BAD', 'SATURATED', 'UNCOVERED', 'MosaicConfig', 'MosaicDrawer',
           'MosaicPart']

# streams of random numbers of a cell
SOURCES_STREAM, NOISE_STREAM, BAD_STREAM = 10, 11, 12
# light of a source is drawn in its cell and those around; nothing is larger
RING = 1
# cells whose sources and noise are kept
KEPT_CELLS = 64
# bits of the flags
SATURATED, BAD, UNCOVERED = 1, 2, 4
# pixels around a part that its noise and masks depend on
PAD = 8


@dataclass(frozen=True, kw_only=True)
class MosaicConfig:
    """
    What a mosaic holds.

    Parameters
    ----------
    field : `~vaephot.simulate.FieldConfig`
        Its shape and sky; without clusters and residual background.
    cell : int, optional
        Side of the cells in pixels, at least the box of bright stars.
    uncovered : float, optional
        Share of the sides that is cut off at the corners, where nothing was
        observed.
    """

    field: FieldConfig
    cell: int = 512
    uncovered: float = 0.0

    def __post_init__(self):
        check_count('a mosaic', 'cell', self.cell, low=64)
        check_number('a mosaic', 'uncovered', self.uncovered, high=0.5)
        box = self.field.wing_pixels or self.field.psf_pixels
        if self.cell < box / 2:
            msg = (f'cell is {self.cell} but sources reach {box // 2} '
                   'pixels; it must be at least as large.')
            raise CatalogError(msg, cell=self.cell)
        if self.field.clusters or self.field.background:
            msg = ('a mosaic has neither clusters nor residual background; '
                   'leave them out.')
            raise CatalogError(msg)


@dataclass(frozen=True, kw_only=True)
class MosaicPart:
    """
    A rectangle of a mosaic, in microjansky.

    Parameters
    ----------
    bbox : `~photutils.aperture.BoundingBox`
        Where it is.
    image : ndarray (n_bands, ny, nx) of float32
        Image with noise; NaN where bad or not observed.
    sky_rms : ndarray (n_bands, ny, nx) of float32
        Noise of the sky; 0 where nothing was observed.
    flags : ndarray (n_bands, ny, nx) of uint8
        Bits 1 saturated, 2 bad, 4 not observed.
    """

    bbox: BoundingBox
    image: np.ndarray
    sky_rms: np.ndarray
    flags: np.ndarray


def _within(rows, columns, box):
    """Index of rows and columns of the mosaic in an array over a box."""
    return (slice(None),
            slice(rows.start - box.iymin, rows.stop - box.iymin),
            slice(columns.start - box.ixmin, columns.stop - box.ixmin))


class MosaicDrawer:
    """
    Draws parts of a mosaic.

    Parameters
    ----------
    config : `MosaicConfig`
        What it holds.
    seed : int
        Its seed.
    population : population or None, optional
        Where galaxies come from, as for `~vaephot.simulate.draw_field`.
    """

    def __init__(self, config, seed, population=None):
        self.config, self.seed = config, seed
        self.population = population
        field = config.field
        self.survey = get_survey(field.survey)
        self.shape = tuple(field.shape)
        self.n_cells = tuple(-(-n // config.cell) for n in self.shape)
        self.instrument = Instrument(
            self.survey, field.psf_pixels, shape=self.shape,
            variation=field.psf_variation, wing_pixels=field.wing_pixels)
        self.sky_rms, self.widths = noise_levels(self.instrument,
                                                 field.correlated)
        self.wcs = make_wcs(self.shape, field.center_deg,
                            self.survey.pixel_scale)
        # sources and noise of the cells used last
        self._sources = lru_cache(KEPT_CELLS)(self._draw_sources)
        self._noise = lru_cache(KEPT_CELLS)(self._draw_noise)

    def __reduce__(self):
        # what is kept cannot be sent to other processes, and need not
        return MosaicDrawer, (self.config, self.seed, self.population)

    def __repr__(self):
        ny, nx = self.shape
        return f'<MosaicDrawer: {nx} x {ny} px, seed {self.seed}>'

    # ------------------------------------------------------------ the cells
    def _rng(self, stream, iy, ix):
        return np.random.default_rng([self.seed, stream, iy, ix])

    def _draw_sources(self, iy, ix):
        side = self.config.cell
        config = replace(self.config.field, shape=(side, side))
        sources = draw_sources(self._rng(SOURCES_STREAM, iy, ix), config,
                               self.survey, self.population)
        placed = [source.moved(source.x + ix * side, source.y + iy * side)
                  for source in sources]
        ny, nx = self.shape
        return tuple(s for s in placed if s.x < nx - 0.5 and s.y < ny - 0.5)

    def _draw_noise(self, iy, ix):
        side = self.config.cell
        return self._rng(NOISE_STREAM, iy, ix).normal(
            size=(len(self.widths), side, side)).astype(np.float32)

    def sources(self, iy, ix):
        """
        Sources of a cell.

        Parameters
        ----------
        iy, ix : int
            Row and column of the cell.

        Returns
        -------
        tuple of `~vaephot.simulate.instrument.Source`
            Brightest first, in pixels of the mosaic.
        """
        return self._sources(iy, ix)

    def _cells(self, box, ring=0):
        """Rows and columns of the cells that meet a box."""
        side = self.config.cell
        (n_y, n_x) = self.n_cells
        rows = range(max(box.iymin // side - ring, 0),
                     min(-(-box.iymax // side) + ring, n_y))
        columns = range(max(box.ixmin // side - ring, 0),
                        min(-(-box.ixmax // side) + ring, n_x))
        return [(iy, ix) for iy in rows for ix in columns]

    # ------------------------------------------------------------- the parts
    def _reach(self, source):
        """Box of a source: within its cell and those around."""
        box = source_bbox(source, self.instrument, self.shape)
        if box is None:
            return None
        side = self.config.cell
        iy, ix = int(source.y + 0.5) // side, int(source.x + 0.5) // side
        columns = overlap(box.ixmin, box.ixmax, (ix - RING) * side,
                          (ix + 1 + RING) * side)
        rows = overlap(box.iymin, box.iymax, (iy - RING) * side,
                       (iy + 1 + RING) * side)
        return BoundingBox(columns.start, columns.stop, rows.start,
                           rows.stop)

    def noiseless(self, bbox):
        """
        Light of all sources on a rectangle.

        Parameters
        ----------
        bbox : `~photutils.aperture.BoundingBox`
            Rectangle within the mosaic.

        Returns
        -------
        ndarray (n_bands, ny, nx)
        """
        out = np.zeros((len(self.widths), *bbox.shape))
        for cell in self._cells(bbox, RING):
            for source in self._sources(*cell):
                box = self._reach(source)
                if box is None:
                    continue
                rows = overlap(bbox.iymin, bbox.iymax, box.iymin, box.iymax)
                columns = overlap(bbox.ixmin, bbox.ixmax, box.ixmin,
                                  box.ixmax)
                if rows.stop == rows.start or columns.stop == columns.start:
                    continue
                # the whole box, or the last bits would depend on the part
                light = draw_source(source, self.instrument, box)
                out[_within(rows, columns, bbox)] += light[
                    _within(rows, columns, box)]
        return out

    def _white(self, bbox):
        """White noise of a rectangle, (n_bands, ny, nx); 0 outside."""
        out = np.zeros((len(self.widths), *bbox.shape), np.float32)
        side = self.config.cell
        for iy, ix in self._cells(bbox):
            rows = overlap(bbox.iymin, bbox.iymax, iy * side,
                           (iy + 1) * side)
            columns = overlap(bbox.ixmin, bbox.ixmax, ix * side,
                              (ix + 1) * side)
            out[_within(rows, columns, bbox)] = self._noise(iy, ix)[
                _within(rows, columns, self._cell_box(iy, ix))]
        return out

    def _cell_box(self, iy, ix):
        side = self.config.cell
        return BoundingBox(ix * side, (ix + 1) * side, iy * side,
                           (iy + 1) * side)

    def _bad(self, bbox):
        """Bad pixels of a rectangle, (n_bands, ny, nx)."""
        out = np.zeros((len(self.widths), *bbox.shape), bool)
        share, side = self.config.field.bad_pixel_share, self.config.cell
        if share == 0:
            return out
        for iy, ix in self._cells(bbox):
            rng = self._rng(BAD_STREAM, iy, ix)
            rows = overlap(bbox.iymin, bbox.iymax, iy * side,
                           (iy + 1) * side)
            columns = overlap(bbox.ixmin, bbox.ixmax, ix * side,
                              (ix + 1) * side)
            bad = np.array([bad_pixels(rng, (side, side), share)
                            for _ in self.widths])
            out[_within(rows, columns, bbox)] = bad[
                _within(rows, columns, self._cell_box(iy, ix))]
        return out

    def covered(self, x, y):
        """
        Whether places were observed.

        Parameters
        ----------
        x, y : array_like
            Pixels.

        Returns
        -------
        ndarray of bool
        """
        ny, nx = self.shape
        share = self.config.uncovered
        if share == 0:
            return np.ones(np.broadcast_shapes(np.shape(x), np.shape(y)),
                           bool)
        # distance from the nearest corner along the sides, as shares
        u = np.minimum(np.asarray(x) + 0.5, nx - 0.5 - np.asarray(x)) / nx
        v = np.minimum(np.asarray(y) + 0.5, ny - 0.5 - np.asarray(y)) / ny
        return u + v >= share

    def draw(self, bbox):
        """
        Draw a rectangle.

        Parameters
        ----------
        bbox : `~photutils.aperture.BoundingBox`
            Rectangle within the mosaic.

        Returns
        -------
        `MosaicPart`
        """
        ny, nx = self.shape
        outer = BoundingBox(max(bbox.ixmin - PAD, 0),
                            min(bbox.ixmax + PAD, nx),
                            max(bbox.iymin - PAD, 0),
                            min(bbox.iymax + PAD, ny))
        model = self.noiseless(outer)
        noise = np.array([correlate_noise(band, width, mode='constant')
                          for band, width in zip(self._white(outer),
                                                 self.widths, strict=True)])
        image = model + noise * np.sqrt(noise_variance(
            model, self.sky_rms, self.survey.gain))
        image, saturated = saturate(
            image, self.instrument.saturation_levels,
            growth=min(self.config.field.mask_growth, PAD))
        return self._finish(image, saturated, outer, bbox)

    def _finish(self, image, saturated, outer, bbox):
        """Cut out a part, with its flags."""
        inner = (slice(None),
                 slice(bbox.iymin - outer.iymin, bbox.iymax - outer.iymin),
                 slice(bbox.ixmin - outer.ixmin, bbox.ixmax - outer.ixmin))
        image = image[inner].astype(np.float32)
        bad = self._bad(bbox)
        away = ~self.covered(np.arange(bbox.ixmin, bbox.ixmax),
                             np.arange(bbox.iymin, bbox.iymax)[:, None])
        image[bad | away] = np.nan
        flags = (SATURATED * saturated[inner].astype(np.uint8)
                 | BAD * bad.astype(np.uint8)
                 | UNCOVERED * away.astype(np.uint8))
        rms = np.where(away, 0, self.sky_rms[:, None, None])
        return MosaicPart(bbox=bbox, image=image,
                          sky_rms=rms.astype(np.float32), flags=flags)
