# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Fit the probability that a fitted source is one of its own.

Blends are simulated and searched, and nothing is dropped: each fitted source
is true, the nearest to a true one, or false. Their galaxies are smooth, have
knots, arms and bars, or are real ones where ``--real`` names a folder of
them; Euclid (wide and deep) and HSC see them. Logistic models of the evidence
are fitted to that, one for each kind of candidate, for the coefficients in
`vaephot.deblend.select.probability`, and tested on blends that they have not
seen.
Of what is not dropped then, sources that may be a part of others are compared
with the asymmetry of these, and another model says what the gain is worth.
"""

import argparse
from dataclasses import replace
from itertools import pairwise

import numpy as np
from _engines import evidence_of, find_all, make_engine, make_search
from astropy.table import Table
from mosaic import make_mosaic
from scipy.optimize import minimize
from scipy.spatial import cKDTree

from vaephot import PeakFinder
from vaephot.cli._demo_field import detect_parents
from vaephot.deblend.select.features import FEATURES
from vaephot.deblend.select.host_test import find_pairs, host_gains
from vaephot.deblend.select.loop import drop_doubtful
from vaephot.deblend.select.probability import (
    COEFFICIENTS,
    RIVAL_COEFFICIENTS,
    kinds_of,
    log_odds,
    source_probability,
    worth,
)
from vaephot.deblend.select.score import SURE
from vaephot.models.bundle import build_vaes
from vaephot.simulate import MockCatalog, RealGalaxies, Structure
from vaephot.weights import load_weights

# kinds of blends, how many of them for each isolated one
SHARES = {'isolated': 1.0, 'faint': 1.0, 'bright': 0.7, 'star': 0.3}
# a fitted source is true within this distance, in pixels
MAX_DISTANCE = 3.0
# strength of the pull of all weights towards 0
RIDGE = 0.3
N_FOLDS = 5
LEAST_PROBABILITIES = (0.1, 0.3, 0.5, 0.7, 0.9)
# sources above this probability are compared with asymmetry
LEAST_COMPARED = 0.25
RELIABILITY_EDGES = (0, 0.1, 0.3, 0.5, 0.7, 0.9, 1)


def parse_arguments():
    """Command line of the script."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('--n', type=int, default=60, help='isolated galaxies of each '
        'population, and as many blends (default: %(default)s)')
    add('--seed', type=int, default=101, help='default: %(default)s')
    add('--quick', action='store_true', help='the quick fit')
    add('--real', metavar='FOLDER',
        help='COSMOS galaxies in the format of GalSim')
    add('--weights', metavar='NAME', help='name or path of the weights')
    return parser.parse_args()


def is_true(xy, true_xy):
    """Whether each position is the closest to a true one, and close."""
    distance, nearest = cKDTree(true_xy).query(xy)
    out = np.zeros(len(xy), bool)
    order = np.argsort(distance, kind='stable')
    _, first = np.unique(nearest[order], return_index=True)
    best = order[first]
    out[best] = distance[best] < MAX_DISTANCE
    return out


class SmoothGalaxies:
    """The mock catalogue without knots, arms and bars."""

    def __init__(self):
        self.catalog = MockCatalog()

    def draw(self, rng, mags, bands):
        """Galaxies of some magnitudes."""
        return [replace(item, galaxy=item.galaxy.with_structure(Structure()))
                for item in self.catalog.draw(rng, mags, bands)]


def collect(engine, true_xy):
    """
    Evidence of all sources of a search, and which are true.

    Returns
    -------
    evidence, real
        Of all sources.
    odds, weight, likely_real
        Of those that are likely and may be a part of others: logarithm of
        the odds before, and weight of the gain.
    """
    _, scene = find_all(engine, make_search())
    evidence, xy = evidence_of(engine, scene)
    real = is_true(xy, true_xy)
    cautious = make_search(PeakFinder(min_probability=LEAST_COMPARED), 0)
    likely = drop_doubtful(engine, scene, cautious)
    features, xy = evidence_of(engine, likely)
    probability = source_probability(features)
    pairs = find_pairs(engine, likely)
    pairs = pairs.take(probability[pairs.rows] < SURE)
    return (evidence, real, log_odds(probability[pairs.rows]),
            worth(host_gains(engine, likely, pairs)),
            is_true(xy, true_xy)[pairs.rows])


