# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What stands where in a field: galaxies, stars and clusters."""

from dataclasses import replace

import astropy.units as u
import numpy as np
from astropy.table import QTable
from astropy.wcs import WCS

from vaephot.exceptions import CatalogError
from vaephot.simulate._checks import check_count, check_number, check_range
from vaephot.simulate.catalog.mock import MockCatalog
from vaephot.simulate.catalog.population import check_mag_limits
from vaephot.simulate.clusters import draw_cluster
from vaephot.simulate.instrument import Source, source_of
from vaephot.simulate.star_counts import (
    draw_star_magnitudes,
    draw_star_mags,
    star_density,
)
from vaephot.simulate.survey import ZEROPOINT

__all__ = ['check_settings', 'draw_sources', 'make_wcs', 'on_grid',
           'truth_table']

# Square arcsec in a square arcmin.
ARCMIN2 = 3600.0

# More galaxies or stars than this per square arcmin cannot be meant:
# there is one in each third of a square arcsec then.
MAX_DENSITY = 10000.0

# Number counts are known from this magnitude on.
BRIGHTEST_MAG = 14.0


def check_settings(config):
    """
    Refuse a field that cannot be drawn.

    Parameters
    ----------
    config : `~vaephot.simulate.FieldConfig`
        What the field holds.

    Raises
    ------
    CatalogError
        If a setting is out of its limits.
    """
    for name, high in (('galaxy_density', np.inf), ('star_density', np.inf),
                       ('background', np.inf), ('pair_share', 1.0),
                       ('bad_pixel_share', 1.0)):
        value = getattr(config, name)
        if value is not None:
            check_number('a field', name, value, high=high)
    if config.star_density is not None:
        _check_density('star_density', config.star_density)
    for name in ('galaxy_mags', 'star_mags'):
        check_mag_limits(getattr(config, name), name)
    check_number('a field', 'density_mag', config.density_mag,
                 low=BRIGHTEST_MAG + 1)
    check_range('a field', 'pair_distance', config.pair_distance, low=0)
    check_count('a field', 'psf_pixels', config.psf_pixels, low=3)
    check_count('a field', 'mask_growth', config.mask_growth)
    if config.wing_pixels is not None:
        check_count('a field', 'wing_pixels', config.wing_pixels, low=3)
    if not abs(config.center_deg[1]) <= 90:
        msg = (f'center_deg is {config.center_deg}; the declination must be '
               f'from -90 to 90.')
        raise CatalogError(msg, center_deg=config.center_deg)


def _check_density(name, density, told=''):
    if density > MAX_DENSITY:
        msg = (f'{name} is {density:.3g} per square arcmin{told}; at most '
               f'{MAX_DENSITY:g} can be drawn.')
        raise CatalogError(msg, density=density)


def make_wcs(shape, center_deg, pixel_scale):
    """
    Tangential projection with the middle of a field at its centre.

    Parameters
    ----------
    shape : tuple of int
        (ny, nx).
    center_deg : tuple of float
        Right ascension and declination of the middle.
    pixel_scale : float
        In arcsec.

    Returns
    -------
    `~astropy.wcs.WCS`
        North up, east to the left.
    """
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ['RA---TAN', 'DEC--TAN']
    wcs.wcs.cunit = ['deg', 'deg']
    wcs.wcs.crval = center_deg
    wcs.wcs.crpix = [(shape[1] + 1) / 2, (shape[0] + 1) / 2]
    wcs.wcs.cdelt = [-pixel_scale / 3600, pixel_scale / 3600]
    return wcs


def _draw_positions(rng, config, n_galaxies, pixel_scale):
    """Uniform positions, some galaxies moved beside another one."""
    ny, nx = config.shape
    x = rng.uniform(-0.5, nx - 0.5, n_galaxies)
    y = rng.uniform(-0.5, ny - 0.5, n_galaxies)
    moved = np.flatnonzero(rng.random(n_galaxies) < config.pair_share)
    partner = rng.integers(max(n_galaxies, 1), size=len(moved))
    radius = rng.uniform(*config.pair_distance, len(moved)) / pixel_scale
    angle = rng.uniform(0, 2 * np.pi, len(moved))
    x[moved] = x[partner] + radius * np.cos(angle)
    y[moved] = y[partner] + radius * np.sin(angle)
    return x, y


def _galaxies(rng, config, survey, area, population):
    ratio = population.counts_ratio(config.galaxy_mags, config.density_mag)
    density = config.galaxy_density * ratio
    bright, faint = config.galaxy_mags
    _check_density('galaxy_density', density,
                   f' from magnitude {bright} to {faint}')
    n_galaxies = rng.poisson(density * area)
    mags = population.draw_mags(rng, n_galaxies, config.galaxy_mags)
    places = _draw_positions(rng, config, n_galaxies, survey.pixel_scale)
    items = population.draw(rng, mags, survey.catalog_bands)
    return [source_of(item, x, y)
            for item, x, y in zip(items, *places, strict=True)]


