# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Fluxes under a prior: the counts of the sky, or no negative flux."""

import numpy as np
from scipy.optimize import nnls

__all__ = ['COUNTS_SLOPE', 'non_negative_flux', 'posterior_mean_flux']

# d log10 N / d mag of galaxies between magnitudes 20 and 25, as in the
# parameters of the Euclid-like simulations of MegaLUT (sim_params.md)
COUNTS_SLOPE = 0.36
# range of the integral in 1-sigma errors, and its number of points
REACH = 9.0
N_POINTS = 513


def posterior_mean_flux(flux, flux_err, *, slope=COUNTS_SLOPE,
                        faint_limit=1.0):
    r"""
    Mean and scatter of the true flux of a source drawn from the counts.

    Counts :math:`dN/dm \propto 10^{s m}` are a density of fluxes
    :math:`p(f) \propto f^{-(1 + s / 0.4)}`. With the normal likelihood of
    the measured flux the mean lies below it, to first order by
    :math:`(1 + s / 0.4)\,\sigma^2 / f`. The density is cut at a faint
    limit: without one it has no integral. Below a signal-to-noise ratio
    of about 5 the result depends on it.

    Parameters
    ----------
    flux, flux_err : array-like
        Measured fluxes and their 1-sigma errors, in one unit.
    slope : float, optional
        Slope :math:`s` of the counts in dex per magnitude.
    faint_limit : float, optional
        Faintest true flux, in units of each error.

    Returns
    -------
    mean, scatter : `numpy.ndarray`
        Mean and standard deviation of the posterior; NaN where the flux
        or its error is not finite, or the error not positive.

    Raises
    ------
    ValueError
        If the slope is not finite or the limit not positive.

    References
    ----------
    Hogg & Turner 1998, PASP 110, 727, for the same prior and its mode.

    Examples
    --------
    >>> from vaephot.photometry import posterior_mean_flux
    >>> mean, scatter = posterior_mean_flux([100.0, 10.0], 1.0)
    >>> mean.round(3)
    array([99.981,  9.804])
    """
    if not np.isfinite(slope) or not faint_limit > 0:
        msg = (f'slope is {slope} and faint_limit {faint_limit}; the first '
               'must be finite, the second positive.')
        raise ValueError(msg)
    flux, flux_err = np.broadcast_arrays(np.asarray(flux, float),
                                         np.asarray(flux_err, float))
    good = np.isfinite(flux) & np.isfinite(flux_err) & (flux_err > 0)
    snr = np.where(good, flux / np.where(good, flux_err, 1), 1.0)[..., None]
    low = np.maximum(snr - REACH, faint_limit)
    high = np.maximum(snr, faint_limit) + REACH
    true = low + (high - low) * np.linspace(0, 1, N_POINTS)
    log = -0.5 * (true - snr) ** 2 - (1 + slope / 0.4) * np.log(true)
    weight = np.exp(log - log.max(-1, keepdims=True))
    # Simpson's rule: 1 4 2 4 ... 2 4 1
    weight[..., 1::2] *= 4
    weight[..., 2:-1:2] *= 2
    weight /= weight.sum(-1, keepdims=True)
    mean = (weight * true).sum(-1)
    scatter = np.sqrt((weight * (true - mean[..., None]) ** 2).sum(-1))
    return tuple(np.where(good, value * flux_err, np.nan)
                 for value in (mean, scatter))


def non_negative_flux(flux, covariance):
    """
    Fluxes of the best fit of which none is negative.

    They minimise the chi-square ``(f - flux) C^-1 (f - flux)`` with
    ``f >= 0``: where a flux is raised to zero, those of its neighbours
    change along.

    Parameters
    ----------
    flux : array-like, (n,)
        Fluxes of the free fit.
    covariance : array-like, (n, n)
        Their covariance.

    Returns
    -------
    `numpy.ndarray`, (n,)
        NaN where a flux or its variance is not finite or not positive.

    References
    ----------
    Lawson & Hanson 1974, Solving Least Squares Problems, chapter 23.

    Examples
    --------
    >>> from vaephot.photometry import non_negative_flux
    >>> non_negative_flux([-1.0, 5.0], [[1.0, -0.5], [-0.5, 1.0]])
    array([0. , 4.5])
    """
    flux = np.asarray(flux, float)
    covariance = np.asarray(covariance, float)
    variance = np.diagonal(covariance)
    good = np.isfinite(flux) & np.isfinite(variance) & (variance > 0)
    out = np.full(len(flux), np.nan)
    if not (flux[good] < 0).any():
        out[good] = flux[good]
        return out
    scale = np.sqrt(variance[good])
    unit = covariance[np.ix_(good, good)] / scale[:, None] / scale
    values, vectors = np.linalg.eigh(unit)
    values = np.maximum(values, 1e-10 * values.max())
    root = (vectors / np.sqrt(values)).T
    found, _ = nnls(root, root @ (flux[good] / scale))
    out[good] = found * scale
    return out
