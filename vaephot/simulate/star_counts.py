# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Stars of the Milky Way: counts and colours towards high latitudes.

Like TRILEGAL [1]_, but with far fewer ingredients, the counts follow
from a luminosity function of the main sequence and the density of a
thin disk, a thick disk and a halo [2]_ along the line of sight; colours
from a table of dwarfs [3]_. Giants, white dwarfs, binaries and dust are
left out.

References
----------
.. [1] Girardi et al. 2005, A&A 436, 895.
.. [2] Juric et al. 2008, ApJ 673, 864, Table 10 (bias-corrected).
.. [3] Pecaut & Mamajek 2013, ApJS 208, 9; version 2022.04.16 of the
   table.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from vaephot.exceptions import CatalogError
from vaephot.simulate.catalog.population import (
    REFERENCE_BAND,
    band_wavelengths,
    cumulative_counts,
    draw_magnitudes,
)

__all__ = ['StarField', 'draw_star_magnitudes', 'draw_star_mags',
           'star_counts', 'star_density']

# Dwarfs F2 to M6: M_V, U-B, B-V, V-Rc, V-Ic, V-Ks, J-H, H-Ks [3].
DWARFS = np.array([
    (2.97, -0.01, 0.37, 0.21, 0.43, 0.93, 0.14, 0.05),   # F2
    (4.05, 0.00, 0.53, 0.30, 0.60, 1.29, 0.23, 0.06),    # F8
    (4.98, 0.19, 0.68, 0.38, 0.74, 1.64, 0.31, 0.08),    # G5
    (5.78, 0.44, 0.82, 0.44, 0.85, 1.95, 0.39, 0.09),    # K0
    (6.50, 0.78, 0.99, 0.54, 1.01, 2.40, 0.49, 0.11),    # K3
    (7.28, 1.08, 1.15, 0.69, 1.27, 2.88, 0.57, 0.13),    # K5
    (8.16, 1.22, 1.34, 0.80, 1.52, 3.35, 0.62, 0.16),    # K7
    (8.80, 1.20, 1.42, 0.89, 1.77, 3.65, 0.63, 0.19),    # M0
    (9.64, 1.17, 1.49, 0.96, 2.01, 4.00, 0.61, 0.22),    # M1
    (10.21, 1.17, 1.51, 1.00, 2.17, 4.23, 0.60, 0.23),   # M2
    (11.15, 1.18, 1.53, 1.08, 2.42, 4.60, 0.58, 0.25),   # M3
    (12.61, 1.22, 1.65, 1.24, 2.83, 5.25, 0.56, 0.28),   # M4
    (14.15, 1.24, 1.83, 1.45, 3.28, 5.95, 0.58, 0.31),   # M5
    (16.32, 1.30, 2.01, 1.95, 4.10, 7.10, 0.61, 0.35)])  # M6

# AB minus Vega magnitudes of UBVRIJHK and mean wavelengths in nm
# (Blanton & Roweis 2007, AJ 133, 734, Table 1; 2MASS J, H, Ks).
JOHNSON_AB = (0.79, -0.09, 0.02, 0.21, 0.45, 0.91, 1.39, 1.85)
JOHNSON_NM = (358.0, 442.0, 549.0, 654.0, 792.0, 1235.0, 1662.0, 2159.0)

# Stars of the solar neighbourhood per 1000 cubic parsec and magnitude,
# at even M_V (Reid, Gizis & Hawley 2002, AJ 124, 2721, Table 6, to the
# half).
LUMINOSITY_MAG = (3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0, 17.0)
LUMINOSITY = (1.0, 3.0, 3.0, 4.5, 9.0, 10.0, 7.0, 4.0)

# Juric et al. 2008: height of the Sun, scale heights and lengths of thin
# and thick disk in pc, local share of the thick disk and of the halo,
# flattening and slope of the halo, distance of the galactic centre.
SUN_HEIGHT = 25.0
THIN_DISK = (300.0, 2600.0)
THICK_DISK = (900.0, 3600.0)
THICK_SHARE = 0.12
HALO_SHARE = 0.0051
HALO_FLATTENING = 0.64
HALO_SLOPE = 2.77
CENTRE_DISTANCE = 8000.0

# Metal-poor stars: main-sequence turnoff of halo and thick disk in M_V,
# brighter stars having left; halo dwarfs are fainter at their colour.
TURNOFF = {'thin': 2.9, 'thick': 4.0, 'halo': 4.2}

# Scatter of colours about the sequence (metallicity, binaries), mag.
COLOR_SCATTER = 0.03

# Galactic longitude and latitude of a field by default: COSMOS.
GALACTIC_DEG = (237.0, 43.0)

MAG_RANGE = (8.0, 30.0)


@dataclass(frozen=True, kw_only=True)
class StarField:
    """
    Direction that stars are drawn for.

    Parameters
    ----------
    longitude_deg, latitude_deg : float, optional
        Galactic coordinates; those of the COSMOS field by default.
    """

    longitude_deg: float = GALACTIC_DEG[0]
    latitude_deg: float = GALACTIC_DEG[1]

    def __post_init__(self):
        if not 15 <= abs(self.latitude_deg) <= 90:
            msg = (f'latitude_deg is {self.latitude_deg}; the counts hold '
                   f'from 15 to 90 degrees off the galactic plane.')
            raise CatalogError(msg, latitude_deg=self.latitude_deg)


