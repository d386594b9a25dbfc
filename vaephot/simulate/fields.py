# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Whole fields of galaxies and stars, with the truth of each source."""

from dataclasses import dataclass, field, replace
from functools import lru_cache, partial

import astropy.units as u
import numpy as np
from astropy.table import QTable
from astropy.wcs import WCS
from photutils.aperture import BoundingBox
from tqdm import tqdm

from vaephot.exceptions import CatalogError
from vaephot.simulate._checks import check_count
from vaephot.simulate._workers import ordered_map
from vaephot.simulate.blends import noise_levels
from vaephot.simulate.clusters import Cluster
from vaephot.simulate.field_files import field_hdus, write_field
from vaephot.simulate.field_sources import (
    check_settings,
    draw_sources,
    make_wcs,
    on_grid,
    truth_table,
)
from vaephot.simulate.image_noise import (
    add_noise,
    background_residual,
    bad_pixels,
    large_sum_factor,
    saturate,
)
from vaephot.simulate.instrument import (
    Instrument,
    PSFVariation,
    blendedness,
    box_slices,
    draw_source,
    source_bbox,
)
from vaephot.simulate.star_counts import StarField
from vaephot.simulate.survey import Survey, get_survey, native_survey

__all__ = ['FieldConfig', 'SimulatedField', 'draw_field',
           'draw_native_field', 'field_hdus', 'write_field']

# Sources that one job draws; sums do not depend on the workers.
SOURCES_PER_JOB = 32

# Streams of random numbers: what there is, and the noise of each grid.
SOURCES_STREAM, NOISE_STREAM = 0, 1

COSMOS_DIRECTION = StarField()


@dataclass(frozen=True, kw_only=True)
class FieldConfig:
    """
    What a field holds; magnitudes are VIS.

    Parameters
    ----------
    shape : tuple of int
        (ny, nx) in pixels.
    survey : str or `~vaephot.simulate.Survey`, optional
        The survey.
    galaxy_density : float, optional
        Galaxies per square arcmin brighter than ``density_mag``. The
        default is the density of Euclid's Q1 catalogue (30 million
        objects in 63 square degrees).
    density_mag : float, optional
        Magnitude that the density holds for.
    galaxy_mags : tuple of float, optional
        Brightest and faintest galaxy drawn.
    star_density : float or None, optional
        Stars per square arcmin, all of them. `None` takes that of the
        direction.
    star_mags : tuple of float, optional
        Brightest and faintest star drawn.
    star_field : `~vaephot.simulate.star_counts.StarField`, optional
        Direction on the sky, for counts and colours of stars.
    pair_share : float, optional
        Share of the galaxies that stand beside another one.
    pair_distance : tuple of float, optional
        Range of the distance of such pairs in arcsec.
    clusters : tuple of `~vaephot.simulate.clusters.Cluster`, optional
        Clusters to add.
    psf_pixels : int, optional
        Side of the box that the PSFs are cut at, in pixels.
    wing_pixels : int or None, optional
        Side of the box that stars brighter than 19 are drawn in, with
        the wings and spikes of the PSF. `None` is ``psf_pixels``.
    psf_variation : `~vaephot.simulate.PSFVariation` or None, optional
        How the PSF changes across the field. `None` means that it does
        not.
    correlated : bool, optional
        Whether the noise is that of images resampled from the pixels of
        the detectors, at the same depth.
    background : float, optional
        Size of a residual background in units of the sky noise.
    bad_pixel_share : float, optional
        Share of bad pixels, columns and cosmic rays.
    mask_growth : int, optional
        Pixels that masks of saturated stars grow beyond them.
    center_deg : tuple of float, optional
        Right ascension and declination of the middle.
    """

    shape: tuple[int, int]
    survey: str | Survey = 'euclid-wide'
    galaxy_density: float = 130.0
    density_mag: float = 26.0
    galaxy_mags: tuple[float, float] = (18.0, 26.5)
    star_density: float | None = None
    star_mags: tuple[float, float] = (16.0, 25.0)
    star_field: StarField = COSMOS_DIRECTION
    pair_share: float = 0.1
    pair_distance: tuple[float, float] = (0.5, 2.5)
    clusters: tuple[Cluster, ...] = ()
    psf_pixels: int = 127
    wing_pixels: int | None = None
    psf_variation: PSFVariation | None = None
    correlated: bool = False
    background: float = 0.0
    bad_pixel_share: float = 0.0
    mask_growth: int = 0
    center_deg: tuple[float, float] = (150.0, 2.0)

    def __post_init__(self):
        if len(self.shape) != 2:
            msg = f'shape is {self.shape!r}; it must be (ny, nx).'
            raise CatalogError(msg, shape=self.shape)
        for side in self.shape:
            check_count('a field', 'shape', side, low=1)
        check_settings(self)


