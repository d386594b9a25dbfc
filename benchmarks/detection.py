# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Measure completeness against purity, beside photutils and SExtractor.

Blends are simulated and searched: by ``VAEDeblender`` with several values of
``min_probability``, by photutils with several of ``contrast``, and by
SExtractor's algorithm (``sep``) over a grid of its two settings of deblending.
A measured source belongs to the nearest true one if that is within three
pixels; further ones at the same place are false.
"""

import argparse
from itertools import product

import numpy as np
import sep
from astropy.table import QTable, vstack
from mosaic import make_mosaic, vaephot_inputs
from photutils.segmentation import SourceCatalog, deblend_sources
from source_probability import is_true, reliability

from vaephot import PeakFinder, VAEDeblender
from vaephot.cli._demo_field import detect_parents
from vaephot.simulate import CASES
from vaephot.utils._atomic import atomic_write

PROBABILITIES = (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98)
CONTRASTS = (0.0001, 0.001, 0.003, 0.01, 0.03, 0.1)
LEVELS, MIN_CONTRASTS = (32, 64), (0.0, 0.0005, 0.005, 0.02, 0.05)
SEP_THRESHOLDS = (1.5, 2.0)
N_PIXELS = 5


def parse_arguments():
    """Command line of the script."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('case', choices=sorted(CASES), help='kind of blend')
    add('--n', type=int, default=100, help='blends (default: %(default)s)')
    add('--seed', type=int, default=11, help='default: %(default)s')
    add('--weights', metavar='NAME', help='name or path of the weights')
    add('-o', '--output', metavar='FILE.ecsv', help='write the table too')
    add('--figure', metavar='FILE.png', help='draw the curves')
    return parser.parse_args()


def score(xy, mosaic, n_blends):
    """Completeness, purity and false sources per blend."""
    real = is_true(np.asarray(xy), mosaic.true_xy).sum()
    return {'completeness': real / len(mosaic.true_xy),
            'purity': real / max(len(xy), 1),
            'false_per_blend': (len(xy) - real) / n_blends}


def positions_of(table):
    """Positions of a table, (n, 2)."""
    return np.column_stack([np.asarray(table[name], float)
                            for name in ('x_centroid', 'y_centroid')])


def run_vaephot(mosaic, weights):
    """Table for each least probability."""
    segm = detect_parents(mosaic)
    for value in PROBABILITIES:
        deblend = VAEDeblender(
            weights=weights, finder=PeakFinder(min_probability=value))
        yield (f'min_probability={value:g}', deblend(
            mosaic.data, segm, **vaephot_inputs(mosaic)).table)


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


def draw(table, path):
    """Curves of all programs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4), layout='constrained')
    axes = figure.subplots()
    for program in dict.fromkeys(table['program']):
        rows = table[table['program'] == program]
        line = '' if program == 'sep' else '-'
        axes.plot(rows['purity'], rows['completeness'], f'o{line}',
                  label=program)
    axes.set(xlabel='purity', ylabel='completeness')
    axes.legend()
    with atomic_write(path, overwrite=True) as temporary:
        figure.savefig(temporary, format='png')


def main():
    """Run the script."""
    args = parse_arguments()
    mosaic = make_mosaic(args.case, args.n, args.seed)
    ours = list(run_vaephot(mosaic, args.weights))
    rows = [QTable([{'program': program, 'setting': setting,
                     **score(xy, mosaic, args.n)}])
            for program, runs in (
                ('sep', run_sep(mosaic)),
                ('photutils', run_photutils(mosaic)),
                ('vaephot', [(name, positions_of(t)) for name, t in ours]))
            for setting, xy in runs]
    table = vstack(rows)
    table.pprint_all()
    # the least probability drops next to nothing
    found = ours[0][1]
    print(reliability(np.asarray(found['p_source']),
                      is_true(positions_of(found), mosaic.true_xy)))
    if args.output:
        table.write(args.output, overwrite=True)
    if args.figure:
        draw(table, args.figure)


if __name__ == '__main__':
    main()