def _sequence(bands):
    """Absolute AB magnitudes of the dwarfs, (n_dwarfs, n_bands)."""
    m_v, u_b, b_v, v_r, v_i, v_k, j_h, h_k = DWARFS.T
    vega = np.array([m_v + b_v + u_b, m_v + b_v, m_v, m_v - v_r, m_v - v_i,
                     m_v - v_k + h_k + j_h, m_v - v_k + h_k, m_v - v_k])
    ab = vega.T + JOHNSON_AB
    place, at = np.log(JOHNSON_NM), np.log(band_wavelengths(bands))
    return np.array([np.interp(at, place, row) for row in ab])


def _densities(field, distance):
    """Density of the three parts over that at the Sun, all parts 1."""
    lon, lat = np.deg2rad([field.longitude_deg, field.latitude_deg])
    height = distance * np.sin(lat) + SUN_HEIGHT
    flat = distance * np.cos(lat)
    radius = np.sqrt(CENTRE_DISTANCE ** 2 + flat ** 2
                     - 2 * CENTRE_DISTANCE * flat * np.cos(lon))
    outward = radius - CENTRE_DISTANCE
    disks = [np.exp(-outward / length - (abs(height) - SUN_HEIGHT) / scale)
             for scale, length in (THIN_DISK, THICK_DISK)]
    halo = (CENTRE_DISTANCE / np.hypot(radius, height / HALO_FLATTENING)
            ) ** HALO_SLOPE
    thin = 1 / (1 + THICK_SHARE + HALO_SHARE)
    return {'thin': thin * disks[0], 'thick': thin * THICK_SHARE * disks[1],
            'halo': thin * HALO_SHARE * halo}


@lru_cache(maxsize=32)
def _table(field):
    """Counts by apparent magnitude and absolute M_V.

    Returns the magnitudes, M_V of the columns, and stars per square
    arcmin, magnitude and column.
    """
    absolute = np.arange(3.0, 16.4, 0.2)
    vis = np.interp(absolute, DWARFS[:, 0], _sequence([REFERENCE_BAND])[:, 0])
    density = np.interp(absolute, LUMINOSITY_MAG, LUMINOSITY) * 1e-3 * 0.2
    mags = np.arange(*MAG_RANGE, 0.1)
    distance = 10 ** (0.2 * (mags[:, None] - vis) + 1)
    parts = _densities(field, distance)
    local = sum(values * (absolute > TURNOFF[name])
                for name, values in parts.items())
    # dN/dm = density d^2 dd/dm, dd/dm = d ln(10) / 5
    arcmin2 = np.deg2rad(1 / 60) ** 2
    counts = local * density * distance ** 3 * np.log(10) / 5 * arcmin2
    return mags, absolute, counts


def star_counts(mag, field=None):
    """
    Differential number counts of stars.

    Parameters
    ----------
    mag : float or ndarray
        AB magnitude in VIS.
    field : `StarField` or None, optional
        The direction. `None` is that of the COSMOS field.

    Returns
    -------
    float or ndarray
        Stars per magnitude and square arcmin.
    """
    mags, _, counts = _table(StarField() if field is None else field)
    return np.interp(mag, mags, counts.sum(axis=1))


def draw_star_mags(rng, mags, bands, *, field=None):
    """
    Draw the colours of stars.

    Parameters
    ----------
    rng : `numpy.random.Generator`
        Source of randomness.
    mags : array_like (n,)
        AB magnitudes in VIS.
    bands : sequence of str
        Bands to return.
    field : `StarField` or None, optional
        The direction. `None` is that of the COSMOS field.

    Returns
    -------
    ndarray (n, n_bands)
        AB magnitudes.

    Raises
    ------
    CatalogError
        If a band is unknown.
    """
    mags = np.asarray(mags, float)
    sequence = _sequence(bands) - _sequence([REFERENCE_BAND])
    grid, absolute, counts = _table(StarField() if field is None else field)
    row = np.clip(np.searchsorted(grid, mags), 0, len(grid) - 1)
    total = np.cumsum(counts[row], axis=1)
    u = rng.random(len(mags)) * total[:, -1]
    kind = np.array([np.interp(value, line, absolute)
                     for value, line in zip(u, total, strict=True)], float)
    color = np.array([np.interp(kind, DWARFS[:, 0], column)
                      for column in sequence.T]).T
    scatter = rng.normal(0, COLOR_SCATTER, (len(mags), len(bands)))
    scatter[:, [band == REFERENCE_BAND for band in bands]] = 0
    return mags[:, None] + color + scatter


def draw_star_magnitudes(rng, n_stars, mag_limits, *, field=None):
    """
    Draw magnitudes from the counts.

    Parameters
    ----------
    rng : `numpy.random.Generator`
        Source of randomness.
    n_stars : int
        Number of stars.
    mag_limits : tuple of float
        Bright and faint limit in VIS.
    field : `StarField` or None, optional
        The direction. `None` is that of the COSMOS field.

    Returns
    -------
    ndarray (n_stars,)
        AB magnitudes in VIS.
    """
    return draw_magnitudes(rng, n_stars, mag_limits,
                           lambda m: star_counts(m, field))


def star_density(mag_limits, field=None):
    """
    Stars between two magnitudes.

    Parameters
    ----------
    mag_limits : tuple of float
        Bright and faint limit in VIS.
    field : `StarField` or None, optional
        The direction. `None` is that of the COSMOS field.

    Returns
    -------
    float
        Per square arcmin.
    """
    return float(cumulative_counts(
        mag_limits, lambda m: star_counts(m, field))[1][-1])
