# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Candidate sources: peaks that stay apart from their neighbours over some
threshold, the detections of a finder, or positions given by the user.

The multi-threshold search works on the merge tree of all peaks at once: the
pixels of a parent are divided among its local maxima by steepest ascent,
the basins are joined at their highest saddles in descending order, and each
time it is asked whether both sides would have been regions of their own at
the lowest threshold above the saddle. That gives what labelling every
parent at every threshold gives, without doing so.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import label as label_regions
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

from vaephot.exceptions import ShapeMismatchError

__all__ = ['Candidates', 'Positions', 'candidates_from_finder',
           'candidates_from_positions', 'find_candidates',
           'validate_connectivity', 'validate_labels', 'validate_settings']

MODES = ('exponential', 'linear', 'sinh')
# steepness of the 'sinh' spacing, as in photutils
SINH_SCALE = 0.25
# how far a peak must rise above its saddle, in sigma summed over its pixels
MIN_SIGNIFICANCE = 3.0
# pixels of parents that are worked on at once; bounds the memory
CHUNK_PIXELS = 1_000_000
# holes of bad pixels up to twice as wide are bridged
MAX_FILL_STEPS = 16
# names of position columns, after those that photutils' finders and
# photometry use
X_NAMES = ('x_centroid', 'xcentroid', 'x_peak', 'x', 'x_0', 'x_init',
           'x_fit')


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


@dataclass(frozen=True, kw_only=True, eq=False)
class Positions(Candidates):
    """
    Sources at positions that were given.

    Parameters
    ----------
    x, y : `~numpy.ndarray` of float64, (n,)
        Positions in pixels.
    label : `~numpy.ndarray` of int64, (n,)
        Label of the segment under each; 0 outside every segment.
    fixed : `~numpy.ndarray` of bool, (n,)
        Whether the position must not move.
    point_source : `~numpy.ma.MaskedArray` of bool, (n,)
        True for a star, False for a galaxy; masked where not said.
    """

    fixed: np.ndarray
    point_source: np.ma.MaskedArray


# ------------------------------------------------------------ validation
def validate_settings(n_pixels, contrast, n_levels, mode, connectivity):
    """
    Check the settings of the search, which are those of photutils.

    Parameters
    ----------
    n_pixels : int
        Least number of pixels of a source, at least 1.
    contrast : float
        From 0 to 1.
    n_levels : int
        At least 1.
    mode : {'exponential', 'linear', 'sinh'}
        Spacing of the thresholds.
    connectivity : {8, 4}
        Which pixels are neighbours.

    Raises
    ------
    ValueError
        Naming the setting and its value.
    """
    for name, value, what in (
            ('n_pixels', n_pixels, 'must be a positive integer'),
            # photutils 3.0 and 3.1 say it differently
            ('n_levels', n_levels, 'must be >= 1; n_levels must be a positive '
             'integer')):
        if (not isinstance(value, (int, float, np.number))
                or not np.isfinite(value) or int(value) != value
                or value < 1):
            msg = f'{name} {what}, got {value!r}'
            raise ValueError(msg)
    if (not isinstance(contrast, (int, float, np.number))
            or not 0 <= contrast <= 1):
        msg = f'contrast must be >= 0 and <= 1, got {contrast!r}'
        raise ValueError(msg)
    if mode not in MODES:
        msg = ("mode must be 'exponential', 'linear', or 'sinh', got "
               f'{mode!r}')
        raise ValueError(msg)
    if connectivity not in (4, 8):
        msg = f'Invalid connectivity={connectivity!r}; it must be 4 or 8'
        raise ValueError(msg)


def validate_labels(segmentation_image, labels):
    """
    Return the labels to work on, each once.

    Parameters
    ----------
    segmentation_image : `~photutils.segmentation.SegmentationImage`
        Segments.
    labels : int or array_like of int or None
        `None`: all labels of the segmentation.

    Returns
    -------
    `~numpy.ndarray` of int64
        In the order given, without repetitions.

    Raises
    ------
    ValueError
        If a label is not in the segmentation.
    """
    if labels is None:
        return np.asarray(segmentation_image.labels, dtype=np.int64)
    labels = np.atleast_1d(labels)
    segmentation_image.check_labels(labels)
    _, first = np.unique(labels, return_index=True)
    return labels[np.sort(first)].astype(np.int64)


