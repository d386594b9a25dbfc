# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
What is drawn together: entries, their windows, and windows that overlap.

An entry is a source in a band. Entries whose windows have one side, one
binning and one reach of frequencies form a class and share the matrices
that draw them.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from vaephot.deblend.fit.draw import PERIODS, make_drawer
from vaephot.deblend.fit.windows import REACHES, SIDES

__all__ = ['PADDING', 'Batch', 'Entries', 'Plan', 'Shapes']

# kinds of sources
CONCENTRIC, ASYMMETRIC, POINT = range(3)
# longest period of the transforms of windows that are smaller than wanted,
# over their side
MAX_PAD = 1.5
# numbers before and after images that rows of windows may spill into
PADDING = 512
_SIDE, _PERIOD, _REACH, _KIND = (len(SIDES), len(PERIODS), len(REACHES), 3)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """
    Groups that are fitted side by side.

    ``members`` ``(n_groups, n_places)``: sources, -1 at empty places;
    ``real``, ``point``, ``asymmetric`` ``(n_groups, n_places)``; ``free``
    ``(n_groups, n_places, n_parameters)``: parameters that are fitted;
    ``maps``: of each band `None`, or matrix ``(n_groups, 2, 2)`` and offset
    ``(n_groups, 2)`` from positions in the reference grid to those in the
    band; ``psf_places`` ``(n_groups, n_bands, 2)``.
    """

    members: np.ndarray
    real: torch.Tensor
    point: torch.Tensor
    asymmetric: torch.Tensor
    free: torch.Tensor
    maps: tuple
    psf_places: np.ndarray

    @property
    def n_bands(self):
        """Number of bands."""
        return len(self.maps)

    def take(self, groups):
        """The same of some groups."""
        rows = torch.as_tensor(groups, device=self.real.device)
        return Batch(
            members=self.members[groups], psf_places=self.psf_places[groups],
            maps=tuple(m and tuple(part[rows] for part in m)
                       for m in self.maps),
            **{name: getattr(self, name)[rows]
               for name in ('real', 'point', 'asymmetric', 'free')})


class Shapes(NamedTuple):
    """Gaussians of entries, their derivatives or `None`, and places."""

    mixture: object
    slope: object
    place: torch.Tensor
    matrix: torch.Tensor | None


class Entries:
    """
    The sources of a batch in the bands that are used.

    ``group``, ``band``, ``place``, ``row`` ``(e,)``: the last is the number
    in arrays over groups, bands and places; ``of_row``: the inverse, -1
    where there is no entry.
    """

    def __init__(self, batch, used):
        g, k = batch.real.shape
        self.shape = (g, batch.n_bands, k)
        self.batch = batch
        lit = used[:, :, None] & batch.real[:, None]
        self.group, self.band, self.place = torch.nonzero(lit, as_tuple=True)
        self.row = torch.nonzero(lit.flatten())[:, 0]
        self.of_row = torch.full((lit.numel(),), -1, device=lit.device)
        self.of_row[self.row] = torch.arange(len(self.row),
                                             device=lit.device)
        here = self.group, self.place
        self.kind = (POINT * batch.point[here].long()
                     + ASYMMETRIC * batch.asymmetric[here].long())
        self._matrix, self._offset = self._maps()

    def _maps(self):
        """Affine map of each entry, or None where all are the identity."""
        if not any(self.batch.maps):
            return None, None
        n, device = len(self.row), self.row.device
        matrix = torch.eye(2, dtype=torch.float64, device=device).repeat(
            n, 1, 1)
        offset = torch.zeros(n, 2, dtype=torch.float64, device=device)
        for b, found in enumerate(self.batch.maps):
            if found is not None:
                here = self.band == b
                matrix[here], offset[here] = (
                    part[self.group[here]] for part in found)
        return matrix, offset

    def __len__(self):
        return len(self.row)

    def of(self, values):
        """Values (n_groups, n_bands, n_places, ...) of the entries."""
        return values.flatten(0, 2)[self.row]

    def shapes(self, local, decoder, *, steep):
        """Gaussians of parameters (g, b, k, p) in pixels of the bands."""
        flat = self.of(local)
        numbers = flat.float()
        mixture, slope = (decoder.jacobian(numbers) if steep else
                          (decoder.from_parameters(numbers), None))
        if self._matrix is None:
            return Shapes(mixture, slope, flat[:, :2], None)
        place = (self._matrix @ flat[:, :2, None])[..., 0] + self._offset
        matrix = self._matrix.float()
        return Shapes(mixture.transformed(matrix),
                      slope and slope.transformed(matrix), place, matrix)

    def radius(self, local):
        """Half-light radii in pixels of the bands, (e,)."""
        size = torch.exp(self.of(local)[:, 2])
        if self._matrix is not None:
            size = size * torch.linalg.det(self._matrix).abs().sqrt()
        return size.float()


