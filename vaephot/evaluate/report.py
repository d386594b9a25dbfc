# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The report of a run: tables, figures, and one page that shows them."""

import html
import io
from base64 import b64encode
from pathlib import Path

import numpy as np

from vaephot.evaluate import figures
from vaephot.evaluate.runner import read_manifest, read_results
from vaephot.evaluate.scores import make_tables
from vaephot.utils.atomic import atomic_write
from vaephot.utils.optional_deps import has_package

__all__ = ['make_figures', 'write_report']

PAGE = 'report.html'
DPI = 110
STYLE = """
body { font: 15px/1.45 sans-serif; margin: 2em auto; max-width: 75em;
       padding: 0 1em; color: #222; }
table { border-collapse: collapse; font-size: 13px; margin: 1em 0; }
th, td { padding: 2px 8px; text-align: right; border-bottom: 1px solid #ddd;
         white-space: nowrap; }
th { background: #f2f2f2; position: sticky; top: 0; }
td:first-child, th:first-child, td:nth-child(2) { text-align: left; }
tr.next td { border-top: 2px solid #888; }
figure { margin: 1.5em 0; overflow-x: auto; }
figcaption { font-size: 14px; color: #555; }
img { max-width: 100%; }
pre { background: #f6f6f6; padding: .7em; overflow-x: auto; font-size: 12px; }
.wide { overflow-x: auto; max-height: 40em; overflow-y: auto; }
"""
# figures of the main table: heading, column, digits, sign
MAIN_COLUMNS = (
    ('median', 'median', 3, '+'), ('bias*', 'bias', 3, '+'),
    ('NMAD', 'nmad', 3, ''), ('within 10 %', 'good10', 2, ''),
    ('&gt; 50 % off', 'gross_fraction', 2, ''),
    ('/ known', 'over_known', 2, ''), ('/ free', 'over_free', 2, ''),
    ('/ prior', 'over_prior', 2, ''), ('pull NMAD', 'pull_nmad', 2, ''),
    ('68 % cover', 'pull_coverage68', 2, ''))
GLOSSARY = """
<p><b>median</b>, <b>NMAD</b>: of df/f = measured / true - 1 of the sources
that were recovered; NMAD is the scatter from the median absolute deviation.
<b>bias*</b>: median of (flux - oracle) / truth; the oracle knows the true
profiles and shares the noise. <b>within 10 %</b>: share of <i>all</i>
sources, a missed one counts as not. <b>/ known</b>, <b>/ free</b>,
<b>/ prior</b>: NMAD of the errors in units of the Cramér-Rao floors
(templates known; position, size and shear of all sources free; free with a
prior). <b>pull</b>: error over quoted error. Errors are from bootstrap
resamplings.</p>
"""


def _cell(row, name, digits, sign=''):
    """Figure with its error."""
    value, error = float(row[name]), float(row[f'{name}_err'])
    if not np.isfinite(value):
        return '–'
    text = f'{value:{sign}.{digits}f}'
    if np.isfinite(error):
        text += f' ± {error:.{digits}f}'
    return text


def _html_table(heads, rows, breaks=()):
    """Table of texts; a line above the rows in breaks."""
    lines = ['<div class="wide"><table><tr>'
             + ''.join(f'<th>{head}</th>' for head in heads) + '</tr>']
    for k, row in enumerate(rows):
        start = '<tr class="next">' if k in breaks else '<tr>'
        lines.append(start + ''.join(f'<td>{cell}</td>' for cell in row)
                     + '</tr>')
    return '\n'.join([*lines, '</table></div>'])


