# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Figures of an evaluation; they need matplotlib."""

import numpy as np

from vaephot.evaluate.bins import nmad
from vaephot.evaluate.calibration import pulls
from vaephot.utils.optional_deps import import_optional

__all__ = ['draw_colours', 'draw_completeness', 'draw_flux_errors',
           'draw_gallery', 'draw_pit', 'draw_pulls', 'draw_trade',
           'end_bands']

# df/f beyond this are drawn on the edge
FLUX_RANGE = 1.0
PULL_RANGE = 5.0
N_GALLERY = 5
# bins with less are not drawn
MIN_POINTS = 3
MARKERS = 'osD^vP*Xhp<>d'
LABELS = {
    'mag': 'true magnitude', 'measured_mag': 'measured magnitude',
    'separation': 'distance of the nearest source [arcsec]',
    'delta_mag': 'magnitude of that source minus own', 'snr': 'S/N',
    'blendedness': 'blendedness'}


def _figure(n_rows, n_columns, width=3.4, height=2.6, **keywords):
    """Figure and its axes, always a 2D array."""
    figures = import_optional('matplotlib.figure', 'drawing a report')
    figure = figures.Figure(figsize=(width * n_columns, height * n_rows),
                            layout='constrained')
    return figure, figure.subplots(n_rows, n_columns, squeeze=False,
                                   **keywords)


def _styles(methods):
    """Colour and marker of each method, the same in all figures."""
    matplotlib = import_optional('matplotlib', 'drawing a report')
    palette = matplotlib.color_sequences[
        'tab10' if len(methods) <= 10 else 'tab20']
    return {method: {'color': palette[k % len(palette)],
                     'marker': MARKERS[k % len(MARKERS)], 'ms': 4}
            for k, method in enumerate(methods)}


def _legend(figure):
    """Legend of all methods of a figure, beside its panels."""
    known = {}
    for other in figure.axes:
        for handle, label in zip(*other.get_legend_handles_labels(),
                                 strict=True):
            known.setdefault(label, handle)
    if known:
        figure.legend(known.values(), known.keys(), fontsize=6,
                      loc='outside right upper')


def _select(table, **values):
    """Rows with these values."""
    keep = np.ones(len(table), bool)
    for name, value in values.items():
        keep &= np.asarray(table[name]) == value
    return table[keep]


def _curve(ax, rows, name, style, label, shift=0.0):
    """Figures with error bars against the middle of their bins."""
    rows = rows[np.isfinite(rows[name]) & (rows['n'] >= MIN_POINTS)]
    if not len(rows):
        return
    middle = (rows['low'] + rows['high']) / 2
    ax.errorbar(middle + shift * (rows['high'] - rows['low']), rows[name],
                rows[f'{name}_err'], lw=1, capsize=2, label=label, **style)


def draw_flux_errors(results, table, quantity='mag', bands=None):
    """
    Draw df/f: points of the first method, median and scatter of all.

    Parameters
    ----------
    results : list of `~vaephot.evaluate.runner.SetResult`
        The results.
    table : `~astropy.table.QTable`
        The table ``flux_errors``.
    quantity : str, optional
        What the bins are of.
    bands : sequence of str or None, optional
        Bands to draw. `None` means the first and the last one.

    Returns
    -------
    `~matplotlib.figure.Figure`
        One row per set; two columns, median and NMAD, per band.
    """
    methods = _all_methods(results)
    styles = _styles(methods)
    n_bands = 2 if bands is None else len(bands)
    figure, axes = _figure(len(results), 2 * n_bands)
    for row, result in zip(axes, results, strict=True):
        shown = bands or end_bands(result.bands)
        for k in range(n_bands):
            pair = row[2 * k:2 * k + 2]
            if k >= len(shown):
                for ax in pair:
                    ax.set_axis_off()
                continue
            _flux_panels(pair, result, table, quantity, shown[k], styles)
    _legend(figure)
    return figure


def end_bands(bands):
    """
    Choose the first and the last band.

    Parameters
    ----------
    bands : sequence of str
        All bands.

    Returns
    -------
    tuple of str
        All of them if there are less than three.
    """
    return bands if len(bands) < 3 else (bands[0], bands[-1])


def _all_methods(results):
    """Names of all methods in the order they come."""
    return list(dict.fromkeys(name for result in results
                              for name in result.methods))


