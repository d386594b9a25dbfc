# Licensed under a 3-clause BSD style license - see LICENSE.rst
import subprocess

import pytest
import torch

from vaephot.exceptions import OutputExistsError, TrainingError
from vaephot.models.bundle import build_vaes
from vaephot.models.config import ModelConfig
from vaephot.models.vae import VAE
from vaephot.train.release import find_commit, release_weights
from vaephot.train.store import store_hash
from vaephot.train.training_config import TrainingConfig
from vaephot.weights import load_weights

CONFIG = TrainingConfig(
    model=ModelConfig(n_latent=2, n_components=6, decoder_width=8,
                      prior_width=8, head_width=16, stamp_size=16,
                      encoder_channels=(4, 8)),
    n_steps={'isolated': 5, 'blended': 10}, batch_size=16, n_psfs=2, seed=3)
CURVES = {'isolated': [{'step': 5, 'loss': 1.0}],
          'blended': [{'step': 4, 'loss': 1.0},
                      {'step': 10, 'loss': 0.5, 'flux_nmad': float('nan')}]}


@pytest.fixture(scope='module')
def vaes():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        vae = VAE(CONFIG.model)
        other = VAE(CONFIG.model)
    other.decoder.load_state_dict(vae.decoder.state_dict())
    other.prior.load_state_dict(vae.prior.state_dict())
    return {'isolated': vae, 'blended': other}


def test_released_weights_load_to_equal_networks(vaes, tiny_store, tmp_path):
    path = tmp_path / 'mine.safetensors'
    release_weights(path, vaes, CONFIG, CURVES, tiny_store)
    built = build_vaes(load_weights(path))
    for stage, vae in vaes.items():
        state = built[stage].state_dict()
        for name, tensor in vae.state_dict().items():
            assert torch.equal(tensor, state[name])


def test_the_record_is_complete(vaes, tiny_store, tmp_path):
    path = tmp_path / 'mine.safetensors'
    release_weights(path, vaes, CONFIG, CURVES, tiny_store,
                    benchmark={'nmad': 0.1}, commit='abc')
    record = load_weights(path).record
    assert record.name == 'mine'
    assert record.stamp_shape == (16, 16)
    assert record.psf_fwhm_range == (2.0, 3.0)
    assert 0 < record.snr_range[0] < record.snr_range[1]
    assert record.model_config == CONFIG.model.to_dict()
    assert record.licence == 'BSD-3-Clause'
    assert record.benchmark == {'nmad': 0.1}
    training = record.training
    assert (training['commit'], training['seed']) == ('abc', 3)
    assert training['store'] == store_hash(tiny_store)
    assert TrainingConfig.from_dict(training['config']) == CONFIG
    # 5 and 10 steps of 16 stamps, 20 galaxies in the training split
    assert training['n_passes'] == {'isolated': 4.0, 'blended': 8.0}
    assert training['validation']['blended'] == {'step': 10, 'loss': 0.5}
    assert training['curves']['blended']['step'] == [4, 10]


def test_unfinished_runs_are_not_released(vaes, tiny_store, tmp_path):
    path = tmp_path / 'mine.safetensors'
    for curves in ({**CURVES, 'blended': CURVES['blended'][:1]},
                   {'isolated': CURVES['isolated']}):
        with pytest.raises(TrainingError, match=r"'blended' is at step"):
            release_weights(path, vaes, CONFIG, curves, tiny_store)
    assert not list(tmp_path.iterdir())


def test_existing_weights_are_kept_unless_told(vaes, tiny_store, tmp_path):
    path = tmp_path / 'mine.safetensors'
    release_weights(path, vaes, CONFIG, CURVES, tiny_store)
    with pytest.raises(OutputExistsError):
        release_weights(path, vaes, CONFIG, CURVES, tiny_store)
    release_weights(path, vaes, CONFIG, CURVES, tiny_store, overwrite=True)


def test_the_commit_is_that_of_the_tree_or_unknown(tmp_path):
    assert find_commit(tmp_path) == 'unknown'
    git = ['git', '-c', 'user.name=a', '-c', 'user.email=a@b.c', '-c',
           'commit.gpgsign=false']
    try:
        subprocess.run([*git, 'init', '-q'], cwd=tmp_path, check=True)
    except FileNotFoundError:
        pytest.skip('there is no git')
    (tmp_path / 'a').write_text('1')
    subprocess.run([*git, 'add', 'a'], cwd=tmp_path, check=True)
    subprocess.run([*git, 'commit', '-q', '-m', 'x'], cwd=tmp_path,
                   check=True)
    commit = find_commit(tmp_path)
    assert len(commit) == 40
    (tmp_path / 'a').write_text('2')
    assert find_commit(tmp_path) == commit + '+'
