# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Pixels of segments, their neighbours and their order of brightness."""

from dataclasses import dataclass

import numpy as np

__all__ = ['PixelGraph', 'by_group', 'make_graph', 'starts_of']

# holes of bad pixels up to twice as wide are bridged
MAX_FILL_STEPS = 16


@dataclass(kw_only=True)
class PixelGraph:
    """
    Pixels of some segments, sorted by segment, and their neighbours.

    Values with the bad ones filled, which are good, the number of the
    segment, all (n,); neighbours (n_neighbours, n), forward ones first, -1
    where there is none; pixels by brightness and the rank of each, (n,).
    """

    values: np.ndarray
    good: np.ndarray
    group: np.ndarray
    neighbours: np.ndarray
    order: np.ndarray
    rank: np.ndarray


def starts_of(group):
    """Where each run of equal numbers (n,) begins."""
    return np.concatenate([[0], np.flatnonzero(np.diff(group)) + 1])


def by_group(function, values, group):
    """Reduce the values (n,) of each group; all groups have pixels."""
    return function.reduceat(values, starts_of(group))


def make_graph(values, x, y, group, connectivity):
    """Graph of pixels (n,), sorted by group, row and column."""
    neighbours = _neighbours(x, y, group, connectivity)
    good = np.isfinite(values)
    values = _fill(np.where(good, values, np.nan), neighbours, group)
    # among equals a good pixel is the higher one
    order = (np.argsort(values, kind='stable') if good.all()
             else np.lexsort((good, values)))
    rank = np.empty_like(order)
    rank[order] = np.arange(order.size)
    return PixelGraph(values=values, good=good, group=group, order=order,
                      neighbours=neighbours, rank=rank)


def _neighbours(x, y, group, connectivity):
    """Numbers of the neighbours of pixels, forward ones first, -1: none."""
    width = int(x.max()) + 3
    key = (group.astype(np.int64) * (int(y.max()) + 2) + y) * width + x + 1
    padded = np.append(key, np.full(3, -1))
    number = np.arange(key.size, dtype=np.int32)

    def numbered(at, wanted):
        """Number where a wanted key is found, and where the next begins."""
        found = padded[at] == wanted
        return np.where(found, at, -1).astype(np.int32), at + found
    right, _ = numbered(number + 1, key + 1)
    left_below, at = numbered(np.searchsorted(key, key + width - 1),
                              key + width - 1)
    below, at = numbered(at, key + width)
    right_below, _ = numbered(at, key + width + 1)
    forward = [right, below, right_below, left_below][:connectivity // 2]
    return np.array(forward + [_inverted(row) for row in forward])


def _inverted(neighbour):
    """For each pixel the one that it is the neighbour of, (n,)."""
    out = np.full_like(neighbour, -1)
    some = np.flatnonzero(neighbour >= 0)
    out[neighbour[some]] = some
    return out


def _fill(values, neighbours, group):
    """Bridge NaN by the mean of the neighbours, step by step."""
    for _ in range(MAX_FILL_STEPS):
        bad = np.flatnonzero(np.isnan(values))
        if bad.size == 0:
            return values
        near = neighbours[:, bad]
        around = np.where(near >= 0, values[near], np.nan)
        known = ~np.isnan(around)
        n_known = known.sum(axis=0)
        mean = (np.where(known, around, 0).sum(axis=0)
                / np.maximum(n_known, 1))
        values[bad[n_known > 0]] = mean[n_known > 0]
        if not n_known.any():
            break
    bad = np.isnan(values)
    lowest = by_group(np.fmin, values, group)
    values[bad] = lowest[group[bad]]
    return np.nan_to_num(values, copy=False, nan=0.0)
