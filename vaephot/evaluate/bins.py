# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Figures of many values in bins of another quantity, with their errors."""

from itertools import pairwise

import numpy as np
from astropy.stats import mad_std
from astropy.table import QTable

from vaephot.exceptions import ShapeMismatchError

__all__ = ['binned_table', 'location_scatter', 'nmad']


def nmad(values, axis=None):
    """
    Scatter from the median absolute deviation, 1 sigma for a Gaussian.

    Parameters
    ----------
    values : array_like
        The values.
    axis : int or None, optional
        Axis along which to compute; `None` means all values.

    Returns
    -------
    float or `~numpy.ndarray`

    Examples
    --------
    >>> from vaephot.evaluate.bins import nmad
    >>> round(float(nmad([1, 2, 3, 4, 1000])), 3)
    1.483
    """
    return mad_std(np.asarray(values, dtype=float), axis=axis)


def location_scatter(values, axis=None):
    """
    Median and NMAD, as figures of a bin.

    Parameters
    ----------
    values : `~numpy.ndarray`
        The values.
    axis : int or None, optional
        Axis along which to compute; `None` means all values.

    Returns
    -------
    dict
        ``median`` and ``nmad``.
    """
    return {'median': np.median(values, axis=axis),
            'nmad': nmad(values, axis=axis)}


def _bin_row(values, statistics, n_bootstrap, rng):
    """Figures of a bin with their bootstrap errors."""
    good = values[np.isfinite(values)]
    row = {'n': len(good), 'n_failed': len(values) - len(good)}
    if not len(good):
        names = statistics(np.zeros(1))
        return {**row, **{key: np.nan for name in names
                          for key in (name, f'{name}_err')}}
    figures = statistics(good)
    draws = good[rng.integers(len(good), size=(n_bootstrap, len(good)))]
    spread = statistics(draws, axis=1)
    for name, value in figures.items():
        row[name] = float(value)
        row[f'{name}_err'] = (float(spread[name].std()) if len(good) > 1
                              else np.nan)
    return row


def binned_table(quantity, values, edges, statistics=location_scatter, *,
                 name='mag', n_bootstrap=200, seed=0):
    """
    Compute figures of values in bins of a quantity.

    Parameters
    ----------
    quantity : array_like, (n,)
        What the bins are of.
    values : array_like, (n,)
        The values; those that are not finite are counted as failed and
        left out of the figures.
    edges : array_like, (n_bins + 1,)
        Rising edges of the bins; the lower edge belongs to a bin.
    statistics : callable, optional
        Function of values and ``axis`` that returns a dict of figures.
    name : str, optional
        Name of the quantity in the columns of the edges.
    n_bootstrap : int, optional
        Resamplings for the errors of the figures.
    seed : int or `numpy.random.Generator`, optional
        Seed of the resamplings.

    Returns
    -------
    `~astropy.table.QTable`
        One row per bin: ``<name>_low``, ``<name>_high``, ``n``,
        ``n_failed``, and each figure with its error, ``<figure>_err``.

    Raises
    ------
    ShapeMismatchError
        If quantity and values differ in number.
    ValueError
        If the edges do not rise.

    Examples
    --------
    >>> from vaephot.evaluate.bins import binned_table
    >>> table = binned_table([20.1, 20.2, 20.3], [1, 2, 4], [20, 21])
    >>> float(table['median'][0])
    2.0
    """
    quantity, values = (np.asarray(array, dtype=float)
                        for array in (quantity, values))
    if quantity.shape != values.shape or quantity.ndim != 1:
        msg = (f'{name} has the shape {quantity.shape}, the values '
               f'{values.shape}; give one number each per source.')
        raise ShapeMismatchError(msg, shapes=(quantity.shape, values.shape))
    edges = np.asarray(edges, dtype=float)
    if edges.ndim != 1 or len(edges) < 2 or not (np.diff(edges) > 0).all():
        msg = f'edges are {edges}; give two or more rising numbers.'
        raise ValueError(msg)
    rng = np.random.default_rng(seed)
    rows = []
    for low, high in pairwise(edges):
        inside = (quantity >= low) & (quantity < high)
        rows.append({f'{name}_low': low, f'{name}_high': high,
                     **_bin_row(values[inside], statistics, n_bootstrap,
                                rng)})
    return QTable(rows)
