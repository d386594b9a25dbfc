# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Gaussian mixtures of normal scores: how the mock catalogue is stored.

Each quantity is turned into a normal score by its quantiles, so that
its own distribution is kept whatever its form; a mixture of Gaussians
in all scores together describes how the quantities hang together.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp, ndtr, ndtri

__all__ = ['ScoreMixture', 'fit_mixture']

# Scores stay within this many sigma.
MAX_SCORE = 3.2


@dataclass(frozen=True, kw_only=True)
class ScoreMixture:
    """
    Joint distribution of some quantities.

    Parameters
    ----------
    names : tuple of str
        Quantities; the first is the one that others are drawn for.
    quantiles : ndarray (n_quantities, n_levels)
        Values at even levels from 0 to 1.
    weights : ndarray (n_parts,)
        Shares of the Gaussians.
    means : ndarray (n_parts, n_quantities)
        Of the scores.
    covariances : ndarray (n_parts, n_quantities, n_quantities)
        Of the scores.
    """

    names: tuple[str, ...]
    quantiles: np.ndarray
    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray

    def scores(self, name, values):
        """
        Turn values into normal scores.

        Parameters
        ----------
        name : str
            The quantity.
        values : ndarray
            Its values.

        Returns
        -------
        ndarray
        """
        table = self.quantiles[self.names.index(name)]
        levels = np.linspace(0, 1, len(table))
        score = ndtri(np.interp(values, table, levels))
        return np.clip(score, -MAX_SCORE, MAX_SCORE)

    def values(self, name, scores):
        """
        Turn normal scores into values.

        Parameters
        ----------
        name : str
            The quantity.
        scores : ndarray
            Normal scores.

        Returns
        -------
        ndarray
        """
        table = self.quantiles[self.names.index(name)]
        levels = np.linspace(0, 1, len(table))
        return np.interp(ndtr(scores), levels, table)

    def log_density(self, values):
        """
        Logarithmic density of the first quantity's score.

        Parameters
        ----------
        values : ndarray (n,)
            Values of the first quantity.

        Returns
        -------
        ndarray (n_parts, n)
            Of each Gaussian, its weight included.
        """
        score = self.scores(self.names[0], values)
        sigma = np.sqrt(self.covariances[:, 0, 0])[:, None]
        pull = (score - self.means[:, :1]) / sigma
        return np.log(self.weights[:, None] / sigma) - pull ** 2 / 2

    def draw(self, rng, values):
        """
        Draw all other quantities for given values of the first.

        Parameters
        ----------
        rng : `numpy.random.Generator`
            Source of randomness.
        values : ndarray (n,)
            Values of the first quantity.

        Returns
        -------
        dict of ndarray (n,)
            All quantities, the first as given.
        """
        values = np.asarray(values, float)
        density = self.log_density(values)
        shares = np.exp(density - logsumexp(density, axis=0))
        edges = np.cumsum(shares, axis=0)
        part = (rng.random(len(values)) * edges[-1] > edges).sum(axis=0)
        part = np.minimum(part, len(self.weights) - 1)
        first = self.scores(self.names[0], values)
        slope = self.covariances[:, 1:, 0] / self.covariances[:, :1, 0]
        rest = (self.covariances[:, 1:, 1:]
                - slope[:, :, None] * self.covariances[:, :1, 1:])
        roots = np.linalg.cholesky(rest)
        noise = rng.normal(size=(len(values), len(self.names) - 1))
        score = (self.means[part, 1:]
                 + slope[part] * (first - self.means[part, 0])[:, None]
                 + np.einsum('nij,nj->ni', roots[part], noise))
        out = {name: self.values(name, score[:, i])
               for i, name in enumerate(self.names[1:])}
        return {self.names[0]: values, **out}

    def to_dict(self):
        """
        Turn the mixture into numbers that JSON can hold.

        Returns
        -------
        dict
            Rounded to four decimals.
        """
        return {'names': list(self.names),
                **{name: np.round(getattr(self, name), 4).tolist()
                   for name in ('quantiles', 'weights', 'means',
                                'covariances')}}

    @classmethod
    def from_dict(cls, content):
        """
        Make a mixture of what `to_dict` gave.

        Parameters
        ----------
        content : dict
            As `to_dict` gives it.

        Returns
        -------
        `ScoreMixture`
        """
        return cls(names=tuple(content['names']),
                   **{name: np.array(content[name]) for name in
                      ('quantiles', 'weights', 'means', 'covariances')})


def _initial_shares(rng, scores, n_parts):
    """Shares of parts that begin at random points."""
    centre = scores[rng.choice(len(scores), n_parts, replace=False)]
    distance = ((scores[:, None] - centre) ** 2).sum(axis=2)
    return np.eye(n_parts)[distance.argmin(axis=1)]


def _maximise(scores, shares, shrinkage):
    """Weights, means and covariances for given shares of the parts."""
    count = shares.sum(axis=0) + 1e-9
    means = shares.T @ scores / count[:, None]
    offset = scores[:, None] - means
    covariances = np.einsum('nk,nki,nkj->kij', shares, offset, offset)
    pooled = covariances.sum(axis=0) / len(scores)
    # a part of few points leans on the scatter about all means
    covariances = ((covariances + shrinkage * pooled)
                   / (count + shrinkage)[:, None, None])
    covariances += 1e-3 * np.eye(scores.shape[1])
    return count / count.sum(), means, covariances


def _expect(scores, weights, means, covariances):
    """Shares of the parts, and the log-likelihood."""
    logs = []
    for weight, mean, covariance in zip(weights, means, covariances,
                                        strict=True):
        root = np.linalg.cholesky(covariance)
        pull = np.linalg.solve(root, (scores - mean).T)
        logs.append(np.log(weight) - np.log(np.diag(root)).sum()
                    - (pull ** 2).sum(axis=0) / 2)
    logs = np.array(logs)
    total = logsumexp(logs, axis=0)
    return np.exp(logs - total).T, float(total.mean())


def fit_mixture(values, *, n_parts, seed, n_levels=33, shrinkage=30.0,
                n_steps=60, n_starts=8):
    """
    Fit a mixture by expectation and maximisation.

    Parameters
    ----------
    values : dict of ndarray (n,)
        Quantities; the first is the one that others are drawn for.
    n_parts : int
        Number of Gaussians.
    seed : int
        Seed of the starts.
    n_levels : int, optional
        Number of quantiles.
    shrinkage : float, optional
        Points' worth of the pooled covariance that each part gets.
    n_steps, n_starts : int, optional
        Steps of each start, of which the likeliest is kept.

    Returns
    -------
    `ScoreMixture`
    """
    levels = np.linspace(0, 1, n_levels)
    table = np.array([np.quantile(v, levels) for v in values.values()])
    blank = ScoreMixture(names=tuple(values), quantiles=table,
                         weights=np.ones(1), means=np.zeros((1, len(table))),
                         covariances=np.eye(len(table))[None])
    scores = np.column_stack([blank.scores(k, v) for k, v in values.items()])
    rng, best = np.random.default_rng(seed), (-np.inf, None)
    for _ in range(n_starts):
        shares = _initial_shares(rng, scores, n_parts)
        for _ in range(n_steps):
            model = _maximise(scores, shares, shrinkage)
            shares, likelihood = _expect(scores, *model)
        if likelihood > best[0]:
            best = (likelihood, model)
    weights, means, covariances = best[1]
    return ScoreMixture(names=tuple(values), quantiles=table,
                        weights=weights, means=means,
                        covariances=covariances)
