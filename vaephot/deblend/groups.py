# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Which sources are fitted together, and on which pixels.

Sources whose footprints overlap form one fit group, whatever their
parents. A group with more sources, or a larger one, than the fit takes at
once is cut into pieces; each piece is fitted with its nearest neighbours,
which count for nothing but their influence.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

from vaephot.utils.rows import Rows

__all__ = ['MAX_SOURCES', 'STAMP_SIZES', 'Footprints', 'Piece', 'SourceList',
           'make_pieces', 'segment_boxes']

# sides of stamps that are fitted; each piece takes the smallest that holds it
STAMP_SIZES = (32, 40, 48, 56, 64, 72, 80, 96, 112, 128, 160, 192, 256)
# sources of a piece, its neighbours included, and without them
MAX_SOURCES = 10
MAX_CORE = 5
# distance from a segment at which its light still matters, in FWHM and at
# least in pixels
FOOTPRINT_FWHM = 1.5
MIN_FOOTPRINT = 4.0
# sky around a piece, in FWHM and at least in pixels
MARGIN_FWHM = 2.0
MIN_MARGIN = 8


@dataclass(frozen=True, kw_only=True)
class SourceList(Rows):
    """
    Sources to be fitted.

    Parameters
    ----------
    x, y : `numpy.ndarray`, (n,)
        Where they were found, in pixels of the image.
    parent : `numpy.ndarray` of int, (n,)
        Label of the segment they lie in, 0 outside of all.
    position_sigma : `numpy.ndarray`, (n,)
        Prior 1-sigma of the positions in pixels.
    radius : `numpy.ndarray`, (n,)
        Radius of each one's share of its segment, in pixels; 0 outside
        of all.
    """

    x: np.ndarray
    y: np.ndarray
    parent: np.ndarray
    position_sigma: np.ndarray
    radius: np.ndarray

    def __len__(self):
        return len(self.x)


@dataclass(frozen=True, kw_only=True)
class Piece:
    """
    Sources fitted at once.

    Parameters
    ----------
    core : tuple of int
        Sources that are measured here.
    halo : tuple of int
        Sources that are fitted along and measured elsewhere.
    ix, iy : int
        First column and row of the stamp; may lie outside the image.
    size : int
        Side of the stamp.
    cropped : bool
        Whether the sources' footprints are larger than the stamp.
    """

    core: tuple[int, ...]
    halo: tuple[int, ...]
    ix: int
    iy: int
    size: int
    cropped: bool

    @property
    def members(self):
        """All sources of the piece, the core first."""
        return self.core + self.halo


def segment_boxes(segm_data, labels, slices):
    """
    Bounding boxes of segments.

    Parameters
    ----------
    segm_data : `numpy.ndarray` of int, (ny, nx)
        Segmentation; not read, only for its shape.
    labels : sequence of int
        Labels, in the order of ``slices``.
    slices : sequence of tuple of slice
        Slices of the segments.

    Returns
    -------
    dict
        Label to ``(x_min, x_max, y_min, y_max)``, upper ends excluded.
    """
    return {int(label): (sx.start, sx.stop, sy.start, sy.stop)
            for label, (sy, sx) in zip(labels, slices, strict=True)}


def _dilate(lit, reach):
    """Pixels (ny, nx) within a distance of lit ones: a disk row by row."""
    ny, out, row = len(lit), lit.copy(), lit.copy()
    steps = np.arange(min(int(reach), ny - 1) + 1)
    widths = np.sqrt(reach ** 2 - steps ** 2).astype(int)
    for width in range(int(reach) + 1):
        if width:
            before = row.copy()
            row[:, 1:] |= before[:, :-1]
            row[:, :-1] |= before[:, 1:]
        for step in steps[widths == width]:
            out[step:] |= row[:ny - step]
            out[:ny - step] |= row[step:]
    return out


class Footprints:
    """
    Where the light of segments matters.

    Parameters
    ----------
    segm : `~photutils.segmentation.SegmentationImage`
        Segmentation of the parents.
    fwhm : float
        Width of the PSF in pixels.
    """

    def __init__(self, segm, fwhm):
        self.segm = segm
        self.reach = max(MIN_FOOTPRINT, FOOTPRINT_FWHM * fwhm)

    def _connected(self, lit):
        """Numbers of the connected footprints of some pixels."""
        return ndimage.label(_dilate(lit, self.reach), np.ones((3, 3)))[0]

    @cached_property
    def _numbers(self):
        """Those of the segments alone."""
        return self._connected(self.segm.data > 0)

    def _numbers_of(self, sources):
        """Number of the connected footprint that each source lies in."""
        iy, ix = (np.clip(np.rint(c).astype(int), 0, n - 1) for c, n in zip(
            (sources.y, sources.x), self.segm.shape, strict=True))
        loose = sources.parent == 0
        if not loose.any():
            return self._numbers[iy, ix]
        lit = self.segm.data > 0
        lit[iy[loose], ix[loose]] = True
        return self._connected(lit)[iy, ix]

    def group(self, sources):
        """
        Find the sources whose footprints overlap.

        Parameters
        ----------
        sources : SourceList
            Sources.

        Returns
        -------
        list of `numpy.ndarray` of int
            Indices of the sources of each group, by the first of them.
        """
        if not len(sources):
            return []
        numbers = self._numbers_of(sources)
        order = np.argsort(numbers, kind='stable')
        cuts = np.flatnonzero(np.diff(numbers[order])) + 1
        groups = np.split(order, cuts)
        return sorted((np.sort(g) for g in groups), key=lambda g: g[0])


