# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tables of figures from the results of a run."""

import numpy as np
from astropy.table import QTable, vstack

from vaephot.evaluate.bins import binned_table, nmad
from vaephot.evaluate.calibration import (
    N_PIT_BINS,
    pit_histogram,
    pull_table,
    pulls,
)
from vaephot.evaluate.detection import share_table
from vaephot.evaluate.floors import FLOORS
from vaephot.evaluate.flux_errors import (
    GOOD_LIMIT,
    flux_error_table,
    relative_flux_error,
)
from vaephot.evaluate.image_metrics import IMAGE_METRICS
from vaephot.evaluate.properties import colour_errors, shape_errors

__all__ = ['TABLES', 'make_tables']

SHAPE_ERRORS = ('x', 'y', 'log_radius', 'eta1', 'eta2')


def _label(table, **columns):
    """Put columns of one value in front of a table."""
    for name, value in reversed(columns.items()):
        table.add_column([value] * len(table), name=name, index=0)
    return table


def _rename(table, quantity):
    """Bins of any quantity in columns of the same names."""
    table.rename_columns([f'{quantity}_low', f'{quantity}_high'],
                         ['low', 'high'])
    return _label(table, quantity=quantity)


def _quantity(result, measured, name):
    """What the bins are of, for all true sources."""
    truth = result.truth
    if name == 'mag':
        return truth['mags'][:, 0]
    if name == 'measured_mag':
        flux = measured['flux'][:, 0]
        positive = np.where(flux > 0, flux, np.nan)
        return truth['zeropoint'] - 2.5 * np.log10(positive)
    return truth[name]


def _bins(quantity, rows, edges, name):
    """Function that makes a table of values in the same bins."""
    def make(builder, values, **keywords):
        return builder(quantity[rows], values[rows], edges, name=name,
                       **keywords)
    return make


def _flux_table(result, measured, band, quantity, edges, rows):
    """df/f, bias, floors and pulls of one band in bins of a quantity."""
    truth = result.truth
    flux, true = measured['flux'][:, band], truth['flux'][:, band]
    error = relative_flux_error(flux, true)
    make = _bins(_quantity(result, measured, quantity), rows, edges,
                 quantity)
    table = make(flux_error_table, error)
    # a source that was missed is not good
    counted = make(binned_table, _is_good(error).astype(float),
                   statistics=_mean)
    table['good10'], table['good10_err'] = counted['mean'], counted[
        'mean_err']
    table['recovered'] = table['n'] / np.maximum(
        table['n'] + table['n_failed'], 1)
    bias = make(binned_table, (flux - truth['oracle'][:, band]) / true)
    table['bias'], table['bias_err'] = bias['median'], bias['median_err']
    for k, name in enumerate(FLOORS):
        ratio = make(binned_table, (flux - true) / truth['floor'][:, k, band])
        table[f'over_{name}'] = ratio['nmad']
        table[f'over_{name}_err'] = ratio['nmad_err']
    pull = make(pull_table, pulls(flux, true, measured['flux_err'][:, band]))
    for name in ('median', 'nmad', 'coverage68', 'coverage95'):
        for end in ('', '_err'):
            table[f'pull_{name}{end}'] = pull[f'{name}{end}']
    return _label(_rename(table, quantity), band=result.bands[band])


def _mean(values, axis=None):
    return {'mean': values.mean(axis=axis)}


def _is_good(error):
    """Whether fluxes are within 10 %; not so if there is none."""
    with np.errstate(invalid='ignore'):
        return np.abs(error) <= GOOD_LIMIT


def _flux_errors(result, config, rows_of):
    """Flux errors of all methods, bands and quantities."""
    tables = []
    for method, measured in result.methods.items():
        rows = rows_of(measured)
        for quantity, edges in config.edges.items():
            if quantity == 'mag' or np.isfinite(_quantity(
                    result, measured, quantity)[rows]).any():
                tables += [_label(_flux_table(
                    result, measured, band, quantity, edges, rows),
                    set=result.name, method=method)
                    for band in range(len(result.bands))]
    return tables


def flux_errors(result, config):
    """df/f and pulls of the scored sources."""
    return _flux_errors(result, config,
                        lambda measured: result.truth['is_scored'])


def common_flux_errors(result, config):
    """The same for the scored sources that every method has a flux of."""
    common = result.truth['is_scored'].copy()
    for measured in result.methods.values():
        common &= np.isfinite(measured['flux'][:, 0])
    return _flux_errors(result, config, lambda measured: common)


def summary(result, config):
    """One row per method."""
    truth, rows = result.truth, []
    low, high = config.good_mags
    mag = truth['mags'][:, 0]
    middle = truth['is_scored'] & (mag >= low) & (mag < high)
    for method, measured in result.methods.items():
        error = relative_flux_error(measured['flux'], truth['flux'])
        good = _is_good(error[middle])
        row = {'set': result.name, 'method': method,
               'n_blends': int(truth['n_blends']), 'n_mid': middle.sum(),
               'sources_per_s': len(mag) / float(measured['seconds'])}
        for k, band in enumerate(result.bands):
            share = good[:, k].mean() if middle.any() else np.nan
            row[f'good10_{band}'] = share
            row[f'good10_{band}_err'] = np.sqrt(
                share * (1 - share) / max(middle.sum(), 1))
        row.update(_detection_summary(truth, measured))
        rows.append(row)
    return [QTable(rows)] if rows else []