class WindowClass:
    """Entries that are drawn together."""

    def __init__(self, drawer, kind, entry, corner, row_start):
        self.drawer, self.kind, self.entry = drawer, kind, entry
        self.corner = corner
        self._start = row_start
        line = torch.arange(drawer.side, device=entry.device)
        self.index = (row_start[:, :, None] + line).flatten(1)
        self.transfer = self.data = self.weight = None
        self.columns = self.weighted = self.kept = self.padded = None

    def cut(self, canvas):
        """Pixels (m, w * w) of the windows on a canvas."""
        n = self.drawer.side
        rows = canvas.as_strided((len(canvas) - n + 1, n), (1, 1))
        return rows.index_select(0, self._start.ravel()).view(
            len(self.entry), n * n)

    def allocate(self, n_columns):
        """Room for columns, between margins that rows may spill into."""
        n = len(self.entry) * n_columns * self.drawer.side ** 2
        self.padded = self.data.new_empty(n + 2 * PADDING)
        self.padded[:PADDING] = 0
        self.padded[-PADDING:] = 0
        self.columns = self.padded[PADDING:PADDING + n].view(
            len(self.entry), n_columns, -1)
        self.weighted = torch.empty_like(self.columns)
        self.kept = []

    def release(self):
        """Forget what was drawn."""
        self.columns = self.weighted = self.kept = self.padded = None

    def shapes_of(self, shapes, rows):
        """Gaussians and slopes of some entries, as they are drawn."""
        entry = self.entry[rows]
        place = shapes.place[entry] - self.corner[rows]
        matrix = None if shapes.matrix is None else shapes.matrix[entry]
        if self.kind == POINT:
            return None, None, place, matrix
        mixture, slope = shapes.mixture.take(entry), shapes.slope
        slope = slope and slope.take(entry)
        if self.kind == CONCENTRIC:
            mixture = mixture._replace(structure=None)
            slope = slope and slope._replace(structure=None)
        return mixture, slope, place, matrix


@dataclass(frozen=True)
class Pairs:
    """
    Windows of two classes that overlap, the smaller ones first.

    ``first``, ``other`` ``(q,)``: numbers in the classes; ``start``
    ``(q, w)``: where the rows of the smaller window lie in the larger;
    ``valid`` ``(q, 1, w * w)``; ``there``, ``back``: numbers of the blocks.
    """

    small: WindowClass
    large: WindowClass
    first: torch.Tensor
    other: torch.Tensor
    start: torch.Tensor
    valid: torch.Tensor
    there: torch.Tensor
    back: torch.Tensor


