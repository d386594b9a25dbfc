# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
A mock galaxy population, drawn from fits to a cosmological simulation.

Shapes, bulge fractions and colours are based on cosmoDC2 [1]_: simple
distributions fitted to its galaxies brighter than 27 in Euclid's VIS.
Disks of cosmoDC2 are too small at the faint end, so sizes follow the
median relation of HST COSMOS galaxies instead.

References
----------
.. [1] Korytov et al. 2019, ApJS 245, 26.
"""

import numpy as np

from vaephot.exceptions import CatalogError
from vaephot.simulate.galaxies import INDEX_STEP, Galaxy

__all__ = ['BANDS', 'draw_colors', 'draw_galaxy', 'draw_magnitudes']

# Bands that colours are given in, the first being the reference.
BANDS = ('VIS', 'Y', 'J', 'H')

# Median half-light radius of disks: 0.30 arcsec at VIS 24.5, slope and
# scatter in dex (COSMOS, Leauthaud et al. 2007).
SIZE_PIVOT_ARCSEC = 0.30
SIZE_PIVOT_MAG = 24.5
SIZE_SLOPE = -0.07
SIZE_SCATTER = 0.20
SIZE_LIMITS_ARCSEC = (0.05, 2.5)

# cosmoDC2: quantiles (level, value) of the bulge fraction in VIS,
# of the axis ratios of disks and of bulges.
BULGE_FRACTION_QUANTILES = (
    (0.0, 0.44, 0.50, 0.60, 0.70, 0.84, 0.95, 1.0),
    (0.0, 0.0, 0.12, 0.26, 0.42, 0.96, 1.0, 1.0))
DISK_AXIS_RATIO_QUANTILES = (
    (0.0, 0.05, 0.10, 0.20, 0.30, 0.40, 0.50, 0.60, 0.70, 0.80, 0.90,
     1.0),
    (0.14, 0.24, 0.31, 0.43, 0.51, 0.58, 0.66, 0.73, 0.82, 0.90, 0.96,
     1.0))
BULGE_AXIS_RATIO_QUANTILES = (
    (0.0, 0.05, 0.16, 0.50, 0.84, 1.0),
    (0.45, 0.65, 0.80, 0.96, 0.99, 1.0))

# cosmoDC2: radius of the bulge over that of the disk; the scatter of
# the catalogue, 0.095 dex, is widened, for real galaxies differ more.
BULGE_SIZE_RATIO = 0.593
BULGE_SIZE_SCATTER = 0.17
BULGE_LIMITS_ARCSEC = (0.03, 2.0)

# cosmoDC2: median colours VIS-Y, VIS-J, VIS-H at these VIS magnitudes.
COLOR_MAGS = (21.0, 23.0, 24.5, 25.5, 26.5)
COLOR_MEDIANS = ((0.227, 0.262, 0.529, 0.663, 0.580),
                 (0.246, 0.308, 0.622, 0.759, 0.738),
                 (0.198, 0.265, 0.706, 0.843, 0.817))
# Covariance of the three colours, galaxies of VIS 24-26.
COLOR_COVARIANCE = ((0.161, 0.195, 0.221),
                    (0.195, 0.258, 0.300),
                    (0.221, 0.300, 0.355))
# How much redder bulges are than disks in these colours, and scatter,
# taken as one common deviate.
BULGE_COLOR_EXCESS = (0.196, 0.286, 0.364)
BULGE_COLOR_SCATTER = (0.353, 0.533, 0.652)

# Number counts: log10 N rises by this many dex per magnitude.
COUNT_SLOPE = 0.33

# Shares of galaxies with knots and of one Sersic law; the largest
# share of the light in knots, how many, and the range of the index.
KNOT_SHARE = 0.15
SERSIC_SHARE = 0.10
KNOT_FRACTION_MAX = 0.20
KNOT_NUMBERS = (5, 25)
SERSIC_RANGE = (0.5, 4.0)


def _from_quantiles(rng, table):
    """Draw from the distribution with these quantiles."""
    return float(np.interp(rng.random(), *table))


def _sersic_index(rng):
    """Index of a single-component galaxy, rounded to the table steps."""
    index = rng.uniform(*SERSIC_RANGE)
    return float(np.round(index / INDEX_STEP) * INDEX_STEP)


def draw_galaxy(rng, mag):
    """
    Draw the shape of a galaxy.

    Parameters
    ----------
    rng : `numpy.random.Generator`
        Source of randomness.
    mag : float
        VIS-like AB magnitude; sets the typical size.

    Returns
    -------
    `~vaephot.simulate.galaxies.Galaxy`

    Examples
    --------
    >>> import numpy as np
    >>> from vaephot.simulate.catalog import draw_galaxy
    >>> galaxy = draw_galaxy(np.random.default_rng(1), 24.5)
    >>> 0 < galaxy.disk_axis_ratio <= 1
    True
    """
    dex = SIZE_SLOPE * (mag - SIZE_PIVOT_MAG) + rng.normal(0, SIZE_SCATTER)
    disk = np.clip(SIZE_PIVOT_ARCSEC * 10 ** dex, *SIZE_LIMITS_ARCSEC)
    ratio = BULGE_SIZE_RATIO * 10 ** rng.normal(0, BULGE_SIZE_SCATTER)
    disk_ratio = _from_quantiles(rng, DISK_AXIS_RATIO_QUANTILES)
    bulge_ratio = _from_quantiles(rng, BULGE_AXIS_RATIO_QUANTILES)
    shape = {
        'disk_radius': float(disk),
        'bulge_radius': float(np.clip(ratio * disk, *BULGE_LIMITS_ARCSEC)),
        'disk_axis_ratio': disk_ratio,
        'bulge_axis_ratio': max(disk_ratio, bulge_ratio),
        'position_angle': float(rng.uniform(0, np.pi)),
        'bulge_fraction': _from_quantiles(rng, BULGE_FRACTION_QUANTILES),
    }
    kind = rng.random()
    if kind < SERSIC_SHARE:
        shape['sersic_index'] = _sersic_index(rng)
    elif kind < SERSIC_SHARE + KNOT_SHARE:
        shape['knot_fraction'] = float(rng.uniform(0.03, KNOT_FRACTION_MAX))
        shape['n_knots'] = int(rng.integers(*KNOT_NUMBERS, endpoint=True))
        shape['knot_seed'] = int(rng.integers(2 ** 30))
    return Galaxy(**shape)


def draw_colors(rng, mag, bulge_fraction):
    """
    Draw the magnitudes of a galaxy and its bulge fraction in all bands.

    Parameters
    ----------
    rng : `numpy.random.Generator`
        Source of randomness.
    mag : float
        AB magnitude in VIS.
    bulge_fraction : float
        Share of the bulge in VIS.

    Returns
    -------
    mags : ndarray (4,)
        AB magnitudes in VIS, Y, J, H.
    bulge_fractions : ndarray (4,)
        Share of the bulge in each band.
    """
    median = [np.interp(mag, COLOR_MAGS, row) for row in COLOR_MEDIANS]
    color = rng.multivariate_normal(median, COLOR_COVARIANCE,
                                    method='cholesky')
    mags = mag - np.concatenate(([0.0], color))
    excess = (np.array(BULGE_COLOR_EXCESS)
              + rng.normal() * np.array(BULGE_COLOR_SCATTER))
    redder = 10 ** (0.4 * np.concatenate(([0.0], excess)))
    bulge = bulge_fraction * redder
    return mags, bulge / (bulge + 1 - bulge_fraction)


def draw_magnitudes(rng, n_galaxies, *, mag_limits, slope=COUNT_SLOPE):
    """
    Draw magnitudes from number counts of a constant slope.

    Parameters
    ----------
    rng : `numpy.random.Generator`
        Source of randomness.
    n_galaxies : int
        Number of galaxies.
    mag_limits : tuple of float
        Bright and faint limit.
    slope : float, optional
        Rise of log10 N per magnitude. 0 gives a flat distribution.

    Returns
    -------
    ndarray (n_galaxies,)
        AB magnitudes.

    Raises
    ------
    CatalogError
        If the limits are not in order.
    """
    bright, faint = mag_limits
    if not bright < faint:
        msg = (f'mag_limits is {mag_limits!r}; give the bright limit '
               f'first, smaller than the faint one.')
        raise CatalogError(msg, mag_limits=mag_limits)
    u = rng.random(n_galaxies)
    if slope == 0:
        return bright + u * (faint - bright)
    top = 10 ** (slope * (faint - bright)) - 1
    return bright + np.log10(1 + u * top) / slope
