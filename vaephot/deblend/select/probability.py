# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Probability of each fitted source to be one of its own.

Logistic models of the evidence, fitted to simulated blends by
``benchmarks/source_probability.py``.
"""

import numpy as np

from vaephot.deblend.select.features import FEATURES

__all__ = ['COEFFICIENTS', 'RIVAL_COEFFICIENTS', 'kinds_of', 'log_odds',
           'source_probability', 'with_rivals', 'worth']

# of the logistic models of `source_probability`: the brightest source of a
# parent, and others. Fitted with a ridge to 748 candidates beside a brighter
# one (348 of them false) and 948 that are the brightest of a parent, of
# simulated blends and isolated galaxies as seen by Euclid (wide and deep) and
# HSC: smooth ones, ones with knots, arms and bars, and real ones, weighted to
# as many isolated galaxies as faint and 0.7 times as many bright blends.
# benchmarks/source_probability.py fits anew.
COEFFICIENTS = {
    'first': {'constant': -4.65, 'log_drop': 2.86, 'log_central': 6.9},
    'beside': {'constant': -0.47, 'log_snr': 4.14, 'on_host': -0.59,
               'log_size': 4.63, 'log_axis_ratio': 2.27, 'around': -5.21,
               'mirrored': -2.35, 'colour': 0.61}}
# of the model of `with_rivals`, fitted likewise to 143 sources (108 of them
# true): where structure is as good, what was seen before says nothing
RIVAL_COEFFICIENTS = {'constant': -0.49, 'worth': 1.41, 'worth_odds': 1.15}
# gain over structure that is worth half, and the width of the step
HALF_WORTH, WORTH_WIDTH = 20.0, 5.0
# probabilities closer to 0 and 1 than this say no more
LEAST_DOUBT = 1e-4


def _logistic(values):
    return 1 / (1 + np.exp(-np.clip(values, -50, 50)))


def kinds_of(evidence):
    """Which model holds for each row of evidence: name to rows (n,)."""
    first = evidence[:, FEATURES.index('first')] > 0
    return {'first': first, 'beside': ~first}


def source_probability(evidence):
    """
    Probability to be a source of its own.

    Parameters
    ----------
    evidence : `numpy.ndarray`, (n, n_features)
        What `~vaephot.deblend.select.features.measure_evidence` returned.

    Returns
    -------
    `numpy.ndarray`, (n,)
        From 0 to 1.
    """
    total = np.zeros(len(evidence))
    for kind, rows in kinds_of(evidence).items():
        for name, weight in COEFFICIENTS[kind].items():
            total[rows] += weight * (
                1.0 if name == 'constant'
                else evidence[rows, FEATURES.index(name)])
    return _logistic(total)


def log_odds(probability):
    """
    Logarithm of the odds of probabilities.

    Parameters
    ----------
    probability : `numpy.ndarray`
        From 0 to 1.

    Returns
    -------
    `numpy.ndarray`
    """
    value = np.clip(probability, LEAST_DOUBT, 1 - LEAST_DOUBT)
    return np.log(value / (1 - value))


def worth(gain):
    """
    Weight of what a source gains over structure.

    Parameters
    ----------
    gain : `numpy.ndarray`
        What `~vaephot.deblend.select.host_test.host_gains` returned.

    Returns
    -------
    `numpy.ndarray`
        From 0, no gain to speak of or a loss, to 1.
    """
    return _logistic((np.asarray(gain) - HALF_WORTH) / WORTH_WIDTH)


def with_rivals(probability, gain):
    """
    Probability of sources that may be structure of others.

    Parameters
    ----------
    probability : `numpy.ndarray`, (n,)
        What `source_probability` returned.
    gain : `numpy.ndarray`, (n,)
        What each gains over structure of its host, NaN where there is no
        such host.

    Returns
    -------
    `numpy.ndarray`, (n,)
        As before where the gain is NaN.
    """
    beta, weight = RIVAL_COEFFICIENTS, worth(np.nan_to_num(gain))
    after = _logistic(beta['constant'] + weight * (
        beta['worth'] + beta['worth_odds'] * log_odds(probability)))
    # no gain makes nothing more likely
    after = np.where(weight < 0.5, np.minimum(after, probability), after)
    return np.where(np.isnan(gain), probability, after)