def _summary_html(table, told):
    """Summary of all methods and sets."""
    bands = [name[7:] for name in table.colnames
             if name.startswith('good10_') and not name.endswith('_err')]
    heads = ['set', 'method', 'blends', 'sources/s',
             *(f'within 10 %, {band}' for band in bands), 'completeness',
             'purity', 'false / blend', 'split', 'merged']
    rows, breaks = [], []
    for k, row in enumerate(table):
        if k and row['set'] != table['set'][k - 1]:
            breaks.append(k)
        shares = [_cell(row, f'good10_{band}', 2)
                  if f'good10_{band}' in table.colnames
                  and not np.ma.is_masked(row[f'good10_{band}']) else '–'
                  for band in bands]
        rows.append([html.escape(str(row['set'])),
                     html.escape(str(row['method'])), row['n_blends'],
                     f'{row["sources_per_s"]:.3g}', *shares,
                     *_detection_cells(row, told)])
    return _html_table(heads, rows, breaks)


def _detection_cells(row, told):
    """Completeness and the rest, or nothing for who is told positions."""
    if row['method'] in told:
        return ['told', 'told', '–', '–', '–']
    return [_cell(row, 'completeness', 3), _cell(row, 'purity', 3),
            f'{row["false_per_blend"]:.2f}', f'{row["split"]:.3f}',
            f'{row["merged"]:.3f}']


def _flux_html(table, name, band):
    """Main table of one set and band."""
    rows = table[(table['set'] == name) & (table['band'] == band)
                 & (table['quantity'] == 'mag')]
    rows = rows[rows['n'] + rows['n_failed'] > 0]
    cells, breaks = [], []
    for k, row in enumerate(rows):
        if k and row['method'] != rows['method'][k - 1]:
            breaks.append(k)
        cells.append([html.escape(str(row['method'])),
                      f'{row["low"]:g}–{row["high"]:g}',
                      row['n'] + row['n_failed'], f'{row["recovered"]:.2f}',
                      *(_cell(row, column, digits, sign)
                        for _, column, digits, sign in MAIN_COLUMNS)])
    heads = ['method', 'mag', 'n', 'recovered',
             *(head for head, *_ in MAIN_COLUMNS)]
    return _html_table(heads, cells, breaks)


def make_figures(results, tables, config):
    """
    Draw all figures of a run.

    Parameters
    ----------
    results : list of `~vaephot.evaluate.runner.SetResult`
        The results.
    tables : dict of `~astropy.table.QTable`
        Its tables.
    config : `~vaephot.evaluate.evaluation_config.EvaluationConfig`
        Magnitudes of the galleries.

    Returns
    -------
    dict
        ``{name: (caption, figure)}``.
    """
    errors = tables['flux_errors']
    out = {'flux_errors': (
        'df/f against true magnitude. Grey points are single sources of the '
        'first method.', figures.draw_flux_errors(results, errors))}
    for quantity in dict.fromkeys(errors['quantity']):
        if quantity != 'mag':
            caption = f'df/f, {figures.LABELS[quantity]}.'
            bands = results[0].bands[:1]
            out[f'flux_errors_{quantity}'] = (
                caption, figures.draw_flux_errors(results, errors, quantity,
                                                  bands))
    out['pulls'] = ('Errors in units of the quoted ones; dashed: normal '
                    'distribution.', figures.draw_pulls(results))
    if 'pit' in tables:
        out['pit'] = ('Where the truth falls in the quoted distributions; '
                      'flat if the errors are right.',
                      figures.draw_pit(tables['pit']))
    blind = [m.name for m in config.methods if not m.uses_positions]
    if any(name in result.methods for result in results for name in blind):
        out['completeness'] = (
            'Completeness and purity of methods that find their sources.',
            figures.draw_completeness(tables['detection'], blind))
        rows = np.isin(tables['summary']['method'], blind)
        out['trade'] = ('Completeness against purity, all magnitudes.',
                        figures.draw_trade(tables['summary'][rows]))
    if 'colours' in tables:
        out['colours'] = ('Errors of colours.',
                          figures.draw_colours(tables['colours']))
    for result in results:
        for method in list(result.methods)[:1]:
            figure = figures.draw_gallery(result, method, config.good_mags)
            if figure is not None:
                out[f'gallery_{result.name}'] = (
                    f'{result.name}: where {method} did best (left) and '
                    'worst (right).', figure)
    return out


