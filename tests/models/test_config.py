# Licensed under a 3-clause BSD style license - see LICENSE.rst
import json

import pytest

from vaephot.models.config import N_EXPLICIT, PARAMETER_NAMES, ModelConfig


def test_dictionary_of_a_configuration_makes_an_equal_one():
    config = ModelConfig(n_latent=3, encoder_channels=(4, 8), stamp_size=20)
    read = json.loads(json.dumps(config.to_dict()))
    assert ModelConfig.from_dict(read) == config


def test_unknown_settings_are_refused_by_name():
    with pytest.raises(ValueError, match='n_latents'):
        ModelConfig.from_dict({'n_latents': 3})


@pytest.mark.parametrize('name', ['n_latent', 'n_components',
                                  'decoder_width', 'prior_width',
                                  'head_width', 'stamp_size'])
def test_counts_below_one_are_refused(name):
    with pytest.raises(ValueError, match=name):
        ModelConfig(**{name: 0})


@pytest.mark.parametrize('limits', [(0.0, 1.0), (2.0, 1.0), (1.0, 1.0)])
def test_widths_must_be_positive_and_rising(limits):
    with pytest.raises(ValueError, match='sigma_min'):
        ModelConfig(sigma_min=limits[0], sigma_max=limits[1])


def test_stamp_must_halve_in_every_stage():
    with pytest.raises(ValueError, match='multiple of 8'):
        ModelConfig(stamp_size=44, encoder_channels=(4, 4, 4))


def test_parameters_are_the_explicit_ones_and_the_latent():
    assert PARAMETER_NAMES[:3] == ('x', 'y', 'log_size')
    assert ModelConfig(n_latent=7).n_parameters == N_EXPLICIT + 7


def test_configuration_cannot_be_changed():
    with pytest.raises(AttributeError):
        ModelConfig().n_latent = 2
