# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Measure sources per second of VAEDeblender, photutils and sep.

All measure one mosaic of simulated blends in all bands. Imports, the
simulation, the loading of weights and a first call are not counted.
"""

import argparse
import os
import platform
import time

import numpy as np
import torch
from astropy.convolution import Gaussian2DKernel, convolve
from astropy.table import Table
from mosaic import describe_software, make_mosaic, vaephot_inputs
from photutils.segmentation import SourceCatalog, deblend_sources

from vaephot import VAEDeblender
from vaephot.cli._demo_field import N_PIXELS, SMOOTHING, detect_parents
from vaephot.evaluate.baselines import sep_photometry
from vaephot.simulate import CASES
from vaephot.weights import load_weights


def parse_arguments():
    """Command line of the script."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('--n', type=int, default=100, help='blends (default: %(default)s)')
    add('--case', choices=sorted(CASES), default='faint',
        help='kind of blend (default: %(default)s)')
    add('--seed', type=int, default=11, help='default: %(default)s')
    add('--repeats', type=int, default=3,
        help='runs of each method (default: %(default)s)')
    add('--weights', metavar='NAME',
        help='name or path of the weights (default: the default set)')
    add('--device', help='torch device (default: the best there is)')
    args = parser.parse_args()
    if min(args.n, args.repeats) < 1:
        parser.error('--n and --repeats must be at least 1')
    return args


def vaephot_method(args, *, refine):
    """Deblender as a function of a mosaic and its segmentation."""
    deblend = VAEDeblender(N_PIXELS, weights=args.weights,
                           device=args.device, refine=refine)

    def measure(mosaic, segm, smooth):
        return len(deblend(mosaic.data, segm, **vaephot_inputs(mosaic)))
    return measure


def run_photutils(mosaic, segm, smooth):
    """Watershed, then Kron fluxes and their errors in all bands."""
    children = deblend_sources(smooth, segm, N_PIXELS, progress_bar=False)
    first = None
    for band, sky_rms in zip(mosaic.data.value, mosaic.sky_rms,
                             strict=True):
        catalog = SourceCatalog(
            band, children, convolved_data=smooth if first is None else None,
            error=np.full(band.shape, sky_rms), mask=mosaic.gap,
            detection_catalog=first)
        first = catalog if first is None else first
        _ = catalog.kron_flux, catalog.kron_flux_err
    return children.n_labels


def run_sep(mosaic, segm, smooth):
    """Detection, deblending and Kron fluxes in all bands."""
    return len(sep_photometry(mosaic.data.value, mosaic.sky_rms,
                              bands=mosaic.bands, gain=mosaic.gain,
                              mask=mosaic.gap)[0])


def prepare(case, n_blends, seed):
    """Mosaic, its detected segments and the smoothed VIS image."""
    mosaic = make_mosaic(case, n_blends, seed)
    smooth = convolve(mosaic.data[0].value, Gaussian2DKernel(SMOOTHING))
    return mosaic, detect_parents(mosaic), smooth


def clock(measure, inputs, repeats):
    """Seconds of each run, and the number of sources."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        n_sources = measure(*inputs)
        seconds.append(time.perf_counter() - start)
    return np.array(seconds), n_sources


def main():
    """Draw, measure, print."""
    args = parse_arguments()
    methods = {
        'vaephot': vaephot_method(args, refine=True),
        'vaephot refine=False': vaephot_method(args, refine=False),
        'photutils deblend_sources, SourceCatalog': run_photutils,
        'sep, detection included': run_sep}
    inputs = prepare(args.case, args.n, args.seed)
    first = prepare(args.case, 1, args.seed + 1)
    device = VAEDeblender(weights=args.weights, device=args.device).device
    rows = []
    for name, measure in methods.items():
        measure(*first)
        seconds, n_sources = clock(measure, inputs, args.repeats)
        speed = n_sources / seconds
        rows.append({'method': name, 'sources': n_sources,
                     'seconds': f'{np.median(seconds):.2f}',
                     'sources/s': f'{np.median(speed):.1f}',
                     'slowest': f'{speed.min():.1f}',
                     'fastest': f'{speed.max():.1f}'})
    header = {
        'case': f'{args.case}, {args.n} blends, seed {args.seed}, '
                f'{len(inputs[0].true_xy)} true sources, '
                f'{inputs[1].n_labels} segments, '
                f'{len(inputs[0].bands)} bands',
        'machine': f'{platform.machine()}, {os.cpu_count()} cores, torch '
                   f'with {torch.get_num_threads()} threads on {device}',
        'figures': f'median, slowest and fastest of {args.repeats} runs',
        **describe_software(load_weights(args.weights).record)}
    for key, text in header.items():
        print(f'# {key}: {text}')
    print('\n'.join(Table(rows).pformat(max_lines=-1, max_width=-1)))


if __name__ == '__main__':
    main()
