# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Stores of noise-free galaxy stamps, the material of the training.

A store is a folder with ``manifest.json`` and shards
``shard-00000.npz``, ... Each shard has *one* effective PSF and pixel
scale; blends, noise and flips are made from it later, on the fly. The
arrays of a shard:

``image`` (n, S, S)
    Galaxies convolved with the PSF, unit *total* flux, float32.
``psf`` (P, P), ``oversampling``, ``psf_fwhm``, ``pixel_scale``
    Effective PSF, samples per pixel, FWHM [px], pixel size [arcsec].
``x``, ``y`` (n,)
    Galaxy centre from the stamp centre ((S - 1) / 2) [px].
``half_light_radius`` (n,), ``eta1``, ``eta2`` (n,)
    Size [px] and flux-weighted conformal shear without the PSF.
``disk_radius``, ``bulge_radius`` (n,), ``disk_axis_ratio``, ...
    The shape that was drawn, named as in
    `~vaephot.simulate.galaxies.Galaxy`; radii in pixels,
    ``sersic_index`` 0 for bulge and disk.
``mag``, ``snr_scale`` (n,)
    AB magnitude, and S/N of a point source that bright in this shard.
``parent`` (n,), ``split`` (n,)
    Number of the galaxy; 0 training, 1 validation, 2 test.
"""

import hashlib
import io
import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

import vaephot
from vaephot.exceptions import StoreError
from vaephot.simulate._galsim import drawing_accuracy, load_galsim
from vaephot.simulate.catalog import draw_galaxy
from vaephot.simulate.galaxies import galaxy_profile
from vaephot.simulate.psfs import draw_psf, sample_psf

__all__ = ['StoreConfig', 'draw_shard', 'read_manifest', 'read_shard',
           'shard_name', 'split_of', 'write_store']

STORE_FORMAT = 1
MANIFEST = 'manifest.json'

# Galaxies are redrawn until they fit: largest half-light radius over
# the side of the stamp, smallest share of the light inside it.
MAX_RADIUS_SHARE = 7 / 64
MIN_LIGHT_INSIDE = 0.97

# Range of magnitudes (flat), and of the magnitude of a point source
# that a shard sees at S/N 10.
MAG_RANGE = (19.0, 26.5)
DEPTH_RANGE = (23.5, 26.5)
DEPTH_SNR = 10.0

# Shares of training and validation; the rest is for tests.
SPLIT_SHARES = (0.8, 0.1)

# Numbers of galaxies that a shard may try; parents are numbered
# shard * PARENT_STRIDE + attempt.
PARENT_STRIDE = 1_000_000


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
    """

    galaxies_per_shard: int
    seed: int
    stamp_size: int = 64

    def __post_init__(self):
        for name, low in (('galaxies_per_shard', 1), ('seed', 0),
                          ('stamp_size', 16)):
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or value < low:
                msg = (f'{name} is {value!r}; it must be an integer, at '
                       f'least {low}.')
                raise StoreError(msg, value=value)


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
        Number of the galaxy.

    Returns
    -------
    int
        0 training, 1 validation, 2 test.
    """
    digest = hashlib.blake2b(str(int(parent)).encode(), digest_size=8)
    share = int.from_bytes(digest.digest(), 'big') / 2 ** 64
    return int(np.searchsorted(np.cumsum(SPLIT_SHARES), share,
                               side='right'))


def _draw_stamp(rng, psf, size, gsparams):
    """Draw one galaxy; None if it does not fit the stamp."""
    mag = rng.uniform(*MAG_RANGE)
    galaxy = draw_galaxy(rng, mag)
    x, y = rng.uniform(-0.5, 0.5, 2)
    radius = galaxy.half_light_radius / psf.pixel_scale
    if radius > MAX_RADIUS_SHARE * size:
        return None
    scene = load_galsim().Convolve(
        galaxy_profile(galaxy, gsparams=gsparams), psf.profile,
        gsparams=gsparams)
    image = scene.drawImage(nx=size, ny=size, scale=psf.pixel_scale,
                            offset=(x, y), method='no_pixel').array
    if image.sum() < MIN_LIGHT_INSIDE:
        return None
    eta1, eta2 = galaxy.conformal_shear
    shape = {name: getattr(galaxy, name) for name in
             ('disk_axis_ratio', 'bulge_axis_ratio', 'bulge_fraction')}
    return {'image': image, 'x': x, 'y': y, 'half_light_radius': radius,
            'eta1': eta1, 'eta2': eta2, 'mag': mag, **shape,
            'disk_radius': galaxy.disk_radius / psf.pixel_scale,
            'bulge_radius': galaxy.bulge_radius / psf.pixel_scale,
            'sersic_index': galaxy.sersic_index or 0.0}


def draw_shard(config, index):
    """
    Draw one shard.

    Parameters
    ----------
    config : `StoreConfig`
        What the store holds.
    index : int
        Number of the shard.

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
    gsparams = drawing_accuracy()
    _, pixel_scale, profile = draw_psf(rng)
    psf = sample_psf(profile, pixel_scale, config.stamp_size,
                     gsparams=gsparams)
    depth = rng.uniform(*DEPTH_RANGE)
    rows, parents = [], []
    for attempt in range(20 * config.galaxies_per_shard):
        row = _draw_stamp(rng, psf, config.stamp_size, gsparams)
        if row is not None:
            rows.append(row)
            parents.append(index * PARENT_STRIDE + attempt)
        if len(rows) == config.galaxies_per_shard:
            return _pack(rows, parents, psf, depth)
    msg = (f'only {len(rows)} of {config.galaxies_per_shard} galaxies fit '
           f'stamps of {config.stamp_size} px; use larger stamps.')
    raise StoreError(msg, stamp_size=config.stamp_size)


