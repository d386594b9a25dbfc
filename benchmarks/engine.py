# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Measure the fit engine alone: its rate, its parts, its accuracy.

Blends are simulated and their sources fitted at given positions (0.02 arcsec
off), to convergence and quickly. Printed are sources per second of CPU time
on one thread: of the fit alone, and of a whole call with images, table and
labels, with the share of each part. Then, for each magnitude, the median and
the NMAD of the relative flux errors, and median and NMAD of the pulls, of the
galaxy in the middle of each blend. Imports, simulation, weights and a first
call are not counted.
"""

import argparse
import time
import warnings
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import numpy as np
import torch
from _engines import make_engine, make_search, place_sources
from astropy.table import Table
from mosaic import describe_software, make_mosaic, vaephot_inputs

from vaephot import VAEDeblender
from vaephot.cli._demo_field import detect_parents
from vaephot.deblend import deblender as call
from vaephot.deblend.fit import common
from vaephot.deblend.fit.batches import GroupFitter
from vaephot.deblend.fit.engine import Engine
from vaephot.deblend.fit.joint import JointFit
from vaephot.evaluate.bins import nmad
from vaephot.exceptions import VaephotWarning
from vaephot.models.bundle import build_vaes
from vaephot.simulate import CASES
from vaephot.weights import load_weights

TIERS = {'full': True, 'quick': False}
# magnitudes of the first band, and those that most figures are about
MAGS = ((20, 22), (22, 23), (23, 24), (24, 25), (25, 26), (22, 25))
# what is timed, without what is timed inside
PARTS = (('inputs', call, 'prepare_observation'),
         ('first look', common, 'first_look'),
         ('common phase', GroupFitter, '_common'),
         ('joint phase', JointFit, '__init__'),
         ('joint phase', JointFit, 'run'), ('joint phase', JointFit, 'leap'),
         ('errors', JointFit, 'covariance'), ('drawing', Engine, 'draw'),
         ('outputs', call, 'assemble_result'))


def parse_arguments():
    """Command line of the script."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('cases', nargs='*', metavar='CASE', default=['faint'],
        help=f'of {", ".join(sorted(CASES))} (default: faint)')
    add('--n', type=int, default=200,
        help='blends of each kind (default: %(default)s)')
    add('--seed', type=int, default=11, help='default: %(default)s')
    add('--weights', metavar='NAME', help='default: the default set')
    args = parser.parse_args()
    if not set(args.cases) <= set(CASES):
        parser.error(f'cases are {", ".join(sorted(CASES))}')
    return args


class Clock:
    """CPU seconds of functions, each without the timed ones inside."""

    def __init__(self):
        self.seconds, self._inside = {}, [0.0]

    def timed(self, name, function):
        """The function, which adds to the seconds of a name."""
        def run(*args, **options):
            self._inside.append(0.0)
            start = time.process_time()
            try:
                return function(*args, **options)
            finally:
                spent = time.process_time() - start
                own = spent - self._inside.pop()
                self._inside[-1] += spent
                self.seconds[name] = self.seconds.get(name, 0.0) + own
        return run

    @contextmanager
    def watch(self, parts):
        """Time functions ``(name, owner, attribute)`` meanwhile."""
        with ExitStack() as stack:
            for name, owner, attribute in parts:
                stack.enter_context(patch.object(
                    owner, attribute,
                    self.timed(name, getattr(owner, attribute))))
            yield


def fit_seconds(mosaic, segm, vae, refine):
    """CPU seconds of the fit alone, and the number of sources."""
    engine = make_engine(mosaic, segm, vae, refine=refine)
    chosen = place_sources(engine, make_search(), mosaic.told_xy)
    groups = engine.groups(chosen.sources)
    start = time.process_time()
    engine.fitter.fit(chosen.sources, groups)
    return time.process_time() - start, len(chosen.sources)


def call_seconds(mosaic, segm, refine, weights):
    """Result of a whole call, its CPU seconds, and those of its parts."""
    deblend, clock = VAEDeblender(weights=weights, refine=refine), Clock()
    with clock.watch(PARTS):
        start = time.process_time()
        result = deblend(mosaic.data, segm, positions=mosaic.told_xy,
                         **vaephot_inputs(mosaic))
        total = time.process_time() - start
    clock.seconds['rest'] = total - sum(clock.seconds.values())
    return result, total, clock.seconds


def accuracy(mosaic, result, band):
    """Rows of flux errors and pulls by magnitude of the first band."""
    name, s = mosaic.bands[band], mosaic.is_central
    flux, error = (np.array(result.table[f'{kind}_{name}'], float)[s]
                   for kind in ('flux', 'flux_err'))
    true, mag = mosaic.true_flux[s, band], mosaic.true_mag[s, 0]
    rows = []
    for low, high in MAGS:
        here = (mag >= low) & (mag < high) & np.isfinite(flux)
        if not here.any():
            continue
        df, pull = (flux - true)[here], ((flux - true) / error)[here]
        df = df / true[here]
        rows.append((name, f'{low}-{high}', here.sum(), np.median(df),
                     nmad(df), (np.abs(df) < 0.1).mean(), np.median(pull),
                     nmad(pull)))
    return rows


def measure(case, args, vae):
    """Print the figures of one kind of blend."""
    mosaic = make_mosaic(case, args.n, args.seed)
    segm = detect_parents(mosaic)
    for tier, refine in TIERS.items():
        alone, n = fit_seconds(mosaic, segm, vae, refine)
        result, total, parts = call_seconds(mosaic, segm, refine,
                                            args.weights)
        shown = ', '.join(f'{name} {1e3 * seconds / n:.2f}'
                          for name, seconds in parts.items())
        print(f'{case}, {tier}: {n} sources; fit alone {n / alone:.0f}/s, '
              f'whole call {n / total:.0f}/s; ms a source: {shown}')
        table = Table(rows=[row for band in (0, len(mosaic.bands) - 1)
                            for row in accuracy(mosaic, result, band)],
                      names=('band', 'mag', 'n', 'median', 'NMAD',
                             'within 10 %', 'pull median', 'pull NMAD'))
        for column in table.colnames[3:]:
            table[column].format = '+.3f' if 'median' in column else '.3f'
        table.pprint(max_lines=-1, max_width=-1)


def main():
    """Measure, print."""
    args = parse_arguments()
    torch.set_num_threads(1)
    weights = load_weights(args.weights)
    for key, text in describe_software(weights.record).items():
        print(f'# {key}: {text}')
    vae = build_vaes(weights)['blended']
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', VaephotWarning)
        first = make_mosaic(args.cases[0], 2, args.seed + 1)
        for refine in TIERS.values():
            fit_seconds(first, detect_parents(first), vae, refine)
        for case in args.cases:
            measure(case, args, vae)


if __name__ == '__main__':
    main()
