# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Deblend two real blends of HSC, beside a fit of one profile per source.

``FOLDER`` has ``hsc_cosmos_35.npz`` and ``hsc_cosmos.npz``, the examples of
scarlet. Each is deblended with the positions of its catalogue and without
any; one Spergel profile per source is fitted jointly at the same positions.
Printed are the reduced chi2 of each band over the pixels of all parents, the
sources found and missed, the colours of the sources beside those of galaxies
(``--colours`` names FITS tables of AB magnitudes, of cosmoDC2 in LSST's bands
or of COSMOS galaxies in HSC's), and fluxes of sources that overlap little
beside Kron fluxes of photutils.
"""

import argparse
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
from _hsc_images import (
    PIXEL_SCALE,
    ZEROPOINT,
    parents_of,
    profile_model,
    read_blends,
)
from _small_figure import GRAY, RED_BLUE, save_small
from astropy.table import Table
from photutils.segmentation import SourceCatalog

from vaephot import decode_flags
from vaephot.evaluate.matching import match_positions
from vaephot.results.flags import encode_flags

# positions this close are the same source, in pixels
NEAR = 3.0
# reference of colours: galaxies with an i magnitude this close, and the
# range that holds all but this percentage on each side
MAG_WIDTH = 0.75
OUTSIDE = 1.0
# a colour is odd if it is out of the range by this many errors
ODD_SIGMA = 2.0
# colours need this signal to noise in both bands
LEAST_SNR = 3.0
# what is smaller than this is a point, in pixels
POINT_RADIUS = 0.2
# fluxes are compared where neighbours have less than this in the i band
MAX_BLENDEDNESS = 0.05
# what the figure shows: image (first or second), blind or not, and band
SHOWN = ((0, False, 'r'), (0, True, 'r'), (1, False, 'z'), (1, True, 'z'))


def parse_arguments():
    """Command line of the script."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('folder', metavar='FOLDER', help='folder of the images')
    add('--colours', metavar='FILE', nargs='+',
        help='FITS tables of galaxies')
    add('--min-probability', type=float, default=0.5,
        help='of sources, without given positions (default: %(default)s)')
    add('--figure', metavar='FILE', help='PNG to write')
    return parser.parse_args()


def positions_of(result):
    """Fitted centres, (n, 2)."""
    return np.column_stack([result.table['x_centroid'],
                            result.table['y_centroid']])


def has_source(table):
    """Rows that are not flagged to be none."""
    return np.asarray(table['flags']) & encode_flags('no_source') == 0


def is_source(table):
    """Rows that are a source; a parent without one has a row too."""
    n_blended = np.asarray(table['n_blended'])
    return (((np.asarray(table['p_source']) >= 0.5) | (n_blended > 1))
            & has_source(table))


def fit_profiles(blend, result, blind):
    """
    Fit one profile each at the same positions.

    Sources that vaephot finds to be points are told to be some; the second
    fit is told nothing. Rows are those of the table; what is no source
    has no flux.
    """
    places = positions_of(result) if blind else blend.positions
    point = np.asarray(result.table['half_light_radius']) < POINT_RADIUS
    has_place = has_source(result.table)
    fits = []
    for told in (point, np.zeros_like(point)):
        fit = profile_model(blend, places[has_place], told[has_place])
        flux = np.full((len(places), len(blend.bands)), np.nan)
        flux[has_place] = fit['flux']
        fits.append({'flux': flux, 'model': fit['models'].sum(0)})
    return fits


def print_chi2(blend, result, profiles, blind):
    """Print the reduced chi2 of all models, per band."""
    inside = parents_of(result)
    models = {'vaephot': result.model_image,
              'one profile, points told': profiles[0]['model'],
              'one profile': profiles[1]['model']}
    rows = [(name, *blend.chi2(model, inside).round(2))
            for name, model in models.items()]
    how = 'blind' if blind else 'given positions'
    print(f'\n{blend.name}, {how}: reduced chi2 over {inside.sum()} pixels '
          f'of parents')
    Table(rows=rows, names=('model', *blend.bands)).pprint_all()


def print_sources(blend, result):
    """Print positions, magnitudes and flags."""
    table = result.table
    columns = {name: np.asarray(table[name]).round(digits) for name, digits
               in (('x_centroid', 1), ('y_centroid', 1), ('p_source', 2),
                   ('half_light_radius', 2), ('mag_i', 2), ('mag_err_i', 3),
                   ('blendedness_i', 3), ('reduced_chi2', 2))}
    columns['flags'] = [', '.join(names)
                        for names in decode_flags(table['flags'])]
    Table({'label': table['label'], 'n_blended': table['n_blended'],
           **columns}).pprint_all()


def print_lists(blend, result):
    """Print how the sources found agree with the catalogue."""
    found = positions_of(result)[is_source(result.table)]
    pairs = match_positions(blend.positions, found, NEAR)
    print(f'blind: {len(found)} sources, '
          f'{len(pairs.reference)} of the {len(blend.positions)} of the '
          f'catalogue within {NEAR:g} pixels (largest distance '
          f'{pairs.distance.max():.1f})')
    for whose, places, matched in (
            ('catalogue', blend.positions, pairs.reference),
            ('vaephot', found, pairs.measured)):
        for i in np.setdiff1d(np.arange(len(places)), matched):
            x, y = places[i]
            print(f'  only in {whose}: x={x:.1f} y={y:.1f}')


# ------------------------------------------------------------------ colours
def read_reference(paths, bands):
    """Magnitudes of reference galaxies, (n_bands, n)."""
    columns = []
    for path in paths:
        table = Table.read(path)
        name = 'HSC_{}' if 'HSC_i' in table.colnames else 'lsst_{}_mag'
        columns.append([np.asarray(table[name.format(band)], float)
                        for band in bands])
    return np.concatenate(columns, axis=1)


def print_colours(blend, result, reference):
    """Print colours with errors, and whether galaxies have such colours."""
    pairs = [f'{blue}-{red}' for blue, red in pairwise(blend.bands)]
    table, colors = result.table, result.colors(*blend.bands)
    snr = np.array([table[f'snr_{band}'] for band in blend.bands])
    known = np.minimum(snr[1:], snr[:-1]) > LEAST_SNR
    value, error = (np.array([colors[pair + end].value for pair in pairs])
                    for end in ('', '_err'))
    mag_i = np.asarray(table['mag_i'])
    names = ['label', 'i', *pairs]
    rows = [[int(table['label'][k]), mag_i[k].round(2),
             *(f'{v:.2f} +- {e:.2f}' if use else '-' for v, e, use
               in zip(value[:, k], error[:, k], known[:, k], strict=True))]
            for k in range(len(table))]
    if reference is not None:
        names += ['n near', 'out of range', 'closest']
        for k, row in enumerate(rows):
            row += _compare(value[:, k], error[:, k], known[:, k], mag_i[k],
                            reference, blend.bands)
    print('colours')
    Table(rows=rows, names=names).pprint_all()


def _compare(value, error, known, mag_i, reference, bands):
    """Galaxies of that magnitude, odd colours, closest of all galaxies."""
    theirs = reference[:-1] - reference[1:]
    ref_i = reference[bands.index('i')]
    near = abs(ref_i - mag_i) < MAG_WIDTH
    if not known.any():
        return [int(near.sum()), '', '']
    low, high = np.percentile(theirs[:, near], [OUTSIDE, 100 - OUTSIDE],
                              axis=1)
    out = np.maximum(low - value, value - high) > ODD_SIGMA * error
    odd = [f'{bands[j]}-{bands[j + 1]} ({low[j]:.2f} to {high[j]:.2f})'
           for j in np.flatnonzero(out & known)]
    away = abs(theirs - value[:, None])[known].max(0)
    best = away.argmin()
    return [int(near.sum()), ', '.join(odd),
            f'{away[best]:.2f} at i = {ref_i[best]:.1f}']


# --------------------------------------------------------------- Kron fluxes
def print_kron(blend, result, profile):
    """Compare fluxes with Kron fluxes of what overlaps little."""
    table, rows = result.table, []
    alone = ((np.asarray(table['blendedness_i']) < MAX_BLENDEDNESS)
             & (np.asarray(table['area']) > 0) & is_source(table))
    catalogs = [SourceCatalog(image, result.segmentation_image, error=error)
                for image, error in zip(blend.data, blend.error,
                                        strict=True)]
    for k in np.flatnonzero(alone):
        label = int(table['label'][k])
        models = result.make_source_image(label, kind='model')
        for b, (band, catalog) in enumerate(zip(blend.bands, catalogs,
                                                strict=True)):
            i = int(np.flatnonzero(catalog.labels == label)[0])
            kron, error = catalog.kron_flux[i], catalog.kron_flux_err[i]
            flux = float(np.asarray(table[f'flux_{band}'])[k])
            flux_err = float(np.asarray(table[f'flux_err_{band}'])[k])
            # in the aperture: own model, those of others, what is left
            share, others, left = (
                float(catalog.kron_aperture[i].do_photometry(image)[0][0])
                / flux for image in (
                    models[b], result.model_image[b] - models[b],
                    result.residual_image[b]))
            total = kron / share
            rows.append((
                label, band, int(table['n_blended'][k]),
                round(ZEROPOINT - 2.5 * np.log10(flux), 2),
                *np.round([flux / flux_err, kron / flux, total / flux,
                           error / share / flux,
                           (total - flux) / np.hypot(error / share,
                                                     flux_err),
                           share, others, left,
                           profile['flux'][k, b] / flux], 3)))
    print('Kron fluxes, and these over the share of the model in their '
          'apertures (total)\nown, others, left: light in the aperture, '
          'over the flux')
    Table(rows=rows, names=(
        'label', 'band', 'n_blended', 'mag', 'snr', 'Kron/flux',
        'total/flux', 'error', 'difference/error', 'own', 'others', 'left',
        'profile/flux')).pprint_all()


# ------------------------------------------------------------------- figure
def draw(blends, fits, path):
    """Data, both models and both residuals in units of the noise."""
    figure, axes = plt.subplots(len(SHOWN), 5, figsize=(9, 2.3 * len(SHOWN)),
                                layout='constrained')
    for row, (which, blind, band) in zip(axes, SHOWN, strict=True):
        blend, (result, profile) = blends[which], fits[which][blind]
        b = blend.bands.index(band)
        data, error = blend.data[b], blend.error[b]
        models = (result.model_image[b], profile['model'][b])
        top = np.arcsinh(data.max() / np.median(error))
        panels = [('data', data, None), ('vaephot', models[0], None),
                  ('residual', models[0], 'pull'),
                  ('one profile', models[1], None),
                  ('residual', models[1], 'pull')]
        for axis, (title, image, kind) in zip(row, panels, strict=True):
            if kind:
                shown = axis.imshow((data - image) / error, origin='lower',
                                    cmap=RED_BLUE, vmin=-6, vmax=6)
            else:
                axis.imshow(np.arcsinh(image / np.median(error)), vmin=-1,
                            vmax=top, origin='lower', cmap=GRAY)
                axis.plot(*blend.positions.T, '+', ms=6, mew=0.7,
                          color='tab:red')
                if blind:
                    axis.plot(*positions_of(result)[
                        is_source(result.table)].T, 'o', ms=8, mew=0.7,
                        mfc='none', color='tab:cyan')
            axis.set(xticks=[], yticks=[])
            axis.set_title(title, fontsize=9)
        row[0].set_ylabel(f'{blend.name}, {band}, '
                          f'{"blind" if blind else "given"}', fontsize=8)
    figure.colorbar(shown, ax=axes[:, -1], shrink=0.5,
                    label='residual / noise')
    save_small(figure, path, dpi=85)


def measure(blend, reference, min_probability):
    """Measure one blend, with given positions and blind."""
    fits = []
    for blind in (False, True):
        result = blend.deblend(blind=blind,
                               min_probability=min_probability)
        profiles = fit_profiles(blend, result, blind)
        print_chi2(blend, result, profiles, blind)
        print_sources(blend, result)
        if blind:
            print_lists(blend, result)
        print_colours(blend, result, reference)
        print_kron(blend, result, profiles[0])
        fits.append((result, profiles[0]))
    return fits


def main():
    """Measure both blends; draw them if asked for."""
    args = parse_arguments()
    blends = read_blends(args.folder)
    reference = None
    if args.colours:
        reference = read_reference(args.colours, blends[0].bands)
    print(f'{PIXEL_SCALE} arcsec pixels, zeropoint {ZEROPOINT}')
    fits = [measure(blend, reference, args.min_probability)
            for blend in blends]
    if args.figure:
        draw(blends, fits, args.figure)


if __name__ == '__main__':
    main()
