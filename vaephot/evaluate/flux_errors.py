# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Relative flux errors, df/f = measured / true - 1, in bins.

Bins are of the *true* magnitude: in bins of the measured one the noise
itself moves sources across the edges.
"""

from itertools import pairwise

import numpy as np
from astropy.table import QTable

from vaephot.exceptions import ShapeMismatchError

__all__ = ['GOOD_LIMIT', 'OUTLIER_NMAD', 'flux_error_table', 'nmad',
           'relative_flux_error']

# a flux closer to the truth than this share counts as good
GOOD_LIMIT = 0.1
# an outlier is this many NMAD from the median of its bin
OUTLIER_NMAD = 5.0
# scatter of a Gaussian over its median absolute deviation
MAD_TO_SIGMA = 1.482602218505602


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
    >>> from vaephot.evaluate.flux_errors import nmad
    >>> round(float(nmad([1, 2, 3, 4, 1000])), 3)
    1.483
    """
    values = np.asarray(values, dtype=float)
    median = np.median(values, axis=axis, keepdims=True)
    return MAD_TO_SIGMA * np.median(np.abs(values - median), axis=axis)


def relative_flux_error(measured, true):
    """
    Measured over true flux, minus 1.

    Parameters
    ----------
    measured, true : array_like
        Fluxes in the same unit.

    Returns
    -------
    `~numpy.ndarray`
        NaN where a flux is not finite or the true one not positive.

    Raises
    ------
    ShapeMismatchError
        If the shapes differ.
    """
    measured = np.asarray(measured, dtype=float)
    true = np.asarray(true, dtype=float)
    if measured.shape != true.shape:
        msg = (f'measured fluxes have the shape {measured.shape}, true ones '
               f'{true.shape}; give one true flux for each measured one.')
        raise ShapeMismatchError(msg, shapes=(measured.shape, true.shape))
    usable = np.isfinite(measured) & np.isfinite(true) & (true > 0)
    ratio = np.full(true.shape, np.nan)
    np.divide(measured, true, out=ratio, where=usable)
    return ratio - 1


def _statistics(values, axis=None):
    """Figures of a bin, or of many resamplings of it."""
    median = np.median(values, axis=axis, keepdims=True)
    scatter = nmad(values, axis=axis)
    wide = OUTLIER_NMAD * np.expand_dims(scatter, -1)
    return {'median': np.median(values, axis=axis),
            'nmad': scatter,
            'mean': values.mean(axis=axis),
            'outlier_fraction': (np.abs(values - median) > wide
                                 ).mean(axis=-1),
            'good10': (np.abs(values) <= GOOD_LIMIT).mean(axis=axis)}


def _bin_row(values, n_bootstrap, rng):
    """Figures of a bin with their bootstrap errors."""
    good = values[np.isfinite(values)]
    row = {'n': len(good), 'n_failed': len(values) - len(good)}
    if not len(good):
        names = _statistics(np.zeros(1))
        return {**row, **{key: np.nan for name in names
                          for key in (name, f'{name}_err')}}
    figures = _statistics(good)
    draws = good[rng.integers(len(good), size=(n_bootstrap, len(good)))]
    spread = _statistics(draws, axis=1)
    for name, value in figures.items():
        row[name] = float(value)
        row[f'{name}_err'] = (float(spread[name].std()) if len(good) > 1
                              else np.nan)
    return row


def flux_error_table(true_mag, error, edges, *, n_bootstrap=200, seed=0):
    """
    Summarise relative flux errors in bins of magnitude.

    Parameters
    ----------
    true_mag : array_like, (n,)
        True magnitudes.
    error : array_like, (n,)
        Relative flux errors of the same sources; those that are not
        finite are counted as failed and left out of the figures.
    edges : array_like, (n_bins + 1,)
        Rising edges of the bins; the lower edge belongs to a bin.
    n_bootstrap : int, optional
        Resamplings for the errors of the figures.
    seed : int or `numpy.random.Generator`, optional
        Seed of the resamplings.

    Returns
    -------
    `~astropy.table.QTable`
        One row per bin: ``mag_low``, ``mag_high``, ``n``, ``n_failed``,
        and with bootstrap errors (``median_err``, ...) ``median``,
        ``nmad``, ``mean``, ``outlier_fraction`` (more than 5 NMAD from
        the median) and ``good10`` (share closer to the truth than 0.1).

    Raises
    ------
    ShapeMismatchError
        If magnitudes and errors differ in number.
    ValueError
        If the edges do not rise.

    Examples
    --------
    >>> from vaephot.evaluate.flux_errors import flux_error_table
    >>> table = flux_error_table([20.1, 20.2], [0.1, 0.3], [20, 21])
    >>> round(float(table['median'][0]), 3)
    0.2
    """
    true_mag, error = (np.asarray(values, dtype=float)
                       for values in (true_mag, error))
    if true_mag.shape != error.shape or true_mag.ndim != 1:
        msg = (f'true_mag has the shape {true_mag.shape}, error '
               f'{error.shape}; give one number each per source.')
        raise ShapeMismatchError(msg, shapes=(true_mag.shape, error.shape))
    edges = np.asarray(edges, dtype=float)
    if edges.ndim != 1 or len(edges) < 2 or not (np.diff(edges) > 0).all():
        msg = f'edges are {edges}; give two or more rising numbers.'
        raise ValueError(msg)
    rng = np.random.default_rng(seed)
    rows = []
    for low, high in pairwise(edges):
        inside = (true_mag >= low) & (true_mag < high)
        rows.append({'mag_low': low, 'mag_high': high,
                     **_bin_row(error[inside], n_bootstrap, rng)})
    return QTable(rows)
