# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from vaephot.deblend.select.features import FEATURES
from vaephot.exceptions import TrainingError
from vaephot.models.bundle import build_vaes
from vaephot.simulate.scenes import LabelledImage
from vaephot.train.candidate_sets import (
    Candidates,
    CandidateStore,
    collect_candidates,
    true_sources,
)
from vaephot.weights import load_weights

# a galaxy and a star far apart, and a faint galaxy beside the first
PLACES = np.array([[24.3, 30.8], [70.6, 28.1], [33.4, 33.2]])
IS_STAR = np.array([False, True, False])
FLUX = np.array([3000.0, 2000.0, 900.0])
SIGMA, SIZES = 1.3, np.array([2.5, 0, 1.5])
# two whose parents are detected in either of the ways; both fits are quick
SEEDS = [2, 25]


# --------------------------------------------------------------- the truth
def test_each_true_source_is_one_candidate():
    rng = np.random.default_rng(3)
    xy, true_xy = rng.uniform(0, 20, (40, 2)), rng.uniform(0, 20, (15, 2))
    found = true_sources(xy, true_xy, 3.0)
    some = found >= 0
    assert some.any()
    assert len(set(found[some])) == some.sum()
    distance = np.hypot(*(xy[:, None] - true_xy).transpose(2, 0, 1))
    for k in np.flatnonzero(some):
        assert distance[k].argmin() == found[k]
        assert distance[k, found[k]] < 3
        # nobody else for whom it is the nearest one is closer
        rivals = distance.argmin(1) == found[k]
        assert distance[rivals, found[k]].min() == distance[k, found[k]]


def test_what_is_far_is_no_true_source():
    xy = np.array([[0.0, 0], [9, 9]])
    assert_array_equal(true_sources(xy, np.array([[1.0, 0]]), 1.5), [0, -1])
    assert_array_equal(true_sources(xy, np.array([[1.0, 0]]), 0.5), [-1, -1])
    assert true_sources(xy[:0], xy, 3.0).shape == (0,)


# --------------------------------------------------------------- the store
def _candidates(n, seed):
    rng = np.random.default_rng(seed)
    return Candidates(
        features=rng.normal(size=(n, 4)).astype(np.float32),
        is_source=rng.random(n) < 0.5, is_point=np.zeros(n, bool),
        seed=np.full(n, seed), kind=np.full(n, f'kind {seed}'),
        look=np.arange(n) % 2)


def test_candidates_are_read_as_they_were_written(tmp_path):
    store = CandidateStore(tmp_path / 'new' / 'store', 'abc')
    parts = {seed: _candidates(n, seed) for seed, n in ((2, 5), (10, 0),
                                                        (7, 3))}
    assert 2 not in store
    for seed, part in parts.items():
        store.add(seed, part)
        assert seed in store
    # another process goes on
    found = CandidateStore(tmp_path / 'new' / 'store', 'abc').read()
    assert len(found) == 8
    for seed, part in parts.items():
        rows = found.seed == seed
        for name in ('features', 'is_source', 'is_point', 'kind', 'look'):
            assert_array_equal(getattr(found, name)[rows],
                               getattr(part, name))


def test_candidates_of_other_weights_are_refused(tmp_path):
    CandidateStore(tmp_path, 'abc')
    with pytest.raises(TrainingError, match='other weights'):
        CandidateStore(tmp_path, 'abd')


# ------------------------------------------------------------- the search
@pytest.fixture(scope='module')
def vae(make_untrained, tmp_path_factory):
    """Return networks that have learned nothing; the fit does it all."""
    path = tmp_path_factory.mktemp('weights') / 'untrained.safetensors'
    return build_vaes(load_weights(make_untrained(path)))['blended']


@pytest.fixture(scope='module')
def image():
    """Return a labelled image of two bands of Gaussians."""
    yy, xx = np.mgrid[:60, :96]
    data = np.random.default_rng(3).standard_normal((2, 60, 96))
    for (x, y), flux, size in zip(PLACES, FLUX, SIZES, strict=True):
        variance = SIGMA ** 2 + size ** 2
        data += flux / (2 * np.pi * variance) * np.exp(
            -0.5 * ((xx - x) ** 2 + (yy - y) ** 2) / variance)
    grid = np.arange(-12, 13)
    line = np.exp(-0.5 * (grid / SIGMA) ** 2)
    psf = np.outer(line, line) / line.sum() ** 2
    return LabelledImage(
        data=data, mask=np.zeros(data.shape, bool), sky_rms=np.ones(2),
        gain=np.full(2, 1e6), psf=np.stack([psf, psf]), oversampling=1,
        bands=('a', 'b'), xy=PLACES, is_star=IS_STAR, kind='by hand')


class Judge:
    """All are sources, but for what would hardly be missed."""

    def probabilities(self, features):
        bright = features[:, FEATURES.index('log_drop')] > 2
        return np.stack([np.where(bright, 0.99, 0.01),
                         np.full(len(features), 0.5)], 1)


@pytest.mark.parametrize('seed', SEEDS)
def test_bright_sources_are_found_and_known(image, vae, seed):
    found = collect_candidates(image, seed, vae)
    first = found.look == 0
    assert found.features.shape == (len(found), len(FEATURES))
    assert np.isfinite(found.features).all()
    assert 2 <= found.is_source[first].sum() <= len(PLACES)
    assert found.is_point[first].sum() == 1
    assert not (found.is_point & ~found.is_source).any()
    assert set(found.seed) == {seed}
    assert set(found.kind) == {'by hand'}
    # what is true stays for the second look
    assert set(found.look) == {0, 1}
    assert (found.is_source[~first].sum()
            >= found.is_source[first].sum() - 1)


def test_a_classifier_drops_what_it_does_not_believe(image, vae):
    found = collect_candidates(image, SEEDS[0], vae, Judge())
    first, last = (found.take(found.look == k) for k in (0, found.look.max()))
    assert found.look.max() > 0
    assert last.is_source.sum() >= 2
    column = FEATURES.index('log_drop')
    kept = last.features[:, column]
    # the brightest of each parent stays in any case
    assert ((kept > 2) | (last.features[:, FEATURES.index('first')] > 0)).all()
    assert len(last) <= len(first)


def test_equal_seeds_give_equal_candidates(image, vae):
    one, two = (collect_candidates(image, SEEDS[0], vae) for _ in range(2))
    assert_array_equal(one.features, two.features)
    assert_array_equal(one.is_source, two.is_source)


def test_an_empty_image_has_no_candidates(image, vae):
    empty = LabelledImage(**{
        **vars(image), 'data': np.zeros(image.data.shape)})
    assert len(collect_candidates(empty, SEEDS[0], vae)) == 0
