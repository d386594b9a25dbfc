# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Measure which odd sources are flagged, and how many good ones are.

Good galaxies and odd sources are drawn alone on stamps, seen as by the
Euclid Wide Survey, and each is measured as one galaxy at one position. The
constants of `vaephot.deblend.outputs.outliers` were set to good galaxies of
seeds 7
to 9; other seeds test them.
"""

import argparse
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
from _odd_stamps import KINDS, draw_stamps, instrument
from astropy import units as u
from astropy.table import Table
from mosaic import describe_software
from photutils.psf import ImagePSF
from sensitivity import Mistake, distort

from vaephot import VAEDeblender
from vaephot.evaluate import mosaic as layout
from vaephot.exceptions import DeblendWarning
from vaephot.results.flags import encode_flags
from vaephot.weights import load_weights

# signal-to-noise ratio of the model, all bands together
EDGES = (10.0, 50.0, 150.0, 400.0, np.inf)
# their light covers the stamp, which takes long: a fifth of the stamps
LARGE = ('saturated star', 'streak')
WIDER = 0.3
# good galaxies are a fraction of this to be above the limit
GOOD_SHARE = 0.01
# how far from its place a source is found, in pixels
MAX_DISTANCE = 8.0
FLAGS = ('out_of_domain', 'poor_fit', 'not_converged')


def parse_arguments():
    """Command line of the script."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    add = parser.add_argument
    add('kinds', nargs='*', metavar='KIND',
        help=f'of {", ".join(KINDS)} (default: all)'.replace('%', '%%'))
    add('--n', type=int, default=150,
        help='stamps of each kind (default: %(default)s)')
    add('--n-good', type=int, default=800,
        help='stamps of good galaxies (default: %(default)s)')
    add('--seed', type=int, default=21, help='default: %(default)s')
    add('--find', action='store_true',
        help='let the deblender find the sources')
    add('--no-refine', action='store_true', help='the quick fit')
    add('--weights', metavar='NAME',
        help='name or path of the weights (default: the default set)')
    add('-o', '--output', metavar='FILE.ecsv', help='write all sources')
    args = parser.parse_args()
    unknown = set(args.kinds) - set(KINDS)
    if unknown or min(args.n, args.n_good) < 1:
        parser.error(f'--n and --n-good must be at least 1, and kinds of '
                     f'{", ".join(KINDS)}')
    return args


def told_psfs(kind):
    """PSFs that the deblender is told."""
    shape = instrument()
    factor = shape.oversampling
    psfs = [ImagePSF(image / image.sum() * factor ** 2, oversampling=factor)
            for image in shape.psf_images]
    if kind.startswith('PSF'):
        psfs = [distort(psf, Mistake(kind, fwhm=WIDER)) for psf in psfs]
    return psfs


def signal_to_noise(source, survey):
    """Of the model of a source, all bands together."""
    model = u.Quantity(source.model).value
    variance = (survey.sky_rms[:, None, None] ** 2
                + np.maximum(model, 0) / survey.gain[:, None, None])
    return np.sqrt((model ** 2 / variance).sum())


def measure(kind, n, args):
    """Table of the sources of one kind."""
    stamps, survey = draw_stamps(kind, n, args.seed), instrument().survey
    laid = layout.make_mosaic(stamps)
    _, segm = layout.detect_segments(laid, survey.sky_rms[0])
    xy = stamps.xy + laid.corners
    told = Table({'x': xy[:, 0], 'y': xy[:, 1],
                  'point_source': np.zeros(n, bool)})
    deblend = VAEDeblender(weights=args.weights, refine=not args.no_refine)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeblendWarning)
        result = deblend(
            laid.image, segm, error=survey.sky_rms, gain=survey.gain,
            mask=laid.mask, psf=told_psfs(kind), bands=survey.band_names,
            positions=None if args.find else told)
    found = np.array([(s.x_centroid, s.y_centroid) for s in result])
    distance = np.hypot(*(found[:, None] - xy).T)
    rows = distance.argmin(1)
    rows = (rows[distance.min(1) < MAX_DISTANCE] if args.find
            else np.arange(n))
    sources = [result.sources[i] for i in rows]
    flags = np.asarray(result.table['flags'])[rows]
    return Table({
        'kind': [kind] * len(rows),
        'snr': [signal_to_noise(source, survey) for source in sources],
        'oddity': [source.oddity for source in sources],
        **{name: [source.oddities[name] for source in sources]
           for name in sources[0].oddities},
        **{name: (flags & encode_flags(name)) > 0 for name in FLAGS}})


def shares(table):
    """Share of sources with each flag in bins of signal to noise."""
    rows = []
    for low, high in pairwise(EDGES):
        some = table[(table['snr'] >= low) & (table['snr'] < high)]
        if len(some):
            rows.append((
                table['kind'][0], low, high, len(some),
                *(some[name].mean() for name in FLAGS),
                np.median(some['oddity']),
                np.quantile(some['oddity'], 1 - GOOD_SHARE)))
    return rows


def main():
    """Draw, measure, print the shares kind by kind."""
    args = parse_arguments()
    tables = []
    names = ('kind', 'low', 'high', 'n', *FLAGS, 'median',
             f'{100 * (1 - GOOD_SHARE):.0f} %')
    print(describe_software(load_weights(args.weights).record)['weights'])
    for kind in args.kinds or KINDS:
        n = (args.n_good if kind == 'good'
             else max(args.n // 5, 1) if kind in LARGE else args.n)
        tables.append(measure(kind, n, args))
        summary = Table(rows=shares(tables[-1]), names=names)
        for name in (*FLAGS, *names[-2:]):
            summary[name].format = '.2f' if name in names[-2:] else '.3f'
        print(*summary.pformat(max_lines=-1, max_width=-1), sep='\n',
              flush=True)
    if args.output:
        every = Table(np.concatenate([t.as_array() for t in tables]))
        every.write(Path(args.output), format='ascii.ecsv', overwrite=True)


if __name__ == '__main__':
    main()