def _page(config, manifest, results, tables, drawn):
    """Text of the page; figures are part of it."""
    escape = html.escape
    parts = [f'<h1>{escape(config.title)}</h1>',
             f'<p>{escape(config.description)}</p>',
             '<h2>Summary</h2>',
             f'<p>Shares within 10 % are of all scored sources of magnitude '
             f'{config.good_mags[0]:g} to {config.good_mags[1]:g} in the '
             'first band.</p>', _summary_html(tables['summary'], [
                 m.name for m in config.methods if m.uses_positions])]
    parts += [f'<p>Not run: <b>{escape(name)}</b>: {escape(why)}</p>'
              for name, why in manifest.get('skipped', {}).items()]
    for name, (caption, data) in drawn.items():
        shown = (f'<figure id="{name}"><img alt="{escape(caption)}" '
                 f'src="data:image/png;base64,{b64encode(data).decode()}">'
                 f'<figcaption>{escape(caption)}</figcaption></figure>')
        parts.append(shown if not name.startswith('flux_errors_') else
                     f'<details><summary>{escape(caption)}</summary>'
                     f'{shown}</details>')
    parts += ['<h2>Flux errors</h2>', GLOSSARY]
    for result in results:
        for band in figures.end_bands(result.bands):
            parts += [f'<h3>{escape(result.name)}, {escape(band)}</h3>',
                      _flux_html(tables['flux_errors'], result.name, band)]
    parts.append('<h2>How it was made</h2>' + _provenance(manifest))
    return (f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            f'<meta name="viewport" content="width=device-width">'
            f'<title>{escape(config.title)}</title>'
            f'<style>{STYLE}</style></head>\n<body>\n'
            + '\n'.join(parts) + '\n</body></html>\n')


def _provenance(manifest):
    """Versions, sets and methods as text."""
    lines = ['versions: ' + ', '.join(
        f'{k} {v}' for k, v in manifest['versions'].items()),
             manifest['machine'], '']
    lines += [f'set {name}: ' + ', '.join(
        f'{k} {v}' for k, v in values.items() if v not in (None, {}))
        for name, values in manifest['sets'].items()]
    lines += [f'method {name}: ' + ', '.join(
        f'{k} {v}' for k, v in values.items())
        for name, values in manifest['methods'].items()]
    return f'<pre>{html.escape(chr(10).join(lines))}</pre>'


def write_report(folder, config):
    """
    Write tables, figures and the page of a run.

    Parameters
    ----------
    folder : path-like
        Folder of the run. Files of an earlier report are replaced.
    config : `~vaephot.evaluate.evaluation_config.EvaluationConfig`
        What was run.

    Returns
    -------
    tables : dict of `~astropy.table.QTable`
        Written as ``tables/<name>.ecsv``.
    page : `~pathlib.Path` or None
        ``report.html``, with everything in it; figures are in
        ``figures`` too. `None` where matplotlib is not installed.
    """
    folder = Path(folder)
    manifest, results = read_manifest(folder), read_results(folder, config)
    tables = make_tables(results, config)
    (folder / 'tables').mkdir(exist_ok=True)
    for name, table in tables.items():
        table.meta = {'versions': manifest['versions']}
        with atomic_write(folder / 'tables' / f'{name}.ecsv',
                          overwrite=True) as path:
            table.write(path, format='ascii.ecsv', overwrite=True)
    if not has_package('matplotlib') or 'flux_errors' not in tables:
        return tables, None
    (folder / 'figures').mkdir(exist_ok=True)
    drawn = {}
    for name, (caption, figure) in make_figures(results, tables,
                                                config).items():
        buffer = io.BytesIO()
        figure.savefig(buffer, format='png', dpi=DPI)
        drawn[name] = caption, buffer.getvalue()
        with atomic_write(folder / 'figures' / f'{name}.png',
                          overwrite=True) as path:
            path.write_bytes(buffer.getvalue())
    with atomic_write(folder / PAGE, overwrite=True) as path:
        path.write_text(_page(config, manifest, results, tables, drawn),
                        encoding='utf-8')
    return tables, folder / PAGE
