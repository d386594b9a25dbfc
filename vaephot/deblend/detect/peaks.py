# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Peaks of parents that stay apart from each other over some threshold."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from vaephot.deblend.detect.merge_tree import Thresholds, separate_peaks
from vaephot.deblend.detect.pixel_graph import make_graph
from vaephot.exceptions import ShapeMismatchError

__all__ = ['Candidates', 'find_candidates']

# how far a peak must rise above its saddle, in sigma summed over its pixels
MIN_SIGNIFICANCE = 3.0
# pixels of parents that are worked on at once; bounds the memory
CHUNK_PIXELS = 200_000


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidates:
    """
    Candidate sources.

    Parameters
    ----------
    x, y : `~numpy.ndarray` of float64, (n,)
        Positions in pixels.
    label : `~numpy.ndarray` of int64, (n,)
        Label of the parent of each.
    """

    x: np.ndarray
    y: np.ndarray
    label: np.ndarray

    def __len__(self):
        return len(self.x)


def find_candidates(image, segmentation_image, *, labels=None, n_pixels,
                    n_levels, mode, connectivity, noise=None,
                    min_significance=MIN_SIGNIFICANCE, floor=-np.inf):
    """
    Find the peaks of parents that are apart over some threshold.

    Thresholds lie between the smallest and the largest value of each
    parent, ``n_levels`` of them and spaced by ``mode`` as in photutils;
    'exponential' becomes 'linear' where the smallest is not positive. A peak
    is a candidate if at one of them its region and that of another peak are
    separate and have at least ``n_pixels`` pixels each. With the 1-sigma
    ``noise`` of the pixels the sum of (image - saddle) over its region must
    also be at least ``min_significance`` times the noise of that. Parents
    with fewer than ``2 * n_pixels`` pixels are not split.

    NaN and inf in the image (ny, nx) are bad pixels: bridged by the mean of
    their neighbours, no peaks, not counted. Values below ``floor`` count as
    that. `Candidates` come by parent, in the order of ``labels``, and
    descending brightness, at least one for each parent that has a good
    pixel, at the peak refined by a parabola to at most half a pixel, or at
    the mean of a flat top.

    >>> import numpy as np
    >>> from vaephot.deblend.detect.peaks import find_candidates
    >>> x = np.arange(30)
    >>> line = np.exp(-(x - 9)**2 / 8) + np.exp(-(x - 19.2)**2 / 8)
    >>> y = np.arange(15)
    >>> image = line * np.exp(-(y - 7)**2 / 8)[:, None]
    >>> found = find_candidates(image, np.ones(image.shape, int), n_pixels=5,
    ...                         n_levels=32, mode='linear', connectivity=8)
    >>> sorted(float(v) for v in found.x.round(1))
    [9.0, 19.2]
    """
    image, segments = _same_shape(image, segmentation_image)
    search = Thresholds(n_pixels=n_pixels, n_levels=int(n_levels), mode=mode,
                        noise=noise, min_significance=min_significance)
    flat, group, names = _pixels_by_label(segments, labels)
    found = []
    for start, stop in _chunks(group):
        tops, x, y = _search_chunk(image, flat[start:stop],
                                   group[start:stop] - group[start],
                                   search, connectivity, floor)
        found.append((tops + group[start], x, y))
    if not found:
        return Candidates(x=np.zeros(0), y=np.zeros(0),
                          label=np.zeros(0, dtype=np.int64))
    index, x, y = (np.concatenate(parts) for parts in zip(*found,
                                                          strict=True))
    return _in_order(x, y, names[index], labels)


def _same_shape(image, segmentation_image):
    """Image and segments as arrays (ny, nx), or an error."""
    image = np.asarray(image)
    segments = np.asarray(getattr(segmentation_image, 'data',
                                  segmentation_image))
    if image.ndim != 2 or image.shape != segments.shape:
        msg = (f'image has shape {image.shape} but segmentation_image '
               f'{segments.shape}; both must be the same and 2D.')
        raise ShapeMismatchError(msg, shape=image.shape,
                                 expected=segments.shape)
    return image, segments