@dataclass(frozen=True, kw_only=True)
class SimulatedField:
    """
    A field with its truth, in microjansky.

    Parameters
    ----------
    image, error : ndarray (n_bands, ny, nx)
        Image with noise, and the 1-sigma noise, photons included.
    mask : ndarray of bool (n_bands, ny, nx)
        True where saturated or bad.
    saturated : ndarray of bool (n_bands, ny, nx)
        True where saturated.
    noiseless : ndarray (n_bands, ny, nx)
        Sum of all sources.
    background : ndarray (n_bands, ny, nx) or None
        Residual background in the image. `None` if there is none.
    truth : `~astropy.table.QTable`
        One row per source on the image, brightest first.
    models : tuple of (BoundingBox, ndarray) or None
        Noiseless sources in their boxes, in the order of the table.
        `None` if they were not asked for.
    sources : tuple of `~vaephot.simulate.instrument.Source`
        What was drawn, in the order of the table.
    sky_rms, gain : ndarray (n_bands,)
        Noise of the empty sky, and electrons per microjansky.
    noise_correlation : ndarray (n_bands,)
        Noise of a large sum over that of independent pixels.
    saturation_levels : ndarray (n_bands,)
        Largest pixel values, infinite where nothing saturates.
    psf : ndarray (n_bands, P, P)
        Effective PSFs of the middle, sum 1, centred on the middle
        sample.
    psf_nodes : ndarray (n_bands, n_nodes, P, P) or None
        PSFs at places of the field. `None` if they do not vary.
    node_places : ndarray (n_nodes, 2) or None
        These places, x and y in pixels.
    oversampling : int
        Samples of the PSFs per pixel.
    bands : tuple of str
        Names of the bands.
    pixel_scale : float
        Arcsec.
    wcs : `~astropy.wcs.WCS`
        Tangential projection, north up.
    survey : `~vaephot.simulate.Survey`
        The survey on these pixels.
    config : `FieldConfig`
        What was asked for.
    seed : int
        Seed of the field.
    """

    image: np.ndarray
    error: np.ndarray
    mask: np.ndarray
    saturated: np.ndarray
    noiseless: np.ndarray
    background: np.ndarray | None
    truth: QTable
    models: tuple[tuple[BoundingBox, np.ndarray], ...] | None = field(
        repr=False)
    sources: tuple = field(repr=False)
    sky_rms: np.ndarray
    gain: np.ndarray
    noise_correlation: np.ndarray
    saturation_levels: np.ndarray
    psf: np.ndarray
    psf_nodes: np.ndarray | None
    node_places: np.ndarray | None
    oversampling: int
    bands: tuple[str, ...]
    pixel_scale: float
    wcs: WCS
    survey: Survey = field(repr=False)
    config: FieldConfig = field(repr=False)
    seed: int

    def __repr__(self):
        ny, nx = self.image.shape[1:]
        return (f'<SimulatedField: {nx} x {ny} px in '
                f'{", ".join(self.bands)}, {len(self.truth)} sources, '
                f'seed {self.seed}>')

    @property
    def sky_error(self):
        """Noise of the sky alone, (n_bands, ny, nx): no scene in it."""
        return np.broadcast_to(self.sky_rms[:, None, None],
                               self.image.shape)

    def make_source_image(self, source_id):
        """
        Draw one source alone on the whole field.

        Parameters
        ----------
        source_id : int
            ``id`` of the truth.

        Returns
        -------
        ndarray (n_bands, ny, nx)
            Noiseless; all of them add to ``noiseless``.

        Raises
        ------
        CatalogError
            If there is no such source.
        """
        if not 1 <= source_id <= len(self.truth):
            msg = (f'there is no source {source_id!r}; the field has 1 to '
                   f'{len(self.truth)}.')
            raise CatalogError(msg, source_id=source_id)
        out = np.zeros(self.image.shape)
        if self.models is not None:
            bbox, model = self.models[source_id - 1]
        else:
            instrument = _instrument(self._recipe())
            bbox, model = _draw_one(self.sources[source_id - 1],
                                    instrument, self.image.shape[1:])
        out[box_slices(bbox)] = model
        return out

    def _recipe(self):
        """What its instrument was made of."""
        return _Recipe.of(self.config, self.survey, self.image.shape[1:])

    def psf_model(self, band):
        """
        PSF of a band as photutils has it.

        Parameters
        ----------
        band : str
            Name of the band.

        Returns
        -------
        `photutils.psf.ImagePSF` or `photutils.psf.GriddedPSFModel`
            Flux 1; gridded where the PSF varies.
        """
        from astropy.nddata import NDData
        from photutils.psf import GriddedPSFModel, ImagePSF

        k = self.bands.index(band)
        scale = self.oversampling ** 2
        if self.psf_nodes is None:
            return ImagePSF(self.psf[k] * scale,
                            oversampling=self.oversampling)
        return GriddedPSFModel(NDData(
            self.psf_nodes[k] * scale,
            meta={'grid_xypos': [tuple(p) for p in self.node_places],
                  'oversampling': self.oversampling}))


