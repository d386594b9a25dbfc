# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What the fit found of all sources of an image."""

from dataclasses import dataclass

import numpy as np

from vaephot.utils.rows import Rows

__all__ = ['SceneFit', 'empty_fit', 'fill_cores']


@dataclass(frozen=True, kw_only=True)
class SceneFit(Rows):
    """
    Fitted sources, arrays over all of them in their order.

    Parameters
    ----------
    parameters : `numpy.ndarray`, (n, n_parameters)
        Positions in the image.
    band_parameters : `numpy.ndarray`, (n, n_bands, n_parameters)
        The same as each band has them.
    flux, flux_err : `numpy.ndarray`, (n, n_bands)
        Fluxes and 1-sigma errors in units of the data.
    covariance : `numpy.ndarray`, (n, m, m)
        Of the fluxes, then the parameters of each source, its neighbours
        marginalised.
    converged, cropped : `numpy.ndarray` of bool, (n,)
        Whether the fit of its piece converged, and whether the piece is
        larger than the largest stamp.
    snr : `numpy.ndarray`, (n, n_bands)
        Point-source signal-to-noise ratio that the prior went by.
    prior_distance : `numpy.ndarray`, (n,)
        Squared distance of the latent from its prior mean.
    group_covariance : `numpy.ndarray` of object, (n,)
        Where several sources were measured at once: a source's place
        among them, and the matrix ``(k * m, k * m)`` that they share,
        whose diagonal blocks are their ``covariance``; else `None`.
    """

    parameters: np.ndarray
    band_parameters: np.ndarray
    flux: np.ndarray
    flux_err: np.ndarray
    covariance: np.ndarray
    converged: np.ndarray
    cropped: np.ndarray
    snr: np.ndarray
    prior_distance: np.ndarray
    group_covariance: np.ndarray


def empty_fit(n, n_parameters, snr):
    """
    Fit of sources that nothing has been found of yet.

    Parameters
    ----------
    n : int
        Number of sources.
    n_parameters : int
        Parameters of each.
    snr : `numpy.ndarray`, (n, n_bands)
        Point-source signal-to-noise ratios.

    Returns
    -------
    SceneFit
        All else is zero.
    """
    n_bands = snr.shape[1]
    n_all = n_bands + n_parameters
    return SceneFit(
        parameters=np.zeros((n, n_parameters)),
        band_parameters=np.zeros((n, n_bands, n_parameters)),
        flux=np.zeros((n, n_bands)), flux_err=np.zeros((n, n_bands)),
        covariance=np.zeros((n, n_all, n_all)), converged=np.zeros(n, bool),
        cropped=np.zeros(n, bool), snr=snr, prior_distance=np.zeros(n),
        group_covariance=np.full(n, None, object))


def _rows_of_sources(done, n_bands):
    """Fluxes and parameters of each source in the matrix of its piece."""
    places, n_par = done.parameters.shape[1:]
    n_linear = places + done.background.shape[-1]
    place = np.arange(places)[:, None]
    return np.concatenate([
        np.arange(n_bands) * n_linear + place,
        n_bands * n_linear + place * n_par + np.arange(n_par)], 1)


def _widened(matrix, n_sources, n_all):
    """A covariance with rows of zeros for parameters that were not free."""
    n_some = len(matrix) // n_sources
    out = np.zeros((n_sources, n_all) * 2)
    out[:, :n_some, :, :n_some] = matrix.reshape((n_sources, n_some) * 2)
    return out.reshape((n_sources * n_all,) * 2)


def fill_cores(fit, pieces, done):
    """
    Copy what was found of the cores of pieces into the arrays of a fit.

    Parameters
    ----------
    fit : SceneFit
        Of all sources; its arrays are changed.
    pieces : list of `~vaephot.deblend.groups.Piece`
        Pieces.
    done : `~vaephot.deblend.refine.GroupFit`
        Their fit, positions in the stamps.
    """
    parameters, local, flux, covariance = (
        values.cpu().double().numpy() for values in (
            done.parameters, done.band_parameters, done.flux,
            done.covariance))
    n_bands, n_par = fit.flux.shape[1], parameters.shape[-1]
    rows = _rows_of_sources(done, n_bands)
    # without structure there are fewer parameters; the others are zero
    here = np.arange(n_bands + n_par)
    for i, piece in enumerate(pieces):
        own = rows[:len(piece.core)].ravel()
        shared = _widened(covariance[i][np.ix_(own, own)],
                          len(piece.core), fit.covariance.shape[-1])
        for k, source in enumerate(piece.core):
            block = covariance[i][np.ix_(rows[k], rows[k])]
            fit.parameters[source, :n_par] = parameters[i, k]
            fit.parameters[source, :2] += piece.ix, piece.iy
            fit.band_parameters[source, :, :n_par] = local[i, :, k]
            fit.band_parameters[source, :, :2] += piece.ix, piece.iy
            fit.flux[source] = flux[i, k]
            fit.covariance[source][np.ix_(here, here)] = block
            fit.flux_err[source] = np.sqrt(np.maximum(
                np.diag(block)[:n_bands], 0))
            fit.converged[source] = bool(done.converged[i])
            fit.cropped[source] = piece.cropped
            if len(piece.core) > 1:
                fit.group_covariance[source] = (k, shared)
