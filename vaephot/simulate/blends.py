# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Isolated galaxies and blends on stamps, with the truth of each source.

Source 0 of a blend is always the galaxy in the middle. The cases:

``isolated``
    One galaxy: deblending must do no harm.
``faint``
    One to three neighbours of similar brightness.
``crowded``
    Three to five neighbours of similar brightness.
``bright``
    A faint galaxy beside an extended one 2 to 4 mag brighter.
``extreme``
    A faint galaxy beside one of 4 to 8 mag brighter, up to 3 arcsec
    large.
``cluster``
    A faint galaxy near the brightest galaxy of a cluster, with the
    light between the galaxies and some members.
``star``
    A galaxy beside a bright star, saturated in the detection band.
"""

from dataclasses import dataclass, fields
from functools import lru_cache, partial

import numpy as np
from photutils.aperture import BoundingBox
from tqdm import tqdm

from vaephot.exceptions import CatalogError
from vaephot.simulate._checks import check_count, check_number, check_range
from vaephot.simulate._workers import ordered_map
from vaephot.simulate.clusters import Cluster, draw_cluster
from vaephot.simulate.image_noise import (
    add_noise,
    background_residual,
    depth_factor,
    large_sum_factor,
    saturate,
)
from vaephot.simulate.instrument import (
    Instrument,
    blendedness,
    draw_galaxy_source,
    draw_source,
    draw_star_source,
)
from vaephot.simulate.survey import ZEROPOINT, get_survey

__all__ = ['CASES', 'BlendCase', 'Blends', 'draw_blends', 'read_blends',
           'write_blends']

# The central galaxy is off the middle by up to this, in pixels.
MAX_OFFSET = 0.5

# Faintest and brightest galaxy of all, VIS.
MAG_LIMITS = (20.0, 26.5)

# Ranges of a blend, and the smallest number that each may hold.
RANGES = {'mag': 10.0, 'neighbor_mag': -np.inf, 'neighbor_distance': 0.0,
          'bright_mag': -np.inf, 'bright_radius': 0.01, 'star_mag': 0.0,
          'bright_distance': 0.0}

# Blends that are drawn to find one of the wanted blendedness.
MAX_TRIES = 200


@dataclass(frozen=True, kw_only=True)
class BlendCase:
    """
    How a kind of blend is drawn; magnitudes are VIS, angles arcsec.

    Parameters
    ----------
    stamp_size : int
        Side of the stamps in pixels.
    mag : tuple of float, optional
        Range of the central galaxy.
    n_neighbors : tuple of int, optional
        Fewest and most neighbours of similar brightness.
    neighbor_mag : tuple of float, optional
        Range of the neighbours, relative to the central galaxy.
    neighbor_distance : tuple of float, optional
        Range of their distances.
    bright_mag : tuple of float or None, optional
        Range of one bright galaxy, relative to the central one. `None`
        means that there is none.
    bright_radius : tuple of float, optional
        Range of the half-light radius of its disk.
    star_mag : tuple of float or None, optional
        Range of one star. `None` means that there is none.
    bright_distance : tuple of float, optional
        Range of the distance of the bright galaxy, the star or the
        middle of the cluster.
    cluster : `~vaephot.simulate.clusters.Cluster` or None, optional
        A cluster; its place is drawn. `None` means that there is none.
    blendedness : tuple of float or None, optional
        Range of the blendedness of the central galaxy in the first
        band: blends are drawn until one is within. `None` takes any.
    star_share : float, optional
        Share of the central galaxy and of its neighbours of similar
        brightness that are stars instead.
    """

    stamp_size: int
    mag: tuple[float, float] = (20.5, 26.0)
    n_neighbors: tuple[int, int] = (0, 0)
    neighbor_mag: tuple[float, float] = (-1.5, 2.0)
    neighbor_distance: tuple[float, float] = (0.3, 2.5)
    bright_mag: tuple[float, float] | None = None
    bright_radius: tuple[float, float] = (0.5, 1.3)
    star_mag: tuple[float, float] | None = None
    bright_distance: tuple[float, float] = (0.8, 2.8)
    cluster: Cluster | None = None
    blendedness: tuple[float, float] | None = None
    star_share: float = 0.0

    def __post_init__(self):
        low, high = self.n_neighbors
        if self.stamp_size < 8 or not 0 <= low <= high:
            msg = (f'a blend has stamp_size {self.stamp_size} and '
                   f'n_neighbors {self.n_neighbors}; stamps need 8 pixels, '
                   f'and the fewest neighbours come first.')
            raise CatalogError(msg, stamp_size=self.stamp_size,
                               n_neighbors=self.n_neighbors)
        for name, least in RANGES.items():
            limits = getattr(self, name)
            if limits is not None:
                check_range('a blend', name, limits, low=least)
        if not 0 <= self.star_share <= 1:
            msg = f'star_share is {self.star_share}; give a share, 0 to 1.'
            raise CatalogError(msg, star_share=self.star_share)
        if self.blendedness is not None and not (
                0 <= self.blendedness[0] < self.blendedness[1] <= 1):
            msg = (f'blendedness is {self.blendedness}; give a range within '
                   f'0 and 1.')
            raise CatalogError(msg, blendedness=self.blendedness)

    @property
    def max_sources(self):
        """Largest number of sources."""
        members = 0 if self.cluster is None else (
            1 + (self.cluster.icl_share > 0) + self.cluster.n_members)
        return (1 + self.n_neighbors[1] + (self.bright_mag is not None)
                + (self.star_mag is not None) + members)


CASES = {
    'isolated': BlendCase(stamp_size=96),
    'faint': BlendCase(stamp_size=96, n_neighbors=(1, 3)),
    'crowded': BlendCase(stamp_size=96, n_neighbors=(3, 5)),
    'bright': BlendCase(stamp_size=96, mag=(22.0, 26.0), n_neighbors=(0, 1),
                        bright_mag=(-4.0, -2.0)),
    'extreme': BlendCase(stamp_size=160, mag=(23.0, 26.0),
                         n_neighbors=(0, 2), bright_mag=(-8.0, -4.0),
                         bright_radius=(0.8, 3.0),
                         bright_distance=(1.5, 6.0)),
    'cluster': BlendCase(stamp_size=160, mag=(21.5, 25.5),
                         bright_distance=(1.5, 7.0),
                         cluster=Cluster(n_members=5, member_radius=8.0)),
    'star': BlendCase(stamp_size=128, n_neighbors=(0, 1),
                      star_mag=(15.0, 18.0), bright_distance=(2.0, 6.0)),
}


@dataclass(frozen=True, kw_only=True)
class Blends:
    """
    Stamps of blends with their truth; plain arrays, in microjansky.

    Sources that a blend lacks are zero in ``models`` and NaN elsewhere.

    Parameters
    ----------
    image, error : ndarray (n, n_bands, S, S)
        Stamps with noise, and the 1-sigma noise, photons included.
    mask : ndarray of bool (n, n_bands, S, S)
        True where saturated.
    models : ndarray (n, n_sources, n_bands, S, S)
        Noiseless sources.
    flux, mags : ndarray (n, n_sources, n_bands)
        Total fluxes and AB magnitudes.
    flux_inside : ndarray (n, n_sources, n_bands)
        Fluxes on the stamp.
    blendedness : ndarray (n, n_sources, n_bands)
        1 - sum(s ** 2) / sum(s total), of noiseless images.
    x, y : ndarray (n, n_sources)
        Positions in pixels.
    half_light_radius, eta1, eta2 : ndarray (n, n_sources)
        Circularised radius in pixels and conformal shear, without the
        PSF; 0 for stars.
    redshift : ndarray (n, n_sources)
        Redshifts; 0 for stars.
    is_star : ndarray of bool (n, n_sources)
        Whether a source is a point.
    n_sources : ndarray of int (n,)
        Number of sources.
    parent : ndarray of int (n, n_sources)
        Number in the catalogue, -1 without one.
    sky_rms, gain : ndarray (n_bands,)
        Noise of the empty sky, and electrons per microjansky.
    noise_correlation : ndarray (n_bands,)
        Noise of a large sum over that of independent pixels.
    psf : ndarray (n_bands, P, P)
        Effective PSFs, sum 1, centred on the middle sample.
    oversampling : int
        Samples of the PSFs per pixel.
    bands : tuple of str
        Names of the bands.
    pixel_scale : float
        Arcsec.
    zeropoint : float
        AB magnitude of flux 1.
    case : str
        Kind of blend.
    seed : int
        Seed of the set.
    """

    image: np.ndarray
    error: np.ndarray
    mask: np.ndarray
    models: np.ndarray
    flux: np.ndarray
    flux_inside: np.ndarray
    blendedness: np.ndarray
    mags: np.ndarray
    x: np.ndarray
    y: np.ndarray
    half_light_radius: np.ndarray
    eta1: np.ndarray
    eta2: np.ndarray
    redshift: np.ndarray
    is_star: np.ndarray
    n_sources: np.ndarray
    parent: np.ndarray
    sky_rms: np.ndarray
    gain: np.ndarray
    noise_correlation: np.ndarray
    psf: np.ndarray
    oversampling: int
    bands: tuple[str, ...]
    pixel_scale: float
    zeropoint: float
    case: str
    seed: int

    def __len__(self):
        return len(self.image)

    def __repr__(self):
        return (f'<Blends: {len(self)} {self.case!r} in '
                f'{", ".join(self.bands)}, {self.image.shape[-1]} px, '
                f'seed {self.seed}>')


def _around(rng, center, distance, pixel_scale):
    """Position at a random angle and distance [arcsec] from another."""
    radius = rng.uniform(*distance) / pixel_scale
    angle = rng.uniform(0, 2 * np.pi)
    return (center[0] + radius * np.cos(angle),
            center[1] + radius * np.sin(angle))


def _draw_sources(rng, case, survey, population):
    """Sources of one blend, the central galaxy first."""
    middle = (case.stamp_size - 1) / 2
    center = middle + rng.uniform(-MAX_OFFSET, MAX_OFFSET, 2)
    pixel_scale = survey.pixel_scale
    mag = rng.uniform(*case.mag)
    galaxy = partial(draw_galaxy_source, rng, survey, population=population)

    def draw(mag, *place):
        """A galaxy, or a star for some of them."""
        if case.star_share and rng.random() < case.star_share:
            return draw_star_source(rng, survey, mag, *place)
        return galaxy(mag, *place)
    sources = [draw(mag, *center)]
    if case.bright_mag is not None:
        place = _around(rng, center, case.bright_distance, pixel_scale)
        sources.append(galaxy(
            mag + rng.uniform(*case.bright_mag), *place,
            disk_radius=rng.uniform(*case.bright_radius)))
    if case.star_mag is not None:
        place = _around(rng, center, case.bright_distance, pixel_scale)
        sources.append(draw_star_source(
            rng, survey, rng.uniform(*case.star_mag), *place))
    if case.cluster is not None:
        place = _around(rng, center, case.bright_distance, pixel_scale)
        sources += draw_cluster(rng, case.cluster, survey, *place,
                                population=population)
    for _ in range(rng.integers(*case.n_neighbors, endpoint=True)):
        place = _around(rng, center, case.neighbor_distance, pixel_scale)
        near = np.clip(mag + rng.uniform(*case.neighbor_mag), *MAG_LIMITS)
        sources.append(draw(near, *place))
    return sources


def _draw_models(rng, case, instrument, population):
    """Sources of one blend and their images, of the wanted overlap."""
    bbox = BoundingBox(0, case.stamp_size, 0, case.stamp_size)
    for _ in range(1 if case.blendedness is None else MAX_TRIES):
        sources = _draw_sources(rng, case, instrument.survey, population)
        models = np.array([draw_source(source, instrument, bbox)
                           for source in sources])
        shared = np.array([blendedness(model, models.sum(axis=0))
                           for model in models])
        if (case.blendedness is None or case.blendedness[0]
                <= shared[0, 0] <= case.blendedness[1]):
            return sources, models, shared
    msg = (f'no blend of {MAX_TRIES} has a blendedness from '
           f'{case.blendedness[0]} to {case.blendedness[1]}; widen the range '
           f'or change distances and magnitudes.')
    raise CatalogError(msg, blendedness=case.blendedness)


def _truth_row(sources, models, shared, pixel_scale, n_max):
    """Truth of one blend, filled up to ``n_max`` sources."""
    shapes = [(0.0, 0.0, 0.0) if s.is_star else
              (s.galaxy.half_light_radius / pixel_scale,
               *s.galaxy.conformal_shear) for s in sources]
    radius, eta1, eta2 = np.array(shapes).T
    flux = np.array([s.flux for s in sources])
    row = {'models': models, 'flux': flux, 'blendedness': shared,
           'flux_inside': models.sum(axis=(2, 3)), 'eta1': eta1,
           'half_light_radius': radius, 'eta2': eta2,
           'mags': ZEROPOINT - 2.5 * np.log10(flux),
           'is_star': np.array([s.is_star for s in sources]),
           'parent': np.array([s.parent for s in sources]),
           **{name: np.array([getattr(s, name) for s in sources])
              for name in ('x', 'y', 'redshift')}}
    blank = {'models': 0.0, 'is_star': False, 'parent': -1}
    out = {}
    for name, values in row.items():
        out[name] = np.full((n_max, *values.shape[1:]),
                            blank.get(name, np.nan), values.dtype)
        out[name][:len(sources)] = values
    return {**out, 'n_sources': len(sources)}


@lru_cache(maxsize=4)
def _instrument(survey, psf_pixels):
    return Instrument(survey, psf_pixels)


def correlation_widths(survey):
    """
    Widths of the correlated noise on the common pixels of a survey.

    Parameters
    ----------
    survey : `~vaephot.simulate.survey.Survey`
        The survey.

    Returns
    -------
    ndarray (n_bands,)
        Pixels of the detectors over those of the survey, at least 1.
    """
    return np.array([max((band.native_pixel_scale or survey.pixel_scale)
                         / survey.pixel_scale, 1.0)
                     for band in survey.bands])


def noise_levels(instrument, correlated):
    """
    Noise per pixel that gives the depth of the survey.

    Parameters
    ----------
    instrument : `~vaephot.simulate.instrument.Instrument`
        Survey and PSFs.
    correlated : bool
        Whether the noise is that of resampled images.

    Returns
    -------
    sky_rms : ndarray (n_bands,)
        Noise per pixel; smaller where it is correlated, so that the
        flux error of point sources is the same.
    widths : ndarray (n_bands,)
        Widths of the correlation in pixels.
    """
    survey = instrument.survey
    widths = (correlation_widths(survey) if correlated
              else np.ones(len(survey.bands)))
    ratio = instrument.oversampling
    start = instrument.psf_images.shape[-1] // 2 % ratio
    pixels = instrument.psf_images[:, start::ratio, start::ratio]
    factors = np.array([depth_factor(psf, width) for psf, width in
                        zip(pixels, widths, strict=True)])
    return survey.sky_rms / factors, widths


def _draw_blend(index, *, case, survey, seed, population, correlated,
                background):
    """Arrays of one blend, float32 where they are large."""
    # the PSF box is odd and a little larger than the stamp
    instrument = _instrument(survey, case.stamp_size + 31)
    rng = np.random.default_rng([seed, index])
    sources, models, shared = _draw_models(rng, case, instrument,
                                           population)
    row = _truth_row(sources, models, shared, survey.pixel_scale,
                     case.max_sources)
    sky_rms, widths = noise_levels(instrument, correlated)
    noisy, error = add_noise(rng, models.sum(axis=0), sky_rms, survey.gain,
                             correlation=widths)
    if background:
        noisy += [background_residual(rng, noisy.shape[1:],
                                      background * rms) for rms in sky_rms]
    image, mask = saturate(noisy, instrument.saturation_levels)
    row |= {'image': image, 'error': error, 'mask': mask}
    for name in ('image', 'error', 'models'):
        row[name] = row[name].astype(np.float32)
    return row


def _find_case(case):
    if isinstance(case, BlendCase):
        return case
    if case not in CASES:
        msg = (f'there is no case {case!r}; choose one of '
               f'{", ".join(CASES)} or pass a BlendCase.')
        raise CatalogError(msg, case=case)
    return CASES[case]


def draw_blends(case, n_blends, *, survey='euclid-wide', seed,
                population=None, correlated=False, background=0.0,
                n_workers=1, progress_bar=False):
    """
    Draw isolated galaxies or blends.

    Parameters
    ----------
    case : str or `BlendCase`
        Kind of blend: a name of ``CASES`` or an own one.
    n_blends : int
        Number of blends; blend k depends on (seed, k) alone.
    survey : str or `~vaephot.simulate.Survey`, optional
        The survey.
    seed : int
        Seed of the set.
    population : population or None, optional
        Where galaxies come from, such as
        `~vaephot.simulate.RealGalaxies`. `None` is the mock catalogue.
    correlated : bool, optional
        Whether the noise is that of images resampled to the common
        pixels, at the same depth.
    background : float, optional
        Size of a residual background in units of the sky noise.
    n_workers : int, optional
        Number of processes; the blends do not depend on it.
    progress_bar : bool, optional
        Whether to show a progress bar.

    Returns
    -------
    `Blends`

    Raises
    ------
    CatalogError
        If the case or the survey is unknown, no blend has the wanted
        blendedness, or a number is impossible.
    """
    check_count('draw_blends', 'n_blends', n_blends, low=1)
    check_number('draw_blends', 'background', background)
    config = _find_case(case)
    name = case if isinstance(case, str) else 'custom'
    survey = get_survey(survey)
    instrument = _instrument(survey, config.stamp_size + 31)
    draw = partial(_draw_blend, case=config, survey=survey, seed=seed,
                   population=population, correlated=correlated,
                   background=background)
    rows = list(tqdm(ordered_map(draw, range(n_blends), n_workers),
                     total=n_blends, desc=name, unit='blend',
                     disable=not progress_bar))
    stacked = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    sky_rms, widths = noise_levels(instrument, correlated)
    return Blends(
        **stacked, sky_rms=sky_rms, gain=survey.gain,
        noise_correlation=np.array([large_sum_factor(w) for w in widths]),
        psf=instrument.psf_images, oversampling=instrument.oversampling,
        bands=survey.band_names, zeropoint=ZEROPOINT,
        pixel_scale=survey.pixel_scale, case=name, seed=seed)


def write_blends(path, blends, *, overwrite=False):
    """
    Write blends to a NumPy archive or a FITS file.

    Parameters
    ----------
    path : path-like
        File to write, ending in ``.npz``, ``.fits`` or ``.fits.gz``.
    blends : `Blends`
        The blends.
    overwrite : bool, optional
        Whether to replace a file.

    Raises
    ------
    OutputExistsError
        If the file exists and ``overwrite`` is False.
    StoreError
        If its name ends in something else.
    """
    from vaephot.simulate.blend_files import write

    write(path, {f.name: getattr(blends, f.name) for f in fields(blends)},
          overwrite=overwrite)


def read_blends(path):
    """
    Read what `write_blends` wrote.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    `Blends`

    Raises
    ------
    StoreError
        If arrays are missing.
    """
    from vaephot.simulate.blend_files import read

    return Blends(**read(path, [f.name for f in fields(Blends)]))
