# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Are the quoted errors right? Pulls, coverage, and where the truth falls.

A pull is (measured - true) / quoted error: of median 0 and scatter 1 if
the errors are right, with 68.3 % of all within 1 and 95.4 % within 2.
"""

import numpy as np
from scipy.special import ndtr

from vaephot.evaluate.bins import binned_table, location_scatter

__all__ = ['N_PIT_BINS', 'pit_histogram', 'pull_table', 'pulls']

N_PIT_BINS = 20


def pulls(measured, true, error):
    """
    Errors in units of the quoted ones.

    Parameters
    ----------
    measured, true, error : array_like
        Values, their truth and the quoted 1-sigma errors.

    Returns
    -------
    `~numpy.ndarray`
        NaN where something is not finite or the error not positive.
    """
    measured, true, error = (np.asarray(values, float)
                             for values in (measured, true, error))
    usable = np.isfinite(measured) & np.isfinite(true) & (error > 0)
    out = np.full(measured.shape, np.nan)
    np.divide(measured - true, error, out=out,
              where=usable & np.isfinite(error))
    return out


def _statistics(values, axis=None):
    """Figures of the pulls of a bin."""
    return {**location_scatter(values, axis),
            'coverage68': (np.abs(values) < 1).mean(axis=axis),
            'coverage95': (np.abs(values) < 2).mean(axis=axis)}


def pull_table(quantity, values, edges, *, name='mag', n_bootstrap=200,
               seed=0):
    """
    Summarise pulls in bins.

    Parameters
    ----------
    quantity, values : array_like, (n,)
        What the bins are of, and the pulls.
    edges : array_like
        Rising edges of the bins.
    name : str, optional
        Name of the quantity in the columns of the edges.
    n_bootstrap : int, optional
        Resamplings for the errors of the figures.
    seed : int or `numpy.random.Generator`, optional
        Seed of the resamplings.

    Returns
    -------
    `~astropy.table.QTable`
        As `~vaephot.evaluate.bins.binned_table`, with ``median``,
        ``nmad``, ``coverage68`` (within 1 sigma) and ``coverage95``
        (within 2 sigma) and their errors.
    """
    return binned_table(quantity, values, edges, _statistics, name=name,
                        n_bootstrap=n_bootstrap, seed=seed)


def pit_histogram(values, n_bins=N_PIT_BINS):
    """
    Histogram of where the truth falls in the quoted distributions.

    The probability integral transform of a Gaussian posterior is the
    cumulative normal distribution of minus the pull. It is flat if the
    errors are right, like a U if they are too small, like a hill if they
    are too large, and tilted if fluxes are biased.

    Parameters
    ----------
    values : array_like, (n,)
        Pulls; those that are not finite are left out.
    n_bins : int, optional
        Number of equal bins from 0 to 1.

    Returns
    -------
    `~numpy.ndarray`, (n_bins,)
        Density: 1 everywhere if the errors are right; NaN without pulls.

    Examples
    --------
    >>> from vaephot.evaluate.calibration import pit_histogram
    >>> pit_histogram([-9, 9], n_bins=2)
    array([1., 1.])
    """
    values = np.asarray(values, float)
    values = values[np.isfinite(values)]
    if not len(values):
        return np.full(n_bins, np.nan)
    counts, _ = np.histogram(ndtr(-values), bins=n_bins, range=(0, 1))
    return counts * n_bins / len(values)