def _flux_panels(pair, result, table, quantity, band, styles):
    """Median and scatter of one set and band."""
    rows = _select(table, set=result.name, quantity=quantity, band=band)
    names = list(result.methods)
    if quantity == 'mag' and names:
        _points(pair[0], result, names[0], band)
    for k, method in enumerate(names):
        own = _select(rows, method=method)
        shift = 0.06 * (k - (len(names) - 1) / 2)
        for ax, name in zip(pair, ('median', 'nmad'), strict=True):
            _curve(ax, own, name, styles[method], method, shift)
    pair[0].axhline(0, color='0.5', lw=0.8)
    pair[0].set_ylim(-0.6, 0.6)
    if pair[1].dataLim.ymax > 0:  # without data it cannot be logarithmic
        pair[1].set_yscale('log')
    pair[0].set_title(f'{result.name}, {band}', fontsize=8)
    pair[1].set_title(f'{result.name}, {band}', fontsize=8)
    for ax, label in zip(pair, ('df/f (median)', 'scatter (NMAD)'),
                         strict=True):
        ax.set_ylabel(label, fontsize=7)
        ax.set_xlabel(LABELS.get(quantity, quantity), fontsize=7)
        ax.tick_params(labelsize=6)


def _points(ax, result, method, band):
    """df/f of the single sources of a method."""
    truth, k = result.truth, result.bands.index(band)
    rows = truth['is_scored']
    with np.errstate(invalid='ignore'):
        error = (result.methods[method]['flux'][rows, k]
                 / truth['flux'][rows, k] - 1)
    ax.plot(truth['mags'][rows, 0], np.clip(error, -FLUX_RANGE, FLUX_RANGE),
            '.', ms=2, color='0.7', zorder=0)


def draw_pulls(results):
    """
    Draw histograms of the pulls beside the normal distribution.

    Parameters
    ----------
    results : list of `~vaephot.evaluate.runner.SetResult`
        The results.

    Returns
    -------
    `~matplotlib.figure.Figure`
        One row per set, the first and the last band side by side.
    """
    styles = _styles(_all_methods(results))
    figure, axes = _figure(len(results), 2)
    edges = np.linspace(-PULL_RANGE, PULL_RANGE, 31)
    for row, result in zip(axes, results, strict=True):
        for ax, band in zip(row, end_bands(result.bands), strict=False):
            k, rows = result.bands.index(band), result.truth['is_scored']
            for method, measured in result.methods.items():
                values = pulls(measured['flux'][rows, k],
                               result.truth['flux'][rows, k],
                               measured['flux_err'][rows, k])
                values = values[np.isfinite(values)]
                if len(values):
                    ax.hist(np.clip(values, -PULL_RANGE, PULL_RANGE), edges,
                            density=True, histtype='step', label=method,
                            color=styles[method]['color'])
            ax.plot(edges, np.exp(-edges ** 2 / 2) / np.sqrt(2 * np.pi),
                    'k--', lw=0.8)
            ax.set_title(f'{result.name}, {band}', fontsize=8)
            ax.set_xlabel('(measured - true) / error', fontsize=7)
            ax.tick_params(labelsize=6)
    _legend(figure)
    return figure


def draw_pit(table):
    """
    Draw the probability integral transform of the first band.

    Parameters
    ----------
    table : `~astropy.table.QTable`
        The table ``pit``.

    Returns
    -------
    `~matplotlib.figure.Figure`
        One panel per set; flat at 1 if the errors are right.
    """
    names = list(dict.fromkeys(table['set']))
    styles = _styles(dict.fromkeys(table['method']))
    figure, axes = _figure(1, len(names))
    for ax, name in zip(axes[0], names, strict=True):
        rows = _select(table, set=name)
        for row in _select(rows, band=rows['band'][0]):
            edges = np.linspace(0, 1, len(row['density']) + 1)
            ax.stairs(row['density'], edges, label=row['method'],
                      color=styles[row['method']]['color'])
        ax.axhline(1, color='k', ls='--', lw=0.8)
        ax.set_title(f'{name}, {rows["band"][0]}', fontsize=8)
        ax.set_xlabel('where the truth falls (PIT)', fontsize=7)
        ax.tick_params(labelsize=6)
    _legend(figure)
    return figure