def _detection_summary(truth, measured):
    """Completeness, purity, and shares of what went wrong."""
    n, found = len(truth['flux']), len(measured['found_real'])
    completeness = measured['detected'].mean()
    purity = measured['found_real'].sum() / max(found, 1)
    false = (~measured['found_real']).sum()
    return {'completeness': completeness,
            'completeness_err': np.sqrt(completeness * (1 - completeness)
                                        / n),
            'purity': purity,
            'purity_err': np.sqrt(purity * (1 - purity) / max(found, 1)),
            'false_per_blend': false / float(truth['n_blends']),
            'split': measured['split'].mean(),
            'merged': measured['merged'].mean()}


def detection(result, config):
    """Completeness by true, purity by measured magnitude."""
    tables, zeropoint = [], result.truth['zeropoint']
    for method, measured in result.methods.items():
        flux = measured['found_flux'][:, 0]
        mag = zeropoint - 2.5 * np.log10(np.where(flux > 0, flux, np.nan))
        for kind, values, flags in (
                ('completeness', result.truth['mags'][:, 0],
                 measured['detected']),
                ('split', result.truth['mags'][:, 0], measured['split']),
                ('merged', result.truth['mags'][:, 0], measured['merged']),
                ('purity', mag, measured['found_real'])):
            table = share_table(values, flags, config.edges['mag'])
            tables.append(_label(_rename(table, 'mag'), set=result.name,
                                 method=method, kind=kind))
    return tables


def colours(result, config):
    """Errors of the colours between the first band and the others."""
    rows, tables = result.truth['is_scored'], []
    for method, measured in result.methods.items():
        errors = colour_errors(measured['flux'], result.truth['flux'])
        for k, band in enumerate(result.bands[1:]):
            table = binned_table(result.truth['mags'][rows, 0],
                                 errors[rows, k], config.edges['mag'])
            tables.append(_label(_rename(table, 'mag'), set=result.name,
                                 method=method,
                                 colour=f'{result.bands[0]}-{band}'))
    return tables


def shapes(result, config):
    """Errors of positions and shapes, for methods that have them."""
    rows, tables = result.truth['is_scored'], []
    scale = float(result.truth['pixel_scale'])
    for method, measured in result.methods.items():
        errors = shape_errors(measured, result.truth, scale)
        for name in SHAPE_ERRORS:
            if np.isfinite(errors[name]).any():
                table = binned_table(result.truth['mags'][rows, 0],
                                     errors[name][rows],
                                     config.edges['mag'])
                tables.append(_label(_rename(table, 'mag'), set=result.name,
                                     method=method, parameter=name))
    return tables


def images(result, config):
    """Image metrics, for methods that show each source."""
    rows, tables = result.truth['is_scored'], []
    for method, measured in result.methods.items():
        for name in IMAGE_METRICS:
            if np.isfinite(measured[name]).any():
                table = binned_table(result.truth['mags'][rows, 0],
                                     measured[name][rows],
                                     config.edges['mag'])
                tables.append(_label(_rename(table, 'mag'), set=result.name,
                                     method=method, metric=name))
    return tables


def pit(result, config):
    """Histograms of the probability integral transform."""
    rows, out = result.truth['is_scored'], []
    for method, measured in result.methods.items():
        for k, band in enumerate(result.bands):
            values = pulls(measured['flux'][:, k], result.truth['flux'][:, k],
                           measured['flux_err'][:, k])[rows]
            if np.isfinite(values).any():
                out.append({'set': result.name, 'method': method,
                            'band': band,
                            'n': np.isfinite(values).sum(),
                            'pull_nmad': nmad(values[np.isfinite(values)]),
                            'density': pit_histogram(values, N_PIT_BINS)})
    return [QTable(out)] if out else []


# name of the file -> function of a result and the configuration
TABLES = {
    'summary': summary,
    'flux_errors': flux_errors,
    'flux_errors_common': common_flux_errors,
    'detection': detection,
    'colours': colours,
    'shapes': shapes,
    'images': images,
    'pit': pit,
}


def make_tables(results, config):
    """
    Make all tables of a run.

    Parameters
    ----------
    results : list of `~vaephot.evaluate.runner.SetResult`
        The results.
    config : `~vaephot.evaluate.evaluation_config.EvaluationConfig`
        Bins and magnitudes of the summary.

    Returns
    -------
    dict of `~astropy.table.QTable`
        Keyed by the names of ``TABLES``; without those that are empty.
        All have ``set`` and ``method``; bins are ``quantity``, ``low`` and
        ``high``; errors (``..._err``) are from bootstrap resamplings, or
        binomial in ``summary``.
    """
    out = {}
    for name, make in TABLES.items():
        parts = [part for result in results for part in make(result, config)]
        if parts:
            out[name] = vstack(parts, metadata_conflicts='silent')
    return out
