# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Read stores of simulated galaxies into tensors.

Stamps are binned as the deblender bins them, until the PSF is narrow
enough for the encoder.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from vaephot.exceptions import StoreError
from vaephot.models.normalization import bin_factor, bin_psf, psf_numbers
from vaephot.train.family import Shapes

__all__ = ['SPLITS', 'GalaxyShard', 'read_store', 'store_hash']

SPLITS = {'train': 0, 'validation': 1, 'test': 2}
_NEEDED = ('image', 'psf', 'oversampling', 'psf_fwhm', 'x', 'y',
           'half_light_radius', 'eta1', 'eta2', 'mag', 'snr_scale', 'split',
           'disk_radius', 'bulge_radius', 'disk_axis_ratio',
           'bulge_axis_ratio', 'bulge_fraction', 'sersic_index')
# galaxies are learned in binned pixels too, up to this factor more than the
# PSF asks for, as long as their half-light radii are larger than this times
# the factor before
EXTRA_FACTOR, COARSE_RADIUS = 2, 2.0
_PER_GALAXY = set(_NEEDED) - {'psf', 'oversampling', 'psf_fwhm'}


@dataclass(frozen=True, kw_only=True)
class GalaxyShard:
    """
    Noise-free galaxies seen through one PSF, sorted by magnitude.

    Lengths are in pixels as the encoder sees them, binned or not.

    Parameters
    ----------
    image : `torch.Tensor`, (n, size, size)
        Galaxies of total flux one.
    truth : `torch.Tensor`, (n, 5)
        Offset from the middle of the stamp, logarithmic half-light
        radius, shear; lengths in pixels.
    snr : `torch.Tensor`, (n,)
        Signal-to-noise ratio of a point source as bright.
    shapes : `~vaephot.train.family.Shapes`
        What was drawn.
    psf : `numpy.ndarray`, (p, p)
        Effective PSF.
    oversampling : int
        Samples of the PSF per pixel.
    psf_fwhm : float
        In pixels.
    psf_shape : `numpy.ndarray`, (3,)
        What `~vaephot.models.normalization.psf_numbers` returned.
    point_error : float
        1-sigma flux error of a point source under unit pixel noise.
    """

    image: torch.Tensor
    truth: torch.Tensor
    snr: torch.Tensor
    shapes: Shapes
    psf: np.ndarray
    oversampling: int
    psf_fwhm: float
    psf_shape: np.ndarray
    point_error: float


def _point_error(psf, oversampling):
    """Flux error of a point source for a pixel noise of one."""
    centre = len(psf) // 2 % oversampling
    pixels = psf[centre::oversampling, centre::oversampling]
    pixels = pixels / pixels.sum()
    return float(1 / np.sqrt((pixels ** 2).sum()))


def _read_shard(path, split):
    """Yield the galaxies of one split, as the encoder may see them."""
    with np.load(path) as file:
        missing = sorted(set(_NEEDED) - set(file.files))
        if missing:
            msg = (f'{path} lacks the arrays {missing}; draw the store '
                   f'again (vaephot simulate stamps)')
            raise StoreError(msg, path=path, missing=missing)
        arrays = {name: file[name] for name in _NEEDED}
    keep = np.flatnonzero(arrays['split'] == SPLITS[split])
    keep = keep[np.argsort(arrays['mag'][keep])]
    first = int(bin_factor(float(arrays['psf_fwhm'])))
    yield _canonical_shard(_rows(arrays, keep), first)
    for factor in range(first + 1, first + EXTRA_FACTOR + 1):
        large = (arrays['half_light_radius'][keep]
                 > COARSE_RADIUS * (factor - 1))
        if large.sum() > 1:
            yield _canonical_shard(_rows(arrays, keep[large]), factor)


def _rows(arrays, rows):
    """Some of the galaxies of a shard."""
    return {name: array[rows] if name in _PER_GALAXY else array
            for name, array in arrays.items()}


def _canonical_shard(arrays, factor):
    """Bin the arrays of a shard as the deblender bins its stamps."""
    fwhm = float(arrays['psf_fwhm'])
    image, shift = _binned(arrays['image'], factor)
    psf, oversampling = bin_psf(arrays['psf'].astype(float),
                                int(arrays['oversampling']), factor)
    truth = np.stack([(arrays['x'] + shift) / factor,
                      (arrays['y'] + shift) / factor,
                      np.log(arrays['half_light_radius'] / factor),
                      arrays['eta1'], arrays['eta2']], axis=1)
    # a point source is as bright in the binned pixels: the noise of the
    # sky adds up and its flux too
    return GalaxyShard(
        image=torch.as_tensor(image, dtype=torch.float32),
        truth=torch.as_tensor(truth, dtype=torch.float32),
        snr=torch.as_tensor(arrays['snr_scale'], dtype=torch.float32),
        shapes=_shapes(arrays), psf=psf, oversampling=oversampling,
        psf_fwhm=fwhm / factor,
        psf_shape=psf_numbers(psf, oversampling, fwhm / factor),
        point_error=_point_error(psf, oversampling))


def _binned(image, factor):
    """Sum pixels; also how far the middle moves, in pixels."""
    side = image.shape[-1] // factor * factor
    blocks = image[:, :side, :side].reshape(
        len(image), side // factor, factor, side // factor, factor)
    return blocks.sum((2, 4)), (image.shape[-1] - side) / 2


def _shapes(arrays):
    """Shapes in units of the half-light radius."""
    radius = arrays['half_light_radius']
    columns = (arrays['bulge_fraction'], arrays['disk_radius'] / radius,
               arrays['bulge_radius'] / radius, arrays['disk_axis_ratio'],
               arrays['bulge_axis_ratio'], arrays['sersic_index'],
               np.hypot(arrays['eta1'], arrays['eta2']))
    return Shapes(*[torch.as_tensor(c, dtype=torch.float32)
                    for c in columns])


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
    return [shard for p in _shard_paths(path)
            for shard in _read_shard(p, split) if len(shard.image) > 1]


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
