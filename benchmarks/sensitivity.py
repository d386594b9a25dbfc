# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Measure what wrong inputs do to fluxes and errors.

The same blends are measured once as they are and once for each mistake: a
PSF too narrow, too wide or of the wrong ellipticity, a wrong noise, a
background, positions off the centre. Images and noise are the same each
time, so that the change of a flux is that of the mistake alone.
"""

import argparse
import warnings
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from astropy import units as u
from mosaic import describe_software, make_mosaic, vaephot_inputs
from photutils.psf import ImagePSF
from scipy.ndimage import map_coordinates

from vaephot import VAEDeblender
from vaephot.cli._demo_field import detect_parents
from vaephot.evaluate.flux_errors import nmad
from vaephot.exceptions import DeblendWarning
from vaephot.simulate import CASES
from vaephot.weights import load_weights

EDGES = (20.0, 23.0, 24.5, 26.0)
BANDS = ('VIS', 'H')
# 1-sigma scatter of positions that are given, arcsec in x and in y
POSITION_SIGMA = 0.02


@dataclass(frozen=True)
class Mistake:
    """
    What is told wrongly.

    Parameters
    ----------
    name : str
        For the table.
    fwhm : float
        Relative error of the width of the PSF.
    ellipticity : float
        Reduced shear added to it.
    noise : float
        Noise told over the true one.
    background : float
        Background left in the image, in units of the noise of the sky.
    offset : float
        Error of the positions in pixels, in a random direction.
    local_background : str or None
        As for the deblender.
    """

    name: str
    fwhm: float = 0.0
    ellipticity: float = 0.0
    noise: float = 1.0
    background: float = 0.0
    offset: float = 0.0
    local_background: str | None = None


MISTAKES = (
    *(Mistake(f'PSF FWHM {100 * f:+.0f} %', fwhm=f)
      for f in (-0.05, -0.03, -0.01, 0.01, 0.03, 0.05)),
    *(Mistake(f'PSF shear {g:g}', ellipticity=g) for g in (0.02, 0.05)),
    *(Mistake(f'noise × {f:g}', noise=f) for f in (0.8, 1.25)),
    *(Mistake(f'background {b:+.1f} σ', background=b)
      for b in (-0.1, 0.1, 0.3)),
    *(Mistake(f'background {b:+.1f} σ, fitted', background=b,
              local_background='constant') for b in (0.1, 0.3)),
    *(Mistake(f'positions off by {d:g} px', offset=d)
      for d in (0.5, 1.0, 2.0)),
)


def parse_arguments():
    """Command line of the script."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    add = parser.add_argument
    add('case', nargs='?', default='faint', choices=sorted(CASES),
        help='kind of blend (default: %(default)s)')
    add('--n', type=int, default=40, help='blends (default: %(default)s)')
    add('--seed', type=int, default=31, help='default: %(default)s')
    add('--weights', metavar='NAME',
        help='name or path of the weights (default: the default set)')
    add('--device', help='torch device (default: the best there is)')
    add('-o', '--output', metavar='FILE.inc',
        help='write the table as reStructuredText')
    args = parser.parse_args()
    if args.n < 1:
        parser.error(f'--n is {args.n}; it must be at least 1')
    return args


def distort(psf, mistake):
    """PSF of another width and shape, of the same flux."""
    image = np.asarray(psf.data)
    half = (np.array(image.shape) - 1) / 2
    y, x = np.indices(image.shape) - half[:, None, None]
    g, stretch = mistake.ellipticity, 1 + mistake.fwhm
    area = np.sqrt(1 - g * g)
    x, y = (x * (1 - g) / area / stretch, y * (1 + g) / area / stretch)
    moved = map_coordinates(image, [y + half[0], x + half[1]], order=3)
    return ImagePSF(moved * image.sum() / moved.sum(),
                    oversampling=psf.oversampling)


def run(mosaic, mistake, args):
    """Table of the sources for one mistake."""
    rng = np.random.default_rng([args.seed, 1])
    shape = mosaic.true_xy.shape
    positions = mosaic.true_xy + rng.normal(
        scale=POSITION_SIGMA / mosaic.pixel_scale, size=shape)
    angle = rng.uniform(0, 2 * np.pi, len(positions))
    positions = positions + mistake.offset * np.stack(
        [np.cos(angle), np.sin(angle)], 1)
    inputs = vaephot_inputs(mosaic)
    inputs['error'] = inputs['error'] * mistake.noise
    inputs['psf'] = [distort(psf, mistake) for psf in inputs['psf']]
    level = mistake.background * mosaic.sky_rms[:, None, None]
    deblend = VAEDeblender(weights=args.weights, device=args.device,
                           local_background=mistake.local_background)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeblendWarning)
        return deblend(mosaic.data + level * mosaic.data.unit,
                       detect_parents(mosaic), positions=positions,
                       **inputs).table


def columns(table, name, band, unit):
    """Column of a band without its unit."""
    return u.Quantity(table[f'{name}_{band}'], unit).value


def score(mosaic, reference, table, band):
    """Shift of the fluxes, its scatter, and the pulls, bin by bin."""
    unit = mosaic.data.unit
    true = mosaic.true_flux[:, mosaic.bands.index(band)]
    flux = columns(table, 'flux', band, unit)
    shift = (flux - columns(reference, 'flux', band, unit)) / true
    pull = (flux - true) / columns(table, 'flux_err', band, unit)
    vis = mosaic.true_mag[:, 0]
    cells = []
    for low, high in pairwise(EDGES):
        mine = (vis >= low) & (vis < high) & np.isfinite(shift)
        cells.append((np.median(shift[mine]), nmad(shift[mine]),
                      nmad(pull[mine])) if mine.sum() > 2
                     else (np.nan,) * 3)
    return cells


def as_rst(rows, about):
    """Table of the figures as reStructuredText."""
    names = [f'{band} {low:g}–{high:g}' for band in BANDS
             for low, high in pairwise(EDGES)]
    lines = ['.. list-table::', '   :header-rows: 1', '']
    for row in [['mistake', *names], *rows]:
        lines += [f'   {"*" if i == 0 else " "} - {cell}'
                  for i, cell in enumerate(row)]
    lines += ['', *(f'* {key}: {text}' for key, text in about.items())]
    return '\n'.join(lines) + '\n'


def main():
    """Draw, measure with each mistake, write the table."""
    args = parse_arguments()
    mosaic = make_mosaic(args.case, args.n, args.seed)
    reference = run(mosaic, Mistake('none'), args)
    about = {'blends': f'{args.n} of the case ``{args.case}``, seed '
                       f'{args.seed}, {len(mosaic.true_xy)} sources',
             **describe_software(load_weights(args.weights).record)}
    rows = []
    for mistake in (Mistake('none'), *MISTAKES):
        table = reference if mistake.name == 'none' else run(mosaic, mistake,
                                                            args)
        cells = [f'{shift:+.3f} ± {scatter:.3f}; {pull:.2f}'
                 for band in BANDS for shift, scatter, pull
                 in score(mosaic, reference, table, band)]
        rows.append([mistake.name, *cells])
        print('  '.join(rows[-1]), flush=True)
        if args.output:
            Path(args.output).write_text(as_rst(rows, about),
                                         encoding='utf-8')


if __name__ == '__main__':
    main()
