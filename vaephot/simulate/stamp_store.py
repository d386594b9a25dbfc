# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Stores of noise-free galaxy stamps, the material of the training.

A store is a folder with ``manifest.json`` and shards
``shard-00000.npz``, ... Each shard has *one* effective PSF and pixel
scale; blends, noise and flips are made from it later, on the fly. The
arrays of a shard:

``image`` (n, S, S)
    Galaxies convolved with the PSF, unit *total* flux, float32, each in
    a band drawn at random (so bulges and knots vary as in all bands).
``psf`` (P, P), ``oversampling``, ``psf_fwhm``, ``pixel_scale``
    Effective PSF, samples per pixel, FWHM [px], pixel size [arcsec].
``x``, ``y`` (n,)
    Galaxy centre from the stamp centre ((S - 1) / 2) [px].
``half_light_radius`` (n,), ``eta1``, ``eta2`` (n,)
    Size [px] and flux-weighted conformal shear without the PSF.
``disk_radius``, ``bulge_radius`` (n,), ``disk_axis_ratio``, ...
    The shape that was drawn, named as in
    `~vaephot.simulate.galaxies.Galaxy`; radii in pixels,
    ``sersic_index`` 0 for bulge and disk; NaN for real galaxies.
``mag``, ``snr_scale`` (n,)
    AB magnitude, and S/N of a point source that bright in this shard.
``parent`` (n,), ``split`` (n,)
    Number of the galaxy; 0 training, 1 validation, 2 test.

Real galaxies have the row of their catalogue, less one and negative, as
parent, and belong to the split of their row: odd rows are for tests.
Galaxies of a catalogue that the caller gives keep its numbers, so one
that is drawn again is in the same split.

A store of a survey has more, for its B bands; ``image`` and ``psf`` are
then those of the first, and all shards have the PSFs of the survey:

``bands`` (B,), ``images`` (n, B, S, S), ``psfs`` (B, P, P)
    Names, galaxies of unit total flux in each band, PSFs.
``flux`` (n, B), ``redshift`` (n,)
    Total fluxes in microjansky, and redshifts.
