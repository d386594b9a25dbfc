# Licensed under a 3-clause BSD style license - see LICENSE.rst
import json

import pytest

from vaephot.models.config import ModelConfig
from vaephot.train.training_config import STAGES, TrainingConfig


def test_dictionary_of_settings_makes_equal_ones(tmp_path):
    config = TrainingConfig(model=ModelConfig(n_latent=3), batch_size=24,
                            n_psfs=3, seed=9,
                            n_steps={'isolated': 1, 'blended': 2})
    path = tmp_path / 'config.json'
    path.write_text(json.dumps(config.to_dict()), encoding='utf-8')
    assert TrainingConfig.read(path) == config


def test_settings_left_out_keep_their_defaults():
    config = TrainingConfig.from_dict({'seed': 4, 'model': {'n_latent': 2}})
    assert config == TrainingConfig(seed=4, model=ModelConfig(n_latent=2))


@pytest.mark.parametrize(('values', 'name'), [
    ({'n_step': 3}, 'n_step'), ({'model': {'latents': 3}}, 'latents')])
def test_unknown_settings_are_refused_by_name(values, name):
    with pytest.raises(ValueError, match=name):
        TrainingConfig.from_dict(values)


def test_batch_must_be_shared_equally_among_the_psfs():
    with pytest.raises(ValueError, match='multiple of n_psfs'):
        TrainingConfig(batch_size=10, n_psfs=4)


@pytest.mark.parametrize('n_steps', [{'isolated': 3}, {
    'isolated': 3, 'blended': 3, 'more': 1}])
def test_steps_are_given_for_each_stage(n_steps):
    with pytest.raises(ValueError, match='n_steps'):
        TrainingConfig(n_steps=n_steps)


@pytest.mark.parametrize('elbo_start', [0.7, {'isolated': 0.7}])
def test_start_of_the_bound_is_given_for_each_stage(elbo_start):
    with pytest.raises(ValueError, match='elbo_start is'):
        TrainingConfig(elbo_start=elbo_start)


@pytest.mark.parametrize('rate', [0, -1e-3])
def test_learning_rate_is_positive(rate):
    with pytest.raises(ValueError, match='learning_rate'):
        TrainingConfig(learning_rate=rate)


@pytest.mark.parametrize(('name', 'value'), [
    ('patience', -1), ('elbo_snr', -1.0), ('precision', 'float16')])
def test_bad_values_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f'{name} is'):
        TrainingConfig(**{name: value})


def test_defaults_of_two_configurations_are_not_shared():
    assert TrainingConfig().n_steps is not TrainingConfig().n_steps
    assert STAGES == ('isolated', 'blended')
