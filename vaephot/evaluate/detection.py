# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
What was found, missed, split, merged and invented.

True sources are *detected* if a measured one that has them as its nearest
lies within a distance. They are *split* if there is more than one such,
and *merged* if they are not detected while the pixel they are at belongs to
a detected source, or, without a segmentation, while a detected source lies
within a larger distance. Measured sources are *real* if they are nearest to
a true source within the distance, one for each true source; the others are
*false*.
"""

from dataclasses import dataclass

import numpy as np

from vaephot.evaluate.bins import binned_table
from vaephot.evaluate.matching import count_claims, match_positions

__all__ = ['Detection', 'detect_truth', 'share_table']


@dataclass(frozen=True, kw_only=True, eq=False)
class Detection:
    """
    Comparison of the sources of one image with the truth.

    Parameters
    ----------
    detected, split, merged : `~numpy.ndarray` of bool, (n,)
        Of the true sources.
    real : `~numpy.ndarray` of bool, (m,)
        Of the measured sources.
    """

    detected: np.ndarray
    split: np.ndarray
    merged: np.ndarray
    real: np.ndarray


def detect_truth(true_xy, measured_xy, *, max_distance, merge_distance,
                 segmentation=None):
    """
    Compare the sources of one image with the truth.

    Parameters
    ----------
    true_xy, measured_xy : array_like, (n, 2) and (m, 2)
        Positions in pixels.
    max_distance : float
        Largest distance of a detection, in pixels.
    merge_distance : float
        How far a missed source may be from a detected one to count as
        merged with it, in pixels; used without a segmentation.
    segmentation : `~numpy.ndarray` of int, (ny, nx), or None, optional
        Pixels of the measured sources, their row plus 1.

    Returns
    -------
    Detection
    """
    true_xy = np.asarray(true_xy, float).reshape(-1, 2)
    measured_xy = np.asarray(measured_xy, float).reshape(-1, 2)
    match = match_positions(true_xy, measured_xy, max_distance,
                            rule='nearest')
    detected, real = np.zeros(len(true_xy), bool), np.zeros(
        len(measured_xy), bool)
    detected[match.reference], real[match.measured] = True, True
    claims = count_claims(true_xy, measured_xy, max_distance)
    merged = _merged(true_xy, detected, measured_xy[real], merge_distance) \
        if segmentation is None else _covered(true_xy, real, segmentation)
    return Detection(detected=detected, split=claims > 1, real=real,
                     merged=merged & ~detected)


def _merged(true_xy, detected, real_xy, distance):
    """Whether a real detection lies within a distance."""
    if not len(real_xy):
        return np.zeros(len(true_xy), bool)
    gap = np.hypot(*(true_xy[:, None] - real_xy[None]).transpose(2, 0, 1))
    return gap.min(axis=1) < distance


def _covered(true_xy, real, segmentation):
    """Whether the pixel at a position belongs to a real detection."""
    x, y = np.round(true_xy).astype(int).T
    ny, nx = segmentation.shape
    inside = (x >= 0) & (x < nx) & (y >= 0) & (y < ny)
    label = np.where(inside, segmentation[np.clip(y, 0, ny - 1),
                                          np.clip(x, 0, nx - 1)], 0)
    return np.append(False, real)[label]


def _share(values, axis=None):
    """Share of ones."""
    return {'share': np.asarray(values, float).mean(axis=axis)}


def share_table(quantity, flags, edges, *, name='mag', n_bootstrap=200,
                seed=0):
    """
    Share of sources with a flag, in bins.

    Parameters
    ----------
    quantity : array_like, (n,)
        What the bins are of.
    flags : array_like of bool, (n,)
        For instance whether true sources are detected (completeness) or
        measured ones real (purity).
    edges : array_like
        Rising edges of the bins.
    name : str, optional
        Name of the quantity in the columns of the edges.
    n_bootstrap : int, optional
        Resamplings for the errors.
    seed : int or `numpy.random.Generator`, optional
        Seed of the resamplings.

    Returns
    -------
    `~astropy.table.QTable`
        As `~vaephot.evaluate.bins.binned_table`, with ``share`` and
        ``share_err``.
    """
    return binned_table(quantity, np.asarray(flags, float), edges, _share,
                        name=name, n_bootstrap=n_bootstrap, seed=seed)
