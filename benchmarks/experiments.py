# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Run the experiments and write the tables and figures of the documentation.

Each experiment of ``configs/experiments`` is run by ``vaephot evaluate``
into a folder of its own; what is there already is kept. Numbers of blends
can be scaled down.
"""

import argparse
import csv
import io
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from vaephot.evaluate.evaluation_config import read_config
from vaephot.evaluate.report import write_report
from vaephot.evaluate.runner import evaluate, read_manifest

ROOT = Path(__file__).resolve().parents[1]
EXPERIMENTS = ROOT / 'configs' / 'experiments'
DOCS = ROOT / 'docs' / 'user_guide'
# part of the page, in the folder of a run
SECTION = 'section.inc'
# in the order of the page; figures of each
FIGURES = {
    'three_cases': ('flux_errors', 'pulls', 'completeness', 'colours',
                    'gallery_bright'),
    'faint_sources': ('flux_errors',),
    'sextractor_settings': ('trade',),
    'wrong_inputs': (),
    'correlated_noise': (),
    'cluster': ('flux_errors', 'completeness'),
    'real_galaxies': ('flux_errors',),
    'ground': ('flux_errors',),
    'number_of_bands': (),
    'field': ('flux_errors', 'completeness'),
}
# columns of the tables: heading, name, digits, sign
COLUMNS = (('median', 'median', 3, '+'), ('bias*', 'bias', 3, '+'),
           ('NMAD', 'nmad', 3, ''), ('within 10 %', 'good10', 2, ''),
           ('NMAD / floor', 'over_prior', 2, ''),
           ('pull NMAD', 'pull_nmad', 2, ''))


def parse_arguments():
    """Command line of the script."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('names', nargs='*', metavar='EXPERIMENT',
        help=f'default: all of {", ".join(FIGURES)}')
    add('-o', '--output', metavar='DIR', required=True,
        help='folder of the runs')
    add('--scale', type=float, default=1.0, metavar='F',
        help='numbers of blends, in units of those of the configurations')
    add('--workers', type=int, default=os.cpu_count() or 1, metavar='N',
        help='default: %(default)s')
    add('--without', action='append', default=[], metavar='METHOD',
        help='leave a method out; may be repeated')
    add('--set', action='append', default=[], dest='sets', metavar='SET',
        help='run only this set of blends; may be repeated')
    args = parser.parse_args()
    unknown = [name for name in args.names if name not in FIGURES]
    if unknown:
        parser.error(f'no experiment {", ".join(unknown)}')
    return args


def scaled(config, args):
    """Configuration with fewer blends and methods."""
    def number(n):
        return max(int(round(n * args.scale)), 1)

    sets = [replace(item, n=number(item.n), chunk=min(item.chunk, number(
        item.n)), floors=number(item.floors) if item.floors else 0)
        for item in config.sets if not args.sets or item.name in args.sets]
    return replace(config, sets=sets, methods=[
        m for m in config.methods if m.name not in args.without])


def cell(row, name, digits, sign):
    """Figure with its error as text."""
    value, error = float(row[name]), float(row[f'{name}_err'])
    if not np.isfinite(value):
        return '–'
    text = f'{value:{sign}.{digits}f}'
    return f'{text} ± {error:.{digits}f}' if np.isfinite(error) else text


def table_lines(title, heads, rows):
    """Table in reStructuredText."""
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows([heads, *rows])
    return [f'.. csv-table:: {title}', '   :header-rows: 1', '',
            *(f'   {line}' for line in text.getvalue().splitlines()), '']


def share_table(table, config):
    """Shares of good fluxes in the first band, sets against methods."""
    band = next(name[7:] for name in table.colnames
                if name.startswith('good10_'))
    sets = list(dict.fromkeys(table['set']))
    methods = list(dict.fromkeys(table['method']))
    shares = {(row['set'], row['method']): cell(row, f'good10_{band}', 2, '')
              for row in table if not np.ma.is_masked(row[f'good10_{band}'])}
    names = {method: f'``{method}``' for method in methods}
    if len(sets) > len(methods):
        heads = ['', *names.values()]
        rows = [[name, *(shares.get((name, m), '–') for m in methods)]
                for name in sets]
    else:
        heads = ['', *sets]
        rows = [[names[m], *(shares.get((name, m), '–') for name in sets)]
                for m in methods]
    low, high = config.good_mags
    return table_lines(f'Within 10 % in {band}, of sources of magnitude '
                       f'{low:g} to {high:g}', heads, rows)


