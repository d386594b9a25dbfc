# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Deblend photutils' example image, and compare the lists of sources.

The image is ``make_100gaussians_image``, prepared as in photutils' guide:
background subtracted, convolved, thresholded. photutils deblends the
convolved image, as there; ``vaephot.deblend_sources`` both that one and the
image as it is. A source of one list that has none of the other within 3
pixels is printed, with the nearest true one; a figure shows the segments that
come from the image as it is.
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np
from astropy.convolution import convolve
from astropy.table import Table
from astropy.utils.data import get_pkg_data_filename
from photutils.background import Background2D, MedianBackground
from photutils.datasets import make_100gaussians_image
from photutils.segmentation import (
    SourceCatalog,
    detect_sources,
    make_2dgaussian_kernel,
)
from photutils.segmentation import deblend_sources as photutils_deblend

from vaephot import deblend_sources
from vaephot.evaluate.matching import match_positions

N_PIXELS, THRESHOLD, KERNEL_FWHM, KERNEL_SIZE = 10, 1.5, 3.0, 5
# positions this close are the same source, in pixels
NEAR = 3.0
# part of the image in the figure: x, then y
SHOWN = (35, 155, 70, 190)


def parse_arguments():
    """Command line of the script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--figure', metavar='FILE', help='PNG to write')
    return parser.parse_args()


def prepare():
    """Image, convolved image, segmentation and true sources."""
    image = make_100gaussians_image()
    background = Background2D(image, (50, 50), filter_size=(3, 3),
                              bkg_estimator=MedianBackground())
    image = image - background.background
    kernel = make_2dgaussian_kernel(KERNEL_FWHM, size=KERNEL_SIZE)
    smooth = convolve(image, kernel)
    segm = detect_sources(smooth, THRESHOLD * background.background_rms,
                          N_PIXELS)
    truth = Table.read(get_pkg_data_filename(
        'data/100gaussians_params.ecsv', package='photutils.datasets'))
    return image, smooth, segm, truth


def positions(segm, image):
    """Centroids of the segments."""
    catalog = SourceCatalog(image, segm)
    return np.column_stack([catalog.x_centroid, catalog.y_centroid])


def compare(name, found, theirs, truth):
    """Print how two lists differ, and how many of each are true."""
    true = np.column_stack([truth['x_mean'], truth['y_mean']])
    both = match_positions(theirs, found, NEAR)
    for whose, places in ((name, found), ('photutils', theirs)):
        n_true = len(match_positions(true, places, NEAR).reference)
        print(f'{whose}: {len(places)} sources, {n_true} of them within '
              f'{NEAR:g} pixels of one of the {len(true)} true ones')
    rows = []
    for whose, places, matched in ((name, found, both.measured),
                                   ('photutils', theirs, both.reference)):
        for i in np.setdiff1d(np.arange(len(places)), matched):
            away = np.hypot(*(true - places[i]).T)
            k = away.argmin()
            rows.append((whose, *places[i].round(1), away[k].round(1),
                         truth['flux'][k].round(0),
                         truth['x_stddev'][k].round(1),
                         truth['y_stddev'][k].round(1)))
    if rows:
        Table(rows=rows, names=('only in', 'x', 'y', 'true at', 'flux',
                                'x_stddev', 'y_stddev')).pprint_all()


def draw(image, segments, truth, path):
    """Part of the image and of the segments, true positions as crosses."""
    figure, axes = plt.subplots(2, 2, figsize=(7, 7), layout='constrained')
    low, high = np.percentile(image, [5, 99.7])
    axes.flat[0].imshow(np.sqrt(np.clip(image - low, 0, high - low)),
                        origin='lower', cmap='gray')
    axes.flat[0].set_title('image, true positions')
    for axis, (name, segm) in zip(axes.flat[1:], segments.items(),
                                  strict=True):
        axis.imshow(segm.data, origin='lower', interpolation='nearest',
                    cmap=segm.make_cmap(seed=1))
        axis.set_title(f'{name}: {segm.n_labels} in all')
    for axis in axes.flat:
        axis.plot(truth['x_mean'], truth['y_mean'], '+', color='tab:red')
        axis.set(xticks=[], yticks=[], xlim=SHOWN[:2], ylim=SHOWN[2:])
    figure.savefig(path, dpi=70)


def report():
    """Print how the lists differ; return image, segments and truth."""
    image, smooth, segm, truth = prepare()
    theirs = photutils_deblend(smooth, segm, N_PIXELS, progress_bar=False)
    print(f'{segm.n_labels} parents')
    segments = {'photutils': theirs}
    for kind, given in (('convolved', smooth), ('as it is', image)):
        for refine in (False, True):
            ours = deblend_sources(given, segm, N_PIXELS, refine=refine,
                                   progress_bar=False)
            print(f'\nimage {kind}, refine={refine}')
            compare('vaephot', positions(ours, smooth),
                    positions(theirs, smooth), truth)
            if kind == 'as it is':
                segments[f'vaephot, refine={refine}'] = ours
    return image, segments, truth


def main():
    """Compare the lists; write the figure if asked for."""
    args = parse_arguments()
    image, segments, truth = report()
    if args.figure:
        draw(image, segments, truth, args.figure)


if __name__ == '__main__':
    main()
