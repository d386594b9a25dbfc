# Licensed under a 3-clause BSD style license - see LICENSE.rst
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from vaephot.exceptions import WeightsError
from vaephot.models.classifier import (
    LIMIT,
    PREFIX,
    SourceClassifier,
    build_classifier,
    pack_classifier,
)

N_FEATURES = 5


@pytest.fixture
def classifier():
    """Return one whose features have means and scales."""
    out = SourceClassifier(N_FEATURES, width=6).eval().requires_grad_(False)
    out.mean.copy_(torch.linspace(-1, 1, N_FEATURES))
    out.scale.copy_(torch.linspace(0.5, 2, N_FEATURES))
    return out


def _features(n=40):
    return np.random.default_rng(3).normal(0, 2, (n, N_FEATURES))


def _weights(tensors):
    return SimpleNamespace(tensors=tensors,
                           record=SimpleNamespace(name='mine'))


def test_a_packed_classifier_gives_the_same(classifier):
    other = {'decoder.scale': torch.ones(3)}
    tensors = {**other, **pack_classifier(classifier)}
    assert all(name.startswith(PREFIX) for name in tensors.keys() - other)
    built = build_classifier(_weights(tensors))
    np.testing.assert_array_equal(built.probabilities(_features()),
                                  classifier.probabilities(_features()))
    assert not any(value.requires_grad for value in built.parameters())


def test_probabilities_are_those_of_the_odds(classifier):
    features = _features()
    p = classifier.probabilities(features)
    odds = classifier(torch.as_tensor(features, dtype=torch.float32))
    assert p.shape == (len(features), 2)
    assert p.dtype == np.float64
    np.testing.assert_allclose(np.log(p / (1 - p)), odds, rtol=1e-5,
                               atol=1e-6)
    assert classifier.probabilities(features[:0]).shape == (0, 2)


def test_what_is_far_beyond_the_usual_tells_nothing_more(classifier):
    far = classifier.mean + LIMIT * classifier.scale
    farther = classifier.mean + 1e6 * classifier.scale
    np.testing.assert_allclose(*(classifier.probabilities(
        values.numpy()[None]) for values in (far, farther)), rtol=1e-6)


def test_weights_may_have_no_classifier():
    assert build_classifier(_weights({'decoder.scale': torch.ones(3)})) is None


def test_tensors_that_do_not_fit_are_an_error(classifier):
    tensors = pack_classifier(classifier)
    for name, tensor in tensors.items():
        lacking = {key: value for key, value in tensors.items()
                   if key != name}
        with pytest.raises(WeightsError, match="'mine' lacks tensors"):
            build_classifier(_weights(lacking))
        wrong = {**tensors, name: torch.zeros(len(tensor) + 1)}
        with pytest.raises(WeightsError, match='other shapes'):
            build_classifier(_weights(wrong))


def test_building_does_not_touch_the_global_stream(classifier):
    state = torch.get_rng_state()
    first, second = SourceClassifier(3), SourceClassifier(3)
    build_classifier(_weights(pack_classifier(classifier)))
    assert torch.equal(torch.get_rng_state(), state)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
