# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Measure the time that a field of single galaxies and blends takes.

A field of 2000 x 2000 pixels as Euclid's VIS sees it is detected as
photutils' guide does it. Then photutils deblends and measures it with Kron
fluxes, and so does vaephot: labels alone, with the quick fit, and with the
full one. Imports, the drawing of the field and the loading of
weights are not counted in the time. The peak of the memory is that of a
process which does nothing else, with libraries and images.
"""

import argparse
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np
from astropy.convolution import convolve
from astropy.table import Table
from photutils.segmentation import (
    SourceCatalog,
    deblend_sources,
    detect_sources,
    make_2dgaussian_kernel,
)

import vaephot
from vaephot.simulate import FieldConfig, draw_field

N_PIXELS = 5
THRESHOLD = 1.5
# FWHM and size of the kernel of the detection, in pixels
KERNEL = 2.0, 5
# galaxies per square arcmin brighter than 26, share of them in pairs, and
# their magnitudes: about 1200 galaxies, 980 segments
DENSITY, PAIR_SHARE, MAGS = 80.0, 0.6, (18.0, 26.5)


def parse_arguments():
    """Command line of the script."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('--side', type=int, default=2000,
        help='side of the field in pixels (default: %(default)s)')
    add('--seed', type=int, default=1, help='default: %(default)s')
    add('--repeats', type=int, default=3,
        help='runs of each method (default: %(default)s)')
    add('--refine', action='store_true', help='the full fit as well')
    return parser.parse_args()


def draw(side, seed):
    """VIS image of a field, its noise, mask, PSF and segments."""
    field = draw_field(FieldConfig(
        shape=(side, side), galaxy_density=DENSITY, pair_share=PAIR_SHARE,
        galaxy_mags=MAGS), seed=seed)
    k = field.bands.index('VIS')
    image, noise = field.image[k].astype(float), float(field.sky_rms[k])
    mask = np.asarray(field.mask)[k] > 0
    smooth = convolve(image, make_2dgaussian_kernel(KERNEL[0],
                                                    size=KERNEL[1]))
    segm = detect_sources(smooth, THRESHOLD * noise, N_PIXELS, mask=mask)
    given = {'error': noise, 'gain': float(field.gain[k]), 'mask': mask,
             'psf': field.psf_model('VIS')}
    return image, smooth, segm, given


def photutils_method(image, smooth, segm, given):
    """Watershed and Kron fluxes of photutils."""
    children = deblend_sources(smooth, segm, N_PIXELS, progress_bar=False)
    catalog = SourceCatalog(image, children, convolved_data=smooth,
                            mask=given['mask'])
    _ = catalog.kron_flux
    return children.n_labels


def labels_method(image, smooth, segm, given):
    """The drop-in, and the catalogue of photutils on its labels."""
    children = vaephot.deblend_sources(
        image, segm, N_PIXELS, progress_bar=False, error=given['error'],
        mask=given['mask'], psf=given['psf'])
    catalog = SourceCatalog(image, children, convolved_data=smooth,
                            mask=given['mask'])
    _ = catalog.kron_flux
    return children.n_labels


def full_method(image, smooth, segm, given, *, refine=False):
    """Fluxes of the models, by the quick or the full fit."""
    deblend = vaephot.VAEDeblender(N_PIXELS, refine=refine)
    return len(deblend(image, segm, **given))


METHODS = {
    'photutils deblend_sources, SourceCatalog': photutils_method,
    'vaephot deblend_sources, SourceCatalog': labels_method,
    'VAEDeblender, refine=False': full_method,
    'VAEDeblender': partial(full_method, refine=True)}


def measure(name, small, inputs, repeats):
    """Sources, seconds of each run, and peak of the memory in GiB."""
    METHODS[name](*small)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        n_sources = METHODS[name](*inputs)
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2 ** 20
    return n_sources, seconds, peak


def main():
    """Run the script."""
    args = parse_arguments()
    small, inputs = draw(200, args.seed), draw(args.side, args.seed)
    rows = []
    for name in list(METHODS)[:None if args.refine else -1]:
        with ProcessPoolExecutor(1, get_context('forkserver')) as pool:
            n_sources, seconds, peak = pool.submit(
                measure, name, small, inputs, args.repeats).result()
        rows.append((name, inputs[2].n_labels, n_sources,
                     f'{np.median(seconds):.2f}', f'{min(seconds):.2f}',
                     f'{peak:.2f}'))
    Table(rows=rows, names=('method', 'parents', 'sources', 'seconds',
                            'fastest', 'peak GiB')).pprint(max_width=-1)


if __name__ == '__main__':
    main()
