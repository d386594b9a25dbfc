# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Read stores of simulated galaxies into tensors."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from vaephot.exceptions import StoreError

__all__ = ['SPLITS', 'GalaxyShard', 'read_store', 'store_hash']

SPLITS = {'train': 0, 'validation': 1, 'test': 2}
_NEEDED = ('image', 'psf', 'oversampling', 'psf_fwhm', 'x', 'y',
           'half_light_radius', 'eta1', 'eta2', 'mag', 'snr_scale', 'split')


@dataclass(frozen=True, kw_only=True)
class GalaxyShard:
    """
    Noise-free galaxies seen through one PSF, sorted by magnitude.

    Parameters
    ----------
    image : `torch.Tensor`, (n, size, size)
        Galaxies of total flux one.
    truth : `torch.Tensor`, (n, 5)
        Offset from the middle of the stamp, logarithmic half-light
        radius, shear; lengths in pixels.
    snr : `torch.Tensor`, (n,)
        Signal-to-noise ratio of a point source as bright.
    psf : `numpy.ndarray`, (p, p)
        Effective PSF.
    oversampling : int
        Samples of the PSF per pixel.
    psf_fwhm : float
        In pixels.
    point_error : float
        1-sigma flux error of a point source under unit pixel noise.
    """

    image: torch.Tensor
    truth: torch.Tensor
    snr: torch.Tensor
    psf: np.ndarray
    oversampling: int
    psf_fwhm: float
    point_error: float


def _point_error(psf, oversampling):
    """Flux error of a point source for a pixel noise of one."""
    centre = len(psf) // 2 % oversampling
    pixels = psf[centre::oversampling, centre::oversampling]
    pixels = pixels / pixels.sum()
    return float(1 / np.sqrt((pixels ** 2).sum()))


def _read_shard(path, split):
    """Read one shard and keep the galaxies of one split."""
    with np.load(path) as file:
        missing = sorted(set(_NEEDED) - set(file.files))
        if missing:
            msg = (f'{path} lacks the arrays {missing}; draw the store '
                   f'again (vaephot simulate stamps)')
            raise StoreError(msg, path=path, missing=missing)
        arrays = {name: file[name] for name in _NEEDED}
    keep = np.flatnonzero(arrays['split'] == SPLITS[split])
    keep = keep[np.argsort(arrays['mag'][keep])]
    truth = np.stack([arrays['x'], arrays['y'],
                      np.log(arrays['half_light_radius']),
                      arrays['eta1'], arrays['eta2']], axis=1)
    psf = arrays['psf'].astype(float)
    oversampling = int(arrays['oversampling'])
    return GalaxyShard(
        image=torch.as_tensor(arrays['image'][keep], dtype=torch.float32),
        truth=torch.as_tensor(truth[keep], dtype=torch.float32),
        snr=torch.as_tensor(arrays['snr_scale'][keep], dtype=torch.float32),
        psf=psf, oversampling=oversampling,
        psf_fwhm=float(arrays['psf_fwhm']),
        point_error=_point_error(psf, oversampling))


def _shard_paths(path):
    """Paths of the shards that the manifest lists, in order."""
    path = Path(path)
    manifest = path / 'manifest.json'
    if not manifest.is_file():
        msg = (f'{path} holds no manifest.json, so it is no store of '
               f'simulated galaxies; make one with vaephot simulate stamps')
        raise StoreError(msg, path=path)
    paths = sorted(path.glob('shard-*.npz'))
    if not paths:
        msg = f'{path} holds no shards'
        raise StoreError(msg, path=path)
    return paths


def read_store(path, split):
    """
    Read all galaxies of one split.

    Parameters
    ----------
    path : str or path-like
        Folder of the store.
    split : {'train', 'validation', 'test'}
        Which galaxies; a galaxy is in one split only.

    Returns
    -------
    list of GalaxyShard
        Shards with at least two galaxies.

    Raises
    ------
    StoreError
        If the folder is no store or a shard is incomplete.
    ValueError
        If the split is unknown.
    """
    if split not in SPLITS:
        msg = f'split is {split!r}; it must be one of {sorted(SPLITS)}'
        raise ValueError(msg)
    shards = [_read_shard(p, split) for p in _shard_paths(path)]
    return [shard for shard in shards if len(shard.image) > 1]


def store_hash(path):
    """
    Hash of a store's manifest, which names seed, settings and shards.

    Parameters
    ----------
    path : str or path-like
        Folder of the store.

    Returns
    -------
    str
        SHA-256 of the manifest with sorted keys.
    """
    with open(Path(path) / 'manifest.json', encoding='utf-8') as file:
        manifest = json.load(file)
    text = json.dumps(manifest, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
