# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Which local maxima stay apart over some threshold.

All parents are worked on at once: their pixels are divided among the local
maxima by steepest ascent, the basins are joined at their highest saddles in
descending order, and each time it is asked whether both sides would have
been regions of their own at the lowest threshold above the saddle. That
gives what labelling every parent at every threshold gives, without doing
so.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

from vaephot.deblend.detect.pixel_graph import by_group, starts_of

__all__ = ['Thresholds', 'separate_peaks']

# steepness of the 'sinh' spacing, as in photutils
SINH_SCALE = 0.25


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """What a peak needs to be one of its own."""

    n_pixels: int
    n_levels: int
    mode: str
    noise: float | None
    min_significance: float


def separate_peaks(pixels, search):
    """Pixels (n,) of a graph that are the peaks of candidates."""
    root = _climb(pixels)
    group, good = pixels.group, pixels.good
    roots = np.flatnonzero(root == np.arange(root.size))
    starts = starts_of(group)
    n_groups = starts.size
    area = np.diff(np.append(starts, group.size))
    lowest = by_group(np.minimum, pixels.values, group)
    highest = by_group(np.maximum, pixels.values, group)
    split = ((np.bincount(group[roots], minlength=n_groups) > 1)
             & (area >= 2 * search.n_pixels) & (highest > lowest))
    # the brightest good pixel of each parent, for those with one candidate
    best = by_group(np.maximum, np.where(good, pixels.rank, -1), group)
    single = pixels.order[best[~split & (best >= 0)]]
    if not split.any():
        return single
    level = _levels(pixels.values, group, lowest, highest, search)
    tree = _MergeTree(pixels, root, roots[split[group[roots]]], level,
                      search)
    return np.concatenate([single, tree.leaves(lowest)]).astype(int)


def _climb(pixels):
    """Local maximum that steepest ascent from each pixel ends at."""
    rank = np.append(pixels.rank, -1)
    highest = pixels.rank.copy()
    for row in pixels.neighbours:
        np.maximum(highest, rank[row], out=highest)
    target = pixels.order[highest]
    while True:
        further = target[target]
        if np.array_equal(further, target):
            return target
        target = further


def _levels(values, group, lowest, highest, search):
    """Number of thresholds below each value, from 0 to n_levels."""
    low, high = lowest[group], highest[group]
    span = np.where(high > low, high - low, 1)
    scaled = (values - low) / span
    if search.mode == 'sinh':
        scaled = SINH_SCALE * np.arcsinh(scaled * np.sinh(1 / SINH_SCALE))
    elif search.mode == 'exponential':
        ratio = (low > 0) & (high > low)
        scaled[ratio] = (np.log(values[ratio] / low[ratio])
                         / np.log(high[ratio] / low[ratio]))
    level = np.ceil(scaled * (search.n_levels + 1) - 1e-9) - 1
    return np.clip(level, 0, search.n_levels).astype(np.int64)