class Plan:
    """
    Windows and frequencies of all entries of a batch on its canvas.

    Parameters
    ----------
    entries : Entries
        What is drawn.
    canvas : `~vaephot.deblend.fit.canvas.Canvas`
        Where it is drawn.
    optics : `~vaephot.deblend.fit.bands.Bands`
        PSFs, and what chooses windows.
    shapes, radius, bright
        Gaussians, half-light radii and fluxes over the noise of a pixel of
        the entries.
    precision : `~vaephot.deblend.fit.windows.Precision`
        What may be left out.
    """

    def __init__(self, entries, canvas, optics, shapes, radius, bright,
                 precision):
        self.entries, self.canvas = entries, canvas
        self._choose(optics, shapes, radius, bright, precision)
        self._sort(optics)
        self._find_pairs()
        self.set_pixels()

    def _choose(self, optics, shapes, radius, bright, precision):
        """Side, reach and corner (in the region) of each window."""
        entries, device = self.entries, self.canvas.device
        size, corner = (torch.as_tensor(a, device=device)[
            entries.group, entries.band]
            for a in (self.canvas.size, self.canvas.corner))
        self.bin = optics.binning[entries.band]
        size = size * self.bin[:, None]
        chooser, sides = optics.chooser, optics.sides
        number = chooser.sides(shapes.mixture, radius, bright, entries.band,
                               precision)
        largest = torch.searchsorted(sides, size.amin(1), right=True) - 1
        self.number = torch.minimum(number, largest)
        self.side = sides[self.number]
        self.reach = chooser.reaches(shapes.mixture, bright, entries.band,
                                     self.side, precision)
        low = (torch.round(shapes.place).long() - corner
               - self.side[:, None] // 2)
        low = torch.minimum(low, size - self.side[:, None]).clamp(min=0)
        self.low = low // self.bin[:, None] * self.bin[:, None]
        self.corner = corner + self.low
        self.period = self._periods(shapes.place, sides[number],
                                    precision.pad)

    def _periods(self, place, wanted, pad):
        """
        Number in `PERIODS` of each entry's transform, (e,).

        So long that light within half the side that an entry wants is not
        folded back into a window that is smaller, or lies aside.
        """
        first = place - self.corner
        far = torch.maximum(first, self.side[:, None] - first).amax(1)
        need = torch.minimum(far + wanted / 2, MAX_PAD * self.side)
        need = torch.where(wanted > self.side, need, 0.0)
        need = torch.maximum(need, pad * self.side) / self.bin
        periods = torch.tensor(PERIODS, device=place.device)
        return torch.searchsorted(periods, need).clamp(max=_PERIOD - 1)

    def _sort(self, optics):
        """Sort the entries into classes."""
        entries, canvas = self.entries, self.canvas
        kind = optics.kind[entries.band]
        key = (((kind * _SIDE + self.number) * _PERIOD + self.period)
               * _REACH + self.reach) * _KIND + entries.kind
        start = torch.as_tensor(canvas.start, device=key.device)
        width = torch.as_tensor(canvas.size[:, :, 0], device=key.device)
        self.classes = []
        self.class_of, self.slot = (torch.zeros_like(key) for _ in range(2))
        for value in key.unique().tolist():
            entry = torch.nonzero(key == value)[:, 0]
            where = entries.group[entry], entries.band[entry]
            drawer = make_drawer(*optics.drawing(*np.unravel_index(
                value // _KIND, (optics.n_kinds, _SIDE, _PERIOD, _REACH))))
            low = self.low[entry] // self.bin[entry, None]
            line = torch.arange(drawer.side, device=key.device)
            row = (start[where][:, None]
                   + (low[:, 1:] + line) * width[where][:, None] + low[:, :1])
            made = WindowClass(drawer, value % _KIND, entry,
                               self.corner[entry], row)
            made.transfer = optics.transfers(
                where, entries.batch.psf_places, drawer.grid)
            self.class_of[entry] = len(self.classes)
            self.slot[entry] = torch.arange(len(entry), device=key.device)
            self.classes.append(made)

    def _overlapping(self):
        """Numbers (q,) of entries of one group and band that overlap."""
        g, b, k = self.entries.shape
        one, two = torch.triu_indices(k, k, 1, device=self.canvas.device)
        base = torch.arange(g * b, device=one.device)[:, None] * k
        p, q = (self.entries.of_row[(base + n).ravel()] for n in (one, two))
        both = (p >= 0) & (q >= 0)
        p, q = p[both], q[both]
        swap = self.side[p] > self.side[q]
        p, q = torch.where(swap, q, p), torch.where(swap, p, q)
        apart = self.low[p] - self.low[q]
        met = ((apart > -self.side[p, None])
               & (apart < self.side[q, None])).all(1)
        return p[met], q[met], apart[met] // self.bin[p[met], None]

    def _find_pairs(self):
        """Windows that overlap, class by class."""
        self.pairs = []
        if self.entries.shape[2] == 1:
            return
        p, q, apart = self._overlapping()
        n = len(self.classes)
        key = self.class_of[p] * n + self.class_of[q]
        for value in key.unique().tolist():
            some = key == value
            self.pairs.append(self._pairs(
                self.classes[value // n], self.classes[value % n],
                p[some], q[some], apart[some]))

    def _pairs(self, small, large, p, q, apart):
        """Pairs of two classes."""
        k = self.entries.shape[2]
        n, m = small.drawer.side, large.drawer.side
        line = torch.arange(n, device=p.device)
        y, x = apart[:, 1:] + line, apart[:, :1] + line
        valid = (((y >= 0) & (y < m))[:, :, None]
                 & ((x >= 0) & (x < m))[:, None, :]).flatten(1)
        row_p, row_q = self.entries.row[p], self.entries.row[q]
        base = row_p // k * k * k
        return Pairs(
            small, large, self.slot[p], self.slot[q],
            y.clamp(0, m - 1) * m + apart[:, :1], valid.float()[:, None],
            base + row_p % k * k + row_q % k,
            base + row_q % k * k + row_p % k)

    def set_pixels(self):
        """Cut data and weights of the windows from the canvas."""
        for some in self.classes:
            some.data = some.cut(self.canvas.data)
            some.weight = some.cut(self.canvas.weight)
