# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Match measured sources to true ones by position."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from vaephot.exceptions import ShapeMismatchError

__all__ = ['Match', 'match_positions']


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
        Distances of the pairs, in the unit of the positions.
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


def match_positions(reference, measured, max_distance):
    """
    Pair positions, the closest pairs first.

    Parameters
    ----------
    reference : array_like, (n, 2)
        Positions (x, y) of the truth. Rows that are not finite match
        nothing.
    measured : array_like, (m, 2)
        Measured positions, likewise.
    max_distance : float
        Largest distance of a pair.

    Returns
    -------
    Match

    Raises
    ------
    ShapeMismatchError
        If positions are no array of shape (n, 2).
    ValueError
        If ``max_distance`` is not positive.

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
    first = _positions(reference, 'reference')
    second = _positions(measured, 'measured')
    rows = [np.flatnonzero(np.isfinite(xy).all(1)) for xy in (first, second)]
    if not len(rows[0]) or not len(rows[1]):
        empty = np.zeros(0, dtype=int)
        return Match(reference=empty, measured=empty, distance=np.zeros(0))
    pairs = cKDTree(first[rows[0]]).sparse_distance_matrix(
        cKDTree(second[rows[1]]), max_distance, output_type='ndarray')
    return _greedy(rows[0][pairs['i']], rows[1][pairs['j']], pairs['v'])


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
