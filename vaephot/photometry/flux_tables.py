# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Colours, and fluxes under a prior, of the sources of a result."""

import astropy.units as u
import numpy as np
from astropy.table import QTable

from vaephot.exceptions import BandMismatchError
from vaephot.photometry.magnitudes import ab_color_error
from vaephot.photometry.posterior_mean import (
    non_negative_flux,
    posterior_mean_flux,
)

__all__ = ['color_table', 'flux_arrays', 'non_negative_table',
           'posterior_mean_table']


def _suffixes(result):
    return [''] if result.is_2d else [f'_{band}' for band in result.bands]


def flux_arrays(result):
    """
    Fluxes and errors of all sources, without units.

    Parameters
    ----------
    result : `~vaephot.results.result.DeblendResult`
        The sources.

    Returns
    -------
    flux, flux_err : `numpy.ndarray`, (n, n_bands)
    """
    def stacked(name):
        values = [np.atleast_1d(getattr(getattr(source, name), 'value',
                                        getattr(source, name)))
                  for source in result]
        return np.array(values, float).reshape(-1, len(result.bands))
    return stacked('flux'), stacked('flux_err')


def color_table(result, bands):
    """
    AB colours of neighbouring bands of a list.

    Parameters
    ----------
    result : `~vaephot.results.result.DeblendResult`
        The sources, with magnitudes.
    bands : sequence of str or int
        Two or more.

    Returns
    -------
    `~astropy.table.QTable`
        ``label``, then a colour and its error for each pair.

    Raises
    ------
    BandMismatchError
        If there are fewer than two bands, or one is unknown.
    ValueError
        If the table has no magnitudes.
    """
    if len(bands) < 2 or result.is_2d:
        msg = (f'{len(bands)} bands are given ({", ".join(map(str, bands))}) '
               f'of a result of {len(result.bands)}; a colour takes two.')
        raise BandMismatchError(msg, bands=tuple(bands))
    index = [result.band_index(band) for band in bands]
    names = [result.bands[i] for i in index]
    if f'mag_{names[0]}' not in result.table.colnames:
        msg = ('there are no magnitudes: the zeropoint is unknown. Give '
               'zeropoint to the deblender, or data in a unit of flux.')
        raise ValueError(msg)
    flux, _ = flux_arrays(result)
    cov = np.array([np.asarray(getattr(c, 'value', c)) for c in (
        result.flux_cov(label) for label in result.labels)])
    cov = cov.reshape(-1, len(result.bands), len(result.bands))
    table = QTable({'label': result.labels})
    for i, j, one, two in zip(index, index[1:], names, names[1:],
                              strict=False):
        color = (result.table[f'mag_{one}'].value
                 - result.table[f'mag_{two}'].value)
        table[f'{one}-{two}'] = color * u.mag
        table[f'{one}-{two}_err'] = u.mag * ab_color_error(
            flux[:, i], flux[:, j], cov[:, i, i], cov[:, j, j],
            cov[:, i, j])
    return table


def _table(result, **columns):
    """One column for each name and band, with the unit of the data."""
    table = QTable({'label': result.labels})
    unit = 1 if result.unit is None else result.unit
    for name, values in columns.items():
        for suffix, column in zip(_suffixes(result), values.T, strict=True):
            table[name + suffix] = column * unit
    return table


def posterior_mean_table(result, **prior):
    """
    Fluxes under a prior from the counts of galaxies.

    Parameters
    ----------
    result : `~vaephot.results.result.DeblendResult`
        The sources.
    **prior
        Keywords of `~vaephot.photometry.posterior_mean.posterior_mean_flux`.

    Returns
    -------
    `~astropy.table.QTable`
        ``label``, ``flux`` and ``flux_err`` of each band.
    """
    mean, scatter = posterior_mean_flux(*flux_arrays(result), **prior)
    return _table(result, flux=mean, flux_err=scatter)


def non_negative_table(result):
    """
    Fluxes of which none is negative.

    Parameters
    ----------
    result : `~vaephot.results.result.DeblendResult`
        The sources.

    Returns
    -------
    `~astropy.table.QTable`
        ``label`` and the ``flux`` of each band.
    """
    flux, _ = flux_arrays(result)
    row_of = {label: i for i, label in enumerate(result.labels.tolist())}
    together = [list(group.labels) for group in result.groups]
    known = {label for labels in together for label in labels}
    together += [[label] for label in row_of if label not in known]
    out = flux.copy()
    for labels in together:
        rows = [row_of[label] for label in labels]
        if (flux[rows] >= 0).all():
            continue
        cov = result.flux_cov(labels)
        size = flux[rows].size
        cov = np.reshape(getattr(cov, 'value', cov), (size, size))
        out[rows] = non_negative_flux(flux[rows].ravel(), cov).reshape(
            len(rows), -1)
    return _table(result, flux=out)
