# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Lists of sources on example images: vaephot, photutils and SExtractor.

``FOLDER`` has ``sep_image``, the NTT frame of the package sep with the list
that SExtractor made of it, its background and its noise; and ``hsc_cosmos``,
the examples of scarlet. photutils' own example image needs no file. On the
frame all start from the detection that SExtractor's configuration asks for;
``--stamps`` draws each source that is not on all lists. Fluxes are compared
with ``FLUX_AUTO`` where neither list says that the source is blended.
"""

import argparse
import warnings
from itertools import pairwise
from pathlib import Path

import hundred_gaussians
import matplotlib.pyplot as plt
import numpy as np
from _hsc_images import read_blends
from _small_figure import GRAY, RED_BLUE, save_small
from astropy.convolution import convolve
from astropy.io import fits
from astropy.table import Table
from astropy.utils.exceptions import AstropyUserWarning
from photutils.aperture import EllipticalAperture
from photutils.segmentation import (
    SourceCatalog,
    detect_sources,
    make_2dgaussian_kernel,
)
from photutils.segmentation import deblend_sources as photutils_deblend

from vaephot import VAEDeblender, decode_flags
from vaephot.evaluate.matching import match_positions
from vaephot.results.flags import encode_flags

# settings of the file default.sex and the kernel of default.conv
THRESHOLD, N_PIXELS, SATURATION = 1.5, 5, 50_000
KERNEL = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
# the columns of the list that are used, from 0
COLUMNS = {'number': 0, 'x': 1, 'y': 2, 'x2': 5, 'y2': 6, 'cross': 7,
           'kron': 14, 'flux': 15, 'flux_err': 16, 'flags': -1}
# smoothing of the stack of HSC's bands, in pixels
HSC_FWHM, HSC_SIZE = 3.0, 5
# positions this close are the same source, in pixels
NEAR = 3.0
# classes of signal to noise in the comparison of fluxes
SNR_EDGES = (5, 10, 20, 50, 1e9)
COLORS = {'vaephot': 'tab:cyan', 'photutils': 'tab:orange',
          'SExtractor': 'tab:red'}
MARKERS = {'vaephot': 'o', 'photutils': 's', 'SExtractor': '+'}
# half the side of stamps, in pixels
HALF = 12


def parse_arguments():
    """Command line of the script."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('folder', metavar='FOLDER', help='folder of the folders of images')
    add('--figure', metavar='FILE', help='PNG of the NTT frame to write')
    add('--stamps', metavar='FILE',
        help='PNG of what is not on all lists to write')
    return parser.parse_args()


# -------------------------------------------------------------------- lists
def merge(lists):
    """
    Put lists of positions into one.

    Parameters
    ----------
    lists : dict
        Positions (n, 2) by name; the first list counts most.

    Returns
    -------
    xy, rows
        Positions (n, 2), and by name the row of each in that list, or -1.
    """
    xy = np.zeros((0, 2))
    rows = {}
    for name, places in lists.items():
        pairs = match_positions(xy, places, NEAR)
        new = np.setdiff1d(np.arange(len(places)), pairs.measured)
        rows = {key: np.r_[old, np.full(len(new), -1)]
                for key, old in rows.items()}
        own = np.full(len(xy) + len(new), -1)
        own[pairs.reference] = pairs.measured
        own[len(xy):] = new
        rows[name], xy = own, np.concatenate([xy, places[new]])
    return xy, rows


def print_lists(lists, columns=None):
    """
    Print how many sources lists share, and what is not on all.

    ``columns`` has for each list more columns, {title: values}.
    """
    xy, rows = merge(lists)
    on = np.array([rows[name] >= 0 for name in lists])
    print(', '.join(f'{name}: {len(places)}'
                    for name, places in lists.items())
          + f'; on all lists: {on.all(0).sum()}')
    for name, its in zip(lists, on, strict=True):
        print(f'  only in {name}: {(its & (on.sum(0) == 1)).sum()}')
    odd = np.flatnonzero(~on.all(0))
    table = Table({'x': xy[odd, 0].round(1), 'y': xy[odd, 1].round(1)})
    for name in lists:
        table[name] = ['x' if k >= 0 else '-' for k in rows[name][odd]]
        for title, values in (columns or {}).get(name, {}).items():
            table[title] = [values[k] if k >= 0 else '' for k in
                            rows[name][odd]]
    if len(table):
        table.pprint_all()
    return xy[odd]


def found(result):
    """Rows of the table that are a source."""
    table = result.table
    return np.flatnonzero(((np.asarray(table['p_source']) >= 0.5)
                           | (np.asarray(table['n_blended']) > 1))
                          & (np.asarray(table['flags'])
                             & encode_flags('no_source') == 0))


def centres(table):
    """Fitted centres of a table, (n, 2)."""
    return np.column_stack([table['x_centroid'], table['y_centroid']])


