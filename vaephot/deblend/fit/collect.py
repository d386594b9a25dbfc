# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Put what was found of the groups of a batch into arrays over sources."""

import numpy as np

__all__ = ['fill']


def _rows_of(places, n_linear, n_bands, n_par, n_places):
    """Fluxes and parameters of places in the matrix of a group."""
    place = np.arange(n_places)[:places, None]
    return np.concatenate([
        np.arange(n_bands) * n_linear + place,
        n_bands * n_linear + place * n_par + np.arange(n_par)], 1)


def _widened(matrix, n_sources, n_all):
    """A covariance with rows of zeros for parameters that were not free."""
    n_some = len(matrix) // n_sources
    if n_some == n_all:
        return matrix
    out = np.zeros((n_sources, n_all) * 2)
    out[:, :n_some, :, :n_some] = matrix.reshape((n_sources, n_some) * 2)
    return out.reshape((n_sources * n_all,) * 2)


def fill(result, cores, members, found):
    """
    Copy what was found of the cores of a batch into a result.

    ``cores`` ``(g,)``: sources of each group that are measured;
    ``members`` ``(g, k)``; ``found``: arrays over groups and places,
    ``covariance`` ``(g, m, m)`` of all fluxes, band by band, then the
    parameters.
    """
    group, place = np.nonzero(np.arange(members.shape[1]) < cores[:, None])
    rows = members[group, place]
    n = found['parameters'].shape[-1]
    for name in ('parameters', 'band_parameters', 'prior_mean',
                 'prior_precision'):
        getattr(result, name)[rows, ..., :n] = found[name][group, place]
    for name in ('flux', 'snr', 'converged'):
        getattr(result, name)[rows] = found[name][group, place]
    _fill_covariances(result, cores, members, found['covariance'], n)
    n_bands = result.flux.shape[1]
    variance = np.diagonal(result.covariance[rows], axis1=1, axis2=2)
    result.flux_err[rows] = np.sqrt(np.maximum(variance[:, :n_bands], 0))


def _fill_covariances(result, cores, members, covariance, n_par):
    """Blocks of the sources, and the matrices that those of groups share."""
    n_bands, n_all = result.flux.shape[1], result.covariance.shape[-1]
    n_places = members.shape[1]
    n_linear = (covariance.shape[-1] - n_places * n_par) // n_bands
    here = np.arange(n_bands + n_par)
    for core, sources, matrix in zip(cores.tolist(), members, covariance,
                                     strict=True):
        own = _rows_of(core, n_linear, n_bands, n_par, n_places)
        shared = matrix[np.ix_(own.ravel(), own.ravel())]
        blocks = shared.reshape((core, len(here)) * 2)
        for k, source in enumerate(sources[:core].tolist()):
            result.covariance[source][np.ix_(here, here)] = blocks[k, :, k]
        if core > 1:
            shared = _widened(shared, core, n_all)
            for k, source in enumerate(sources[:core].tolist()):
                result.group_covariance[source] = (k, shared)