def summary_table(table, config):
    """Shares of good fluxes, completeness and purity."""
    told = {m.name for m in config.methods if m.uses_positions}
    bands = [name[7:] for name in table.colnames
             if name.startswith('good10_') and not name.endswith('_err')]
    bands = bands if len(bands) < 3 else [bands[0], bands[-1]]
    rows = []
    for row in table:
        found = (['told', 'told', '–'] if row['method'] in told else
                 [cell(row, 'completeness', 3, ''), cell(row, 'purity', 3,
                                                         ''),
                  f'{row["false_per_blend"]:.2f}'])
        shares = ['–' if np.ma.is_masked(row[f'good10_{band}']) else
                  cell(row, f'good10_{band}', 2, '') for band in bands]
        rows.append([row['set'], f'``{row["method"]}``', row['n_blends'],
                     row['n_mid'], *shares, *found])
    heads = ['set', 'method', 'blends', 'sources', *(
        f'within 10 %, {band}' for band in bands), 'completeness', 'purity',
        'false per blend']
    low, high = config.good_mags
    return table_lines(f'Sources of magnitude {low:g} to {high:g}', heads,
                       rows)


def flux_table(table, name, band):
    """Flux errors of a set in bins of the true magnitude."""
    rows = table[(table['set'] == name) & (table['quantity'] == 'mag')
                 & (table['band'] == band)]
    rows = rows[rows['n'] + rows['n_failed'] > 0]
    cells = [[f'``{row["method"]}``', f'{row["low"]:g}–{row["high"]:g}',
              row['n'] + row['n_failed'],
              *(cell(row, *column[1:]) for column in COLUMNS)]
             for row in rows]
    return table_lines(f'{name}, {band}', [
        'method', 'magnitude', 'n', *(column[0] for column in COLUMNS)],
        cells)


def command(name, args):
    """Command that runs one experiment as it was run."""
    words = ['python benchmarks/experiments.py', name, '-o runs']
    words += [f'--scale {args.scale:g}'] if args.scale != 1 else []
    words += [f'--without {method}' for method in args.without]
    words += [f'--set {item}' for item in args.sets]
    lines = ['    ' + words[0]]
    for word in words[1:]:  # within the width of a page
        if len(lines[-1]) + len(word) > 72:
            lines[-1] += ' \\'
            lines.append('        ' + word)
        else:
            lines[-1] += ' ' + word
    return lines


def write_section(name, config, folder, tables, args):
    """Write the part of the page that is about one experiment."""
    manifest = read_manifest(folder)
    lines = [config.description.strip(), '']
    numbers = ', '.join(f'{item.n} of {item.name}' for item in config.sets)
    lines += ['.. code-block:: bash', '', *command(name, args), '',
              f'Blends: {numbers}.', '']
    lines += [f'``{method}`` was not run: {why}' for method, why in
              manifest['skipped'].items()] + ['']
    lines += share_table(tables['summary'], config)
    lines += summary_table(tables['summary'], config)
    for figure in FIGURES[name]:
        path = folder / 'figures' / f'{figure}.png'
        if path.exists():
            target = f'figures/{name}_{figure}.png'
            shutil.copyfile(path, DOCS / target)
            lines += [f'.. image:: {target}', f'   :alt: {figure} of {name}',
                      '']
    errors = tables['flux_errors']
    for item in config.sets if name != 'sextractor_settings' else ():
        own = errors[errors['set'] == item.name]
        bands = list(dict.fromkeys(own['band']))
        for band in bands[:1] if len(config.sets) > 4 else bands[::max(
                len(bands) - 1, 1)]:
            lines += flux_table(errors, item.name, band)
    (folder / SECTION).write_text('\n'.join(lines).rstrip() + '\n',
                                  encoding='utf-8')


def write_page(output):
    """Write all experiments that were run into one file of the docs."""
    lines, manifest = [], None
    for name in FIGURES:
        section = output / name / SECTION
        if not section.exists():
            continue
        manifest = read_manifest(output / name)
        title = manifest['config']['title']
        lines += [title, '-' * len(title), '',
                  section.read_text(encoding='utf-8')]
    if manifest is None:
        return
    weights = {f'{m["weights"]}, SHA-256 ``{m["sha256"]}``'
               for m in manifest['methods'].values() if 'weights' in m}
    versions = ', '.join(f'{k} {v}' for k, v in
                         manifest['versions'].items())
    head = (f'Weights: {"; ".join(sorted(weights))}. Versions: {versions}. '
            f'Machine: {manifest["machine"]}.')
    (DOCS / 'benchmark_results.inc').write_text(
        '\n'.join([head, '', *lines]), encoding='utf-8')


def main():
    """Run, tabulate, draw."""
    args = parse_arguments()
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    (DOCS / 'figures').mkdir(exist_ok=True)
    for name in args.names or FIGURES:
        config = scaled(read_config(EXPERIMENTS / f'{name}.toml'), args)
        folder = Path(args.output) / name
        print(f'{name} ...', flush=True)
        evaluate(config, folder, n_workers=args.workers,
                 progress_bar=sys.stderr.isatty())
        tables, _ = write_report(folder, config)
        write_section(name, config, folder, tables, args)
        write_page(Path(args.output))


if __name__ == '__main__':
    main()
