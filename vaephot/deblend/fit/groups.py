# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Which sources are fitted together, and where their light is."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

__all__ = ['Footprints', 'Group', 'make_groups', 'segment_boxes']

# distance from a segment at which its light still matters, in FWHM and at
# least in pixels
FOOTPRINT_FWHM, MIN_FOOTPRINT = 1.5, 4.0
# sources of a group, its neighbours included, and without them
MAX_SOURCES, MAX_CORE = 10, 5
# longest side of a group that is not cut, in pixels
MAX_SIDE = 256
# distance to which neighbours are fitted along, in FWHM and least in pixels
NEIGHBOUR_FWHM, MIN_NEIGHBOUR = 6.0, 24


@dataclass(frozen=True, kw_only=True)
class Group:
    """
    Sources fitted at once.

    ``core``: sources that are measured here; ``halo``: neighbours that are
    fitted along and measured elsewhere; ``span``: least and largest x, least
    and largest y of their footprints.
    """

    core: tuple[int, ...]
    halo: tuple[int, ...]
    span: tuple[float, float, float, float]

    @property
    def members(self):
        """All sources of the group, the core first."""
        return self.core + self.halo


def segment_boxes(segm):
    """Label to ``(x_min, x_max, y_min, y_max)``, upper ends excluded."""
    return {int(label): (sx.start, sx.stop, sy.start, sy.stop)
            for label, (sy, sx) in zip(segm.labels, segm.slices,
                                       strict=True)}


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
        sources : `~vaephot.deblend.scene.Sources`
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


def _span(sources, members, boxes):
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
    return tuple(float(v) for v in limits)


def _is_long(span):
    """Whether a span is longer than the side of a group."""
    return max(span[1] - span[0], span[3] - span[2]) > MAX_SIDE


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


def _pairs(x, y, reach):
    """Pairs (n, 2) of places within a reach, the nearest first."""
    places = np.stack([x, y], -1)
    pairs = cKDTree(places).query_pairs(reach, output_type='ndarray')
    apart = np.hypot(*(places[pairs[:, 0]] - places[pairs[:, 1]]).T)
    # ties by place, for an order that does not depend on the numbers
    low, high = np.minimum(*places[pairs.T]), np.maximum(*places[pairs.T])
    return pairs[np.lexsort([*high.T, *low.T, apart.round(6)])]


def _cut(sources, members, reach):
    """
    Cut a group into small parts that keep the nearest sources together.

    Parts are joined as long as they stay small, from the nearest pair on, so
    that which are joined depends on what is near and on nothing else.
    """
    part, parts = np.arange(len(members)), {
        k: members[k:k + 1] for k in range(len(members))}
    for i, j in _pairs(sources.x[members], sources.y[members], reach):
        one, two = part[i], part[j]
        both = np.concatenate([parts[one], parts[two]])
        if (one == two or len(both) > MAX_CORE
                or _is_long(_span(sources, both, {}))):
            continue
        part[part == two] = one
        parts[one] = both
        del parts[two]
    return sorted((np.sort(p) for p in parts.values()), key=lambda p: p[0])


def make_groups(sources, connected, boxes, fwhm):
    """
    Cut connected sources into groups that the fit takes at once.

    ``connected``: rows of the sources whose footprints overlap; ``boxes``:
    label to ``(x_min, x_max, y_min, y_max)`` of segments; ``fwhm`` of the
    sharpest PSF. Every source is in the core of exactly one group.
    """
    reach = max(MIN_NEIGHBOUR, NEIGHBOUR_FWHM * fwhm)
    groups = []
    for members in connected:
        span = _span(sources, members, boxes)
        whole = (len(members) <= MAX_SOURCES
                 and not (_is_long(span) and len(members) > 1))
        for core in [members] if whole else _cut(sources, members, reach):
            halo = _neighbours(sources, core, np.setdiff1d(members, core),
                               reach)
            both = np.concatenate([core, halo])
            groups.append(Group(
                core=tuple(core.tolist()), halo=tuple(halo.tolist()),
                span=span if whole else _span(sources, both, {})))
    return groups
