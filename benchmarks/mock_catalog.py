#!/usr/bin/env python
# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Fit the mock catalogue to cosmoDC2, test it on other rows, draw figures.

    python benchmarks/mock_catalog.py FOLDER --write
    python benchmarks/mock_catalog.py FOLDER --figures docs/user_guide/figures

FOLDER holds ``cosmodc2/cosmodc2_lsst_euclid_derived.fits`` and, for the
figure of sizes, ``cosmos_realgalaxy``. The fit sees rows with an even
``galaxy_id``; the tests compare with the odd ones. Without options only
the tables of the tests are printed.
"""

import argparse
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
from astropy.table import Table
from scipy.spatial import cKDTree
from scipy.stats import ks_2samp

import vaephot.simulate.catalog.mock as mock
from vaephot.simulate.catalog.mixture import fit_mixture

CATALOG = Path('cosmodc2') / 'cosmodc2_lsst_euclid_derived.fits'
OUTPUT = Path(mock.__file__).parents[1] / 'data' / 'mock.json'

# Magnitudes that are fitted, and share of a bulge that counts as one.
MAG_LIMITS = (17.5, 27.6)
MIN_BULGE = 1e-4

# Gaussians of near and far galaxies without and with a bulge, and points'
# worth of the pooled covariance that each gets: the best of 2 to 13 and
# 10 or 30 at telling fitted rows that were left out.
PARTS = {('near', 'disk'): (4, 10.0), ('near', 'bulge'): (4, 30.0),
         ('far', 'disk'): (6, 10.0), ('far', 'bulge'): (13, 10.0)}
SEED = 1

# Galaxies below this redshift are near: the reference has hardly any
# between 0.06 and 0.2.
NEAR_REDSHIFT = 0.1

# Bins and quantities of the relations with magnitude.
RELATION_MAGS = (19.0, 21.0, 22.5, 23.5, 24.5, 25.5, 26.5, 27.5)
RELATIONS = ('g-r', 'u-VIS', 'VIS-H', 'redshift', 'q_disk')

# Where shares of kinds are stored, and the width that they are averaged
# over, in mag: near galaxies end within a magnitude.
BULGE_MAGS, BULGE_WIDTH = np.arange(18.0, 27.6, 1.0), 0.5
NEAR_MAGS, NEAR_WIDTH = np.arange(18.0, 27.6, 0.25), 0.25


def read_reference(folder):
    """Quantities of the reference, and which rows were fitted."""
    table = Table.read(Path(folder) / CATALOG)

    def column(band, what):
        survey = 'lsst' if band.islower() else 'euclid'
        return np.array(table[f'{survey}_{band}_{what}'], float)

    mags = {band: column(band, 'mag') for band in mock.COLOR_CHAIN}
    out = {'mag': mags['VIS']}
    for a, b in pairwise(mock.COLOR_CHAIN):
        out[f'{a}-{b}'] = mags[a] - mags[b]
    out['log_1z'] = np.log10(1 + np.array(table['redshift'], float))
    for part in ('disk', 'bulge'):
        out[f'q_{part}'] = np.array(table[f'size_minor_{part}_true']
                                    / table[f'size_{part}_true'], float)
        out[f'radius_{part}'] = np.sqrt(np.array(
            table[f'size_minor_{part}_true'] * table[f'size_{part}_true'],
            float))
    ratio = {band: column(band, 'bulge_Jy')
             / np.maximum(column(band, 'disk_with_knots_Jy'), 1e-30)
             for band in mock.COLOR_CHAIN}
    share = ratio['VIS'] / (1 + ratio['VIS'])
    out['bulge_fraction'] = share
    with np.errstate(divide='ignore', invalid='ignore'):
        out['logit_bulge'] = np.clip(np.log(ratio['VIS']), -9, 9)
        for band in mock.EXCESS_BANDS:
            out[f'excess_{band}'] = 2.5 * np.log10(ratio[band]
                                                   / ratio['VIS'])
    inside = (out['mag'] > MAG_LIMITS[0]) & (out['mag'] < MAG_LIMITS[1])
    fitted = np.array(table['galaxy_id']) % 2 == 0
    return {k: v[inside] for k, v in out.items()}, fitted[inside]


def fit(reference, chosen):
    """Numbers of ``data/mock.json``."""
    rows = {name: values[chosen] for name, values in reference.items()}
    near = rows['log_1z'] < np.log10(1 + NEAR_REDSHIFT)
    out = {'source': 'fit of benchmarks/mock_catalog.py to cosmoDC2 '
           '(Korytov et al. 2019), rows with an even galaxy_id',
           'near_share': _share(rows['mag'], near, NEAR_MAGS, NEAR_WIDTH)}
    for place, here in (('near', near), ('far', ~near)):
        out[place] = _fit_place(place, {name: values[here] for name, values
                                        in rows.items()})
    return out


def _fit_place(place, rows):
    """Numbers of the near or of the far galaxies."""
    has_bulge = rows['bulge_fraction'] > MIN_BULGE
    chain = [name for name in rows if '-' in name]
    both = ['mag', *chain, 'log_1z', 'q_disk']
    names = {'disk': both, 'bulge': [*both, 'logit_bulge', 'q_bulge', *(
        f'excess_{band}' for band in mock.EXCESS_BANDS)]}
    out = {'bulge_share': _share(rows['mag'], has_bulge, BULGE_MAGS,
                                 BULGE_WIDTH)}
    for kind, chosen in (('disk', ~has_bulge), ('bulge', has_bulge)):
        values = {name: rows[name][chosen] for name in names[kind]}
        n_parts, shrinkage = PARTS[place, kind]
        out[kind] = fit_mixture(values, n_parts=n_parts, seed=SEED,
                                shrinkage=shrinkage).to_dict()
    return out


def _share(mag, is_one, centres, width):
    """Share of galaxies of a kind at some magnitudes."""
    weights = np.exp(-0.5 * ((mag - centres[:, None]) / width) ** 2)
    return [centres.tolist(), np.round(weights @ is_one
                                       / weights.sum(axis=1), 3).tolist()]


def derived(values):
    """Colours over the whole range, which are tested too."""
    chain = [f'{a}-{b}' for a, b in pairwise(mock.COLOR_CHAIN[3:])]
    blue = [f'{a}-{b}' for a, b in pairwise(mock.COLOR_CHAIN[:4])]
    return {**values, 'VIS-H': sum(values[name] for name in chain),
            'u-VIS': sum(values[name] for name in blue)}


def sample_of(values, chosen=slice(None)):
    """Some of the rows, with all that is compared."""
    out = derived({name: column[chosen] for name, column in values.items()})
    if 'redshift' not in out:
        out['redshift'] = 10 ** out['log_1z'] - 1
    return out


def compare(reference, fitted, seed=0):
    """Mock and unseen reference rows of the same magnitudes."""
    unseen = sample_of(reference, ~fitted)
    rng = np.random.default_rng(seed)
    drawn = mock.MockCatalog().draw_properties(rng, unseen['mag'])
    return derived(drawn), unseen


TESTED = ('redshift', 'q_disk', 'u-g', 'g-r', 'r-VIS', 'VIS-i', 'i-z',
          'z-y', 'y-Y', 'Y-J', 'J-H', 'u-VIS', 'VIS-H', 'bulge_fraction')


def print_tests(drawn, unseen, seen):
    print(f'{len(unseen["mag"])} rows that the fit has not seen; beside '
          'these, fitted rows')
    print(f'{"quantity":16s} {"mock":>11s} {"p":>7s} {"fitted":>11s} '
          f'{"p":>7s}')
    for name in TESTED:
        tests = [ks_2samp(sample[name], unseen[name])
                 for sample in (drawn, seen)]
        print(f'{name:16s}', ' '.join(
            f'{test.statistic:11.3f} {test.pvalue:7.3f}' for test in tests))
    print('neighbours of the same kind (0.5 if they cannot be told apart): '
          f'{same_kind_share(drawn, unseen):.3f}')


def same_kind_share(drawn, unseen, n_neighbours=5):
    """Share of nearest neighbours of the same sample, over quantities."""
    names = ('mag', 'VIS-H', 'g-r', 'redshift', 'q_disk', 'bulge_fraction')
    scale = np.array([unseen[name].std() for name in names])
    both = np.concatenate([np.column_stack([sample[n] for n in names])
                           / scale for sample in (drawn, unseen)])
    kind = np.repeat([0, 1], [len(drawn['mag']), len(unseen['mag'])])
    _, near = cKDTree(both).query(both, k=n_neighbours + 1)
    return float((kind[near[:, 1:]] == kind[:, None]).mean())


def median_error(values, n_draws=300):
    """Error of a median, by drawing the values again."""
    rng = np.random.default_rng(1)
    return np.std([np.median(rng.choice(values, len(values)))
                   for _ in range(n_draws)])


def relations(name, reference, fitted, seed=0, n_draws=20):
    """
    Medians in bins of magnitude: of the mock, of unseen rows, and error.

    The error is that of the unseen rows and of the fitted ones, since
    the mock cannot know better than what it was fitted to.
    """
    samples = [sample_of(reference, chosen) for chosen in (fitted, ~fitted)]
    mags = np.tile(samples[1]['mag'], n_draws)
    drawn = sample_of(mock.MockCatalog().draw_properties(
        np.random.default_rng(seed), mags))
    for low, high in pairwise(RELATION_MAGS):
        seen, unseen, made = (
            sample[name][(sample['mag'] >= low) & (sample['mag'] < high)]
            for sample in (*samples, drawn))
        error = np.hypot(median_error(seen), median_error(unseen))
        yield low, high, np.median(made), np.median(unseen), error


def print_relations(reference, fitted):
    print('medians of the mock and of unseen rows, with errors:')
    for name in RELATIONS:
        print(f'{name:10s}', '  '.join(
            f'{low}-{high}: {made:.2f} {true:.2f}({error:.2f})'
            for low, high, made, true, error in relations(
                name, reference, fitted)))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder')
    parser.add_argument('--write', action='store_true')
    parser.add_argument('--figures', metavar='DIR')
    args = parser.parse_args()
    reference, fitted = read_reference(args.folder)
    if args.write:
        text = json.dumps(fit(reference, fitted), indent=0)
        text = text.replace(',\n', ', ').replace('[\n', '[')
        OUTPUT.write_text(text.replace('\n]', ']') + '\n', encoding='utf-8')
        print(f'{OUTPUT}: {OUTPUT.stat().st_size} bytes')
    drawn, unseen = compare(reference, fitted)
    print_tests(drawn, unseen, sample_of(reference, fitted))
    print_relations(reference, fitted)
    if args.figures:
        from _mock_figures import draw_figures

        draw_figures(Path(args.figures), args.folder, drawn, unseen)


if __name__ == '__main__':
    main()
