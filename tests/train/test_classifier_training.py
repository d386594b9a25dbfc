# Licensed under a 3-clause BSD style license - see LICENSE.rst
import json

import numpy as np
import pytest
import torch
from scipy.special import entr, expit

from vaephot.deblend.select.features import FEATURES
from vaephot.exceptions import TrainingError
from vaephot.models.classifier import SourceClassifier, build_classifier
from vaephot.train.candidate_sets import Candidates
from vaephot.train.classifier_training import (
    fit_classifier,
    release_classifier,
    reliability,
)
from vaephot.weights import load_weights

N = 5000
SUMMARY = {'features': list(FEATURES), 'source': {'cross_entropy': 0.25}}


def _law(features):
    """True probabilities of being a source, and of these a point."""
    a, b, c = features[:, :3].T
    return np.stack([expit(2 * a - b + 0.5), expit(1.5 * c - 0.5)], 1)


@pytest.fixture(scope='module')
def candidates():
    """Return candidates of 50 images whose truth follows the law."""
    rng = np.random.default_rng(7)
    features = rng.normal(size=(N, len(FEATURES))).astype(np.float32)
    features[:, FEATURES.index('compared')] = 0
    truth = rng.random((N, 2)) < _law(features)
    return Candidates(
        features=features, is_source=truth[:, 0],
        is_point=truth.all(1), seed=rng.integers(1, 51, N),
        kind=np.full(N, 'law'), look=np.zeros(N, int))


@pytest.fixture(scope='module')
def fitted(candidates):
    """Return the classifier of them, and what is said of it."""
    return fit_classifier(candidates, n_epochs=15)


def test_the_law_is_learned(candidates, fitted):
    classifier, summary = fitted
    p = _law(candidates.features)
    entropy = (entr(p) + entr(1 - p))
    for i, (name, rows) in enumerate((
            ('source', np.ones(N, bool)), ('point', candidates.is_source))):
        # that of the mean scatters by about 0.01
        limit = entropy[rows, i].mean()
        assert limit - 0.03 < summary[name]['cross_entropy'] < limit + 0.05
    found = classifier.probabilities(candidates.features)
    assert abs(found[:, 0] - p[:, 0]).mean() < 0.06
    assert abs(found[:, 1] - p[:, 1]).mean() < 0.08


def test_probabilities_can_be_believed(fitted):
    for name in ('source', 'point'):
        for row in fitted[1][name]['reliability']:
            p = row['predicted']
            error = np.sqrt(p * (1 - p) / row['n'])
            assert abs(row['true'] - p) < 3.5 * error + 0.03


def test_the_summary_says_what_was_learned_from(candidates, fitted):
    summary = json.loads(json.dumps(fitted[1]))
    assert summary['features'] == list(FEATURES)
    assert summary['n_candidates'] == N
    assert summary['n_images'] == 50
    assert summary['n_sources'] == candidates.is_source.sum()
    assert summary['n_points'] == candidates.is_point.sum()
    for name, n in (('source', N), ('point', summary['n_sources'])):
        assert sum(row['n'] for row in summary[name]['reliability']) == n


def test_both_states_of_what_was_compared_are_learned(candidates):
    some = candidates.take(np.arange(200))
    some.features[::2, FEATURES.index('compared')] = 1
    state = torch.get_rng_state()
    one, two = (fit_classifier(some, n_epochs=1) for _ in range(2))
    # equal calls give equal networks, and leave the global stream alone
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(*(result[0].probabilities(some.features)
                                    for result in (one, two)))
    assert one[1]['n_candidates'] == 200
    assert sum(row['n'] for row in one[1]['source']['reliability']) == 300


@pytest.mark.parametrize('few', ['one image', 'no sources'])
def test_too_few_candidates_are_an_error(candidates, few):
    some = candidates.take(candidates.seed == 3 if few == 'one image'
                           else ~candidates.is_source)
    with pytest.raises(TrainingError, match='search more images'):
        fit_classifier(some)


def test_reliability_compares_shares():
    p = np.array([0.0, 0.05, 0.55, 0.52, 1.0])
    truth = np.array([False, False, True, False, True])
    assert reliability(p, truth) == [
        {'n': 2, 'predicted': 0.025, 'true': 0.0},
        {'n': 2, 'predicted': 0.535, 'true': 0.5},
        {'n': 1, 'predicted': 1.0, 'true': 1.0}]


# -------------------------------------------------------------- the release
def test_weights_get_a_classifier(make_weights, tmp_path):
    before = load_weights(make_weights(tmp_path / 'a.safetensors'))
    classifier = SourceClassifier(len(FEATURES))
    record = release_classifier(tmp_path / 'b.safetensors', before,
                                classifier, SUMMARY)
    after = load_weights(tmp_path / 'b.safetensors')
    assert after.record == record
    assert record.name == 'b'
    assert record.training == {**before.record.training,
                               'classifier': SUMMARY}
    assert record.sha256 != before.record.sha256
    for name, tensor in before.tensors.items():
        assert torch.equal(after.tensors[name], tensor)
    features = np.random.default_rng(1).normal(size=(9, len(FEATURES)))
    np.testing.assert_array_equal(
        build_classifier(after).probabilities(features),
        classifier.probabilities(features))


def test_a_new_classifier_takes_the_place_of_the_old_one(make_weights,
                                                         tmp_path):
    path = make_weights(tmp_path / 'a.safetensors')
    for width in (8, 4):
        release_classifier(path, load_weights(path),
                           SourceClassifier(len(FEATURES), width),
                           {'width': width}, overwrite=True)
    after = load_weights(path)
    assert after.record.training['classifier'] == {'width': 4}
    assert build_classifier(after).layers[0].bias.shape == (4,)