# ---------------------------------------------------------------- NTT frame
def read_frame(folder):
    """Image without background, noise and SExtractor's list."""
    with warnings.catch_warnings():
        # cards of 1992 are no FITS any more
        warnings.simplefilter('ignore', AstropyUserWarning)
        image, background, noise = (
            fits.getdata(Path(folder) / f'{name}.fits').astype(float)
            for name in ('image', 'back', 'rms'))
    values = np.loadtxt(Path(folder) / 'image.cat')
    theirs = {name: values[:, k] for name, k in COLUMNS.items()}
    # SExtractor counts pixels from 1
    theirs['xy'] = np.column_stack([theirs['x'], theirs['y']]) - 1
    # noise of the sky is all photon noise, or the gain is a bit larger
    gain = np.median(background / noise**2)
    return image - background, image > SATURATION, noise, gain, theirs


def compare_frame(folder):
    """Compare the lists on the NTT frame; return what the figures show."""
    image, saturated, noise, gain, theirs = read_frame(folder)
    smooth = convolve(image, KERNEL, boundary='fill', fill_value=0)
    segm = detect_sources(smooth, THRESHOLD * noise, N_PIXELS)
    children = photutils_deblend(smooth, segm, N_PIXELS, progress_bar=False)
    result = VAEDeblender(n_pixels=N_PIXELS)(
        image, segm, error=noise, gain=gain, mask=saturated)
    kept = found(result)
    table = result.table[kept]
    print(f'{segm.n_labels} parents; gain {gain:.2f}; {saturated.sum()} '
          f'saturated pixels; {len(result.table) - len(kept)} parents in '
          f'which vaephot sees no source')
    lists = {'vaephot': centres(table),
             'SExtractor': theirs['xy'],
             'photutils': hundred_gaussians.positions(children, smooth)}
    odd = print_lists(lists, {
        'vaephot': {'flux': np.asarray(table['flux']).round(0),
                    'snr': np.asarray(table['snr']).round(1),
                    'r': np.asarray(table['half_light_radius']).round(1),
                    'p': np.asarray(table['p_source']).round(2),
                    'of': np.asarray(table['n_blended']),
                    'flags': [', '.join(names) for names
                              in decode_flags(table['flags'])]},
        'SExtractor': {'FLUX_AUTO': theirs['flux'].round(0),
                       'FLAGS': theirs['flags'].astype(int)},
        'photutils': {'segment flux': SourceCatalog(
            image, children).segment_flux.round(0)}})
    print_no_source(result, theirs)
    compare_fluxes(result, kept, theirs)
    pull = (result.residual_image
            / np.sqrt(noise**2 + np.maximum(result.model_image, 0) / gain))
    return image / noise, pull, lists, odd


def print_no_source(result, theirs):
    """Print the rows that are no source, and whether SExtractor has one."""
    segm, rows = result.segmentation_image, []
    no_source = np.setdiff1d(np.arange(len(result.table)), found(result))
    for k in no_source:
        row = result.table[int(k)]
        y, x = np.nonzero(segm.data == row['label'])
        away = np.hypot(*(theirs['xy'] - [x.mean(), y.mean()]).T)
        rows.append((round(x.mean(), 1), round(y.mean(), 1), len(x),
                     round(float(row['p_source']), 2),
                     round(float(row['snr']), 1),
                     away.min().round(1)))
    if rows:
        print('parents without a source')
        Table(rows=rows, names=('x', 'y', 'area', 'p_source', 'snr',
                                "SExtractor's at")).pprint_all()


def compare_fluxes(result, kept, theirs):
    """Compare fluxes with FLUX_AUTO, as it is and made total."""
    table = result.table[kept]
    pairs = match_positions(theirs['xy'], centres(table), NEAR)
    i, k = pairs.reference, pairs.measured
    alone = ((theirs['flags'][i] == 0) & (theirs['flux'][i] > 0)
             & (np.asarray(table['n_blended'])[k] == 1))
    i, k = i[alone], k[alone]
    flux, error = (np.asarray(table[name])[k].astype(float)
                   for name in ('flux', 'flux_err'))
    share = np.array([_share_inside(result, int(label), theirs, row)
                      for label, row in zip(table['label'][k], i,
                                            strict=True)]) / flux
    auto, total = theirs['flux'][i], theirs['flux'][i] / share
    sigma = np.hypot(error, theirs['flux_err'][i] / share)
    snr, rows = flux / error, []
    for low, high in pairwise(SNR_EDGES):
        use = (snr >= low) & (snr < high)
        if use.any():
            pull = (total - flux)[use] / sigma[use]
            rows.append((f'{low:g} to {high:g}', use.sum(),
                         *np.round([np.median(auto[use] / flux[use]),
                                    np.median(share[use]),
                                    np.median(total[use] / flux[use]),
                                    np.median(pull), abs(pull).max()], 3)))
    print(f'fluxes of {alone.sum()} sources alone on both lists (medians)')
    Table(rows=rows, names=('snr', 'n', 'AUTO/flux', 'share inside',
                            'total AUTO/flux', 'difference/error',
                            'largest')).pprint_all()
    worst = np.argsort(-abs(total - flux) / sigma)[:6]
    print('largest differences')
    Table({'x': theirs['xy'][i[worst], 0].round(1),
           'y': theirs['xy'][i[worst], 1].round(1),
           'flux': flux[worst].round(0), 'error': error[worst].round(0),
           'FLUX_AUTO': auto[worst].round(0),
           'share inside': share[worst].round(2),
           'KRON_RADIUS': theirs['kron'][i[worst]],
           'difference/error': ((total - flux) / sigma)[worst].round(1),
           'flags': [', '.join(names) for names in decode_flags(
               table['flags'][k[worst]])]}).pprint_all()


