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

__all__ = ['COLOR_BANDS', 'REFERENCE_BAND', 'draw_colors', 'draw_galaxy',
           'draw_magnitudes', 'draw_star_colors']

# Band that magnitudes and sizes refer to, and bands of the colours:
# Rubin's ugrizy in small letters, Euclid's NISP in capitals.
REFERENCE_BAND = 'VIS'
COLOR_BANDS = ('u', 'g', 'r', 'i', 'z', 'y', 'Y', 'J', 'H')

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

# cosmoDC2: median colours VIS - band at these VIS magnitudes, in the
# order of COLOR_BANDS.
COLOR_MAGS = (20.5, 23.0, 24.5, 25.5, 26.5)
COLOR_MEDIANS = (
    (-1.63, -0.54, -0.14, 0.07, 0.16, 0.21, 0.23, 0.25, 0.20),
    (-1.66, -0.60, -0.15, 0.08, 0.18, 0.23, 0.26, 0.31, 0.27),
    (-1.59, -0.71, -0.23, 0.08, 0.29, 0.42, 0.53, 0.62, 0.71),
    (-1.02, -0.83, -0.35, 0.03, 0.40, 0.60, 0.66, 0.76, 0.84),
    (-1.01, -0.67, -0.32, 0.02, 0.35, 0.48, 0.58, 0.74, 0.82))
# The three largest principal components of the colours about these
# medians, scaled to their dispersion, and the rms of what remains.
COLOR_COMPONENTS = (
    (-0.90, -0.56, -0.21, 0.05, 0.16, 0.24, 0.29, 0.37, 0.45),
    (-0.43, -0.11, 0.04, 0.05, -0.07, -0.19, -0.27, -0.36, -0.41),
    (-0.14, 0.22, 0.15, -0.03, -0.13, -0.11, -0.05, 0.07, 0.14))
COLOR_REST = (0.04, 0.09, 0.08, 0.08, 0.07, 0.10, 0.09, 0.04, 0.07)
# How much redder bulges are than disks in these colours, and the
# scatter, nearly all of it in one component.
BULGE_COLOR_EXCESS = (-0.95, -0.43, -0.14, 0.02, 0.12, 0.15, 0.20, 0.29,
                      0.36)
BULGE_COLOR_SCATTER = (-0.76, -0.38, -0.14, 0.02, 0.14, 0.23, 0.33, 0.50,
                       0.61)
# Stars: colours VIS - band of a blue and a red one (approximate main
# sequence, F to early M); a star lies anywhere between.
STAR_COLORS = ((-1.2, -0.5, -0.1, 0.05, 0.1, 0.1, 0.0, -0.1, -0.3),
               (-3.5, -1.9, -0.6, 0.2, 0.5, 0.7, 0.8, 0.9, 0.9))

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


def _band_columns(bands):
    """Index of each band among the colours; -1 for the reference."""
    unknown = [b for b in bands if b not in (REFERENCE_BAND, *COLOR_BANDS)]
    if unknown:
        msg = (f'the mock catalogue has no band {unknown}; it has '
               f'{REFERENCE_BAND}, {", ".join(COLOR_BANDS)}.')
        raise CatalogError(msg, bands=unknown)
    # the reference band is the zero that is appended to the colours
    return [COLOR_BANDS.index(b) if b != REFERENCE_BAND else -1
            for b in bands]


def draw_colors(rng, mag, bulge_fraction, bands):
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
    bands : sequence of str
        Bands to return, of VIS, Y, J, H and u, g, r, i, z, y.

    Returns
    -------
    mags : ndarray (n_bands,)
        AB magnitudes.
    bulge_fractions : ndarray (n_bands,)
        Share of the bulge in each band.

    Raises
    ------
    CatalogError
        If a band is unknown.
    """
    columns = _band_columns(bands)
    median = [np.interp(mag, COLOR_MAGS, col)
              for col in zip(*COLOR_MEDIANS, strict=True)]
    color = (median + rng.normal(size=3) @ np.array(COLOR_COMPONENTS)
             + rng.normal(size=len(median)) * COLOR_REST)
    excess = (BULGE_COLOR_EXCESS
              + rng.normal() * np.array(BULGE_COLOR_SCATTER))
    mags = mag - np.append(color, 0.0)[columns]
    bulge = bulge_fraction * 10 ** (0.4 * np.append(excess, 0.0)[columns])
    return mags, bulge / (bulge + (1 - bulge_fraction))


def draw_star_colors(rng, mag, bands):
    """
    Draw the magnitudes of a star in all bands.

    Parameters
    ----------
    rng : `numpy.random.Generator`
        Source of randomness.
    mag : float
        AB magnitude in VIS.
    bands : sequence of str
        Bands to return, as for `draw_colors`.

    Returns
    -------
    ndarray (n_bands,)
        AB magnitudes.
    """
    columns = _band_columns(bands)
    blue, red = np.array(STAR_COLORS)
    color = blue + rng.random() * (red - blue)
    return mag - np.append(color, 0.0)[columns]


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
