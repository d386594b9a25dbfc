# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Whole fields of galaxies and stars, with the truth of each source."""

from dataclasses import dataclass, field

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.table import QTable
from astropy.wcs import WCS
from photutils.aperture import BoundingBox
from tqdm import tqdm

from vaephot.exceptions import CatalogError
from vaephot.simulate.catalog import COUNT_SLOPE, draw_magnitudes
from vaephot.simulate.noise import add_noise, saturate
from vaephot.simulate.scene import (
    Instrument,
    draw_galaxy_source,
    draw_source,
    draw_star_source,
    source_bbox,
)
from vaephot.simulate.survey import ZEROPOINT
from vaephot.utils._atomic import atomic_write

__all__ = ['FieldConfig', 'SimulatedField', 'draw_field', 'field_hdus',
           'write_field']

# Square arcsec in a square arcmin.
ARCMIN2 = 3600.0

# Slope of the star counts at high galactic latitude, dex per mag; a
# round number.
STAR_SLOPE = 0.1


@dataclass(frozen=True, kw_only=True)
class FieldConfig:
    """
    What a field holds; magnitudes are VIS.

    Parameters
    ----------
    shape : tuple of int
        (ny, nx) in pixels.
    survey : str, optional
        Name of the survey.
    galaxy_density : float, optional
        Galaxies per square arcmin brighter than ``density_mag``. The
        default is the density of Euclid's Q1 catalogue (30 million
        objects in 63 square degrees).
    density_mag : float, optional
        Magnitude that the density holds for.
    galaxy_mags : tuple of float, optional
        Brightest and faintest galaxy drawn.
    star_density : float, optional
        Stars per square arcmin, all of them; a round number of high
        galactic latitude.
    star_mags : tuple of float, optional
        Brightest and faintest star drawn.
    pair_share : float, optional
        Share of the galaxies that stand beside another one.
    pair_distance : tuple of float, optional
        Range of the distance of such pairs in arcsec.
    psf_pixels : int, optional
        Side of the box that the PSFs are cut at, in pixels.
    center_deg : tuple of float, optional
        Right ascension and declination of the middle.
    """

    shape: tuple[int, int]
    survey: str = 'euclid-wide'
    galaxy_density: float = 130.0
    density_mag: float = 26.0
    galaxy_mags: tuple[float, float] = (18.0, 26.5)
    star_density: float = 5.0
    star_mags: tuple[float, float] = (16.0, 25.0)
    pair_share: float = 0.1
    pair_distance: tuple[float, float] = (0.5, 2.5)
    psf_pixels: int = 127
    center_deg: tuple[float, float] = (150.0, 2.0)

    def __post_init__(self):
        if len(self.shape) != 2 or min(self.shape) < 1:
            msg = (f'shape is {self.shape!r}; it must be (ny, nx), both '
                   f'positive.')
            raise CatalogError(msg, shape=self.shape)
        if self.galaxy_density < 0 or self.star_density < 0:
            msg = (f'galaxy_density is {self.galaxy_density} and '
                   f'star_density {self.star_density}; neither may be '
                   f'negative.')
            raise CatalogError(msg, galaxy_density=self.galaxy_density,
                               star_density=self.star_density)


