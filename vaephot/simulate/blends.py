# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Isolated galaxies and blends on stamps, with the truth of each source.

Source 0 of a blend is always the galaxy in the middle. The cases:

``isolated``
    One galaxy: deblending must do no harm.
``faint``
    One to three neighbours of similar brightness.
``bright``
    A faint galaxy beside an extended one 2 to 4 mag brighter.
``star``
    A galaxy beside a bright star, saturated in the detection band.
"""

from dataclasses import dataclass, fields

import numpy as np
from photutils.aperture import BoundingBox
from tqdm import tqdm

from vaephot.exceptions import CatalogError, StoreError
from vaephot.simulate.noise import add_noise, saturate
from vaephot.simulate.scene import (
    Instrument,
    draw_galaxy_source,
    draw_source,
    draw_star_source,
)
from vaephot.simulate.survey import ZEROPOINT
from vaephot.utils._atomic import atomic_write

__all__ = ['CASES', 'BlendCase', 'Blends', 'draw_blends', 'read_blends',
           'write_blends']

# The central galaxy is off the middle by up to this, in pixels.
MAX_OFFSET = 0.5

# Faintest and brightest galaxy of all, VIS.
MAG_LIMITS = (20.0, 26.5)


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
        Range of the distance of the bright galaxy or the star.
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


CASES = {
    'isolated': BlendCase(stamp_size=96),
    'faint': BlendCase(stamp_size=96, n_neighbors=(1, 3)),
    'bright': BlendCase(stamp_size=96, mag=(22.0, 26.0), n_neighbors=(0, 1),
                        bright_mag=(-4.0, -2.0)),
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
    x, y : ndarray (n, n_sources)
        Positions in pixels.
    half_light_radius, eta1, eta2 : ndarray (n, n_sources)
        Circularised radius in pixels and conformal shear, without the
        PSF; 0 for stars.
    is_star : ndarray of bool (n, n_sources)
        Whether a source is a point.
    n_sources : ndarray of int (n,)
        Number of sources.
    sky_rms, gain : ndarray (n_bands,)
        Noise of the empty sky, and electrons per microjansky.
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
    mags: np.ndarray
    x: np.ndarray
    y: np.ndarray
    half_light_radius: np.ndarray
    eta1: np.ndarray
    eta2: np.ndarray
    is_star: np.ndarray
    n_sources: np.ndarray
    sky_rms: np.ndarray
    gain: np.ndarray
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


def _draw_sources(rng, case, survey):
    """Sources of one blend, the central galaxy first."""
    middle = (case.stamp_size - 1) / 2
    center = middle + rng.uniform(-MAX_OFFSET, MAX_OFFSET, 2)
    pixel_scale = survey.pixel_scale
    mag = rng.uniform(*case.mag)
    sources = [draw_galaxy_source(rng, survey, mag, *center)]
    if case.bright_mag is not None:
        place = _around(rng, center, case.bright_distance, pixel_scale)
        sources.append(draw_galaxy_source(
            rng, survey, mag + rng.uniform(*case.bright_mag), *place,
            disk_radius=rng.uniform(*case.bright_radius)))
    if case.star_mag is not None:
        place = _around(rng, center, case.bright_distance, pixel_scale)
        sources.append(draw_star_source(
            rng, survey, rng.uniform(*case.star_mag), *place))
    for _ in range(rng.integers(*case.n_neighbors, endpoint=True)):
        place = _around(rng, center, case.neighbor_distance, pixel_scale)
        near = np.clip(mag + rng.uniform(*case.neighbor_mag), *MAG_LIMITS)
        sources.append(draw_galaxy_source(rng, survey, near, *place))
    return sources


def _draw_blend(rng, case, instrument, n_max):
    """Arrays of one blend."""
    survey = instrument.survey
    size, n_bands = case.stamp_size, len(survey.bands)
    bbox = BoundingBox(0, size, 0, size)
    sources = _draw_sources(rng, case, survey)
    models = np.zeros((n_max, n_bands, size, size))
    row = {name: np.full(n_max, np.nan)
           for name in ('x', 'y', 'half_light_radius', 'eta1', 'eta2')}
    flux = np.full((n_max, n_bands), np.nan)
    for k, source in enumerate(sources):
        models[k] = draw_source(source, instrument, bbox)
        flux[k] = source.flux
        row['x'][k], row['y'][k] = source.x, source.y
        row['half_light_radius'][k], row['eta1'][k], row['eta2'][k] = (
            (0.0, 0.0, 0.0) if source.is_star else
            (source.galaxy.half_light_radius / survey.pixel_scale,
             *source.galaxy.conformal_shear))
    noisy, error = add_noise(rng, models.sum(axis=0), survey.sky_rms,
                             survey.gain)
    image, mask = saturate(noisy, instrument.saturation_levels)
    stars = [s.is_star for s in sources]
    return {**row, 'image': image, 'error': error, 'mask': mask,
            'models': models, 'flux': flux,
            'mags': ZEROPOINT - 2.5 * np.log10(flux),
            'is_star': np.array(stars + [False] * (n_max - len(stars))),
            'n_sources': len(sources)}


def _find_case(case):
    if case not in CASES:
        msg = (f'there is no case {case!r}; choose one of '
               f'{", ".join(CASES)}.')
        raise CatalogError(msg, case=case)
    return CASES[case]


def draw_blends(case, n_blends, *, survey='euclid-wide', seed,
                progress_bar=False):
    """
    Draw isolated galaxies or blends.

    Parameters
    ----------
    case : {'isolated', 'faint', 'bright', 'star'}
        Kind of blend.
    n_blends : int
        Number of blends; blend k depends on (seed, k) alone.
    survey : str or `~vaephot.simulate.Survey`, optional
        The survey.
    seed : int
        Seed of the set.
    progress_bar : bool, optional
        Whether to show a progress bar.

    Returns
    -------
    `Blends`

    Raises
    ------
    CatalogError
        If the case or the survey is unknown.
    """
    config = _find_case(case)
    # the PSF box is odd and a little larger than the stamp
    instrument = Instrument(survey, config.stamp_size + 31)
    n_max = (1 + config.n_neighbors[1] + (config.bright_mag is not None)
             + (config.star_mag is not None))
    rows = []
    for index in tqdm(range(n_blends), desc=case, unit='blend',
                      disable=not progress_bar):
        rng = np.random.default_rng([seed, index])
        row = _draw_blend(rng, config, instrument, n_max)
        for name in ('image', 'error', 'models'):
            row[name] = row[name].astype(np.float32)
        rows.append(row)
    stacked = {name: np.array([row[name] for row in rows])
               for name in rows[0]}
    return Blends(
        **stacked, sky_rms=instrument.survey.sky_rms,
        gain=instrument.survey.gain, psf=instrument.psf_images,
        oversampling=instrument.oversampling,
        bands=instrument.survey.band_names, zeropoint=ZEROPOINT,
        pixel_scale=instrument.survey.pixel_scale, case=case, seed=seed)


def write_blends(path, blends, *, overwrite=False):
    """
    Write blends to a NumPy archive.

    Parameters
    ----------
    path : path-like
        File to write, ending in ``.npz``.
    blends : `Blends`
        The blends.
    overwrite : bool, optional
        Whether to replace a file.

    Raises
    ------
    OutputExistsError
        If the file exists and ``overwrite`` is False.
    """
    arrays = {f.name: getattr(blends, f.name) for f in fields(blends)}
    with (atomic_write(path, overwrite=overwrite) as temporary,
          open(temporary, 'wb') as file):
        np.savez(file, **arrays)


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
    with np.load(path, allow_pickle=False) as archive:
        names = {f.name for f in fields(Blends)}
        missing = sorted(names - set(archive.files))
        if missing:
            msg = (f'{path} lacks the arrays {missing}; draw the blends '
                   f'again with "vaephot simulate blends".')
            raise StoreError(msg, path=path, missing=missing)
        values = {name: archive[name] for name in names}
    for name in ('oversampling', 'pixel_scale', 'zeropoint', 'case',
                 'seed'):
        values[name] = values[name].item()
    values['bands'] = tuple(str(band) for band in values['bands'])
    return Blends(**values)
