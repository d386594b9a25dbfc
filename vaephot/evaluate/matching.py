# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Match measured sources to true ones, by position or by their pixels.

When several measured sources lie near one true source, or the reverse, a
rule says who belongs to whom:

``pairs``
    the closest pair is made first, then the closest of the rest, and so on;
``nearest``
    a measured source belongs to the true one that is nearest to it, and of
    those that belong to a true source the closest counts: light that is
    found beside a bright neighbour is never taken for the faint source;
``optimal``
    as many pairs as possible, and then those with the smallest sum of
    squared distances (the assignment problem).
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

from vaephot.exceptions import ShapeMismatchError

__all__ = ['RULES', 'Match', 'count_claims', 'match_positions',
           'match_segments']

RULES = ('pairs', 'nearest', 'optimal')


@dataclass(frozen=True, kw_only=True)
class Match:
    """
    Pairs of two lists of positions; nobody is in two pairs.

    Parameters
    ----------
    reference : `~numpy.ndarray` of int, (n_pairs,)
        Rows of the reference, rising.
    measured : `~numpy.ndarray` of int, (n_pairs,)
        Rows of the measured list that belong to them.
    distance : `~numpy.ndarray`, (n_pairs,)
        Distances of the pairs, in the unit of the positions; of segments
        1 minus the intersection over the union.
    """

    reference: np.ndarray
    measured: np.ndarray
    distance: np.ndarray

    def __len__(self):
        return len(self.reference)


def _positions(values, name):
    values = np.asarray(values, dtype=float)
    if values.size == 0:
        return np.zeros((0, 2))
    if values.ndim != 2 or values.shape[1] != 2:
        msg = (f'{name} has the shape {values.shape}; positions are an '
               'array of shape (n, 2), x before y.')
        raise ShapeMismatchError(msg, shape=values.shape)
    return values


def match_positions(reference, measured, max_distance, *, rule='pairs'):
    """
    Pair positions.

    Parameters
    ----------
    reference : array_like, (n, 2)
        Positions (x, y) of the truth. Rows that are not finite match
        nothing.
    measured : array_like, (m, 2)
        Measured positions, likewise.
    max_distance : float
        Largest distance of a pair.
    rule : {'pairs', 'nearest', 'optimal'}, optional
        Who belongs to whom if there is a choice, see the top of this
        module.

    Returns
    -------
    Match

    Raises
    ------
    ShapeMismatchError
        If positions are no array of shape (n, 2).
    ValueError
        If ``max_distance`` is not positive or the rule unknown.

    Examples
    --------
    >>> from vaephot.evaluate.matching import match_positions
    >>> match = match_positions([(0, 0), (9, 9)], [(8.5, 9), (0, 1)], 2)
    >>> match.measured
    array([1, 0])
    """
    if not max_distance > 0:
        msg = f'max_distance is {max_distance}; it must be positive.'
        raise ValueError(msg)
    if rule not in RULES:
        msg = f'rule is {rule!r}; choose one of {", ".join(RULES)}.'
        raise ValueError(msg)
    first = _positions(reference, 'reference')
    second = _positions(measured, 'measured')
    rows = [np.flatnonzero(np.isfinite(xy).all(1)) for xy in (first, second)]
    if not len(rows[0]) or not len(rows[1]):
        empty = np.zeros(0, dtype=int)
        return Match(reference=empty, measured=empty, distance=np.zeros(0))
    if rule == 'optimal':
        return _optimal(rows, first[rows[0]], second[rows[1]], max_distance)
    trees = cKDTree(first[rows[0]]), cKDTree(second[rows[1]])
    if rule == 'nearest':
        distance, i = trees[0].query(second[rows[1]])
        near = np.flatnonzero(distance < max_distance)
        return _greedy(rows[0][i[near]], rows[1][near], distance[near])
    pairs = trees[0].sparse_distance_matrix(trees[1], max_distance,
                                            output_type='ndarray')
    return _greedy(rows[0][pairs['i']], rows[1][pairs['j']], pairs['v'])


def _optimal(rows, first, second, max_distance):
    """Most pairs, and of these the closest ones."""
    distance = np.hypot(*(first[:, None] - second[None]).T).T
    # one pair more is worth any sum of distances
    worst = max_distance ** 2 * (1 + min(distance.shape))
    cost = np.where(distance <= max_distance, distance ** 2, worst)
    i, j = linear_sum_assignment(cost)
    near = distance[i, j] <= max_distance
    i, j = i[near], j[near]
    return Match(reference=rows[0][i], measured=rows[1][j],
                 distance=distance[i, j])


def count_claims(reference, measured, max_distance):
    """
    Count the measured sources that belong to each true one.

    Parameters
    ----------
    reference, measured : array_like, (n, 2)
        True and measured positions.
    max_distance : float
        Largest distance.

    Returns
    -------
    `~numpy.ndarray` of int, (n,)
        Number of measured sources that have this true source as their
        nearest, within the distance; 2 and more means a split source.
    """
    first, second = (_positions(xy, name) for xy, name in
                     ((reference, 'reference'), (measured, 'measured')))
    if not len(first) or not len(second):
        return np.zeros(len(first), int)
    distance, i = cKDTree(first).query(second)
    return np.bincount(i[distance < max_distance], minlength=len(first))


def match_segments(reference, measured, *, min_overlap=0.25):
    """
    Pair the labels of two segmentations by the pixels they share.

    Parameters
    ----------
    reference, measured : array_like of int, (ny, nx)
        Labels of the true and of the measured sources; 0 is background.
    min_overlap : float, optional
        Least intersection over union of a pair.

    Returns
    -------
    Match
        Of labels instead of rows; the largest overlaps are paired first.

    Raises
    ------
    ShapeMismatchError
        If the shapes differ.

    Examples
    --------
    >>> from vaephot.evaluate.matching import match_segments
    >>> match = match_segments([[1, 1, 2]], [[7, 7, 7]])
    >>> match.reference, match.measured
    (array([1]), array([7]))
    """
    reference, measured = np.asarray(reference), np.asarray(measured)
    if reference.shape != measured.shape:
        msg = (f'segmentations have the shapes {reference.shape} and '
               f'{measured.shape}; give maps of the same image.')
        raise ShapeMismatchError(msg, shapes=(reference.shape,
                                              measured.shape))
    both = (reference > 0) & (measured > 0)
    pairs, common = np.unique(
        np.stack([reference[both], measured[both]]), axis=1,
        return_counts=True)
    areas = [np.bincount(labels.ravel()) for labels in (reference, measured)]
    union = areas[0][pairs[0]] + areas[1][pairs[1]] - common
    overlap = common / union
    good = overlap >= min_overlap
    return _greedy(pairs[0][good], pairs[1][good], 1 - overlap[good])


def _greedy(i, j, distance):
    """Take pairs from the closest on, each row at most once."""
    taken_i, taken_j, kept = set(), set(), []
    for k in np.lexsort((j, i, distance)):
        if i[k] not in taken_i and j[k] not in taken_j:
            taken_i.add(i[k])
            taken_j.add(j[k])
            kept.append(k)
    kept = np.array(kept, dtype=int)
    kept = kept[np.argsort(i[kept])]
    return Match(reference=i[kept], measured=j[kept],
                 distance=distance[kept])
