# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
import torch

from vaephot.deblend.waves import (
    HELD,
    LEAST_SIGNIFICANCE,
    has_waves,
    held_waves,
    without_weak_waves,
)
from vaephot.models.config import ModelConfig
from vaephot.models.encoder import Gaussian

PLAIN = ModelConfig(n_latent=2)
CONFIG = ModelConfig(n_latent=2, structure_orders=(1, 2))
# distance from zero in units of the errors, squared: 0, 16, 96, 104, 800
WAVES = [[0, 0, 0, 0], [2, 0, 0, 0], [0, 4.9, 0, 0], [5.0, 0, 0, -1.0],
         [10, 10, 0, 0]]
PRECISION = 4.0


def _gaussian(config):
    generator = torch.Generator().manual_seed(3)
    mean = torch.randn(5, config.n_parameters, generator=generator,
                       dtype=torch.float64)
    if config.n_structure:
        mean[:, config.n_concentric:] = torch.tensor(WAVES)
    return Gaussian(mean, torch.full_like(mean, PRECISION))


def _copy(gaussian):
    return Gaussian(*[column.clone() for column in gaussian])


def test_weak_waves_are_taken_away():
    before = _gaussian(CONFIG)
    given = _copy(before)
    found = without_weak_waves(given, CONFIG)
    assert 96 < LEAST_SIGNIFICANCE < 104
    expected = before.mean.clone()
    expected[:3, CONFIG.n_concentric:] = 0
    torch.testing.assert_close(found.mean, expected, rtol=0, atol=0)
    assert torch.equal(found.precision, before.precision)
    # what was given is not changed
    assert torch.equal(given.mean, before.mean)


@pytest.mark.parametrize(('least', 'kept'), [
    (0.0, [1, 2, 3, 4]), (15.0, [1, 2, 3, 4]), (100.0, [3, 4]),
    (200.0, [4]), (np.inf, [])])
def test_limit_of_weak_waves(least, kept):
    found = without_weak_waves(_gaussian(CONFIG), CONFIG, least)
    assert np.flatnonzero(has_waves(found, CONFIG)).tolist() == kept
    assert torch.equal(found.mean[kept], _gaussian(CONFIG).mean[kept])


def test_errors_say_what_is_weak():
    gaussian = _gaussian(CONFIG)
    gaussian.precision[4, CONFIG.n_concentric:] = 1e-3
    found = without_weak_waves(gaussian, CONFIG)
    assert has_waves(found, CONFIG).tolist() == [False] * 3 + [True, False]


def test_sources_with_an_amplitude_have_waves():
    found = has_waves(_gaussian(CONFIG), CONFIG)
    assert isinstance(found, np.ndarray)
    assert found.tolist() == [False, True, True, True, True]


def test_prior_holds_the_waves_of_the_others():
    before = _gaussian(CONFIG)
    given = _copy(before)
    free = np.array([True, False, True, False, False])
    held = held_waves(given, free, CONFIG)
    n = CONFIG.n_concentric
    assert torch.equal(held.mean, before.mean)
    assert torch.equal(held.precision[:, :n], before.precision[:, :n])
    assert (held.precision[free, n:] == PRECISION).all()
    assert (held.precision[~free, n:] == HELD).all()
    assert torch.equal(given.precision, before.precision)


def test_without_structure_there_is_nothing_to_do():
    gaussian = _gaussian(PLAIN)
    before = _copy(gaussian)
    assert without_weak_waves(gaussian, PLAIN) is gaussian
    assert held_waves(gaussian, np.zeros(5, bool), PLAIN) is gaussian
    assert has_waves(gaussian, PLAIN).tolist() == [False] * 5
    for a, b in zip(gaussian, before, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize('config', [PLAIN, CONFIG])
def test_no_sources(config):
    empty = Gaussian(*[column[:0] for column in _gaussian(config)])
    assert without_weak_waves(empty, config).mean.shape == empty.mean.shape
    assert has_waves(empty, config).shape == (0,)
    assert held_waves(empty, np.zeros(0, bool), config).mean.shape == (
        empty.mean.shape)