def _in_order(x, y, label, labels):
    """Candidates in the order in which the labels were asked for."""
    order = np.arange(len(x))
    if labels is not None:
        asked = {int(v): i for i, v in reversed(list(enumerate(
            np.atleast_1d(labels))))}
        order = np.argsort([asked[int(v)] for v in label], kind='stable')
    return Candidates(x=x[order], y=y[order], label=label[order])


def _pixels_by_label(segments, labels):
    """Flat indices of the pixels by label, and the sorted labels."""
    flat = np.flatnonzero(segments)
    value = segments.ravel()[flat].astype(np.int64)
    names = np.unique(value if labels is None
                      else np.atleast_1d(labels).astype(np.int64))
    names = names[names > 0]
    if flat.size == 0 or names.size == 0:
        return flat[:0], value[:0], names
    group = np.minimum(np.searchsorted(names, value), names.size - 1)
    wanted = names[group] == value
    flat, group = flat[wanted], group[wanted]
    order = np.argsort(group, kind='stable')
    return flat[order], group[order], names


def _chunks(group):
    """Ranges of pixels of whole parents, not many more than allowed."""
    if group.size == 0:
        return
    ends = np.append(np.flatnonzero(np.diff(group)) + 1, group.size)
    start = 0
    while start < group.size:
        wanted = np.searchsorted(ends, start + CHUNK_PIXELS, side='right')
        following = np.searchsorted(ends, start, side='right')
        stop = int(ends[max(wanted - 1, following)])
        yield start, stop
        start = stop


def _search_chunk(image, flat, group, search, connectivity, floor):
    """Group, x and y of the candidates among some pixels (n,)."""
    y, x = np.divmod(flat, image.shape[1])
    pixels = make_graph(_values(image, x, y, floor), x, y, group,
                        connectivity)
    top = separate_peaks(pixels, search)
    top = top[np.lexsort((-pixels.rank[top], group[top]))]
    px, py = _refine(image, x[top], y[top], floor)
    equal = pixels.values[pixels.neighbours[:, top]] == pixels.values[top]
    flat_top = (equal & (pixels.neighbours[:, top] >= 0)).any(axis=0)
    if flat_top.any():
        middle = _plateau_centres(pixels, x, y, top[flat_top])
        px[flat_top], py[flat_top] = middle
    return group[top], px, py


def _plateau_centres(pixels, x, y, tops):
    """Mean position of the pixels as high as a top and connected to it."""
    values, neighbours = pixels.values, pixels.neighbours
    chosen = np.zeros(pixels.group.max() + 1, dtype=bool)
    chosen[pixels.group[tops]] = True
    firsts, seconds = [], []
    for row in neighbours[:len(neighbours) // 2]:
        i = np.flatnonzero((row >= 0) & (values[row] == values)
                           & chosen[pixels.group])
        firsts.append(i)
        seconds.append(row[i])
    first, second = np.concatenate(firsts), np.concatenate(seconds)
    graph = coo_array((np.ones(first.size), (first, second)),
                      shape=(values.size, values.size))
    _, plateau = connected_components(graph, directed=False)
    number = np.bincount(plateau)
    return tuple((np.bincount(plateau, axis) / number)[plateau[tops]]
                 for axis in (x, y))


def _values(image, x, y, floor):
    """Values of pixels, not below a floor."""
    return np.maximum(image[y, x].astype(float), floor)


def _refine(image, x, y, floor):
    """Peak of a parabola through each pixel and its two neighbours."""
    ny, nx = image.shape
    middle = _values(image, x, y, floor)
    left, right, below, above = (
        _values(image, np.clip(x + dx, 0, nx - 1),
                np.clip(y + dy, 0, ny - 1), floor)
        for dx, dy in ((-1, 0), (1, 0), (0, -1), (0, 1)))
    return x + _vertex(left, middle, right), y + _vertex(below, middle, above)


def _vertex(before, middle, after):
    """Offset of the maximum; of the logarithms if all are positive."""
    values = np.array([before, middle, after])
    positive = (values > 0).all(axis=0)
    with np.errstate(invalid='ignore', divide='ignore'):
        values = np.where(positive, np.log(values), values)
        curvature = values[0] - 2 * values[1] + values[2]
        offset = 0.5 * (values[0] - values[2]) / curvature
    usable = np.isfinite(offset) & (curvature < 0)
    return np.where(usable, np.clip(offset, -0.5, 0.5), 0.0)
