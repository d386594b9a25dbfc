# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
A Flagship-like mock galaxy population, based on cosmoDC2.

Colours, redshifts, bulge fractions and axis ratios come from a
generative fit to galaxies of cosmoDC2 [1]_, made by
``benchmarks/mock_catalog.py`` and stored in ``data/mock.json``, apart
for near galaxies and for far ones, without and with a bulge. Disks of
cosmoDC2 are too small at the faint end, so sizes follow the relation of
HST COSMOS galaxies [2]_. Number counts have the slope of deep I-band
counts [3]_ and the density of Euclid's first data release.

References
----------
.. [1] Korytov et al. 2019, ApJS 245, 26.
.. [2] Leauthaud et al. 2007, ApJS 172, 219.
.. [3] Metcalfe et al. 2001, MNRAS 323, 795; McCracken et al. 2001,
   A&A 376, 756: 0.33 to 0.35 dex per magnitude for 20 < I < 24.
"""

import json
from functools import cache
from importlib.resources import files
from itertools import pairwise

import numpy as np

from vaephot.simulate.catalog.mixture import ScoreMixture
from vaephot.simulate.catalog.population import (
    BAND_WAVELENGTHS_NM,
    REFERENCE_BAND,
    CatalogGalaxy,
    band_wavelengths,
    cumulative_counts,
    draw_magnitudes,
)
from vaephot.simulate.disk_features import Structure, draw_structure
from vaephot.simulate.galaxies import Galaxy, round_index

__all__ = ['COLOR_CHAIN', 'MockCatalog', 'galaxy_counts', 'median_size']

# Bands in the order of wavelength: the fit is of colours of neighbours.
COLOR_CHAIN = tuple(BAND_WAVELENGTHS_NM)

# Bands in which the colour excess of the bulge is fitted.
EXCESS_BANDS = ('u', 'g', 'Y', 'H')

# Median half-light radius: 0.30 arcsec at VIS 24.5, slope and scatter
# in dex (COSMOS, Leauthaud et al. 2007).
SIZE_PIVOT_ARCSEC = 0.30
SIZE_PIVOT_MAG = 24.5
SIZE_SLOPE = -0.07
SIZE_SCATTER = 0.20
SIZE_LIMITS_ARCSEC = (0.05, 4.0)

# cosmoDC2: radius of the bulge over that of the disk; the scatter of
# the catalogue, 0.095 dex, is widened, for real galaxies differ more.
BULGE_SIZE_RATIO = 0.593
BULGE_SIZE_SCATTER = 0.17

# Slope of log10 N per magnitude at these magnitudes, and galaxies per
# square arcmin brighter than 26 (Euclid Q1: 132 objects, stars and
# spurious ones among them).
COUNT_SLOPES = ((16.0, 20.0, 23.0, 25.0, 28.0),
                (0.45, 0.38, 0.33, 0.30, 0.25))
COUNT_MAG = 26.0
COUNT_DENSITY = 120.0

# Share of galaxies that are one Sersic law of any index, an addition to
# cosmoDC2 that has only bulges and disks, and the range of the index.
SERSIC_SHARE = 0.10
SERSIC_RANGE = (0.5, 4.0)

# Disks smaller than this, or with more bulge, have no structure.
STRUCTURE_RADIUS_ARCSEC = 0.15
STRUCTURE_BULGE_FRACTION = 0.8

# Axis ratios that are drawn.
MIN_AXIS_RATIO = 0.12


@cache
def _fit():
    """
    The fit: share of near galaxies, and both kinds of galaxies.

    Each kind, ``near`` and ``far``, has the share of galaxies with a
    bulge and two mixtures.
    """
    path = files('vaephot.simulate') / 'data' / 'mock.json'
    content = json.loads(path.read_text(encoding='utf-8'))
    places = {place: (np.array(content[place]['bulge_share']),
                      {kind: ScoreMixture.from_dict(content[place][kind])
                       for kind in ('disk', 'bulge')})
              for place in ('near', 'far')}
    return np.array(content['near_share']), places


def _choose_mixtures(rng, mags):
    """Yield mixtures, and which galaxies are drawn from each."""
    near_share, places = _fit()
    is_near = rng.random(len(mags)) < np.interp(mags, *near_share)
    u = rng.random(len(mags))
    for place, here in (('near', is_near), ('far', ~is_near)):
        bulge_share, mixtures = places[place]
        has_bulge = u < np.interp(mags, *bulge_share)
        yield mixtures['disk'], here & ~has_bulge
        yield mixtures['bulge'], here & has_bulge


def _log_counts(mag):
    """Integral of the slope of the counts, dex, from 16 on."""
    grid = np.linspace(14.0, 30.0, 321)
    slope = np.interp(grid, *COUNT_SLOPES)
    total = np.append(0, np.cumsum((slope[1:] + slope[:-1]) / 2 * 0.05))
    return np.interp(mag, grid, total)


@cache
def _count_norm():
    _, total = cumulative_counts((14.0, COUNT_MAG),
                                 lambda m: 10 ** _log_counts(m))
    return COUNT_DENSITY / total[-1]


def galaxy_counts(mag):
    """
    Differential number counts of galaxies.

    Parameters
    ----------
    mag : float or ndarray
        AB magnitude in VIS.

    Returns
    -------
    float or ndarray
        Galaxies per magnitude and square arcmin.
    """
    return _count_norm() * 10 ** _log_counts(mag)


def median_size(mag):
    """
    Median half-light radius of galaxies.

    Parameters
    ----------
    mag : float or ndarray
        AB magnitude in VIS.

    Returns
    -------
    float or ndarray
        Circularised, in arcsec.
    """
    return SIZE_PIVOT_ARCSEC * 10 ** (SIZE_SLOPE
                                      * (np.asarray(mag) - SIZE_PIVOT_MAG))


class MockCatalog:
    """
    Galaxies drawn from the fit.

    Examples
    --------
    >>> import numpy as np
    >>> from vaephot.simulate.catalog import MockCatalog
    >>> rng = np.random.default_rng(1)
    >>> one = MockCatalog().draw(rng, [24.5], ['VIS', 'H'])[0]
    >>> float(one.mags[0])
    24.5
    """

    def __repr__(self):
        return 'MockCatalog()'

    def draw_properties(self, rng, mags):
        """
        Draw redshifts, colours, bulge fractions and axis ratios.

        Parameters
        ----------
        rng : `numpy.random.Generator`
            Source of randomness.
        mags : array_like (n,)
            AB magnitudes in VIS.

        Returns
        -------
        dict of ndarray (n,)
            ``mag``, ``redshift``, ``bulge_fraction``, ``q_disk``,
            ``q_bulge``, colours such as ``u-g``, and the excess
            ``excess_u`` ... of the bulge's colour over the disk's.
        """
        mags = np.asarray(mags, float)
        chosen = list(_choose_mixtures(rng, mags))
        names = dict.fromkeys(name for mixture, _ in chosen
                              for name in mixture.names)
        out = {name: np.zeros(len(mags)) for name in names}
        out['logit_bulge'][:] = -np.inf
        out['q_bulge'][:] = 1.0
        for mixture, rows in chosen:
            for key, values in mixture.draw(rng, mags[rows]).items():
                out[key][rows] = values
        with np.errstate(over='ignore'):
            out['bulge_fraction'] = 1 / (1 + np.exp(-out.pop('logit_bulge')))
        out['redshift'] = 10 ** out.pop('log_1z') - 1
        out['q_bulge'] = np.maximum(out['q_bulge'], out['q_disk'])
        return out

    def draw(self, rng, mags, bands):
        """
        Draw galaxies of given magnitudes.

        Parameters
        ----------
        rng : `numpy.random.Generator`
            Source of randomness.
        mags : array_like (n,)
            AB magnitudes in VIS.
        bands : sequence of str
            Bands to return, of VIS, Y, J, H and u, g, r, i, z, y.

        Returns
        -------
        list of `~vaephot.simulate.catalog.population.CatalogGalaxy`

        Raises
        ------
        CatalogError
            If a band is unknown.
        """
        band_wavelengths(bands)
        drawn = self.draw_properties(rng, mags)
        all_mags = _magnitudes(drawn, bands)
        shares = _bulge_fractions(drawn, bands)
        return [CatalogGalaxy(
            galaxy=_draw_shape(rng, {k: float(v[i])
                                     for k, v in drawn.items()}),
            mags=all_mags[i], bulge_fractions=shares[i],
            redshift=float(drawn['redshift'][i]))
            for i in range(len(all_mags))]

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
            AB magnitudes in VIS.
        """
        return draw_magnitudes(rng, n_galaxies, mag_limits, galaxy_counts)

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
        inside = cumulative_counts(mag_limits, galaxy_counts)[1][-1]
        brighter = cumulative_counts((14.0, density_mag),
                                     galaxy_counts)[1][-1]
        return inside / brighter


