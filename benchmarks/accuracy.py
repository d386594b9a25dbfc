# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Measure flux errors of simulated blends, beside SExtractor's algorithm.

The galaxy in the middle of each blend is scored. Figures are in bins of
its true VIS magnitude, with bootstrap errors.
"""

import argparse
import time

import numpy as np
from astropy import units as u
from astropy.table import QTable, vstack
from mosaic import GAP, describe_software, make_mosaic, vaephot_inputs

from vaephot import VAEDeblender
from vaephot.cli._demo_field import MATCH_PIXELS, detect_parents
from vaephot.cli._output import (
    add_overwrite_option,
    atomic_write,
    check_outputs,
)
from vaephot.evaluate.baselines import sep_photometry
from vaephot.evaluate.flux_errors import (
    GOOD_LIMIT,
    flux_error_table,
    relative_flux_error,
)
from vaephot.evaluate.matching import match_positions
from vaephot.exceptions import OutputExistsError
from vaephot.simulate import CASES
from vaephot.weights import load_weights

EDGES = (20, 22, 23, 24, 25, 26)
SCORED_BANDS = ('VIS', 'H')
# scatter of positions that are given, arcsec in x and in y
POSITION_SIGMA = 0.02
RULE = (f'within {MATCH_PIXELS:g} pixels, closest pairs first, each source '
        'once; all true sources take part, the central ones are scored')
FIGURES = ('median', 'nmad', 'outliers', 'good10', 'pull_nmad',
           'coverage68')


def parse_arguments():
    """Command line of the script."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('case', choices=sorted(CASES), help='kind of blend')
    add('--n', type=int, default=200, help='blends (default: %(default)s)')
    add('--seed', type=int, default=11, help='default: %(default)s')
    add('--no-refine', action='store_true', help='skip the joint fit')
    add('--positions', choices=('given', 'found'), default='given',
        help=f'given: true ones, good to {POSITION_SIGMA} arcsec; found: '
        'VAEDeblender searches them (default: %(default)s)')
    add('--weights', metavar='NAME',
        help='name or path of the weights (default: the default set)')
    add('--device', help='torch device (default: the best there is)')
    add('-o', '--output', metavar='FILE.ecsv', help='write the table too')
    add_overwrite_option(parser)
    args = parser.parse_args()
    if args.n < 1:
        parser.error(f'--n is {args.n}; it must be at least 1')
    try:
        check_outputs(args.output, overwrite=args.overwrite)
    except OutputExistsError as err:
        parser.error(str(err))
    return args


def run_vaephot(mosaic, args):
    """Catalogue of VAEDeblender."""
    deblend = VAEDeblender(weights=args.weights, device=args.device,
                           refine=not args.no_refine)
    positions = None
    if args.positions == 'given':
        rng = np.random.default_rng([args.seed, 1])
        positions = mosaic.true_xy + rng.normal(
            scale=POSITION_SIGMA / mosaic.pixel_scale,
            size=mosaic.true_xy.shape)
    return deblend(mosaic.data, detect_parents(mosaic), positions=positions,
                   **vaephot_inputs(mosaic)).table


def run_sep(mosaic):
    """Catalogue of SExtractor's algorithm."""
    return sep_photometry(mosaic.data.value, mosaic.sky_rms,
                          bands=mosaic.bands, gain=mosaic.gain,
                          mask=mosaic.gap)[0]


def measured_fluxes(mosaic, catalog, band):
    """Flux and error of each true source, NaN where it was missed."""
    xy = np.column_stack([catalog['x_centroid'], catalog['y_centroid']])
    match = match_positions(mosaic.true_xy, xy, MATCH_PIXELS)
    columns = np.full((2, len(mosaic.true_xy)), np.nan)
    for values, name in zip(columns, ('flux', 'flux_err'), strict=True):
        column = u.Quantity(catalog[f'{name}_{band}'], mosaic.data.unit)
        values[match.reference] = column.value[match.measured]
    return columns


def score(method, mosaic, catalog, band):
    """Table of the figures of a band."""
    k = mosaic.bands.index(band)
    true = mosaic.true_flux[:, k]
    flux, flux_err = measured_fluxes(mosaic, catalog, band)
    error, pull = relative_flux_error(flux, true), (flux - true) / flux_err
    mag = mosaic.true_mag[mosaic.is_central, 0]

    def summarise(values):
        return flux_error_table(mag, values[mosaic.is_central], EDGES)

    found = summarise(error)
    # a missed galaxy has flux 0, which is never good
    counted = summarise(np.nan_to_num(error, nan=-1.0))
    # scaled so that 1 sigma is the limit of a good flux
    pulls = summarise(pull * GOOD_LIMIT)
    columns = {
        'median': (found, 'median', 1), 'nmad': (found, 'nmad', 1),
        'outliers': (found, 'outlier_fraction', 1),
        'good10': (counted, 'good10', 1),
        'pull_nmad': (pulls, 'nmad', 1 / GOOD_LIMIT),
        'coverage68': (pulls, 'good10', 1)}
    table = QTable({'method': [method] * len(found),
                    'band': [band] * len(found)})
    for name in ('mag_low', 'mag_high', 'n'):
        table[name] = found[name]
    table['n_missed'] = found['n_failed']
    for name, (source, column, factor) in columns.items():
        table[name] = source[column] * factor
        table[f'{name}_err'] = source[f'{column}_err'] * factor
    return table


def print_table(table):
    """Print figures and errors in one column each."""
    shown = QTable()
    for name in ('method', 'band', 'n', 'n_missed'):
        shown[name] = table[name]
    shown.add_column([f'{row["mag_low"]:g}-{row["mag_high"]:g}'
                      for row in table], name='VIS', index=2)
    for name in FIGURES:
        digits, sign = (2, '') if name in FIGURES[-2:] else (3, '')
        sign = '+' if name == 'median' else sign
        shown[name] = [f'{value:{sign}.{digits}f}±{err:.{digits}f}'
                       for value, err in zip(table[name],
                                             table[f'{name}_err'],
                                             strict=True)]
    print('\n'.join(shown.pformat(max_lines=-1, max_width=-1)))


def main():
    """Draw, measure, match, print."""
    args = parse_arguments()
    mosaic = make_mosaic(args.case, args.n, args.seed)
    start = time.perf_counter()
    catalogs = {'vaephot': run_vaephot(mosaic, args)}
    seconds = time.perf_counter() - start
    catalogs['sep'] = run_sep(mosaic)
    table = vstack([score(method, mosaic, catalog, band)
                    for method, catalog in catalogs.items()
                    for band in SCORED_BANDS])
    table.meta = {
        'case': f'{args.case}, {args.n} blends, seed {args.seed}, gaps of '
                f'{GAP} px',
        'vaephot': f'refine={not args.no_refine}, positions '
                   f'{args.positions}',
        'sep': 'its own detection, SExtractor defaults, FLUX_AUTO',
        'match': RULE,
        'sources': f'{len(mosaic.true_xy)} true, ' + ', '.join(
            f'{len(catalog)} {name}' for name, catalog in catalogs.items()),
        'time': f'{seconds:.1f} s vaephot, detection included',
        **describe_software(load_weights(args.weights).record)}
    for key, text in table.meta.items():
        print(f'# {key}: {text}')
    print_table(table)
    if args.output:
        with atomic_write(args.output, overwrite=args.overwrite) as path:
            table.write(path, format='ascii.ecsv', overwrite=True)


if __name__ == '__main__':
    main()
