# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Measure what a mosaic costs: time, memory, and whether tiles agree.

Mosaics are simulated and deblended in tiles and, with --compare, as one tile.
Printed are sources per second of CPU time (of all workers together, halos and
first pass included, so that other processes on the machine do not matter) and
of the clock, the largest memory of a worker, where the CPU time went, and the
largest differences between the lists and fluxes of two tilings. --parts looks
into one tile: reading, detecting, fitting, deciding, writing. --plan turns
the rate into hours for a survey.
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
from astropy.table import Table
from engine import Clock
from mosaic import describe_software
from scipy.spatial import KDTree

from vaephot.cli.deblend import REFINE
from vaephot.deblend import deblender as deblender_module
from vaephot.deblend import pipeline
from vaephot.deblend.fit.engine import Engine
from vaephot.scale import deblend_mosaic, ownership, read_catalog, tile_work
from vaephot.scale.first_pass import join_sky
from vaephot.scale.survey_plan import make_plan
from vaephot.scale.tiles import shared_width
from vaephot.simulate import FieldConfig, MosaicConfig, write_mosaic
from vaephot.weights import load_weights

STAGES = ('sky', 'labels', 'large', 'tile', 'final')
# what is timed in a tile, without what is timed inside
PARTS = (('reading', tile_work, 'observe'),
         ('reading', tile_work, 'read_labels'),
         ('detecting', deblender_module, 'choose_sources'),
         ('deciding', pipeline, 'select_sources'),
         ('fitting', Engine, 'fit'), ('fitting', Engine, 'refit'),
         ('fitting', Engine, 'settle'), ('fitting', Engine, 'fit_asymmetry'),
         ('outputs', deblender_module, 'assemble_result'),
         ('writing', tile_work, '_write_tile'),
         ('writing', ownership, 'finish_tile'))
# Euclid's wide survey: square degrees and sources per square arcmin of its
# first catalogue (Q1)
WIDE_AREA, Q1_DENSITY = 14_000, 132
# two sources closer than this [px] are one
SAME = 1.0