def validate_connectivity(segmentation_image, labels, connectivity):
    """
    Check that segments are connected.

    Parameters
    ----------
    segmentation_image : `~photutils.segmentation.SegmentationImage`
        Segments.
    labels : sequence of int
        The labels to check.
    connectivity : {8, 4}
        Which pixels are neighbours.

    Raises
    ------
    ValueError
        Naming the first segment in several pieces.
    """
    data, slices = segmentation_image.data, segmentation_image.slices
    structure = _structure(connectivity)
    indices = segmentation_image.get_indices(np.asarray(labels, dtype=int))
    for label, index in zip(labels, indices, strict=True):
        region = data[slices[index]] == label
        n_pieces = label_regions(region, structure)[1]
        if n_pieces > 1:
            msg = (f'Deblending failed for source {int(label)}, which is in '
                   f'{n_pieces} pieces for connectivity={connectivity}. '
                   'Please ensure you used the same pixel connectivity in '
                   'detect_sources and deblend_sources.')
            raise ValueError(msg)


def _structure(connectivity):
    structure = np.ones((3, 3), dtype=int)
    if connectivity == 4:
        structure[::2, ::2] = 0
    return structure


# ------------------------------------------------------------ the search
def find_candidates(image, segmentation_image, *, labels=None, n_pixels,
                    n_levels, mode, connectivity, noise=None,
                    min_significance=MIN_SIGNIFICANCE):
    """
    Find the peaks of parents that are apart over some threshold.

    Thresholds lie between the smallest and the largest value of each
    parent. A peak is a candidate if at one of them its region and that of
    another peak are separate and have at least ``n_pixels`` pixels each.
    With ``noise`` it must also rise significantly above the saddle between
    them. Parents with fewer than ``2 * n_pixels`` pixels are not split.

    Parameters
    ----------
    image : 2D `~numpy.ndarray`
        Image; NaN and inf are bad pixels. They are bridged by the mean of
        their neighbours, are no peaks and do not count.
    segmentation_image : `~photutils.segmentation.SegmentationImage` or \
            2D `~numpy.ndarray` of int
        Parents.
    labels : sequence of int or None, optional
        The parents to search; `None` (default): all.
    n_pixels : int
        Least number of pixels of a peak's region.
    n_levels : int
        Number of thresholds.
    mode : {'exponential', 'linear', 'sinh'}
        Spacing of the thresholds, as in photutils; ``'exponential'``
        becomes ``'linear'`` for a parent whose smallest value is not
        positive.
    connectivity : {8, 4}
        Which pixels are neighbours.
    noise : float or None, optional
        1-sigma noise of the pixels of ``image``; `None` (default): peaks
        need not be significant.
    min_significance : float, optional
        Least sum of (image - saddle) over the region of a peak in units of
        its noise, ``noise * sqrt(n)`` for n pixels.

    Returns
    -------
    Candidates
        By parent, in the order of ``labels``, and descending brightness; at
        least one for each parent that has a good pixel. The position is
        that of the peak, refined by a parabola to at most half a pixel, or
        the mean of a flat top.

    Examples
    --------
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
    image = np.asarray(image, dtype=float)
    segments = np.asarray(getattr(segmentation_image, 'data',
                                  segmentation_image))
    if image.ndim != 2 or image.shape != segments.shape:
        msg = (f'image has shape {image.shape} but segmentation_image '
               f'{segments.shape}; both must be the same and 2D.')
        raise ShapeMismatchError(msg, shape=image.shape,
                                 expected=segments.shape)
    search = _Search(n_pixels=n_pixels, n_levels=int(n_levels), mode=mode,
                     connectivity=connectivity, noise=noise,
                     min_significance=min_significance)
    flat, group, names = _pixels_by_label(segments, labels)
    width = image.shape[1] + 2
    places = np.full((image.shape[0] + 2) * width, -1, dtype=np.int32)
    found = []
    for start, stop in _chunks(group):
        tops, x, y = _search_chunk(image, flat[start:stop],
                                   group[start:stop] - group[start],
                                   places, search)
        found.append((tops + group[start], x, y))
    if not found:
        return Candidates(x=np.zeros(0), y=np.zeros(0),
                          label=np.zeros(0, dtype=np.int64))
    index, x, y = (np.concatenate(parts) for parts in zip(*found,
                                                          strict=True))
    return _in_order(x, y, names[index], labels)


@dataclass(frozen=True, kw_only=True)
class _Search:
    """Settings of the search."""

    n_pixels: int
    n_levels: int
    mode: str
    connectivity: int
    noise: float | None
    min_significance: float


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


@dataclass(kw_only=True)
class _Pixels:
    """Pixels of some parents, sorted by parent, and their neighbours."""

    values: np.ndarray      # bad ones filled
    good: np.ndarray
    group: np.ndarray
    neighbours: np.ndarray  # (n_neighbours, n), forward ones first; -1: none
    order: np.ndarray       # pixels by brightness
    rank: np.ndarray        # inverse of order


def _search_chunk(image, flat, group, places, search):
    """Group, x and y of the candidates among some pixels."""
    y, x = np.divmod(flat, image.shape[1])
    pixels = _make_pixels(image.ravel()[flat], x, y, group, places,
                          image.shape[1] + 2, search.connectivity)
    top = _leaves(pixels, search)
    top = top[np.lexsort((-pixels.rank[top], group[top]))]
    px, py = _refine(image, x[top], y[top])
    equal = pixels.values[pixels.neighbours[:, top]] == pixels.values[top]
    flat_top = (equal & (pixels.neighbours[:, top] >= 0)).any(axis=0)
    if flat_top.any():
        middle = _plateau_centres(pixels, x, y, top[flat_top])
        px[flat_top], py[flat_top] = middle
    return group[top], px, py


def _make_pixels(values, x, y, group, places, width, connectivity):
    """Fill bad pixels, find neighbours, sort by brightness."""
    flat = (y + 1) * width + x + 1
    places[flat] = np.arange(flat.size, dtype=np.int32)
    steps = [1, width, width + 1, width - 1][:connectivity // 2]
    steps += [-step for step in steps]
    neighbours = np.empty((len(steps), flat.size), dtype=np.int32)
    for row, step in zip(neighbours, steps, strict=True):
        row[:] = places[flat + step]
        row[group[row] != group] = -1
    places[flat] = -1
    good = np.isfinite(values)
    values = _fill(np.where(good, values, np.nan), neighbours, group)
    # among equals a good pixel is the higher one
    order = (np.argsort(values, kind='stable') if good.all()
             else np.lexsort((good, values)))
    rank = np.empty_like(order)
    rank[order] = np.arange(order.size)
    return _Pixels(values=values, good=good, group=group, order=order,
                   neighbours=neighbours, rank=rank)


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
    lowest = _by_group(np.fmin, values, group)
    values[bad] = lowest[group[bad]]
    return np.nan_to_num(values, copy=False, nan=0.0)


def _by_group(function, values, group):
    """Reduce the values of each group; all groups have pixels."""
    return function.reduceat(values, _starts(group))


def _starts(group):
    return np.concatenate([[0], np.flatnonzero(np.diff(group)) + 1])


def _leaves(pixels, search):
    """Pixels that are the peaks of candidates."""
    root = _climb(pixels)
    group, good = pixels.group, pixels.good
    roots = np.flatnonzero(root == np.arange(root.size))
    starts = _starts(group)
    n_groups = starts.size
    area = np.diff(np.append(starts, group.size))
    lowest = _by_group(np.minimum, pixels.values, group)
    highest = _by_group(np.maximum, pixels.values, group)
    split = ((np.bincount(group[roots], minlength=n_groups) > 1)
             & (area >= 2 * search.n_pixels) & (highest > lowest))
    # the brightest good pixel of each parent, for those with one candidate
    best = _by_group(np.maximum, np.where(good, pixels.rank, -1), group)
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
        first = _starts(key)
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


def _refine(image, x, y):
    """Peak of a parabola through each pixel and its two neighbours."""
    ny, nx = image.shape
    return (x + _vertex(image[y, np.maximum(x - 1, 0)], image[y, x],
                        image[y, np.minimum(x + 1, nx - 1)]),
            y + _vertex(image[np.maximum(y - 1, 0), x], image[y, x],
                        image[np.minimum(y + 1, ny - 1), x]))


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


# ----------------------------------------------------- finders, positions
def candidates_from_finder(finder, image, mask, segmentation_image, labels):
    """
    Use the detections of a finder as candidates.

    Parameters
    ----------
    finder : callable
        Called as ``finder(image, mask=mask)``; returns a table with the
        columns ``x_centroid`` and ``y_centroid`` (or ``xcentroid`` and
        ``ycentroid``), or `None`.
    image : 2D `~numpy.ndarray`
        Image.
    mask : 2D `~numpy.ndarray` of bool or None
        True for bad pixels.
    segmentation_image : `~photutils.segmentation.SegmentationImage`
        Parents.
    labels : sequence of int or None
        The parents to deblend; `None`: all.

    Returns
    -------
    Candidates
        The detections inside these parents; a parent may have none.

    Raises
    ------
    TypeError, ValueError
        If the finder returns no such table.
    """
    table = finder(image, mask=mask)
    if table is None:
        table = np.zeros((0, 2))
    elif not hasattr(table, 'colnames'):
        msg = (f'finder returned {type(table).__name__}; it must return a '
               'table with the columns x_centroid and y_centroid, or None.')
        raise TypeError(msg)
    x, y = _read_xy(table, 'the table of the finder')
    label = _labels_at(segmentation_image, x, y)
    wanted = label > 0
    if labels is not None:
        wanted &= np.isin(label, labels)
    return Candidates(x=x[wanted], y=y[wanted], label=label[wanted])


def candidates_from_positions(positions, segmentation_image):
    """
    Use given positions as sources.

    Parameters
    ----------
    positions : table or array_like, (n, 2)
        A table with the columns ``x_centroid`` and ``y_centroid`` (or
        another pair of names that photutils uses, such as ``x`` and ``y``)
        and optionally ``fixed`` and ``point_source``; or (x, y) pairs.
    segmentation_image : `~photutils.segmentation.SegmentationImage`
        Parents.

    Returns
    -------
    Positions
        One per row, in that order.

    Raises
    ------
    ValueError
        If the shape or the columns are wrong or a position is not finite.
    """
    x, y = _read_xy(positions, 'positions')
    wrong = np.flatnonzero(~(np.isfinite(x) & np.isfinite(y)))
    if wrong.size:
        i = int(wrong[0])
        msg = (f'positions has ({x[i]}, {y[i]}) in row {i} and '
               f'{wrong.size} rows in all that are not finite; remove them.')
        raise ValueError(msg)
    fixed = _read_flags(positions, 'fixed', x.size).filled(False)
    point_source = _read_flags(positions, 'point_source', x.size)
    return Positions(x=x, y=y, fixed=fixed, point_source=point_source,
                     label=_labels_at(segmentation_image, x, y))


def _read_xy(given, what):
    """Positions from a table or an array of pairs."""
    names = getattr(given, 'colnames', None)
    if names is None:
        array = np.asarray(given, dtype=float)
        if array.size == 0:
            array = array.reshape(0, 2)
        if array.ndim != 2 or array.shape[1] != 2:
            msg = (f'{what} has shape {array.shape}; give (x, y) pairs of '
                   'shape (n, 2), or a table.')
            raise ShapeMismatchError(msg, shape=array.shape)
        return array[:, 0].copy(), array[:, 1].copy()
    for x_name in X_NAMES:
        y_name = 'y' + x_name[1:]
        if x_name in names and y_name in names:
            return tuple(_plain_column(given[name], name)
                         for name in (x_name, y_name))
    msg = (f'{what} has the columns {", ".join(names)}; x_centroid and '
           'y_centroid (pixels) are needed.')
    raise ValueError(msg)


def _plain_column(column, name):
    """Column of pixels as float64; masked entries are NaN."""
    unit = getattr(column, 'unit', None)
    if unit is not None and str(unit) not in ('pix', 'pixel', ''):
        msg = f'column {name!r} has the unit {unit}; positions are in pixels.'
        raise ValueError(msg)
    if hasattr(column, 'filled'):
        column = np.ma.filled(np.ma.asarray(column, dtype=float), np.nan)
    return np.array(getattr(column, 'value', column), dtype=float)


def _read_flags(given, name, size):
    """Optional column of True, False or nothing, as a masked array."""
    if name not in getattr(given, 'colnames', ()):
        return np.ma.masked_all(size, dtype=bool)
    column = np.ma.asarray(given[name])
    missing = np.ma.getmaskarray(column).copy()
    values = np.zeros(size, dtype=bool)
    for i, value in enumerate(column.data):
        if missing[i] or value is None or value != value:
            missing[i] = True
        elif value in (0, 1):
            values[i] = bool(value)
        else:
            msg = (f'column {name!r} has {value!r} in row {i}; give True, '
                   'False, or a masked entry.')
            raise ValueError(msg)
    return np.ma.array(values, mask=missing)


def _labels_at(segmentation_image, x, y):
    """Label of the segment under each position, 0 where there is none."""
    data = np.asarray(getattr(segmentation_image, 'data',
                              segmentation_image))
    ny, nx = data.shape
    with np.errstate(invalid='ignore'):
        inside = (x >= -0.5) & (x < nx - 0.5) & (y >= -0.5) & (y < ny - 0.5)
    label = np.zeros(x.size, dtype=np.int64)
    ix, iy = (np.floor(v[inside] + 0.5).astype(int) for v in (x, y))
    label[inside] = data[iy, ix]
    return label