@dataclass(frozen=True, kw_only=True)
class _Recipe:
    """What an instrument is made of; workers make it once."""

    survey: Survey
    psf_pixels: int
    variation: PSFVariation | None
    shape: tuple[int, int]
    wing_pixels: int | None

    @classmethod
    def of(cls, config, survey, shape):
        """Boxes keep their size in arcsec on the pixels of a survey."""
        ratio = get_survey(config.survey).pixel_scale / survey.pixel_scale
        sides = [config.psf_pixels, config.wing_pixels]
        if ratio != 1:
            sides = [None if n is None else
                     max(2 * int(np.ceil(n * ratio / 2)) + 1, 15)
                     for n in sides]
        return cls(survey=survey, psf_pixels=sides[0], wing_pixels=sides[1],
                   variation=config.psf_variation, shape=tuple(shape))


@lru_cache(maxsize=16)
def _instrument(recipe):
    return Instrument(recipe.survey, recipe.psf_pixels, shape=recipe.shape,
                      variation=recipe.variation,
                      wing_pixels=recipe.wing_pixels)


def _draw_one(source, instrument, shape):
    """Box of a source, and its image as it is kept."""
    bbox = source_bbox(source, instrument, shape)
    return bbox, draw_source(source, instrument, bbox).astype(np.float32)


def _draw_some(sources, *, recipe):
    """Boxes and images of a few sources."""
    instrument = _instrument(recipe)
    return [_draw_one(source, instrument, recipe.shape)
            for source in sources]


def _draw_models(sources, recipe, n_workers, progress_bar):
    """Images of all sources, and their sum."""
    noiseless = np.zeros((len(recipe.survey.bands), *recipe.shape))
    jobs = [sources[k:k + SOURCES_PER_JOB]
            for k in range(0, len(sources), SOURCES_PER_JOB)]
    models = []
    with tqdm(total=len(sources), desc='field', unit='source',
              disable=not progress_bar) as bar:
        for drawn in ordered_map(partial(_draw_some, recipe=recipe), jobs,
                                 n_workers):
            for bbox, model in drawn:
                noiseless[box_slices(bbox)] += model
            models += drawn
            bar.update(len(drawn))
    return models, noiseless


def _add_light_columns(truth, models, noiseless, bands):
    """Light on the image and blendedness of each source."""
    n_bands = len(bands)
    inside = np.array([model.sum(axis=(1, 2), dtype=float)
                       for _, model in models]).reshape(-1, n_bands)
    shared = np.array([blendedness(model, noiseless[box_slices(bbox)])
                       for bbox, model in models]).reshape(-1, n_bands)
    for k, band in enumerate(bands):
        truth[f'flux_inside_{band}'] = inside[:, k] * u.uJy
        truth[f'blendedness_{band}'] = shared[:, k]


def _observe(rng, config, instrument, noiseless):
    """Noise, backgrounds and masks, as fields of `SimulatedField`."""
    survey, shape = instrument.survey, noiseless.shape[1:]
    sky_rms, widths = noise_levels(instrument, config.correlated)
    noisy, error = add_noise(rng, noiseless, sky_rms, survey.gain,
                             correlation=widths)
    background = None
    if config.background > 0:
        background = np.array([background_residual(
            rng, shape, config.background * rms) for rms in sky_rms])
        noisy += background
    image, saturated = saturate(noisy, instrument.saturation_levels,
                                growth=config.mask_growth)
    mask = saturated
    if config.bad_pixel_share > 0:
        bad = np.array([bad_pixels(rng, shape, config.bad_pixel_share)
                        for _ in sky_rms])
        image[bad] = np.nan
        mask = saturated | bad
    return {'image': image, 'error': error, 'mask': mask,
            'saturated': saturated, 'background': background,
            'sky_rms': sky_rms, 'noise_correlation': np.array(
                [large_sum_factor(width) for width in widths])}