"""

import errno
import hashlib
import io
import json
import os
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from photutils.aperture import BoundingBox
from tqdm import tqdm

import vaephot
from vaephot.exceptions import StoreError
from vaephot.simulate._galsim import load_galsim
from vaephot.simulate._workers import ordered_map
from vaephot.simulate.catalog.mock import COLOR_CHAIN, MockCatalog
from vaephot.simulate.catalog.population import band_wavelengths
from vaephot.simulate.fourier_drawing import PSFStack, Renderer
from vaephot.simulate.psfs import draw_psf, sample_psf
from vaephot.simulate.real import RealGalaxies, RealGalaxy
from vaephot.simulate.survey import ZEROPOINT, get_survey, survey_psfs

__all__ = ['StoreConfig', 'draw_shard', 'read_manifest', 'read_shard',
           'shard_name', 'split_of', 'write_store']

STORE_FORMAT = 1
MANIFEST = 'manifest.json'
LOCK = '.lock'

# Galaxies are redrawn until they fit: largest half-light radius over
# the side of the stamp, smallest share of the light inside it.
MAX_RADIUS_SHARE = 7 / 64
MIN_LIGHT_INSIDE = 0.97

# Range of magnitudes (flat), and of the magnitude of a point source
# that a shard sees at S/N 10.
MAG_RANGE = (18.0, 26.5)
DEPTH_RANGE = (23.5, 26.5)
DEPTH_SNR = 10.0

# Shares of training and validation; the rest is for tests.
SPLIT_SHARES = (0.8, 0.1)

# Numbers of galaxies that a shard may try; parents are numbered
# shard * PARENT_STRIDE + attempt.
PARENT_STRIDE = 1_000_000

# Galaxies that are drawn from the catalogue at a time.
BATCH = 64


@dataclass(frozen=True, kw_only=True)
class StoreConfig:
    """
    What a store holds.

    Parameters
    ----------
    galaxies_per_shard : int
        Stamps in each shard.
    seed : int
        Seed of the whole store; shard k is drawn from (seed, k) alone.
    stamp_size : int, optional
        Side of a stamp in pixels.
    survey : str or None, optional
        Survey that all shards are seen through, in all bands. `None`
        draws a PSF for each shard.
    real_folder : str or None, optional
        Folder of real galaxies in GalSim's format, which stand in for
        mock ones where they are bright enough. `None` means that all
        galaxies are of the mock catalogue.
    population : str or None, optional
        Fingerprint of the galaxies that stand in for the mock
        catalogue. `None` means that none do.
    """

    galaxies_per_shard: int
    seed: int
    stamp_size: int = 64
    survey: str | None = None
    real_folder: str | None = None
    population: str | None = None

    def __post_init__(self):
        for name, low in (('galaxies_per_shard', 1), ('seed', 0),
                          ('stamp_size', 16)):
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or value < low:
                msg = (f'{name} is {value!r}; it must be an integer, at '
                       f'least {low}.')
                raise StoreError(msg, value=value)
        if self.survey is not None:
            get_survey(self.survey)

    def settings(self):
        """
        Settings as the manifest holds them.

        Returns
        -------
        dict
            Those of mock galaxies and random PSFs are left out; a
            survey of a file brings its hash.
        """
        out = {name: value for name, value in asdict(self).items()
               if value is not None}
        if self.survey is not None and Path(self.survey).suffix:
            text = repr(get_survey(self.survey)).encode()
            out['survey_sha256'] = hashlib.sha256(text).hexdigest()
        return out


def shard_name(index):
    """
    Name of the file of a shard.

    Parameters
    ----------
    index : int
        Number of the shard.

    Returns
    -------
    str
    """
    return f'shard-{index:05d}.npz'


def split_of(parent):
    """
    Split that a galaxy belongs to, by its number alone.

    Parameters
    ----------
    parent : int
        Number of the galaxy; negative for real ones, of which those of
        odd rows are for tests.

    Returns
    -------
    int
        0 training, 1 validation, 2 test.
    """
    if parent < 0 and (-1 - parent) % 2 == 1:
        return 2
    digest = hashlib.blake2b(str(int(parent)).encode(), digest_size=8)
    share = int.from_bytes(digest.digest(), 'big') / 2 ** 64
    if parent < 0:
        # even rows are shared between training and validation
        share *= sum(SPLIT_SHARES)
    return int(np.searchsorted(np.cumsum(SPLIT_SHARES), share,
                               side='right'))


def _population(real_folder, base):
    """Where galaxies come from."""
    if real_folder is not None:
        return RealGalaxies(real_folder, split='all', base=base)
    return MockCatalog() if base is None else base


def _fingerprint(population):
    """What tells galaxies of the caller from others."""
    if population is None:
        return None
    return getattr(population, 'fingerprint', repr(population))


@lru_cache(maxsize=4)
def _survey_renderer(survey, stamp_size):
    """PSFs of a survey, and what draws with them."""
    psfs = survey_psfs(survey, stamp_size)
    return psfs, Renderer(PSFStack([psfs]))


def _shard_psfs(rng, config, population):
    """PSFs of a shard, what draws with them, and bands of galaxies."""
    if config.survey is not None:
        survey = get_survey(config.survey)
        return (*_survey_renderer(config.survey, config.stamp_size),
                survey.catalog_bands)
    _, pixel_scale, profile = draw_psf(rng)
    psfs = (sample_psf(profile, pixel_scale, config.stamp_size),)
    return (psfs, Renderer(PSFStack([psfs])),
            getattr(population, 'bands', COLOR_CHAIN))


def _draw_stamp(item, x, y, renderer, size, chosen, bands):
    """Draw one galaxy in the chosen bands; None if it does not fit."""
    scale = renderer.stack.pixel_scale
    radius = item.galaxy.half_light_radius / scale
    if radius > MAX_RADIUS_SHARE * size:
        return None
    middle = (size - 1) / 2
    parts = item.galaxy.part_fluxes(item.bulge_fractions[chosen],
                                    band_wavelengths(bands)[chosen])
    images = renderer.draw(
        item.galaxy.components(), parts, BoundingBox(0, size, 0, size),
        middle + x, middle + y, item.galaxy.extent)
    if images[0].sum() < MIN_LIGHT_INSIDE:
        return None
    galaxy = _as_drawn(item, chosen)
    radius = galaxy.half_light_radius / scale
    eta1, eta2 = galaxy.conformal_shear
    return {**_shape(galaxy, scale),
            'image': images[0], 'images': images, 'x': x, 'y': y,
            'half_light_radius': radius, 'eta1': eta1, 'eta2': eta2,
            'redshift': item.redshift,
            'flux': 10 ** (-0.4 * (item.mags[chosen] - ZEROPOINT))}


def _as_drawn(item, chosen):
    """Galaxy with the bulge that it has in the (first) drawn band."""
    if isinstance(item.galaxy, RealGalaxy):
        return item.galaxy
    share = float(item.bulge_fractions[chosen][0])
    return replace(item.galaxy, bulge_fraction=share)


def _shape(galaxy, pixel_scale):
    """Parameters of a galaxy that was drawn from a formula, else NaN."""
    radii = {name: getattr(galaxy, name, np.nan) / pixel_scale
             for name in ('disk_radius', 'bulge_radius')}
    rest = {name: getattr(galaxy, name, np.nan) for name in
            ('disk_axis_ratio', 'bulge_axis_ratio', 'bulge_fraction')}
    index = getattr(galaxy, 'sersic_index', np.nan)
    return {**radii, **rest, 'sersic_index': 0.0 if index is None else index}


def _parent_of(item, number):
    """Number of a galaxy: of its row or catalogue, if it has one."""
    if isinstance(item.galaxy, RealGalaxy):
        return -1 - item.parent
    return number if item.parent < 0 else item.parent


def draw_shard(config, index, population=None):
    """
    Draw one shard.

    Parameters
    ----------
    config : `StoreConfig`
        What the store holds.
    index : int
        Number of the shard.
    population : population or None, optional
        Where galaxies come from. `None` follows from the configuration.

    Returns
    -------
    dict of ndarray
        The arrays described at the top of this module.

    Raises
    ------
    StoreError
        If too few galaxies fit the stamps.
    """
    rng = np.random.default_rng([config.seed, index])
    if population is None:
        population = _population(config.real_folder, None)
    psfs, renderer, bands = _shard_psfs(rng, config, population)
    depth = rng.uniform(*DEPTH_RANGE)
    rows, wanted = [], config.galaxies_per_shard
    for start in range(0, 20 * wanted + BATCH, BATCH):
        mags = rng.uniform(*MAG_RANGE, BATCH)
        items = population.draw(rng, mags, bands)
        places = rng.uniform(-0.5, 0.5, (BATCH, 2))
        # a store without survey sees each galaxy in one of the bands
        single = rng.integers(len(bands), size=BATCH)
        for k, item in enumerate(items):
            chosen = (slice(None) if config.survey is not None
                      else single[k:k + 1])
            row = _draw_stamp(item, *places[k], renderer, config.stamp_size,
                              chosen, bands)
            if row is not None:
                number = index * PARENT_STRIDE + start + k
                rows.append({**row, 'mag': mags[k],
                             'parent': _parent_of(item, number)})
            if len(rows) == wanted:
                return _pack(rows, psfs, depth, config)
    msg = (f'only {len(rows)} of {wanted} galaxies fit stamps of '
           f'{config.stamp_size} px; use larger stamps.')
    raise StoreError(msg, stamp_size=config.stamp_size)


def _pack(rows, psfs, depth, config):
    """Stack the rows of a shard into arrays."""
    only_survey = ('images', 'flux', 'redshift')
    out = {name: np.array([row[name] for row in rows], dtype=np.float32)
           for name in rows[0] if name not in ('parent', *only_survey)}
    out['snr_scale'] = (DEPTH_SNR * 10 ** (0.4 * (depth - out['mag']))
                        ).astype(np.float32)
    parents = [row['parent'] for row in rows]
    out['parent'] = np.array(parents, dtype=np.int64)
    out['split'] = np.array([split_of(p) for p in parents], dtype=np.int8)
    out['psf'] = psfs[0].image.astype(np.float32)
    out['oversampling'] = np.int64(psfs[0].oversampling)
    out['psf_fwhm'] = np.float64(psfs[0].fwhm)
    out['pixel_scale'] = np.float64(psfs[0].pixel_scale)
    if config.survey is not None:
        out |= {name: np.array([row[name] for row in rows],
                               dtype=np.float32) for name in only_survey}
        out['psfs'] = np.array([p.image for p in psfs], dtype=np.float32)
        out['bands'] = np.array(get_survey(config.survey).band_names)
    return out


def _write_atomically(path, content):
    """Write bytes so that the file is either whole or not there."""
    part = path.with_name(f'{path.name}.{os.getpid()}.part')
    try:
        part.write_bytes(content)
        os.replace(part, path)
    except OSError as err:
        part.unlink(missing_ok=True)
        if err.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        msg = (f'there is no room for {path} of {len(content)} bytes: '
               f'{err.strerror}; what is finished stays. Free some space '
               f'and run the same command again.')
        raise StoreError(msg, path=str(path)) from err


@contextmanager
def _locked(path):
    """
    Keep a second run out of a folder.

    The lock ends with the process, so a killed run leaves none.
    """
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        yield
        return
    with open(path / LOCK, 'w', encoding='utf-8') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as err:
            msg = (f'another run is writing to {path}; wait for it or '
                   f'choose another folder.')
            raise StoreError(msg, path=str(path)) from err
        try:
            yield
        finally:
            (path / LOCK).unlink(missing_ok=True)


def _open_folder(path):
    """Make the folder of a store and remove what a killed run left."""
    path = Path(path)
    if path.exists() and not path.is_dir():
        msg = f'{path} is a file; give the folder of a store.'
        raise StoreError(msg, path=str(path))
    try:
        path.mkdir(parents=True, exist_ok=True)
        for part in path.glob('*.part'):
            part.unlink()
    except OSError as err:
        msg = f'the folder {path} cannot be written: {err.strerror}.'
        raise StoreError(msg, path=str(path)) from err
    if not os.access(path, os.W_OK | os.X_OK):
        msg = f'the folder {path} is read-only; choose another one.'
        raise StoreError(msg, path=str(path))
    return path


def _sha256(path):
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def _write_shard(index, *, path, config, population):
    """Draw a shard, write it, and return its record."""
    buffer = io.BytesIO()
    np.savez(buffer, **draw_shard(config, index, population))
    content = buffer.getvalue()
    _write_atomically(path / shard_name(index), content)
    return {'sha256': hashlib.sha256(content).hexdigest(),
            'bytes': len(content),
            'n_galaxies': config.galaxies_per_shard}


def _versions():
    return {'vaephot': vaephot.__version__,
            'galsim': load_galsim().__version__,
            'numpy': np.__version__}


def read_manifest(path):
    """
    Read the manifest of a store.

    Parameters
    ----------
    path : path-like
        Folder of the store.

    Returns
    -------
    dict
        ``format``, ``config``, ``versions`` and ``shards``, the last
        with the SHA-256 of each file.

    Raises
    ------
    StoreError
        If the folder is no store or of another format.
    """
    file = Path(path) / MANIFEST
    if not file.is_file():
        msg = (f'{os.fspath(path)} holds no {MANIFEST}, so it is no store; '
               f'make one with "vaephot simulate stamps".')
        raise StoreError(msg, path=os.fspath(path))
    manifest = json.loads(file.read_text(encoding='utf-8'))
    if manifest.get('format') != STORE_FORMAT:
        msg = (f'{file} has format {manifest.get("format")!r}, this '
               f'version reads {STORE_FORMAT}; make the store again.')
        raise StoreError(msg, path=os.fspath(path))
    return manifest


def read_shard(path, index):
    """
    Read one shard and check its hash.

    Parameters
    ----------
    path : path-like
        Folder of the store.
    index : int
        Number of the shard.

    Returns
    -------
    dict of ndarray

    Raises
    ------
    StoreError
        If the shard is not in the manifest, or damaged.
    """
    name = shard_name(index)
    shards = read_manifest(path)['shards']
    if name not in shards:
        msg = (f'{name} is not in the manifest of {os.fspath(path)}, which '
               f'lists {len(shards)} shards; finish the store first.')
        raise StoreError(msg, shard=name)
    file = Path(path) / name
    found = _sha256(file) if file.is_file() else 'none'
    if found != shards[name]['sha256']:
        msg = (f'SHA-256 of {file} is {found}, the manifest says '
               f'{shards[name]["sha256"]}; run "vaephot simulate stamps" '
               f'again to replace it.')
        raise StoreError(msg, shard=name)
    with np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


def _open_manifest(path, config):
    """Manifest of an unfinished store, or a new one."""
    if not (path / MANIFEST).exists():
        return {'format': STORE_FORMAT, 'config': config.settings(),
                'versions': _versions(), 'shards': {}}
    manifest = read_manifest(path)
    if manifest['config'] != config.settings():
        msg = (f'{path} was begun with {manifest["config"]}, not with '
               f'{config.settings()}; use the same settings or another '
               f'folder.')
        raise StoreError(msg, config=config.settings())
    if manifest['versions'] != _versions():
        msg = (f'{path} was begun with the versions {manifest["versions"]}, '
               f'these are {_versions()}; shards would not be of one kind. '
               f'Use the same versions or another folder.')
        raise StoreError(msg, versions=manifest['versions'])
    return manifest


def _is_finished(path, manifest, index):
    name = shard_name(index)
    record = manifest['shards'].get(name)
    file = path / name
    return (record is not None and file.is_file()
            and _sha256(file) == record['sha256'])


def write_store(path, *, n_shards, galaxies_per_shard, stamp_size=64, seed,
                survey=None, real_folder=None, population=None, n_workers=1,
                progress_bar=False):
    """
    Write a store of galaxy stamps, or finish one.

    Shards that are there and match the manifest are kept, so an
    interrupted call can be repeated. The files depend on the seed
    alone, not on the number of processes.

    Parameters
    ----------
    path : path-like
        Folder of the store; made if absent.
    n_shards : int
        Number of shards, each with its own PSF.
    galaxies_per_shard : int
        Stamps in each shard.
    stamp_size : int, optional
        Side of a stamp in pixels.
    seed : int
        Seed of the store.
    survey : str or None, optional
        Survey that all shards are seen through, in all bands. `None`
        draws a PSF for each shard.
    real_folder : path-like or None, optional
        Folder of real galaxies in GalSim's format. `None` means that
        all galaxies are of the population.
    population : population or None, optional
        Where galaxies come from, such as a
        `~vaephot.simulate.CatalogSample`; its magnitudes are drawn as
        those of others. `None` is the mock catalogue.
    n_workers : int, optional
        Number of processes. Scripts that ask for more than one need
        the usual ``if __name__ == '__main__'``.
    progress_bar : bool, optional
        Whether to show a progress bar.

    Returns
    -------
    dict
        The manifest.

    Raises
    ------
    StoreError
        If the folder holds a store of other settings, cannot be
        written, is full, or another run is writing to it.
    """
    config = StoreConfig(
        galaxies_per_shard=galaxies_per_shard, seed=seed,
        stamp_size=stamp_size, survey=survey,
        real_folder=None if real_folder is None else str(real_folder),
        population=_fingerprint(population))
    population = _population(config.real_folder, population)
    path = _open_folder(path)
    write = partial(_write_shard, path=path, config=config,
                    population=population)
    with _locked(path):
        return _fill(path, config, write, n_shards, n_workers, progress_bar)


def _fill(path, config, write, n_shards, n_workers, progress_bar):
    """Draw the shards that are missing."""
    manifest = _open_manifest(path, config)
    missing = [k for k in range(n_shards)
               if not _is_finished(path, manifest, k)]
    jobs = zip(missing, ordered_map(write, missing, n_workers), strict=True)
    for index, record in tqdm(jobs, total=len(missing), unit='shard',
                              desc='stamps', disable=not progress_bar):
        manifest['shards'][shard_name(index)] = record
        manifest['shards'] = dict(sorted(manifest['shards'].items()))
        text = json.dumps(manifest, indent=1) + '\n'
        _write_atomically(path / MANIFEST, text.encode())
    return manifest
