# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Completeness against purity of simulated blends.

The knob of the search (``min_probability``) beside the contrast of photutils
and the thresholds and contrasts of SExtractor's algorithm (``sep``), on the
same images; and how many of the sources of each ``p_source`` are true.
"""

import argparse
from functools import partial

import numpy as np
from astropy import units as u
from astropy.table import Table
from mosaic import make_mosaic, vaephot_inputs
from photutils.segmentation import SourceCatalog, deblend_sources
from source_probability import is_true, reliability

from vaephot import VAEDeblender
from vaephot.cli._demo_field import detect_parents
from vaephot.deblend.finder import PeakFinder
from vaephot.evaluate.baselines import SepSettings, sep_photometry
from vaephot.simulate import CASES

KNOB = (0.05, 0.2, 0.5, 0.8, 0.95)
CONTRASTS = (0.0, 0.0001, 0.001, 0.005, 0.02)
THRESHOLDS = (16, 32, 64)
N_PIXELS = 5


def parse_arguments():
    """Command line of the script."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('case', choices=sorted(CASES), help='kind of blend')
    add('--n', type=int, default=100, help='blends (default: %(default)s)')
    add('--seed', type=int, default=11, help='default: %(default)s')
    add('--no-refine', action='store_true', help='skip the joint fit')
    add('--weights', metavar='NAME', help='name or path of the weights')
    add('--figure', metavar='FILE', help='draw the curves into a file')
    return parser.parse_args()


def positions(table):
    """Positions of a catalogue, (n, 2)."""
    return np.column_stack([u.Quantity(table[name]).value
                            for name in ('x_centroid', 'y_centroid')])


def run_vaephot(args, mosaic, segm, min_probability):
    """Catalogue of a setting of the knob."""
    deblend = VAEDeblender(
        N_PIXELS, weights=args.weights, refine=not args.no_refine,
        finder=PeakFinder(min_probability=min_probability))
    return deblend(mosaic.data, segm, **vaephot_inputs(mosaic)).table


def run_photutils(mosaic, segm, contrast):
    """Positions that photutils finds."""
    data = mosaic.data[0].value
    children = deblend_sources(data, segm, N_PIXELS, contrast=contrast,
                               progress_bar=False)
    catalog = SourceCatalog(data, children, mask=mosaic.mask[0])
    return np.column_stack([catalog.x_centroid, catalog.y_centroid])


def run_sep(mosaic, n_levels, contrast):
    """Positions that SExtractor's algorithm finds."""
    settings = SepSettings(n_levels=n_levels, contrast=contrast,
                           n_pixels=N_PIXELS)
    return positions(sep_photometry(
        mosaic.data.value, mosaic.sky_rms, bands=mosaic.bands,
        mask=mosaic.mask[0], settings=settings)[0])


def figures(xy, mosaic):
    """Completeness, purity and false sources per blend."""
    real = is_true(xy, mosaic.true_xy)
    return (real.sum() / len(mosaic.true_xy), real.mean(),
            (~real).sum() / mosaic.is_central.sum())


def measure(args, mosaic):
    """Table of all methods and the catalogue of the least cautious."""
    segm = detect_parents(mosaic)
    rows, widest = [], None
    for knob in KNOB:
        table = run_vaephot(args, mosaic, segm, knob)
        widest = table if widest is None else widest
        rows.append(('vaephot', f'{knob:g}',
                     *figures(positions(table), mosaic)))
    peers = [('photutils', f'{contrast:g}',
              partial(run_photutils, mosaic, segm, contrast))
             for contrast in CONTRASTS]
    peers += [('sep', f'{n_levels} {contrast:g}',
               partial(run_sep, mosaic, n_levels, contrast))
              for n_levels in THRESHOLDS for contrast in CONTRASTS]
    rows += [(name, setting, *figures(run(), mosaic))
             for name, setting, run in peers]
    found = Table(rows=rows, names=('method', 'setting', 'completeness',
                                    'purity', 'false_per_blend'))
    for name in found.colnames[2:]:
        found[name].format = '.3f'
    return found, widest


def draw(found, path):
    """Draw the curves of all methods."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4.5), layout='constrained')
    axes = figure.subplots()
    for method, marker in (('vaephot', 'o-'), ('photutils', 's-'),
                           ('sep', '^')):
        own = found[found['method'] == method]
        axes.plot(own['completeness'], own['purity'], marker, label=method)
    axes.set(xlabel='completeness', ylabel='purity')
    axes.legend()
    figure.savefig(path)


def main():
    """Run the script."""
    args = parse_arguments()
    mosaic = make_mosaic(args.case, args.n, args.seed)
    found, widest = measure(args, mosaic)
    found.pprint(max_lines=-1)
    table = reliability(np.asarray(widest['p_source'], float),
                        is_true(positions(widest), mosaic.true_xy))
    table['predicted'].format = table['true'].format = '.3f'
    print(f'Sources of a knob of {KNOB[0]:g} by p_source:')
    table.pprint(max_lines=-1)
    if args.figure:
        draw(found, args.figure)


if __name__ == '__main__':
    main()