def _make_field(sources, recipe, config, seed, stream, options):
    """Draw sources on one grid."""
    survey, shape = recipe.survey, recipe.shape
    instrument = _instrument(recipe)
    models, noiseless = _draw_models(sources, recipe, options['n_workers'],
                                     options['progress_bar'])
    rng = np.random.default_rng([seed, NOISE_STREAM, stream])
    wcs = make_wcs(shape, config.center_deg, survey.pixel_scale)
    truth = truth_table(sources, survey.band_names, wcs)
    _add_light_columns(truth, models, noiseless, survey.band_names)
    return SimulatedField(
        **_observe(rng, config, instrument, noiseless), noiseless=noiseless,
        truth=truth, models=tuple(models) if options['keep_models'] else None,
        sources=tuple(sources), gain=survey.gain, seed=seed,
        saturation_levels=instrument.saturation_levels, config=config,
        psf=instrument.psf_images, psf_nodes=instrument.node_images,
        node_places=instrument.node_places, wcs=wcs,
        oversampling=instrument.oversampling, bands=survey.band_names,
        pixel_scale=survey.pixel_scale, survey=survey)


def draw_field(config, *, seed, population=None, keep_models=True,
               n_workers=1, progress_bar=False):
    """
    Draw a field, all bands on the pixels of the survey.

    Parameters
    ----------
    config : `FieldConfig`
        What the field holds.
    seed : int
        Seed of the field.
    population : population or None, optional
        Where galaxies come from: a
        `~vaephot.simulate.catalog.CatalogSample`, a
        `~vaephot.simulate.RealGalaxies`. `None` is the mock catalogue.
    keep_models : bool, optional
        Whether to keep the noiseless sources, one by one.
    n_workers : int, optional
        Number of processes; the field does not depend on it. Scripts
        that ask for more than one need the usual
        ``if __name__ == '__main__'``.
    progress_bar : bool, optional
        Whether to show a progress bar.

    Returns
    -------
    `SimulatedField`

    Examples
    --------
    >>> from vaephot.simulate import FieldConfig, draw_field
    >>> config = FieldConfig(shape=(40, 50), survey='hsc-wide',
    ...                      psf_pixels=25)
    >>> draw_field(config, seed=1).image.shape
    (5, 40, 50)
    """
    survey = get_survey(config.survey)
    rng = np.random.default_rng([seed, SOURCES_STREAM])
    sources = draw_sources(rng, config, survey, population)
    return _make_field(
        sources, _Recipe.of(config, survey, config.shape), config, seed, 0,
        {'keep_models': keep_models, 'n_workers': n_workers,
         'progress_bar': progress_bar})


def draw_native_field(config, *, seed, population=None, keep_models=True,
                      n_workers=1, progress_bar=False):
    """
    Draw a field, each band on the pixels of its detector.

    Parameters
    ----------
    config : `FieldConfig`
        What the field holds; its shape is in the pixels of the survey.
        The noise of the detectors is white.
    seed : int
        Seed; the same sources as of `draw_field`.
    population, keep_models, n_workers, progress_bar : optional
        As for `draw_field`.

    Returns
    -------
    dict of `SimulatedField`
        One field of one band each, by the name of the band, with a WCS
        each. The sources have the same order in all.
    """
    survey = get_survey(config.survey)
    rng = np.random.default_rng([seed, SOURCES_STREAM])
    sources = draw_sources(rng, config, survey, population)
    options = {'keep_models': keep_models, 'n_workers': n_workers,
               'progress_bar': progress_bar}
    fields, white = {}, replace(config, correlated=False)
    for k, band in enumerate(survey.band_names):
        native = native_survey(survey, band)
        ratio = survey.pixel_scale / native.pixel_scale
        shape = tuple(max(int(np.ceil(n * ratio - 1e-9)), 1)
                      for n in config.shape)
        fields[band] = _make_field(
            [on_grid(source, ratio, k) for source in sources],
            _Recipe.of(config, native, shape), white, seed, k + 1, options)
    return _align(fields, config, survey)


def _align(fields, config, survey):
    """Give the fields one tangent point, whatever their shapes."""
    common = make_wcs(config.shape, config.center_deg, survey.pixel_scale)
    out = {}
    for band, simulated in fields.items():
        wcs = simulated.wcs.deepcopy()
        ratio = survey.pixel_scale / simulated.pixel_scale
        # edges of the first pixels coincide, at -0.5
        wcs.wcs.crpix = (np.array(common.wcs.crpix) - 0.5) * ratio + 0.5
        truth = simulated.truth.copy()
        sky = wcs.all_pix2world(truth['x'], truth['y'], 0)
        truth['ra'], truth['dec'] = sky[0] * u.deg, sky[1] * u.deg
        out[band] = replace(simulated, wcs=wcs, truth=truth)
    return out
