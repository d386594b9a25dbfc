# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Figures of the mock catalogue beside its reference."""

from pathlib import Path

import matplotlib as mpl

mpl.use('agg')

import matplotlib.pyplot as plt
import numpy as np
from astropy.table import Table

from vaephot.simulate.catalog import MockCatalog, galaxy_counts, median_size
from vaephot.simulate.star_counts import star_counts

MARGINALS = ('redshift', 'bulge_fraction', 'q_disk', 'u-VIS', 'g-r',
             'VIS-H')
COLORS = {'reference': 'tab:gray', 'mock': 'tab:red'}


def _save(figure, path):
    figure.savefig(path, dpi=80)
    plt.close(figure)
    print(f'{path}: {path.stat().st_size // 1024} kB')


def draw_marginals(path, drawn, unseen):
    figure, axes = plt.subplots(2, 3, figsize=(9, 5), layout='constrained')
    for ax, name in zip(axes.ravel(), MARGINALS, strict=True):
        both = np.concatenate([drawn[name], unseen[name]])
        bins = np.linspace(*np.percentile(both, [0.5, 99.5]), 26)
        ax.hist(unseen[name], bins, color=COLORS['reference'], alpha=0.6,
                label='cosmoDC2, not fitted')
        ax.hist(drawn[name], bins, color=COLORS['mock'], histtype='step',
                lw=1.5, label='mock')
        ax.set_xlabel(name.replace('_', ' '))
    axes[0, 0].legend(fontsize=8)
    _save(figure, path)


def _running(mag, values, width=1.0):
    """Median and its error in bins of magnitude."""
    centres = np.arange(20.0, 27.6, 0.75)
    out = []
    for centre in centres:
        inside = values[abs(mag - centre) < width / 2]
        error = 1.25 * inside.std() / np.sqrt(max(len(inside), 1))
        out.append((np.median(inside), error) if len(inside) > 5
                   else (np.nan, np.nan))
    return centres, *np.array(out).T


def draw_relations(path, drawn, unseen):
    figure, axes = plt.subplots(1, 3, figsize=(9.5, 3.3),
                                layout='constrained')
    for ax, name in zip(axes, ('VIS-H', 'g-r', 'redshift'), strict=True):
        for sample, label, shift in ((unseen, 'reference', -0.08),
                                     (drawn, 'mock', 0.08)):
            ax.plot(sample['mag'], sample[name], '.', ms=2, alpha=0.4,
                    color=COLORS[label])
            centre, middle, error = _running(sample['mag'], sample[name])
            ax.errorbar(centre + shift, middle, error, fmt='o', ms=4,
                        color=COLORS[label], label=label, mec='k', mew=0.5)
        ax.set_xlabel('VIS magnitude')
        ax.set_ylabel(name)
        ax.set_xlim(19, 27.7)
    axes[0].legend(fontsize=8)
    _save(figure, path)


def draw_counts(path):
    figure, ax = plt.subplots(figsize=(5, 3.6), layout='constrained')
    mag = np.linspace(16, 27, 100)
    ax.semilogy(mag, galaxy_counts(mag), color=COLORS['mock'],
                label='galaxies of the mock')
    ax.semilogy(mag, star_counts(mag), color='tab:blue',
                label='stars towards COSMOS')
    steep = np.array([20.0, 24.0])
    ax.semilogy(steep, 3 * galaxy_counts(20.0) * 10 ** (0.33 * (steep - 20)),
                'k--', label='slope 0.33 (Metcalfe et al. 2001)')
    ax.set_xlabel('VIS magnitude')
    ax.set_ylabel('per magnitude and square arcmin')
    ax.legend(fontsize=8)
    _save(figure, path)


def draw_sizes(path, folder):
    figure, ax = plt.subplots(figsize=(5, 3.6), layout='constrained')
    rng = np.random.default_rng(1)
    mags = rng.uniform(20, 26.5, 1500)
    radii = [item.galaxy.half_light_radius
             for item in MockCatalog().draw(rng, mags, ['VIS'])]
    ax.semilogy(mags, radii, '.', ms=2, color=COLORS['mock'], label='mock')
    line = np.array([20.0, 26.5])
    ax.semilogy(line, median_size(line), 'k', label='median of COSMOS')
    real = Path(folder) / 'cosmos_realgalaxy'
    catalog = Table.read(real / 'real_galaxy_catalog.fits')
    fits = Table.read(real / 'real_galaxy_catalog_fits.fits')
    ax.semilogy(catalog['MAG'], 0.03 * fits['flux_radius'], 'o', ms=4,
                mfc='none', color='tab:blue',
                label='50 COSMOS galaxies, FLUX_RADIUS')
    ax.set_xlabel('VIS magnitude')
    ax.set_ylabel('half-light radius [arcsec]')
    ax.legend(fontsize=8)
    _save(figure, path)


def draw_figures(output, folder, drawn, unseen):
    output.mkdir(parents=True, exist_ok=True)
    draw_marginals(output / 'mock_marginals.png', drawn, unseen)
    draw_relations(output / 'mock_relations.png', drawn, unseen)
    draw_counts(output / 'mock_counts.png')
    draw_sizes(output / 'mock_sizes.png', folder)
