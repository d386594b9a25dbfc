# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Relative flux errors, df/f = measured / true - 1, in bins.

Bins are of the *true* magnitude by default: in bins of the measured one the
noise itself moves sources across the edges.
"""

import numpy as np

from vaephot.evaluate.bins import binned_table, nmad
from vaephot.exceptions import ShapeMismatchError

__all__ = ['GOOD_LIMIT', 'GROSS_LIMIT', 'OUTLIER_NMAD', 'flux_error_table',
           'nmad', 'relative_flux_error']

# a flux closer to the truth than this share counts as good ...
GOOD_LIMIT = 0.1
# ... and one that is further off as a gross error
GROSS_LIMIT = 0.5
# an outlier is this many NMAD from the median of its bin
OUTLIER_NMAD = 5.0


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
            'gross_fraction': (np.abs(values) > GROSS_LIMIT).mean(axis=axis),
            'good10': (np.abs(values) <= GOOD_LIMIT).mean(axis=axis)}


def flux_error_table(quantity, error, edges, *, name='mag', n_bootstrap=200,
                     seed=0):
    """
    Summarise relative flux errors in bins.

    Parameters
    ----------
    quantity : array_like, (n,)
        What the bins are of, usually true magnitudes.
    error : array_like, (n,)
        Relative flux errors of the same sources; those that are not
        finite are counted as failed and left out of the figures.
    edges : array_like, (n_bins + 1,)
        Rising edges of the bins; the lower edge belongs to a bin.
    name : str, optional
        Name of the quantity in the columns of the edges.
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
        the median), ``gross_fraction`` (further from the truth than 0.5)
        and ``good10`` (share closer to the truth than 0.1).

    Raises
    ------
    ShapeMismatchError
        If quantity and errors differ in number.
    ValueError
        If the edges do not rise.

    Examples
    --------
    >>> from vaephot.evaluate.flux_errors import flux_error_table
    >>> table = flux_error_table([20.1, 20.2], [0.1, 0.3], [20, 21])
    >>> round(float(table['median'][0]), 3)
    0.2
    """
    return binned_table(quantity, error, edges, _statistics, name=name,
                        n_bootstrap=n_bootstrap, seed=seed)
