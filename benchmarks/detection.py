# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Measure completeness against purity, beside photutils and SExtractor.

Blends are simulated and searched: by ``VAEDeblender`` with several values of
``min_probability``, by photutils with several of ``contrast``, and by
SExtractor's algorithm (``sep``) over a grid of its two settings of deblending.
A measured source belongs to the nearest true one if that is within three
pixels; further ones at the same place are false. All that ``VAEDeblender``
may find is fitted once; each value of ``min_probability`` only drops from
what the one before has left. What is flagged ``no_source`` is no source.
"""

import argparse
from itertools import product

import numpy as np
import sep
from _engines import find_all, make_engine, make_search
from astropy.table import QTable, vstack
from mosaic import make_mosaic
from photutils.segmentation import SourceCatalog, deblend_sources

from vaephot import PeakFinder
from vaephot.cli._demo_field import detect_parents
from vaephot.deblend.deblender import find_classifier
from vaephot.deblend.select.loop import drop_doubtful
from vaephot.deblend.select.no_source import find_empty
from vaephot.deblend.select.score import Scorer
from vaephot.models.bundle import build_vaes
from vaephot.simulate import CASES
from vaephot.train.candidate_sets import true_sources
from vaephot.train.classifier_training import reliability
from vaephot.utils.atomic import atomic_write
from vaephot.weights import load_weights

PROBABILITIES = (0.1, 0.3, 0.5, 0.7, 0.9, 0.98)
CONTRASTS = (0.0001, 0.001, 0.003, 0.01, 0.03, 0.1)
LEVELS, MIN_CONTRASTS = (32, 64), (0.0, 0.0005, 0.005, 0.02, 0.05)
SEP_THRESHOLDS = (1.5, 2.0)
N_PIXELS = 5
# a measured source is a true one within this distance, in pixels
MAX_DISTANCE = 3.0


def parse_arguments():
    """Command line of the script."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('cases', nargs='+', choices=sorted(CASES), help='kinds of blends')
    add('--n', type=int, default=60,
        help='blends of each kind (default: %(default)s)')
    add('--seed', type=int, default=11, help='default: %(default)s')
    add('--weights', metavar='NAME', help='name or path of the weights')
    add('-o', '--output', metavar='FILE.ecsv', help='write the table too')
    add('--figure', metavar='FILE.png', help='draw the curves')
    return parser.parse_args()


def is_true(xy, true_xy):
    """Whether each position is the closest to a true one, and close."""
    return true_sources(np.asarray(xy), true_xy, MAX_DISTANCE) >= 0


def score(xy, mosaic, n_blends):
    """Completeness, purity and false sources per blend."""
    real = is_true(xy, mosaic.true_xy).sum()
    return {'completeness': real / len(mosaic.true_xy),
            'purity': real / max(len(xy), 1),
            'false_per_blend': (len(xy) - real) / n_blends}


def run_vaephot(mosaic, weights):
    """Setting, positions and probabilities for each least probability."""
    loaded = load_weights(weights)
    engine = make_engine(mosaic, detect_parents(mosaic),
                         build_vaes(loaded)['blended'])
    scorer = Scorer(engine, find_classifier(loaded))
    chosen, scene = find_all(engine, make_search())
    for value in PROBABILITIES:
        search = make_search(PeakFinder(min_probability=value))
        # what is dropped below a value is dropped below larger ones
        scene = drop_doubtful(engine, scene, search, scorer)
        found = ~find_empty(engine, scene, chosen, search)
        yield (f'min_probability={value:g}',
               scene.fit.parameters[found, :2], scene.p_source[found])


def run_photutils(mosaic):
    """Positions for each contrast."""
    image, parents = mosaic.data.value[0], detect_parents(mosaic)
    for value in CONTRASTS:
        segm = deblend_sources(image, parents, N_PIXELS, contrast=value,
                               progress_bar=False)
        catalog = SourceCatalog(image, segm, mask=mosaic.mask[0])
        xy = np.column_stack([catalog.x_centroid, catalog.y_centroid])
        yield f'contrast={value:g}', xy[np.isfinite(xy).all(1)]


def run_sep(mosaic):
    """Positions for each pair of settings."""
    image = np.ascontiguousarray(mosaic.data.value[0], dtype=float)
    for threshold, levels, contrast in product(SEP_THRESHOLDS, LEVELS,
                                               MIN_CONTRASTS):
        found = sep.extract(
            image, threshold, err=float(mosaic.sky_rms[0]),
            mask=mosaic.mask[0], minarea=N_PIXELS, deblend_nthresh=levels,
            deblend_cont=contrast)
        yield (f'{threshold:g} sigma, {levels}, {contrast:g}',
               np.column_stack([found['x'], found['y']]))


def measure(case, args):
    """Table of the scores of a case, and a reliability table."""
    mosaic = make_mosaic(case, args.n, args.seed)
    ours = list(run_vaephot(mosaic, args.weights))
    rows = [QTable([{'case': case, 'program': program, 'setting': setting,
                     **score(xy, mosaic, args.n)}])
            for program, runs in (
                ('sep', run_sep(mosaic)),
                ('photutils', run_photutils(mosaic)),
                ('vaephot', [run[:2] for run in ours]))
            for setting, xy in runs]
    # the least probability drops next to nothing
    _, xy, p_source = ours[0]
    return vstack(rows), p_source, is_true(xy, mosaic.true_xy)


def draw(table, calibration, path):
    """Curves of all programs for each case, and reliability."""
    from matplotlib.figure import Figure

    cases = list(dict.fromkeys(table['case']))
    figure = Figure(figsize=(4 * len(cases) + 4, 4), layout='constrained')
    *panels, last = figure.subplots(1, len(cases) + 1)
    for axes, case in zip(panels, cases, strict=True):
        for program in dict.fromkeys(table['program']):
            rows = table[(table['program'] == program)
                         & (table['case'] == case)]
            line = '' if program == 'sep' else '-'
            axes.plot(rows['purity'], rows['completeness'], f'o{line}',
                      label=program)
        axes.set(xlabel='purity', ylabel='completeness', title=case)
    panels[0].legend()
    error = np.sqrt(calibration['true'] * (1 - calibration['true'])
                    / calibration['n'])
    last.plot([0, 1], [0, 1], color='grey')
    last.errorbar(calibration['predicted'], calibration['true'], error,
                  fmt='o')
    last.set(xlabel='p_source', ylabel='share of true sources',
             title='reliability')
    with atomic_write(path, overwrite=True) as temporary:
        figure.savefig(temporary, format='png')


def main():
    """Run the script."""
    args = parse_arguments()
    parts = [measure(case, args) for case in args.cases]
    table = vstack([part[0] for part in parts])
    for name in ('completeness', 'purity', 'false_per_blend'):
        table[name].format = '.3f'
    table.pprint_all()
    calibration = QTable(reliability(
        np.concatenate([part[1] for part in parts]),
        np.concatenate([part[2] for part in parts])))
    print(calibration)
    if args.output:
        table.write(args.output, overwrite=True)
    if args.figure:
        draw(table, calibration, args.figure)


if __name__ == '__main__':
    main()