@dataclass(frozen=True, kw_only=True)
class SimulatedField:
    """
    A field with its truth, in microjansky.

    Parameters
    ----------
    image, error : ndarray (n_bands, ny, nx)
        Image with noise, and the 1-sigma noise, photons included.
    mask : ndarray of bool (n_bands, ny, nx)
        True where saturated.
    noiseless : ndarray (n_bands, ny, nx)
        Sum of all sources.
    truth : `~astropy.table.QTable`
        One row per source on the image, brightest first.
    models : tuple of (BoundingBox, ndarray) or None
        Noiseless sources in their boxes, in the order of the table.
        `None` if they were not asked for.
    sky_rms, gain : ndarray (n_bands,)
        Noise of the empty sky, and electrons per microjansky.
    saturation_levels : ndarray (n_bands,)
        Largest pixel values, infinite where nothing saturates.
    psf : ndarray (n_bands, P, P)
        Effective PSFs, sum 1, centred on the middle sample.
    oversampling : int
        Samples of the PSFs per pixel.
    bands : tuple of str
        Names of the bands.
    pixel_scale : float
        Arcsec.
    wcs : `~astropy.wcs.WCS`
        Tangential projection, north up.
    seed : int
        Seed of the field.
    """

    image: np.ndarray
    error: np.ndarray
    mask: np.ndarray
    noiseless: np.ndarray
    truth: QTable
    models: tuple[tuple[BoundingBox, np.ndarray], ...] | None = field(
        repr=False)
    sky_rms: np.ndarray
    gain: np.ndarray
    saturation_levels: np.ndarray
    psf: np.ndarray
    oversampling: int
    bands: tuple[str, ...]
    pixel_scale: float
    wcs: WCS
    seed: int

    def __repr__(self):
        ny, nx = self.image.shape[1:]
        return (f'<SimulatedField: {nx} x {ny} px in '
                f'{", ".join(self.bands)}, {len(self.truth)} sources, '
                f'seed {self.seed}>')