def draw_completeness(table, methods=None):
    """
    Draw completeness and purity against magnitude.

    Parameters
    ----------
    table : `~astropy.table.QTable`
        The table ``detection``.
    methods : sequence of str or None, optional
        Methods to draw. `None` means all.

    Returns
    -------
    `~matplotlib.figure.Figure`
        One row per set: completeness by true, purity by measured
        magnitude.
    """
    names = list(dict.fromkeys(table['set']))
    methods = list(dict.fromkeys(table['method'])) if methods is None \
        else list(methods)
    styles = _styles(dict.fromkeys(table['method']))
    figure, axes = _figure(len(names), 2)
    for row, name in zip(axes, names, strict=True):
        for ax, kind in zip(row, ('completeness', 'purity'), strict=True):
            for method in methods:
                _curve(ax, _select(table, set=name, kind=kind,
                                   method=method), 'share', styles[method],
                       method)
            ax.set_ylim(-0.05, 1.05)
            ax.set_title(f'{name}: {kind}', fontsize=8)
            ax.set_xlabel('magnitude, first band', fontsize=7)
            ax.tick_params(labelsize=6)
    _legend(figure)
    return figure


def draw_trade(table):
    """
    Draw completeness against purity, one point per method.

    Parameters
    ----------
    table : `~astropy.table.QTable`
        The table ``summary``.

    Returns
    -------
    `~matplotlib.figure.Figure`
        One panel per set.
    """
    names = list(dict.fromkeys(table['set']))
    styles = _styles(dict.fromkeys(table['method']))
    figure, axes = _figure(1, len(names))
    for ax, name in zip(axes[0], names, strict=True):
        for row in _select(table, set=name):
            ax.errorbar(row['purity'], row['completeness'],
                        row['completeness_err'], row['purity_err'],
                        label=row['method'], **styles[row['method']])
        ax.set_title(name, fontsize=8)
        ax.set_xlabel('purity', fontsize=7)
        ax.set_ylabel('completeness', fontsize=7)
        ax.tick_params(labelsize=6)
    _legend(figure)
    return figure


def draw_colours(table):
    """
    Draw errors of the colours between the first and the last band.

    Parameters
    ----------
    table : `~astropy.table.QTable`
        The table ``colours``.

    Returns
    -------
    `~matplotlib.figure.Figure`
        One row per set: median and NMAD.
    """
    names = list(dict.fromkeys(table['set']))
    styles = _styles(dict.fromkeys(table['method']))
    figure, axes = _figure(len(names), 2)
    for row, name in zip(axes, names, strict=True):
        own = _select(table, set=name)
        colour = own['colour'][-1]
        for ax, figure_name in zip(row, ('median', 'nmad'), strict=True):
            for method in dict.fromkeys(own['method']):
                _curve(ax, _select(own, method=method, colour=colour),
                       figure_name, styles[method], method)
            ax.set_title(f'{name}: {colour}, {figure_name} [mag]',
                         fontsize=8)
            ax.set_xlabel('true magnitude', fontsize=7)
            ax.tick_params(labelsize=6)
        row[0].axhline(0, color='0.5', lw=0.8)
    _legend(figure)
    return figure


def draw_gallery(result, method, good_mags):
    """
    Draw the blends where a method did best and worst.

    Parameters
    ----------
    result : `~vaephot.evaluate.runner.SetResult`
        The results of a set.
    method : str
        Name of the method.
    good_mags : tuple of float
        Range of magnitudes to choose from.

    Returns
    -------
    `~matplotlib.figure.Figure` or None
        Data, measured and true source in the first band; the best ones on
        the left. `None` if the method shows no sources.
    """
    measured = result.methods[method]
    mag = measured['picture_mag']
    inside = np.flatnonzero((mag >= good_mags[0]) & (mag < good_mags[1]))
    if not len(inside):
        return None
    order = inside[np.argsort(measured['picture_error'][inside])]
    n = min(N_GALLERY, len(order) // 2) or 1
    chosen = [*order[:n], *order[-n:]]
    figure, axes = _figure(3, len(chosen), width=1.3, height=1.4)
    for column, k in zip(axes.T, chosen, strict=True):
        data, model, true = measured['picture'][k]
        noise = nmad(data)
        for ax, image in zip(column, (data, model, true), strict=True):
            ax.imshow(np.arcsinh(image / max(noise, 1e-12) / 2),
                      origin='lower', cmap='gray', vmin=-1, vmax=5)
            ax.set_xticks([])
            ax.set_yticks([])
        column[0].set_title(f'|df/f| {measured["picture_error"][k]:.3f}\n'
                            f'mag {mag[k]:.1f}', fontsize=7)
    for ax, label in zip(axes[:, 0], ('data', 'measured', 'true'),
                         strict=True):
        ax.set_ylabel(label, fontsize=7)
    return figure
