# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Fixtures and rules for all tests."""

import os
import sys
from importlib.util import find_spec

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
