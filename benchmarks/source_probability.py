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
Of what is not dropped then, sources that may be structure of others are
compared with that, and another model says what the gain is worth. With
``--no-refine`` candidates are looked at as `~vaephot.deblend_sources` does:
in all bands, in the first alone, and in that one convolved, without error or
PSF; each population counts as much as the others.
"""

import argparse
from dataclasses import replace
from itertools import pairwise

import numpy as np
from astropy.convolution import convolve
from astropy.table import Table
from mosaic import make_mosaic, vaephot_inputs
from photutils.segmentation import make_2dgaussian_kernel
from scipy.optimize import minimize
from scipy.spatial import cKDTree

from vaephot import PeakFinder, VAEDeblender
from vaephot.cli._demo_field import detect_parents
from vaephot.deblend.detect.candidates import choose_sources
from vaephot.deblend.inputs.read import prepare_observation
from vaephot.deblend.pipeline import reference_view, solve
from vaephot.deblend.point_sources import point_sources
from vaephot.deblend.select.division import look_at_candidates
from vaephot.deblend.select.features import FEATURES, measure_evidence
from vaephot.deblend.select.host_test import rivalry, structure_gains
from vaephot.deblend.select.loop import drop_doubtful, search
from vaephot.deblend.select.probability import (
    COEFFICIENTS,
    RIVAL_COEFFICIENTS,
    kinds_of,
    log_odds,
    source_probability,
    worth,
)
from vaephot.deblend.select.score import SURE
from vaephot.simulate import MockCatalog, RealGalaxies, Structure

# kinds of blends, how many of them for each isolated one
SHARES = {'isolated': 1.0, 'faint': 1.0, 'bright': 0.7, 'star': 0.3}
# a fitted source is true within this distance, in pixels
MAX_DISTANCE = 3.0
# kernel of the detection in photutils' guide, in pixels
KERNEL_FWHM, KERNEL_SIZE = 2.0, 5
# strength of the pull of all weights towards 0
RIDGE = 0.3
N_FOLDS = 5
LEAST_PROBABILITIES = (0.1, 0.3, 0.5, 0.7, 0.9)
# sources above this probability are compared with structure
LEAST_COMPARED = 0.25
RELIABILITY_EDGES = (0, 0.1, 0.3, 0.5, 0.7, 0.9, 1)


def parse_arguments():
    """Command line of the script."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('--n', type=int, default=60, help='isolated galaxies of each '
        'population, and as many blends (default: %(default)s)')
    add('--seed', type=int, default=101, help='default: %(default)s')
    add('--no-refine', action='store_true', help='skip the joint fit')
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


def find_all(deblender, mosaic):
    """
    Fit all that may be a source of its own.

    Returns
    -------
    fitter, segm, solution
        As `~vaephot.deblend.select.loop.drop_doubtful` takes them.
    """
    observation = prepare_observation(mosaic.data, **vaephot_inputs(mosaic))
    segm = detect_parents(mosaic)
    fitter = deblender.make_fitter(observation).without_waves()
    chosen = choose_sources(deblender, observation, segm, None, None,
                            points=point_sources(fitter))
    solution = solve(fitter, segm, chosen.sources, chosen.is_point,
                     settled=False)
    return fitter, segm, search(fitter, segm, solution, deblender)


def observe(mosaic):
    """The observations in which candidates are only looked at."""
    inputs = vaephot_inputs(mosaic)
    yield prepare_observation(mosaic.data, **inputs)
    first = mosaic.data.value[0]
    yield prepare_observation(first, error=mosaic.sky_rms[0],
                              mask=mosaic.mask[0], psf=mosaic.psfs[0])
    yield prepare_observation(convolve(
        first, make_2dgaussian_kernel(KERNEL_FWHM, size=KERNEL_SIZE)))


def collect_looks(deblender, mosaic):
    """Evidence of all candidates beside others, and which are true."""
    segm, parts = detect_parents(mosaic), []
    for observation in observe(mosaic):
        fitter = deblender.make_fitter(observation)
        chosen = choose_sources(deblender, observation, segm, None, None,
                                points=point_sources(fitter))
        quick, solution = look_at_candidates(fitter, segm, chosen)
        parts.append((measure_evidence(quick, solution), is_true(
            solution.fit.parameters[:, :2], mosaic.true_xy)))
    nothing = np.zeros(0)
    return (*[np.concatenate(column) for column in zip(*parts, strict=True)],
            nothing, nothing, nothing.astype(bool))