def _make_wcs(config, pixel_scale):
    """Tangential projection with the middle of the field at its centre."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ['RA---TAN', 'DEC--TAN']
    wcs.wcs.cunit = ['deg', 'deg']
    wcs.wcs.crval = config.center_deg
    wcs.wcs.crpix = [(config.shape[1] + 1) / 2, (config.shape[0] + 1) / 2]
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


def _draw_sources(rng, config, survey):
    """All sources of a field, brightest first."""
    ny, nx = config.shape
    area = ny * nx * survey.pixel_scale ** 2 / ARCMIN2
    deeper = config.galaxy_mags[1] - config.density_mag
    density = config.galaxy_density * 10 ** (COUNT_SLOPE * deeper)
    n_galaxies = rng.poisson(density * area)
    mags = draw_magnitudes(rng, n_galaxies, mag_limits=config.galaxy_mags)
    places = _draw_positions(rng, config, n_galaxies, survey.pixel_scale)
    sources = [draw_galaxy_source(rng, survey, mag, x, y)
               for mag, x, y in zip(mags, *places, strict=True)]
    n_stars = rng.poisson(config.star_density * area)
    mags = draw_magnitudes(rng, n_stars, mag_limits=config.star_mags,
                           slope=STAR_SLOPE)
    for mag in mags:
        sources.append(draw_star_source(
            rng, survey, mag, rng.uniform(-0.5, nx - 0.5),
            rng.uniform(-0.5, ny - 0.5)))
    inside = [s for s in sources
              if -0.5 <= s.x < nx - 0.5 and -0.5 <= s.y < ny - 0.5]
    return sorted(inside, key=lambda source: source.mags[0])


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


def _truth_table(sources, bands, wcs):
    """Table of the sources."""
    table = QTable()
    table['id'] = np.arange(1, len(sources) + 1)
    table['x'] = np.array([s.x for s in sources], float)
    table['y'] = np.array([s.y for s in sources], float)
    sky = wcs.all_pix2world(table['x'], table['y'], 0)
    table['ra'], table['dec'] = sky[0] * u.deg, sky[1] * u.deg
    table['is_star'] = np.array([s.is_star for s in sources], bool)
    for name, values in _shape_columns(sources).items():
        table[name] = values
    for k, band in enumerate(bands):
        flux = np.array([s.flux[k] for s in sources], float)
        table[f'flux_{band}'] = flux * u.uJy
        table[f'mag_{band}'] = (ZEROPOINT - 2.5 * np.log10(flux)) * u.ABmag
    return table


def draw_field(config, *, seed, keep_models=True, progress_bar=False):
    """
    Draw a field.

    Parameters
    ----------
    config : `FieldConfig`
        What the field holds.
    seed : int
        Seed of the field.
    keep_models : bool, optional
        Whether to keep the noiseless sources, one by one.
    progress_bar : bool, optional
        Whether to show a progress bar.

    Returns
    -------
    `SimulatedField`
    """
    instrument = Instrument(config.survey, config.psf_pixels)
    survey = instrument.survey
    rng = np.random.default_rng(seed)
    sources = _draw_sources(rng, config, survey)
    noiseless = np.zeros((len(survey.bands), *config.shape))
    models = []
    for source in tqdm(sources, desc='field', unit='source',
                       disable=not progress_bar):
        bbox = source_bbox(source, instrument, config.shape)
        model = draw_source(source, instrument, bbox)
        noiseless[:, bbox.iymin:bbox.iymax,
                  bbox.ixmin:bbox.ixmax] += model
        if keep_models:
            models.append((bbox, model.astype(np.float32)))
    noisy, error = add_noise(rng, noiseless, survey.sky_rms, survey.gain)
    image, mask = saturate(noisy, instrument.saturation_levels)
    wcs = _make_wcs(config, survey.pixel_scale)
    return SimulatedField(
        image=image, error=error, mask=mask, noiseless=noiseless,
        truth=_truth_table(sources, survey.band_names, wcs),
        models=tuple(models) if keep_models else None,
        sky_rms=survey.sky_rms, gain=survey.gain,
        saturation_levels=instrument.saturation_levels,
        psf=instrument.psf_images, oversampling=instrument.oversampling,
        bands=survey.band_names, pixel_scale=survey.pixel_scale, wcs=wcs,
        seed=seed)


def _image_header(simulated, k):
    header = simulated.wcs.to_header()
    header['BUNIT'] = 'uJy'
    header['MAGZERO'] = (ZEROPOINT, 'AB magnitude of 1 uJy')
    header['FILTER'] = simulated.bands[k]
    header['SKYRMS'] = (simulated.sky_rms[k], 'noise of the empty sky')
    header['GAIN'] = (simulated.gain[k], 'electrons per uJy')
    if np.isfinite(simulated.saturation_levels[k]):
        header['SATURATE'] = (simulated.saturation_levels[k],
                              'largest pixel value')
    header['SEED'] = (simulated.seed, 'seed of the simulation')
    return header


def _truth_hdu(truth):
    """Truth as a FITS table, which has no AB magnitudes."""
    table = truth.copy()
    for name in table.colnames:
        if name.startswith('mag_'):
            table[name] = table[name].value * u.mag
    hdu = fits.table_to_hdu(table)
    hdu.name = 'TRUTH'
    return hdu


def field_hdus(simulated, *, with_errors=True):
    """
    Turn a field into FITS extensions.

    Parameters
    ----------
    simulated : `SimulatedField`
        The field.
    with_errors : bool, optional
        Whether to add the noise and the masks, which can be computed
        again from the headers.

    Returns
    -------
    `~astropy.io.fits.HDUList`
        One image per band, ``ERROR_`` (photons
        included) and ``MASK_`` of each, ``PSF_``
        of each with ``OVERSAMP`` samples per pixel, and ``TRUTH``.
    """
    hdus = fits.HDUList([fits.PrimaryHDU()])
    for k, band in enumerate(simulated.bands):
        header = _image_header(simulated, k)
        planes = [(band, simulated.image[k].astype(np.float32))]
        if with_errors:
            planes += [
                (f'ERROR_{band}', simulated.error[k].astype(np.float32)),
                (f'MASK_{band}', simulated.mask[k].astype(np.uint8))]
        for name, data in planes:
            hdus.append(fits.ImageHDU(data, header, name=name))
    for k, band in enumerate(simulated.bands):
        hdu = fits.ImageHDU(simulated.psf[k].astype(np.float32),
                            name=f'PSF_{band}')
        hdu.header['OVERSAMP'] = (simulated.oversampling,
                                  'samples per image pixel')
        hdus.append(hdu)
    hdus.append(_truth_hdu(simulated.truth))
    return hdus


def write_field(path, simulated, *, overwrite=False):
    """
    Write a field to a FITS file.

    Parameters
    ----------
    path : path-like
        File to write, ending in ``.fits`` or ``.fits.gz``.
    simulated : `SimulatedField`
        The field.
    overwrite : bool, optional
        Whether to replace a file.

    Raises
    ------
    OutputExistsError
        If the file exists and ``overwrite`` is False.
    """
    with atomic_write(path, overwrite=overwrite) as temporary:
        field_hdus(simulated).writeto(temporary, overwrite=True)