class _MergeTree:
    """Basins of the parents with several peaks, joined from the top."""

    def __init__(self, pixels, root, roots, level, search):
        self.pixels = pixels
        self.search = search
        self.roots = roots
        self.level = level
        basin = np.full(root.size, -1, dtype=np.int64)
        basin[roots] = np.arange(roots.size)
        self.basin = basin[root]
        self._count()

    def _count(self):
        """Number and sum of the good pixels above each level, by basin."""
        chosen = np.flatnonzero(self.pixels.good & (self.basin >= 0))
        n_columns = self.search.n_levels + 2
        shape = (self.roots.size, n_columns)
        cell = self.basin[chosen] * n_columns + self.level[chosen]
        size = shape[0] * n_columns
        number = np.bincount(cell, minlength=size).reshape(shape)
        total = np.bincount(cell, self.pixels.values[chosen],
                            minlength=size).reshape(shape)
        self.number = np.cumsum(number[:, ::-1], axis=1)[:, ::-1].copy()
        self.total = np.cumsum(total[:, ::-1], axis=1)[:, ::-1].copy()

    def _edges(self):
        """Pairs of basins and the pixel of their highest saddle."""
        rank, basin = self.pixels.rank, self.basin
        firsts, seconds, saddles = [], [], []
        n_forward = len(self.pixels.neighbours) // 2
        for row in self.pixels.neighbours[:n_forward]:
            i = np.flatnonzero((row >= 0) & (basin >= 0)
                               & (basin != basin[row]))
            j = row[i]
            firsts.append(np.minimum(basin[i], basin[j]))
            seconds.append(np.maximum(basin[i], basin[j]))
            saddles.append(np.minimum(rank[i], rank[j]))
        key = (np.concatenate(firsts) * self.roots.size
               + np.concatenate(seconds))
        saddle = np.concatenate(saddles)
        if key.size == 0:
            return key, key, saddle
        order = np.argsort(key, kind='stable')
        key, saddle = key[order], saddle[order]
        first = starts_of(key)
        return (*np.divmod(key[first], self.roots.size),
                np.maximum.reduceat(saddle, first))

    def _merges(self, lowest):
        """Joins in descending order of saddles: basins, value and level."""
        first, second, saddle = self._edges()
        n_pixels, n_basins = self.basin.size, self.roots.size
        # a tree of least weight is one of highest saddles
        graph = coo_array((np.asarray(n_pixels - saddle, float),
                           (first, second)), shape=(n_basins, n_basins))
        tree = minimum_spanning_tree(graph.tocsr()).tocoo()
        order = np.argsort(tree.data)
        at = self.pixels.order[n_pixels - tree.data[order].astype(np.int64)]
        merges = list(zip(tree.row[order].tolist(), tree.col[order].tolist(),
                          self.pixels.values[at].tolist(),
                          self.level[at].tolist(), strict=True))
        # pieces of a parent that do not touch are joined below everything
        _, piece = connected_components(tree, directed=False)
        groups = self.pixels.group[self.roots]
        one = np.unique(piece, return_index=True)[1]
        one = one[np.argsort(groups[one], kind='stable')]
        same = groups[one[1:]] == groups[one[:-1]]
        merges += [(int(a), int(b), float(lowest[groups[a]]), -1)
                   for a, b in zip(one[:-1][same], one[1:][same],
                                   strict=True)]
        return merges

    def leaves(self, lowest):
        """Pixels of the peaks that remain."""
        n_basins = self.roots.size
        joined = list(range(n_basins))
        peaks = [[i] for i in range(n_basins)]
        # area above the saddle, where several join between two thresholds
        last, area = [-2] * n_basins, [0] * n_basins
        score = np.where(self.pixels.good[self.roots],
                         self.pixels.rank[self.roots], -1).tolist()

        def find(i):
            while joined[i] != i:
                joined[i] = joined[joined[i]]
                i = joined[i]
            return i

        for one, two, value, level in self._merges(lowest):
            a, b = find(one), find(two)
            for c in (a, b):
                if last[c] != level:
                    last[c] = level
                    area[c] = int(self.number[c, level + 1])
            stands_a = self._stands(a, peaks[a], area[a], value, level)
            stands_b = self._stands(b, peaks[b], area[b], value, level)
            if stands_a and stands_b:
                peaks[a] = peaks[a] + peaks[b]
            elif stands_b or (not stands_a
                              and score[peaks[b][0]] > score[peaks[a][0]]):
                peaks[a] = peaks[b]
            joined[b] = a
            area[a] = max(area[a], area[b])
            self.number[a] += self.number[b]
            self.total[a] += self.total[b]
        kept = [p for i in range(n_basins) if joined[i] == i
                for p in peaks[i] if score[p] >= 0]
        return self.roots[kept]

    def _stands(self, c, peaks, area, value, level):
        """Whether a region is a source of its own above a saddle."""
        if len(peaks) > 1:
            return True
        if area < self.search.n_pixels:
            return False
        if self.search.noise is None:
            return True
        number = self.number[c, level + 1]
        rise = self.total[c, level + 1] - value * number
        return (rise >= self.search.min_significance * self.search.noise
                * number**0.5)
