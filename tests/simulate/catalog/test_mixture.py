# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from scipy.stats import ks_2samp

from vaephot.simulate.catalog.mixture import ScoreMixture, fit_mixture


@pytest.fixture(scope='module')
def sample():
    rng = np.random.default_rng(1)
    first = rng.normal(size=1500)
    side = rng.random(1500) < 0.4
    # two branches, one of them skewed
    second = np.where(side, 2 * first, -first) + rng.normal(0, 0.3, 1500)
    return {'a': first, 'b': second, 'c': np.exp(second / 2)}


@pytest.fixture(scope='module')
def mixture(sample):
    return fit_mixture(sample, n_parts=3, seed=1, n_starts=4, n_steps=40)


def test_scores_and_values_are_inverse(mixture, sample):
    scores = mixture.scores('c', sample['c'][:200])
    inner = abs(scores) < 2
    assert mixture.values('c', scores)[inner] == pytest.approx(
        sample['c'][:200][inner], rel=1e-3, abs=1e-3)


def test_drawn_quantities_have_the_distributions_of_the_sample(
        mixture, sample):
    drawn = mixture.draw(np.random.default_rng(2), sample['a'])
    assert (drawn['a'] == sample['a']).all()
    for name in ('b', 'c'):
        assert ks_2samp(drawn[name], sample[name]).pvalue > 0.01


def test_drawn_quantities_hang_together_as_in_the_sample(mixture, sample):
    drawn = mixture.draw(np.random.default_rng(3), np.full(2000, 1.5))
    near = abs(sample['a'] - 1.5) < 0.2
    high = (sample['b'][near] > 0.5).mean()
    assert (drawn['b'] > 0.5).mean() == pytest.approx(high, abs=0.12)
    assert np.corrcoef(np.log(drawn['c']), drawn['b'])[0, 1] > 0.9


def test_a_mixture_survives_json(mixture):
    again = ScoreMixture.from_dict(mixture.to_dict())
    assert again.names == mixture.names
    values = [m.draw(np.random.default_rng(4), np.zeros(50))['b']
              for m in (mixture, again)]
    assert values[0] == pytest.approx(values[1], abs=0.01)


def test_a_fit_follows_from_its_seed(sample):
    one, two = (fit_mixture(sample, n_parts=2, seed=5, n_starts=1,
                            n_steps=5) for _ in range(2))
    assert (one.means == two.means).all()
