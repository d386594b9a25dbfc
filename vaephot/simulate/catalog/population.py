# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Galaxies of a catalogue, and what every catalogue offers."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vaephot.exceptions import CatalogError
from vaephot.simulate.galaxies import Galaxy

__all__ = ['BAND_WAVELENGTHS_NM', 'REFERENCE_BAND', 'CatalogGalaxy',
           'Population', 'band_wavelengths', 'draw_magnitudes']

# Band that magnitudes and sizes refer to.
REFERENCE_BAND = 'VIS'

# Logarithmic mean wavelengths of the passbands (Rubin 2023 and Euclid,
# as of speclite): Rubin's ugrizy in small letters, NISP in capitals.
BAND_WAVELENGTHS_NM = {
    'u': 371.6, 'g': 478.7, 'r': 620.8, 'VIS': 724.9, 'i': 754.9,
    'z': 867.4, 'y': 974.6, 'Y': 1080.3, 'J': 1363.9, 'H': 1768.1}


@dataclass(frozen=True, kw_only=True)
class CatalogGalaxy:
    """
    A galaxy of a catalogue, not yet placed.

    Parameters
    ----------
    galaxy : `~vaephot.simulate.galaxies.Galaxy`
        Its shape.
    mags : ndarray (n_bands,)
        AB magnitudes, total.
    bulge_fractions : ndarray (n_bands,)
        Share of the bulge in each band.
    redshift : float
        Redshift; NaN if the catalogue has none.
    parent : int
        Number of the galaxy in its catalogue; galaxies of one number
        belong to one split. -1 if each is drawn anew.
    """

    galaxy: Galaxy
    mags: np.ndarray
    bulge_fractions: np.ndarray
    redshift: float = np.nan
    parent: int = -1


class Population(Protocol):
    """
    Any catalogue that galaxies can be drawn from.

    `~vaephot.simulate.catalog.mock.MockCatalog` and
    `~vaephot.simulate.catalog.flagship.CatalogSample` are two.
    """

    def draw(self, rng, mags, bands):
        """
        Draw galaxies of given magnitudes.

        Parameters
        ----------
        rng : `numpy.random.Generator`
            Source of randomness.
        mags : ndarray (n,)
            AB magnitudes in the reference band.
        bands : sequence of str
            Bands to return.

        Returns
        -------
        list of `CatalogGalaxy`
        """

    def draw_mags(self, rng, n_galaxies, mag_limits):
        """
        Draw magnitudes from the number counts.

        Parameters
        ----------
        rng : `numpy.random.Generator`
            Source of randomness.
        n_galaxies : int
            Number of galaxies.
        mag_limits : tuple of float
            Bright and faint limit.

        Returns
        -------
        ndarray (n_galaxies,)
        """

    def counts_ratio(self, mag_limits, density_mag):
        """
        Galaxies within limits, over all brighter than a magnitude.

        Parameters
        ----------
        mag_limits : tuple of float
            Bright and faint limit.
        density_mag : float
            The magnitude.

        Returns
        -------
        float
        """


def band_wavelengths(bands):
    """
    Wavelengths of catalogue bands.

    Parameters
    ----------
    bands : sequence of str
        Names of ``BAND_WAVELENGTHS_NM``.

    Returns
    -------
    ndarray (n_bands,)
        In nm.

    Raises
    ------
    CatalogError
        If a band is unknown.
    """
    unknown = [band for band in bands if band not in BAND_WAVELENGTHS_NM]
    if unknown:
        msg = (f'catalogues have no band {unknown}; they have '
               f'{", ".join(BAND_WAVELENGTHS_NM)}. Set catalog_band in the '
               f'survey to the nearest of these.')
        raise CatalogError(msg, bands=unknown)
    return np.array([BAND_WAVELENGTHS_NM[band] for band in bands])


def check_mag_limits(mag_limits, name='mag_limits'):
    """
    Refuse magnitude limits that are out of order.

    Parameters
    ----------
    mag_limits : tuple of float
        Bright and faint limit.
    name : str, optional
        What they are called.

    Raises
    ------
    CatalogError
        If the bright limit is not the smaller one.
    """
    bright, faint = mag_limits
    if not bright < faint:
        msg = (f'{name} is {mag_limits!r}; give the bright limit '
               f'first, smaller than the faint one.')
        raise CatalogError(msg, mag_limits=mag_limits)


def draw_magnitudes(rng, n_sources, mag_limits, counts):
    """
    Draw magnitudes from differential number counts.

    Parameters
    ----------
    rng : `numpy.random.Generator`
        Source of randomness.
    n_sources : int
        Number of sources.
    mag_limits : tuple of float
        Bright and faint limit.
    counts : callable
        Number per magnitude at an array of magnitudes.

    Returns
    -------
    ndarray (n_sources,)
        AB magnitudes.

    Raises
    ------
    CatalogError
        If the limits are not in order.
    """
    check_mag_limits(mag_limits)
    grid, total = cumulative_counts(mag_limits, counts)
    return np.interp(rng.random(n_sources) * total[-1], total, grid)


def cumulative_counts(mag_limits, counts):
    """
    Integrate number counts from the bright limit on.

    Parameters
    ----------
    mag_limits : tuple of float
        Bright and faint limit.
    counts : callable
        Number per magnitude at an array of magnitudes.

    Returns
    -------
    grid : ndarray (n,)
        Magnitudes.
    total : ndarray (n,)
        Number from the bright limit to each.
    """
    grid = np.linspace(*mag_limits, 257)
    density = counts(grid)
    steps = (density[1:] + density[:-1]) / 2 * np.diff(grid)
    return grid, np.append(0.0, np.cumsum(steps))