def _magnitudes(drawn, bands):
    """AB magnitudes, (n, n_bands), from the chain of colours."""
    steps = [drawn[f'{a}-{b}'] for a, b in pairwise(COLOR_CHAIN)]
    fainter = np.concatenate([np.zeros((1, len(steps[0]))),
                              np.cumsum(steps, axis=0)])
    fainter = fainter - fainter[COLOR_CHAIN.index(REFERENCE_BAND)]
    columns = [COLOR_CHAIN.index(band) for band in bands]
    return (drawn['mag'] - fainter[columns]).T


def _bulge_fractions(drawn, bands):
    """Share of the bulge, (n, n_bands)."""
    nodes = [*EXCESS_BANDS[:2], REFERENCE_BAND, *EXCESS_BANDS[2:]]
    excess = np.array([drawn[f'excess_{band}'] if band != REFERENCE_BAND
                       else np.zeros(len(drawn['mag'])) for band in nodes])
    place, at = np.log(band_wavelengths(nodes)), np.log(
        band_wavelengths(bands))
    brighter = np.array([np.interp(at, place, column)
                         for column in excess.T]).reshape(-1, len(at))
    bulge = drawn['bulge_fraction'][:, None] * 10 ** (0.4 * brighter)
    return bulge / (bulge + 1 - drawn['bulge_fraction'][:, None])


