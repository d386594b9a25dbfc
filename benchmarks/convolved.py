# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Compare the drop-in with photutils where photutils' guide is followed.

The guide convolves the image with a detection kernel, detects sources on
the result and deblends them there. Fields of galaxies and stars with known
positions are deblended that way and from the image as it is, by
`vaephot.deblend_sources` and by photutils, without error or PSF. Printed
are the shares of true sources that are found and of found sources that are
true. A true source counts if its signal-to-noise ratio is above 10 and it
lies in a detected segment; pairs are made closest first, within a FWHM.
"""

import argparse

import numpy as np
import photutils
from astropy.convolution import convolve
from astropy.modeling.models import Sersic2D
from astropy.table import Table
from photutils.segmentation import (
    SourceCatalog,
    detect_sources,
    make_2dgaussian_kernel,
)
from photutils.segmentation import deblend_sources as photutils_deblend

import vaephot
from vaephot.evaluate.matching import match_positions

SIDE, N_SOURCES, N_PIXELS = 400, 150, 10
NOISE, FWHM = 1.0, 3.0
GAUSSIAN_FWHM = 2 * np.sqrt(2 * np.log(2))
# kernel and threshold of the guide
KERNEL_FWHM, KERNEL_SIZE, THRESHOLD = 3.0, 5, 1.5
# a true source counts from here on; fainter ones are no false detections
LEAST_SNR, FAINTEST_SNR = 10.0, 3.0
# samples per pixel of the galaxies
FINE = 3


def parse_arguments():
    """Command line of the script."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('--fields', type=int, default=2, help='default: %(default)s')
    add('--seed', type=int, default=1, help='default: %(default)s')
    add('--profile', choices=('gaussian', 'sersic'), default='gaussian',
        help='of the galaxies (default: %(default)s)')
    add('--refine', action='store_true', help='with the full fit')
    return parser.parse_args()


def draw_gaussian(x, y, size, ratio, angle):
    """Gaussian galaxy under the PSF, flux 1, (SIDE, SIDE)."""
    yy, xx = np.mgrid[:SIDE, :SIDE] - np.array([y, x])[:, None, None]
    cos, sin = np.cos(angle), np.sin(angle)
    along, across = cos * xx + sin * yy, cos * yy - sin * xx
    psf = (FWHM / GAUSSIAN_FWHM) ** 2
    a2, b2 = psf + size ** 2, psf + (ratio * size) ** 2
    return np.exp(-0.5 * (along ** 2 / a2 + across ** 2 / b2)) / (
        2 * np.pi * np.sqrt(a2 * b2))


def draw_sersic(x, y, size, ratio, angle, *, n=1.5, half=40):
    """Sersic galaxy under the PSF, flux 1, (SIDE, SIDE)."""
    ix, iy = int(round(x)), int(round(y))
    steps = np.arange(-half * FINE, half * FINE + 1) / FINE
    xx, yy = np.meshgrid(steps, steps)
    model = Sersic2D(1, max(size, 0.3), n, x - ix, y - iy, 1 - ratio, angle)
    sigma = FWHM / GAUSSIAN_FWHM * FINE
    line = np.exp(-0.5 * (np.arange(-5 * sigma, 5 * sigma + 1) // 1
                          / sigma) ** 2)
    spectrum = np.fft.rfft2(model(xx, yy))
    row = np.zeros(len(steps))
    row[:len(line)] = line / line.sum()
    row = np.abs(np.fft.fft(row))
    image = np.fft.irfft2(spectrum * row[:, None]
                          * row[:spectrum.shape[1]], s=xx.shape)[::FINE,
                                                                 ::FINE]
    out = np.zeros((SIDE + 2 * half, SIDE + 2 * half))
    out[iy:iy + 2 * half + 1, ix:ix + 2 * half + 1] = image / image.sum()
    return out[half:half + SIDE, half:half + SIDE]


def make_field(seed, profile):
    """Image, true positions and signal-to-noise ratios; a third in pairs."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(10, SIDE - 10, (2, N_SOURCES))
    n_pairs = N_SOURCES // 3
    distance = rng.uniform(1.5, 4, n_pairs) * FWHM
    angle = rng.uniform(0, 2 * np.pi, n_pairs)
    x[:n_pairs] = x[-n_pairs:] + distance * np.cos(angle)
    y[:n_pairs] = y[-n_pairs:] + distance * np.sin(angle)
    x, y = np.clip(x, 5, SIDE - 6), np.clip(y, 5, SIDE - 6)
    size = np.where(rng.random(N_SOURCES) < 0.2, 0.0,
                    rng.lognormal(np.log(1.5), 0.4, N_SOURCES))
    shape = np.array([rng.uniform(0.4, 1, N_SOURCES),
                      rng.uniform(0, np.pi, N_SOURCES)])
    snr = 10 ** rng.uniform(0.7, 2.5, N_SOURCES)
    draw = {'gaussian': draw_gaussian, 'sersic': draw_sersic}[profile]
    image = rng.normal(0, NOISE, (SIDE, SIDE))
    for k in range(N_SOURCES):
        unit = draw(x[k], y[k], size[k], *shape[:, k])
        image += unit * snr[k] * NOISE / np.sqrt((unit ** 2).sum())
    return image, np.column_stack([x, y]), snr


def score(children, image, segm, truth, snr):
    """Numbers of true sources, of those found, of all found, of true."""
    catalog = SourceCatalog(image, children)
    found = np.column_stack([catalog.x_centroid, catalog.y_centroid])
    ix, iy = truth.round().astype(int).T
    wanted = (snr > LEAST_SNR) & (segm.data[iy, ix] > 0)
    some = match_positions(truth[wanted], found, FWHM)
    real = match_positions(truth[snr > FAINTEST_SNR], found, FWHM)
    return np.array([wanted.sum(), len(some.reference), len(found),
                     len(real.reference)])


def main():
    """Run all fields and print the table."""
    args = parse_arguments()
    methods = {
        'vaephot': lambda image, segm: vaephot.deblend_sources(
            image, segm, N_PIXELS, refine=args.refine, progress_bar=False),
        'photutils': lambda image, segm: photutils_deblend(
            image, segm, N_PIXELS, progress_bar=False)}
    kernel = make_2dgaussian_kernel(KERNEL_FWHM, size=KERNEL_SIZE)
    total = {}
    for seed in range(args.seed, args.seed + args.fields):
        data, truth, snr = make_field(seed, args.profile)
        smooth = convolve(data, kernel)
        segm = detect_sources(smooth, THRESHOLD * NOISE, N_PIXELS)
        for given, image in (('convolved', smooth), ('as it is', data)):
            for name, deblend in methods.items():
                counts = score(deblend(image, segm), smooth, segm, truth,
                               snr)
                key = (given, name)
                total[key] = total.get(key, 0) + counts
    table = Table(names=('image', 'deblended by', 'true', 'completeness',
                         'found', 'purity'),
                  dtype=(str, str, int, float, int, float))
    for key, (n_true, matched, n_found, real) in total.items():
        table.add_row((*key, n_true, matched / n_true, n_found,
                       real / n_found))
    table['completeness'].format = table['purity'].format = '.3f'
    print(f'vaephot {vaephot.__version__}, photutils '
          f'{photutils.__version__}; {args.fields} fields from seed '
          f'{args.seed}, {args.profile} galaxies, refine={args.refine}')
    table.pprint_all()


if __name__ == '__main__':
    main()