def collect(deblender, mosaic):
    """
    Evidence of all sources of a search, and which are true.

    Returns
    -------
    evidence, real
        Of all sources.
    odds, weight, likely_real
        Of those that are likely and may be structure of others: logarithm
        of the odds before, and weight of the gain.
    """
    fitter, segm, solution = find_all(deblender, mosaic)
    evidence = measure_evidence(*reference_view(fitter, solution))
    real = is_true(solution.fit.parameters[:, :2], mosaic.true_xy)
    cautious = VAEDeblender(
        deblender.n_pixels, refine=deblender.refine, contrast=0,
        finder=PeakFinder(min_probability=LEAST_COMPARED))
    likely = reference_view(fitter, drop_doubtful(fitter, segm, solution,
                                                  cautious))
    probability = source_probability(measure_evidence(*likely))
    pairs = rivalry(*likely)
    pairs = pairs.take(probability[pairs.rows] < SURE)
    probability = probability[pairs.rows]
    xy = likely[1].fit.parameters[:, :2]
    return (evidence, real, log_odds(probability),
            worth(structure_gains(*likely, pairs)),
            is_true(xy, mosaic.true_xy)[pairs.rows])


def populations(real):
    """Galaxies, and the survey that sees them, by name."""
    out = {'mock': (None, 'euclid-wide'),
           'smooth': (SmoothGalaxies(), 'euclid-wide'),
           'deep': (None, 'euclid-deep'), 'ground': (None, 'hsc-wide')}
    if real:
        out['real'] = RealGalaxies(real), 'euclid-wide'
    return out


def collect_all(args):
    """The same of all kinds of blends, and the number of the population."""
    deblender = VAEDeblender(weights=args.weights, refine=not args.no_refine)
    find = collect_looks if args.no_refine else collect
    parts = []
    for number, (name, (population, survey)) in enumerate(
            populations(args.real).items()):
        for case, share in SHARES.items():
            mosaic = make_mosaic(case, max(1, round(share * args.n)),
                                 args.seed, population=population,
                                 survey=survey)
            parts.append(find(deblender, mosaic))
            real, compared = parts[-1][1], parts[-1][4]
            parts[-1] += (np.full(len(real), number),)
            print(f'{name}, {case}: {len(real)} sources, {real.sum()} true; '
                  f'{len(compared)} compared, {compared.sum()} true')
    return tuple(np.concatenate(columns)
                 for columns in zip(*parts, strict=True))


def fit_logistic(evidence, real, counts=1.0):
    """Constant and weights of the features by maximum likelihood."""
    design = np.column_stack([np.ones(len(evidence)), evidence])
    sign = np.where(real, 1.0, -1.0)

    def cost(beta):
        margin = sign * (design @ beta)
        value = (counts * np.logaddexp(0, -margin)).sum()
        slope = -design.T @ (counts * sign / (1 + np.exp(
            np.clip(margin, -50, 50))))
        pull = RIDGE * np.append(0, beta[1:])
        return value + 0.5 * pull @ beta, slope + pull
    return minimize(cost, np.zeros(design.shape[1]), jac=True).x


def even_counts(number):
    """How much each source counts if all populations count the same."""
    each = np.bincount(number)[number]
    return len(number) / (len(np.unique(number)) * each)


def predict(beta, evidence):
    """Probability of a fitted model."""
    return 1 / (1 + np.exp(-np.clip(beta[0] + evidence @ beta[1:],
                                    -50, 50)))


def cross_validated(evidence, real, counts):
    """Probabilities, each from a model that has not seen its block."""
    out = np.zeros(len(real))
    # blocks of neighbours: the sources of a blend stay together
    n_blocks = 4 * N_FOLDS
    block = np.arange(len(real)) * n_blocks // len(real)
    fold = block % N_FOLDS
    for k in range(N_FOLDS):
        beta = fit_logistic(evidence[fold != k], real[fold != k],
                            counts[fold != k])
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
    evidence, real, odds, weight, compared, number = collect_all(args)
    probability = np.zeros(len(real))
    for kind, rows in kinds_of(evidence).items():
        if not rows.any():
            continue
        names = [name for name in COEFFICIENTS[kind] if name != 'constant']
        used = evidence[rows][:, [FEATURES.index(name) for name in names]]
        counts = (even_counts(number[rows]) if args.no_refine
                  else np.ones(rows.sum()))
        beta = fit_logistic(used, real[rows], counts)
        probability[rows] = cross_validated(used, real[rows], counts)
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
        print(f'with structure, {len(weight)} sources, {compared.sum()} true:',
              {name: round(float(value), 2) for name, value in zip(
                  RIVAL_COEFFICIENTS, beta, strict=True)})


if __name__ == '__main__':
    main()