def _share_inside(result, label, theirs, row):
    """Light of a model inside SExtractor's Kron aperture."""
    x2, y2, cross = (theirs[name][row] for name in ('x2', 'y2', 'cross'))
    middle, half = (x2 + y2) / 2, np.hypot((x2 - y2) / 2, cross)
    a, b = np.sqrt([middle + half, max(middle - half, 1 / 12)])
    aperture = EllipticalAperture(
        tuple(theirs['xy'][row]), a * theirs['kron'][row],
        b * theirs['kron'][row], theta=0.5 * np.arctan2(2 * cross, x2 - y2))
    model = result.make_source_image(label, kind='model')
    return float(aperture.do_photometry(model)[0][0])


# ---------------------------------------------------------------------- HSC
def compare_hsc(folder):
    """Compare the lists on the blends of HSC."""
    kernel = make_2dgaussian_kernel(HSC_FWHM, size=HSC_SIZE)
    for blend in read_blends(folder):
        weight = 1 / blend.error**2
        stack = (blend.data * weight).sum(0) / np.sqrt(weight.sum(0))
        smooth = convolve(stack, kernel)
        segm = detect_sources(smooth, THRESHOLD, N_PIXELS)
        children = photutils_deblend(smooth, segm, N_PIXELS,
                                     progress_bar=False)
        result = blend.deblend(segm, blind=True)
        table = result.table[found(result)]
        print(f'\n{blend.name}: {segm.n_labels} parents')
        print_lists({'vaephot': centres(table), 'catalogue':
                     blend.positions, 'photutils':
                     hundred_gaussians.positions(children, smooth)},
                    {'vaephot': {'i': np.asarray(table['mag_i']).round(2),
                                 'p': np.asarray(table['p_source']
                                                 ).round(2)}})


# ------------------------------------------------------------------ figures
def mark(axis, lists, **settings):
    """Mark the positions of all lists."""
    for name, places in lists.items():
        axis.plot(*places.T, MARKERS[name], color=COLORS[name], ls='none',
                  mfc='none', mew=0.9, label=name, **settings)


def draw(image, pull, lists, path):
    """The frame with the lists, and the residual of vaephot."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 5.6),
                                layout='constrained', sharey=True)
    axes[0].imshow(np.arcsinh(image / 2), vmin=-1, vmax=4, cmap=GRAY,
                   origin='lower')
    limits = (-3, len(image) + 2)
    mark(axes[0], lists, ms=7)
    axes[0].legend(loc='upper center', bbox_to_anchor=(0.5, -0.02), ncols=3)
    shown = axes[1].imshow(pull, vmin=-6, vmax=6, cmap=RED_BLUE,
                           origin='lower')
    axes[0].set(xticks=[], yticks=[], title='NTT frame and the three lists')
    axes[1].set(xticks=[], title='vaephot: residual / noise')
    figure.colorbar(shown, ax=axes[1], shrink=0.7)
    axes[0].set(xlim=limits, ylim=limits)
    save_small(figure, path, dpi=75)


def draw_stamps(image, pull, lists, odd, path):
    """Stamps of what is not on all lists; below each the residual."""
    n_columns = 7
    n_rows = -(-len(odd) // n_columns)
    figure, axes = plt.subplots(2 * n_rows, n_columns, layout='constrained',
                                figsize=(2 * n_columns, 4.3 * n_rows))
    for axis in axes.flat:
        axis.set_axis_off()
    for k, (x, y) in enumerate(odd):
        row, column = divmod(k, n_columns)
        pair = axes[2 * row:2 * row + 2, column]
        pair[0].imshow(np.arcsinh(image / 2), vmin=-1, vmax=3, cmap=GRAY,
                       origin='lower')
        pair[1].imshow(pull, vmin=-6, vmax=6, cmap=RED_BLUE, origin='lower')
        mark(pair[0], lists, ms=12)
        for axis in pair:
            axis.set(xlim=(x - HALF, x + HALF), ylim=(y - HALF, y + HALF))
        pair[0].set_title(f'{x:.0f}, {y:.0f}')
    figure.savefig(path, dpi=75)


def main():
    """Compare all lists; draw them if asked for."""
    args = parse_arguments()
    print("photutils' example image")
    hundred_gaussians.report()
    print('\nNTT frame')
    image, pull, lists, odd = compare_frame(Path(args.folder) / 'sep_image')
    if args.figure:
        draw(image, pull, lists, args.figure)
    if args.stamps:
        draw_stamps(image, pull, lists, odd, args.stamps)
    compare_hsc(Path(args.folder) / 'hsc_cosmos')


if __name__ == '__main__':
    main()