def parse_arguments():
    """Command line of the script."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('--sides', type=int, nargs='+', default=[1024, 2048],
        help='of the mosaics in pixels (default: 1024 2048)')
    add('--bands', type=int, nargs='+', default=[1, 4],
        help='first bands of the survey that are used (default: 1 4)')
    add('--tile', type=int, default=1024, help='default: %(default)s')
    add('--compare', type=int, metavar='TILE',
        help='deblend in tiles of this side, too, and compare')
    add('--workers', type=int, nargs='+', default=[1],
        help='numbers of workers (default: 1)')
    add('--refine', choices=('full', 'quick', 'network'), default='full')
    add('--seed', type=int, default=1, help='default: %(default)s')
    add('--folder', metavar='DIR', help='keep all files there')
    add('--parts', action='store_true', help='look into one tile')
    add('--plan', type=float, metavar='RATE',
        help='sources per second of a core: print hours for a survey')
    return parser.parse_args()


def inputs(folder, bands, refine):
    """Arguments of a simulated mosaic in some of its bands."""
    def names(end):
        return {band: str(folder / f'{band}{end}.fits') for band in bands}
    return {'images': names(''), 'error': names('_rms'),
            'mask': names('_flag'), 'psf': names('_psf'), 'gain': 'header',
            'refine': REFINE[refine], 'quiet': True}


def records(output):
    """Records of the jobs of a run by stage."""
    found = {}
    for path in sorted((output / 'journal').glob('*-*.json')):
        stage = path.stem.rpartition('-')[0]
        found.setdefault(stage, []).append(json.loads(path.read_text()))
    return found


def run(folder, output, bands, tile, workers, refine):
    """Row of a table: one run of a mosaic."""
    start = time.perf_counter()
    result = deblend_mosaic(output=output, tile=tile, workers=workers,
                            **inputs(folder, bands, refine))
    wall = time.perf_counter() - start
    found = records(output)
    cpu = Counter()
    for stage in STAGES:
        cpu[stage] = sum(row['used']['cpu'] for row in found.get(stage, []))
    total = sum(cpu.values())
    memory = max(row['used']['memory'] for rows in found.values()
                 for row in rows if 'used' in row)
    fitted = sum(row['fitted'] for row in found['tile'])
    return result, {
        'bands': len(bands), 'tile': tile, 'workers': workers,
        'sources': result.n_sources, 'fitted': fitted,
        'cpu_s': round(total, 1), 'wall_s': round(wall, 1),
        'per_cpu_s': round(result.n_sources / total, 2),
        'per_s': round(result.n_sources / wall, 2),
        'GB': round(memory / 1e9, 2),
        **{stage: f'{cpu[stage] / total:.0%}' for stage in STAGES}}


def places(table):
    """Places of the sources that have one, (n, 2), and their rows."""
    xy = np.column_stack([table['x_centroid'], table['y_centroid']])
    rows = np.flatnonzero(np.isfinite(xy).all(1))
    return xy[rows], rows


def compare(one, other, bands):
    """Rows on how two catalogues differ."""
    (xy, rows), (there, partners) = places(one), places(other)
    distance, near = KDTree(there).query(xy)
    back = KDTree(xy).query(there)[1]
    same = (distance < SAME) & (back[near] == np.arange(len(xy)))
    one, other = one[rows[same]], other[partners[near[same]]]
    out = []
    for band in bands:
        pull = np.abs(np.asarray(
            (one[f'flux_{band}'] - other[f'flux_{band}'])
            / other[f'flux_err_{band}'], float))
        pull = pull[np.isfinite(pull)]
        out.append((band, len(xy), len(there), same.sum(),
                    *np.quantile(pull, [0.5, 0.99, 0.999]).round(4),
                    pull.max().round(3), (pull < 0.1).mean().round(4)))
    return out


def look_into(folder, output, bands, tile, refine):
    """CPU seconds of the parts of the first tile of a run that is done."""
    call = inputs(folder, bands, refine)
    settings = {'refine': call.pop('refine')}
    call.pop('quiet')
    plan = make_plan(output=output, tile=tile, settings=settings, **call)
    sky = [json.loads((output / 'journal' / f'sky-{k:06d}.json').read_text())
           for k in range(len(plan.sections))]
    plan = replace(plan, sky=join_sky(plan, sky))
    plan = replace(plan, halo=shared_width(plan.sky.psf_fwhm))
    clock = Clock()
    with clock.watch(PARTS):
        start = time.process_time()
        tile_work.deblend_tile(plan, 0)
        ownership.finish_tile(plan, 0)
        total = time.process_time() - start
    clock.seconds['rest'] = total - sum(clock.seconds.values())
    return [(name, round(seconds, 2), f'{seconds / total:.0%}')
            for name, seconds in clock.seconds.items()]


def plan_survey(rate):
    """Print what Euclid's wide survey takes at a rate per core."""
    n_sources = WIDE_AREA * 3600 * Q1_DENSITY
    hours = n_sources / rate / 3600
    print(f'{n_sources:.2e} sources at {rate:g} per second of a core: '
          f'{hours:.3g} core hours, {hours / 1000:.3g} hours on 1000 cores')


def measure(args, folder, side):
    """All runs of one mosaic."""
    mosaic = folder / f'mosaic-{side}'
    if not mosaic.exists():
        write_mosaic(mosaic, MosaicConfig(field=FieldConfig(
            shape=(side, side), correlated=True, wing_pixels=401)),
            seed=args.seed)
    rows, differences = [], []
    for n_bands in args.bands:
        bands = ('VIS', 'Y', 'J', 'H')[:n_bands]
        for workers in args.workers:
            name = f'{side}-{n_bands}-{args.tile}-{workers}'
            result, row = run(mosaic, folder / name, bands, args.tile,
                              workers, args.refine)
            rows.append({'side': side, **row})
        if args.compare is not None:
            other, row = run(mosaic, folder / f'{side}-{n_bands}-other',
                             bands, args.compare, args.workers[0], args.refine)
            rows.append({'side': side, **row})
            differences += compare(read_catalog(result.catalog),
                                   read_catalog(other.catalog), bands)
        if args.parts:
            print(Table(rows=look_into(mosaic, folder / name, bands,
                                       args.tile, args.refine),
                        names=('part', 'CPU s', 'share')))
    return rows, differences


def main():
    """Run the script."""
    args = parse_arguments()
    if args.plan is not None:
        plan_survey(args.plan)
        return
    print(describe_software(load_weights(None).record))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(args.folder or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        found = [measure(args, folder, side) for side in args.sides]
    Table(rows=[row for rows, _ in found for row in rows]).pprint_all()
    differences = [row for _, rows in found for row in rows]
    if differences:
        Table(rows=differences, names=(
            'band', 'one', 'other', 'both', 'median', '99 %', '99.9 %',
            'largest', 'below 0.1')).pprint_all()


if __name__ == '__main__':
    main()