def _pack(rows, parents, psf, depth):
    """Stack the rows of a shard into arrays."""
    out = {name: np.array([row[name] for row in rows], dtype=np.float32)
           for name in rows[0]}
    out['snr_scale'] = (DEPTH_SNR * 10 ** (0.4 * (depth - out['mag']))
                        ).astype(np.float32)
    out['parent'] = np.array(parents, dtype=np.int64)
    out['split'] = np.array([split_of(p) for p in parents], dtype=np.int8)
    out['psf'] = psf.image.astype(np.float32)
    out['oversampling'] = np.int64(psf.oversampling)
    out['psf_fwhm'] = np.float64(psf.fwhm)
    out['pixel_scale'] = np.float64(psf.pixel_scale)
    return out


def _write_atomically(path, content):
    """Write bytes so that the file is either whole or not there."""
    part = path.with_name(path.name + '.part')
    part.write_bytes(content)
    os.replace(part, path)


def _sha256(path):
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def _write_shard(path, config, index):
    """Draw a shard, write it, and return its record."""
    buffer = io.BytesIO()
    np.savez(buffer, **draw_shard(config, index))
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
        return {'format': STORE_FORMAT, 'config': asdict(config),
                'versions': _versions(), 'shards': {}}
    manifest = read_manifest(path)
    if manifest['config'] != asdict(config):
        msg = (f'{path} was begun with {manifest["config"]}, not with '
               f'{asdict(config)}; use the same settings or another '
               f'folder.')
        raise StoreError(msg, config=asdict(config))
    return manifest


def _is_finished(path, manifest, index):
    name = shard_name(index)
    record = manifest['shards'].get(name)
    file = path / name
    return (record is not None and file.is_file()
            and _sha256(file) == record['sha256'])


def _finished_shards(path, config, indices, n_workers):
    """Write shards and yield (index, record) as they are done."""
    if n_workers == 1:
        for index in indices:
            yield index, _write_shard(path, config, index)
        return
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(n_workers, mp_context=context) as pool:
        jobs = {pool.submit(_write_shard, path, config, index): index
                for index in indices}
        for job in as_completed(jobs):
            yield jobs[job], job.result()


def write_store(path, *, n_shards, galaxies_per_shard, stamp_size=64, seed,
                n_workers=1, progress_bar=False):
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
        If the folder holds a store of other settings.
    """
    config = StoreConfig(galaxies_per_shard=galaxies_per_shard, seed=seed,
                         stamp_size=stamp_size)
    load_galsim()
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    manifest = _open_manifest(path, config)
    missing = [k for k in range(n_shards)
               if not _is_finished(path, manifest, k)]
    jobs = _finished_shards(path, config, missing, n_workers)
    for index, record in tqdm(jobs, total=len(missing), unit='shard',
                              desc='stamps', disable=not progress_bar):
        manifest['shards'][shard_name(index)] = record
        manifest['shards'] = dict(sorted(manifest['shards'].items()))
        text = json.dumps(manifest, indent=1) + '\n'
        _write_atomically(path / MANIFEST, text.encode())
    return manifest