def _draw_shape(rng, row):
    """Draw sizes and structure for a galaxy of known mix and flatness."""
    size = np.clip(median_size(row['mag'])
                   * 10 ** rng.normal(0, SIZE_SCATTER), *SIZE_LIMITS_ARCSEC)
    ratio = BULGE_SIZE_RATIO * 10 ** rng.normal(0, BULGE_SIZE_SCATTER)
    angle, kind = rng.uniform(0, np.pi), rng.random()
    index = round_index(rng.uniform(*SERSIC_RANGE))
    structure = draw_structure(rng)
    galaxy = Galaxy(
        disk_radius=1.0, bulge_radius=ratio, position_angle=float(angle),
        disk_axis_ratio=float(np.clip(row['q_disk'], MIN_AXIS_RATIO, 1)),
        bulge_axis_ratio=float(np.clip(row['q_bulge'], MIN_AXIS_RATIO, 1)),
        bulge_fraction=row['bulge_fraction'],
        sersic_index=index if kind < SERSIC_SHARE else None)
    galaxy = galaxy.scaled(float(size / galaxy.half_light_radius))
    if (galaxy.is_single or galaxy.disk_radius < STRUCTURE_RADIUS_ARCSEC
            or galaxy.bulge_fraction > STRUCTURE_BULGE_FRACTION):
        structure = Structure()
    return galaxy.with_structure(structure)