def populations(real):
    """Galaxies, and the survey that sees them, by name."""
    out = {'mock': (None, 'euclid-wide'),
           'smooth': (SmoothGalaxies(), 'euclid-wide'),
           'deep': (None, 'euclid-deep'), 'ground': (None, 'hsc-wide')}
    if real:
        out['real'] = RealGalaxies(real), 'euclid-wide'
    return out


def collect_all(args):
    """The same of all kinds of blends."""
    vae = build_vaes(load_weights(args.weights))['blended']
    parts = []
    for name, (population, survey) in populations(args.real).items():
        for case, share in SHARES.items():
            mosaic = make_mosaic(case, max(1, round(share * args.n)),
                                 args.seed, population=population,
                                 survey=survey)
            engine = make_engine(mosaic, detect_parents(mosaic), vae,
                                 refine=not args.quick)
            parts.append(collect(engine, mosaic.true_xy))
            real, compared = parts[-1][1], parts[-1][4]
            print(f'{name}, {case}: {len(real)} sources, {real.sum()} true; '
                  f'{len(compared)} compared, {compared.sum()} true')
    return tuple(np.concatenate(columns)
                 for columns in zip(*parts, strict=True))


def fit_logistic(evidence, real):
    """Constant and weights of the features by maximum likelihood."""
    design = np.column_stack([np.ones(len(evidence)), evidence])
    sign = np.where(real, 1.0, -1.0)

    def cost(beta):
        margin = sign * (design @ beta)
        value = np.logaddexp(0, -margin).sum()
        slope = -design.T @ (sign / (1 + np.exp(np.clip(margin, -50, 50))))
        pull = RIDGE * np.append(0, beta[1:])
        return value + 0.5 * pull @ beta, slope + pull
    return minimize(cost, np.zeros(design.shape[1]), jac=True).x


def predict(beta, evidence):
    """Probability of a fitted model."""
    return 1 / (1 + np.exp(-np.clip(beta[0] + evidence @ beta[1:],
                                    -50, 50)))


def cross_validated(evidence, real):
    """Probabilities, each from a model that has not seen its block."""
    out = np.zeros(len(real))
    # blocks of neighbours: the sources of a blend stay together
    n_blocks = 4 * N_FOLDS
    block = np.arange(len(real)) * n_blocks // len(real)
    fold = block % N_FOLDS
    for k in range(N_FOLDS):
        beta = fit_logistic(evidence[fold != k], real[fold != k])
        out[fold == k] = predict(beta, evidence[fold == k])
    return out


def reliability(probability, real):
    """Table of predicted and observed shares of true sources."""
    rows = []
    for low, high in pairwise(RELIABILITY_EDGES):
        s = (probability >= low) & (probability < high + (high == 1))
        if s.any():
            rows.append((low, high, s.sum(), probability[s].mean(),
                         real[s].mean()))
    return Table(rows=rows, names=('low', 'high', 'n', 'predicted', 'true'))


def main():
    """Run the script."""
    args = parse_arguments()
    evidence, real, odds, weight, compared = collect_all(args)
    probability = np.zeros(len(real))
    for kind, rows in kinds_of(evidence).items():
        if not rows.any():
            continue
        names = [name for name in COEFFICIENTS[kind] if name != 'constant']
        used = evidence[rows][:, [FEATURES.index(name) for name in names]]
        beta = fit_logistic(used, real[rows])
        probability[rows] = cross_validated(used, real[rows])
        print(f'{kind}, {rows.sum()} sources, {real[rows].sum()} true:',
              {name: round(float(value), 2) for name, value in zip(
                  ['constant', *names], beta, strict=True)})
    for least in LEAST_PROBABILITIES:
        kept = probability >= least
        print(f'above {least}: {real[kept].sum() / real.sum():.3f} of the '
              f'true ones, {real[kept].mean():.3f} of the sources true')
    table = reliability(probability, real)
    table['predicted'].format = table['true'].format = '.3f'
    print(table)
    if len(weight):
        beta = fit_logistic(np.column_stack([weight, weight * odds]),
                            compared)
        print(f'with asymmetry, {len(weight)} sources, {compared.sum()} true:',
              {name: round(float(value), 2) for name, value in zip(
                  RIVAL_COEFFICIENTS, beta, strict=True)})


if __name__ == '__main__':
    main()