def _halves(sources, members):
    """Cut a set of sources across its longer side."""
    x, y = sources.x[members], sources.y[members]
    along = x if np.ptp(x) >= np.ptp(y) else y
    order = members[np.argsort(along, kind='stable')]
    middle = len(order) // 2
    return np.sort(order[:middle]), np.sort(order[middle:])


def _span(sources, members, boxes, margin):
    """Box around sources and the segments whose boxes are given."""
    x, y = sources.x[members], sources.y[members]
    r = sources.radius[members]
    limits = [(x - r).min(), (x + r).max() + 1,
              (y - r).min(), (y + r).max() + 1]
    for label in np.unique(sources.parent[members]):
        if int(label) in boxes:
            box = boxes[int(label)]
            limits = [min(limits[0], box[0]), max(limits[1], box[1]),
                      min(limits[2], box[2]), max(limits[3], box[3])]
    return (limits[0] - margin, limits[1] + margin,
            limits[2] - margin, limits[3] + margin)


def _place(span, centre):
    """Smallest stamp that holds a box, and whether it really does."""
    need = max(span[1] - span[0], span[3] - span[2])
    fits = [size for size in STAMP_SIZES if size >= need]
    size = fits[0] if fits else STAMP_SIZES[-1]
    middle = (((span[0] + span[1]) / 2, (span[2] + span[3]) / 2)
              if fits else centre)
    ix, iy = (int(round(m - size / 2)) for m in middle)
    return ix, iy, size, not fits


def _middle(values):
    """Middle of the range of some numbers."""
    return (values.min() + values.max()) / 2


def _neighbours(sources, core, others, reach):
    """The others that lie nearest to a core, as many as fit."""
    if not len(others):
        return others
    distance = np.hypot(sources.x[others][:, None] - sources.x[core],
                        sources.y[others][:, None] - sources.y[core])
    nearest = distance.min(1)
    order = np.argsort(nearest, kind='stable')
    order = order[nearest[order] < reach][:MAX_SOURCES - len(core)]
    return np.sort(others[order])


def _cut(sources, members, margin):
    """Cut a group until each part is small enough."""
    span = _span(sources, members, {}, margin)
    large = max(span[1] - span[0], span[3] - span[2]) > STAMP_SIZES[-1]
    if len(members) == 1 or (len(members) <= MAX_CORE and not large):
        return [members]
    return [part for half in _halves(sources, members)
            for part in _cut(sources, half, margin)]


def make_pieces(sources, groups, boxes, fwhm):
    """
    Cut groups into what the fit takes at once.

    Parameters
    ----------
    sources : SourceList
        Sources.
    groups : list of `numpy.ndarray` of int
        What `Footprints.group` returned.
    boxes : dict
        What `segment_boxes` returned.
    fwhm : float
        Width of the PSF in pixels.

    Returns
    -------
    list of Piece
        Every source is in the core of exactly one.
    """
    margin = max(MIN_MARGIN, MARGIN_FWHM * fwhm)
    pieces = []
    for members in groups:
        span = _span(sources, members, boxes, margin)
        whole = (len(members) <= MAX_SOURCES
                 and max(span[1] - span[0], span[3] - span[2])
                 <= STAMP_SIZES[-1])
        parts = [members] if whole else _cut(sources, members, margin)
        for core in parts:
            halo = _neighbours(sources, core, np.setdiff1d(members, core),
                               3 * margin)
            both = np.concatenate([core, halo])
            box = span if len(parts) == 1 else _span(sources, both, {},
                                                     margin)
            centre = _middle(sources.x[core]), _middle(sources.y[core])
            ix, iy, size, cropped = _place(box, centre)
            pieces.append(Piece(core=tuple(core.tolist()),
                                halo=tuple(halo.tolist()), ix=ix, iy=iy,
                                size=size, cropped=cropped))
    return pieces