def _stars(rng, config, survey, area):
    ny, nx = config.shape
    density = config.star_density
    if density is None:
        density = star_density(config.star_mags, config.star_field)
    n_stars = rng.poisson(density * area)
    mags = draw_star_magnitudes(rng, n_stars, config.star_mags,
                                field=config.star_field)
    colors = draw_star_mags(rng, mags, survey.catalog_bands,
                            field=config.star_field)
    x = rng.uniform(-0.5, nx - 0.5, n_stars)
    y = rng.uniform(-0.5, ny - 0.5, n_stars)
    return [Source(x=float(x[k]), y=float(y[k]), mags=colors[k],
                   kind='star', redshift=0.0) for k in range(n_stars)]


def _clusters(rng, config, survey, population):
    ny, nx = config.shape
    out = []
    for cluster in config.clusters:
        place = rng.uniform(0.25, 0.75, 2) * (nx, ny)
        x = place[0] if cluster.x is None else cluster.x
        y = place[1] if cluster.y is None else cluster.y
        out += draw_cluster(rng, cluster, survey, x, y,
                            population=population)
    return out


def draw_sources(rng, config, survey, population=None):
    """
    Draw the sources of a field.

    Parameters
    ----------
    rng : `numpy.random.Generator`
        Source of randomness.
    config : `~vaephot.simulate.FieldConfig`
        What the field holds.
    survey : `~vaephot.simulate.survey.Survey`
        Gives bands and pixels.
    population : population or None, optional
        Where galaxies come from. `None` is the mock catalogue.

    Returns
    -------
    list of `~vaephot.simulate.instrument.Source`
        Those whose centre is on the image, brightest first.
    """
    population = MockCatalog() if population is None else population
    ny, nx = config.shape
    area = ny * nx * survey.pixel_scale ** 2 / ARCMIN2
    sources = [*_galaxies(rng, config, survey, area, population),
               *_stars(rng, config, survey, area),
               *_clusters(rng, config, survey, population)]
    inside = [s for s in sources
              if -0.5 <= s.x < nx - 0.5 and -0.5 <= s.y < ny - 0.5]
    return sorted(inside, key=lambda source: source.mags[0])


def on_grid(source, ratio, band):
    """
    Put a source on pixels of another size, in one band.

    Parameters
    ----------
    source : `~vaephot.simulate.instrument.Source`
        The source.
    ratio : float
        Old pixel size over the new one; edges of the field coincide.
    band : int
        Number of the band to keep.

    Returns
    -------
    `~vaephot.simulate.instrument.Source`
    """
    fractions = source.bulge_fractions
    return replace(
        source, x=(source.x + 0.5) * ratio - 0.5,
        y=(source.y + 0.5) * ratio - 0.5, mags=source.mags[[band]],
        bulge_fractions=None if fractions is None else fractions[[band]])


def _shape_columns(sources):
    """Columns of the shapes; stars have radius 0."""
    shapes = [(0.0, 0.0, 0.0, 0.0) if s.is_star else
              (s.galaxy.half_light_radius, *s.galaxy.conformal_shear,
               s.galaxy.bulge_fraction) for s in sources]
    radius, eta1, eta2, bulge = np.reshape(shapes, (-1, 4)).T
    return {
        'half_light_radius': radius * u.arcsec,
        'axis_ratio': np.exp(-np.hypot(eta1, eta2)),
        'position_angle': np.rad2deg(np.arctan2(eta2, eta1) / 2) * u.deg,
        'eta1': eta1,
        'eta2': eta2,
        'bulge_fraction': bulge,
    }


def truth_table(sources, bands, wcs):
    """
    Table of the sources of a field.

    Parameters
    ----------
    sources : list of `~vaephot.simulate.instrument.Source`
        The sources.
    bands : tuple of str
        Names of their bands.
    wcs : `~astropy.wcs.WCS`
        Of the pixels of the positions.

    Returns
    -------
    `~astropy.table.QTable`
        One row per source.
    """
    table = QTable()
    table['id'] = np.arange(1, len(sources) + 1)
    table['x'] = np.array([s.x for s in sources], float)
    table['y'] = np.array([s.y for s in sources], float)
    sky = wcs.all_pix2world(table['x'], table['y'], 0)
    table['ra'], table['dec'] = sky[0] * u.deg, sky[1] * u.deg
    table['kind'] = np.array([s.kind for s in sources], 'U8')
    table['is_star'] = np.array([s.is_star for s in sources], bool)
    table['redshift'] = np.array([s.redshift for s in sources], float)
    table['parent'] = np.array([s.parent for s in sources], np.int64)
    for name, values in _shape_columns(sources).items():
        table[name] = values
    for k, band in enumerate(bands):
        flux = np.array([s.flux[k] for s in sources], float)
        table[f'flux_{band}'] = flux * u.uJy
        table[f'mag_{band}'] = (ZEROPOINT - 2.5 * np.log10(flux)) * u.ABmag
    return table
