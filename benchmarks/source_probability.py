# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Fit the probability that a fitted source is one of its own.

Blends are simulated and searched, and nothing is dropped: each fitted source
is true, the nearest to a true one, or false. Logistic models of the evidence
are fitted to that, one for each kind of candidate, for the coefficients in
`vaephot.deblend.decisions`, and tested on blends that they have not seen.
"""

import argparse
from itertools import pairwise

import numpy as np
from astropy.table import Table
from mosaic import make_mosaic, vaephot_inputs
from scipy.optimize import minimize
from scipy.spatial import cKDTree

from vaephot import VAEDeblender
from vaephot.cli._demo_field import detect_parents
from vaephot.deblend.candidates import choose_sources
from vaephot.deblend.decisions import COEFFICIENTS, kinds_of, search
from vaephot.deblend.evidence import FEATURES, measure_evidence
from vaephot.deblend.inputs import prepare_observation
from vaephot.deblend.pipeline import reference_view, solve
from vaephot.simulate import CASES

# a fitted source is true within this distance, in pixels
MAX_DISTANCE = 3.0
# strength of the pull of all weights towards 0
RIDGE = 0.3
N_FOLDS = 5
RELIABILITY_EDGES = (0, 0.1, 0.3, 0.5, 0.7, 0.9, 1)


def parse_arguments():
    """Command line of the script."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('--n', type=int, default=60,
        help='blends of each case (default: %(default)s)')
    add('--seed', type=int, default=101, help='default: %(default)s')
    add('--no-refine', action='store_true', help='skip the joint fit')
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


def collect(deblender, mosaic):
    """Evidence of all sources of a search, and which are true."""
    observation = prepare_observation(mosaic.data, **vaephot_inputs(mosaic))
    segm = detect_parents(mosaic)
    fitter = deblender.make_fitter(observation)
    chosen = choose_sources(deblender, observation, segm, None, None,
                            fitter=fitter)
    solution = solve(fitter, segm, chosen.sources, chosen.is_point)
    solution, gain = search(fitter, segm, solution, chosen, deblender)
    evidence = measure_evidence(*reference_view(fitter, solution), gain)
    return evidence, is_true(solution.fit.parameters[:, :2], mosaic.true_xy)


def fit_logistic(evidence, real):
    """Constant and weights of the features by maximum likelihood."""
    design = np.column_stack([np.ones(len(evidence)), evidence])
    sign = np.where(real, 1.0, -1.0)

    def cost(beta):
        margin = sign * (design @ beta)
        value = np.logaddexp(0, -margin).sum()
        slope = -design.T @ (sign / (1 + np.exp(
            np.clip(margin, -50, 50))))
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
    deblender = VAEDeblender(weights=args.weights, refine=not args.no_refine)
    parts = []
    for case in sorted(CASES):
        part = collect(deblender, make_mosaic(case, args.n, args.seed))
        print(f'{case}: {len(part[1])} sources, {part[1].sum()} true')
        parts.append(part)
    evidence = np.concatenate([part[0] for part in parts])
    real = np.concatenate([part[1] for part in parts])
    probability = np.zeros(len(real))
    for kind, rows in kinds_of(evidence).items():
        names = [name for name in COEFFICIENTS[kind] if name != 'constant']
        used = evidence[rows][:, [FEATURES.index(name) for name in names]]
        beta = fit_logistic(used, real[rows])
        probability[rows] = cross_validated(used, real[rows])
        print(f'{kind}, {rows.sum()} sources, {real[rows].sum()} true:',
              {name: round(float(value), 2) for name, value in zip(
                  ['constant', *names], beta, strict=True)})
    table = reliability(probability, real)
    table['predicted'].format = table['true'].format = '.3f'
    print(table)


if __name__ == '__main__':
    main()
