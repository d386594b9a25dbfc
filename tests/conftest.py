# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Fixtures and rules for all tests."""

import json
import os
import sys
from importlib.util import find_spec

import numpy as np
import pytest

# figures are drawn without a display
os.environ.setdefault('MPLBACKEND', 'agg')


def pytest_collection_modifyitems(items):
    """Skip what this machine cannot run."""
    skip_galsim = pytest.mark.skip(reason='GalSim is not installed')
    skip_gpu = pytest.mark.skip(reason='there is no CUDA device')
    has_galsim = find_spec('galsim') is not None
    gpu_items = [item for item in items if 'gpu' in item.keywords]
    if gpu_items and not _has_gpu():
        for item in gpu_items:
            item.add_marker(skip_gpu)
    if not has_galsim:
        for item in items:
            if 'galsim' in item.keywords:
                item.add_marker(skip_galsim)


def _has_gpu():
    import torch

    return torch.cuda.is_available()


def _torch_state():
    """State of the process that no code of the package may change."""
    torch = sys.modules.get('torch')
    if torch is None or not hasattr(torch, 'get_num_threads'):
        return None
    return {
        'default dtype': torch.get_default_dtype(),
        'default device': torch.get_default_device(),
        'number of threads': torch.get_num_threads(),
        'gradient mode': torch.is_grad_enabled(),
        'deterministic mode': torch.are_deterministic_algorithms_enabled(),
        'global seed': torch.initial_seed(),
    }


@pytest.fixture(autouse=True)
def _unchanged_torch_state():
    """Fail a test that changes torch's global state."""
    before = _torch_state()
    yield
    after = _torch_state()
    if before is not None and after != before:
        changed = [name for name in before if before[name] != after[name]]
        pytest.fail(f'the test changed the {", ".join(changed)} of torch')


@pytest.fixture
def weights_home(tmp_path, monkeypatch):
    """Give an empty user cache and an empty folder of shipped weights."""
    from vaephot.weights import registry

    cache = tmp_path / 'cache'
    (cache / 'vaephot').mkdir(parents=True)
    shipped = tmp_path / 'shipped'
    shipped.mkdir()
    monkeypatch.delenv('ASTROPY_CACHE_DIR', raising=False)
    monkeypatch.setenv('XDG_CACHE_HOME', str(cache))
    monkeypatch.setattr(registry, 'SHIPPED_FOLDER', shipped)
    return shipped


@pytest.fixture
def record_fields():
    """Entries of a record that `save_weights` does not compute."""
    return {
        'version': '1.0',
        'stamp_shape': (32, 32),
        'psf_fwhm_range': (1.5, 6.0),
        'snr_range': (5.0, 1000.0),
        'normalization': {'kind': 'asinh', 'softening': 1.0},
        'model_config': {'n_latent': 4},
        'training': {'commit': 'abc1234', 'seed': 1},
        'licence': 'BSD-3-Clause',
    }


@pytest.fixture
def make_weights(record_fields):
    """Return a function that writes a tiny weights file."""
    import torch

    from vaephot.weights import save_weights

    def make(path, **fields):
        tensors = {'scale': torch.tensor([0.5, -2.0]),
                   'table': torch.arange(6.0).reshape(2, 3).T}
        save_weights(path, tensors, {**record_fields, **fields})
        return path

    return make


@pytest.fixture(scope='session')
def tiny_store(tmp_path_factory):
    """Return a store of round Gaussian galaxies under two PSFs."""
    folder = tmp_path_factory.mktemp('store')
    rng = np.random.default_rng(5)
    shards = {}
    for number, fwhm in enumerate((2.0, 3.0)):
        name = f'shard-{number:05d}.npz'
        np.savez(folder / name, **_tiny_shard(rng, fwhm))
        shards[name] = {}
    (folder / 'manifest.json').write_text(
        json.dumps({'format': 1, 'shards': shards}), encoding='utf-8')
    return folder


def _gaussian(x, y, sigma, size, oversampling=1):
    grid = (np.arange(size) - (size - 1) / 2) / oversampling
    column = np.exp(-0.5 * ((grid - np.asarray(x)[..., None]) / sigma) ** 2)
    row = np.exp(-0.5 * ((grid - np.asarray(y)[..., None]) / sigma) ** 2)
    image = row[..., :, None] * column[..., None, :]
    return image / image.sum((-2, -1), keepdims=True)


def _tiny_shard(rng, fwhm, n_galaxies=30, size=64, oversampling=3):
    """Arrays of a shard of galaxies as large as the PSF."""
    sigma = fwhm / 2.3548
    x, y = rng.uniform(-0.5, 0.5, (2, n_galaxies))
    mag = rng.uniform(19, 26, n_galaxies)
    return {'image': _gaussian(x, y, sigma * 2**0.5, size).astype('f4'),
            'psf': _gaussian(0, 0, sigma, 61, oversampling).astype('f4'),
            'oversampling': oversampling, 'psf_fwhm': fwhm,
            'pixel_scale': 0.1, 'x': x, 'y': y,
            'half_light_radius': np.full(n_galaxies, 1.1774 * sigma),
            'eta1': np.zeros(n_galaxies), 'eta2': np.zeros(n_galaxies),
            'disk_radius': np.full(n_galaxies, 1.1774 * sigma),
            'bulge_radius': np.full(n_galaxies, 1.1774 * sigma),
            'disk_axis_ratio': np.ones(n_galaxies),
            'bulge_axis_ratio': np.ones(n_galaxies),
            'bulge_fraction': np.zeros(n_galaxies),
            'sersic_index': np.full(n_galaxies, 0.5),
            'mag': mag, 'snr_scale': 10 * 10 ** (0.4 * (25 - mag)),
            'parent': np.arange(n_galaxies),
            'split': np.arange(n_galaxies) % 3}


@pytest.fixture(scope='session')
def make_untrained():
    """Return a function that saves weights of seeded, untrained networks."""
    import torch

    from vaephot.models.bundle import pack_vaes
    from vaephot.models.config import ModelConfig
    from vaephot.models.vae import VAE
    from vaephot.weights import save_weights

    config = ModelConfig(n_latent=2, n_components=8, decoder_width=8,
                         prior_width=8, head_width=16,
                         encoder_channels=(4, 8), stamp_size=32,
                         sigma_min=0.1, sigma_max=3.0)

    def make(path):
        with torch.random.fork_rng():
            torch.manual_seed(1)
            vaes = {stage: VAE(config) for stage in ('isolated', 'blended')}
        # they share one decoder and one prior
        for part in ('decoder', 'prior'):
            state = getattr(vaes['isolated'], part).state_dict()
            getattr(vaes['blended'], part).load_state_dict(state)
        save_weights(path, pack_vaes(vaes), {
            'version': '0', 'stamp_shape': (32, 32),
            'psf_fwhm_range': (1.0, 8.0), 'snr_range': (1.0, 1e5),
            'normalization': 'asinh', 'model_config': config.to_dict(),
            'training': {}, 'licence': 'BSD-3-Clause'})
        return path

    return make
