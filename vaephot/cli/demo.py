# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The subcommand ``vaephot demo``."""

import sys
from contextlib import ExitStack
from pathlib import Path

from vaephot.cli._output import (
    add_overwrite_option,
    atomic_write,
    check_outputs,
)

__all__ = ['add_parser', 'run']

OUTPUTS = ('catalog.ecsv', 'result.fits', 'demo.png')
N_ROWS = 12
BIN_WIDTH = 1.0


def add_parser(subparsers):
    """
    Add the parser of the subcommand.

    Parameters
    ----------
    subparsers : argparse._SubParsersAction
        Where to add it.
    """
    parser = subparsers.add_parser(
        'demo', help='deblend a small simulated field and show the result',
        description='Deblend the simulated four-band field that ships with '
        'the package, compare the fluxes with the truth and with those of '
        "SExtractor's algorithm, and write "
        f'{", ".join(OUTPUTS)}.')
    parser.add_argument('-o', '--output-dir', metavar='DIR',
                        default='vaephot-demo',
                        help='folder of the output; made if absent '
                        '(default: ./%(default)s)')
    parser.add_argument('--weights', metavar='NAME',
                        help='name or path of the weights (default: the '
                        'default set)')
    parser.add_argument('--device',
                        help='torch device (default: the best there is)')
    parser.add_argument('--no-refine', action='store_true',
                        help='skip the joint fit: faster, less accurate')
    parser.add_argument('--quiet', action='store_true',
                        help='show no progress bar')
    add_overwrite_option(parser)


def run(args):
    """
    Run the subcommand.

    Parameters
    ----------
    args : argparse.Namespace
        The parsed arguments.

    Returns
    -------
    int
        0 if all went well.
    """
    folder = Path(args.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in OUTPUTS]
    check_outputs(*paths, overwrite=args.overwrite)
    from vaephot.cli._demo_field import (
        detect_parents,
        load_demo_field,
        mark_blended,
        score_catalog,
    )

    field = load_demo_field()
    parents = detect_parents(field)
    print(f'{len(field.truth)} true sources in {", ".join(field.bands)}, '
          f'{parents.n_labels} segments detected')
    result = _deblend(args, field, parents)
    scores = [score_catalog('vaephot', result.table, field)]
    baseline = _measure_baseline(field)
    if baseline is not None:
        scores.append(score_catalog('SExtractor (sep)', baseline, field))
    blended = mark_blended(field, parents)
    _print_catalog(result.table)
    _print_scores(field, scores, blended)
    _write(paths, field, result, scores, blended, args.overwrite)
    return 0


def _deblend(args, field, parents):
    """Deblend the field and say how long it took."""
    import time

    from vaephot.deblend.deblender import VAEDeblender

    deblend = VAEDeblender(weights=args.weights, device=args.device,
                           refine=not args.no_refine,
                           progress_bar=not args.quiet)
    start = time.perf_counter()
    result = deblend(
        field.data, parents, error=field.sky_rms * field.data.unit,
        gain=field.gain, mask=field.mask, psf=field.psfs, bands=field.bands,
        wcs=field.wcs)
    seconds = time.perf_counter() - start
    print(f'{len(result)} sources deblended and measured in '
          f'{seconds:.1f} s on {deblend.device}')
    return result


def _measure_baseline(field):
    """Catalogue of SExtractor's algorithm, if sep is installed."""
    from vaephot.evaluate.baselines import sep_photometry
    from vaephot.exceptions import MissingDependencyError

    try:
        table, _ = sep_photometry(field.data.value, field.sky_rms,
                                  bands=field.bands, gain=field.gain)
    except MissingDependencyError as err:
        print(f'no comparison: {err}', file=sys.stderr)
        return None
    return table


def _print_catalog(table):
    """Print the first rows of the photometry."""
    names = [name for name in table.colnames if name in
             {'label', 'parent_label', 'x_centroid', 'y_centroid', 'p_point',
              'n_blended', 'half_light_radius', 'flags'}
             or (name.startswith(('flux_', 'mag_'))
                 and '_err' not in name)]
    short = table[names][:N_ROWS].copy()
    for name in names:
        if short[name].dtype.kind == 'f':
            short[name].info.format = '.4g' if name[:4] == 'flux' else '.2f'
    print(f'\nPhotometry, {len(short)} of {len(table)} sources:')
    print('\n'.join(short.pformat(max_lines=-1, max_width=-1)))


def _print_scores(field, scores, blended):
    """Print completeness and flux errors of all methods."""
    import numpy as np

    print(f'\nFound within 3 pixels, of {len(blended)} true sources '
          f'({blended.sum()} blended):')
    for score in scores:
        print(f'  {score.name:18}{score.found.sum():4d} '
              f'({score.found[blended].sum()} blended); '
              f'{score.n_measured - score.found.sum()} others in the '
              'catalogue')
    common = np.all([score.found for score in scores], axis=0)
    whom = 'found by both' if len(scores) > 1 else 'found'
    for title, rows in ((f'all sources {whom}', common),
                        (f'blended sources {whom}', common & blended)):
        _print_bins(f'df/f in {field.bands[0]}, {title}', field, scores,
                    rows)
    _print_bands(field, scores, common)
    if len(scores) > 1:
        print('Total fluxes (vaephot) and Kron fluxes (FLUX_AUTO, without '
              'an aperture\ncorrection) are compared with true total '
              'fluxes.')


_COLUMNS = f'{"n":>4} {"median":>8} {"+-":>6} {"NMAD":>7} {"+-":>6} ' \
    f'{"<10%":>5}'


def _format(row):
    """One row of flux errors."""
    if row['n'] < 2:  # one source has no scatter
        median = f'{row["median"]:+8.3f}' if row['n'] else f'{"-":>8}'
        return f'{row["n"]:4d} {median} {"-":>6} {"-":>7} {"-":>6} {"-":>5}'
    return (f'{row["n"]:4d} {row["median"]:+8.3f} {row["median_err"]:6.3f} '
            f'{row["nmad"]:7.3f} {row["nmad_err"]:6.3f} '
            f'{100 * row["good10"]:4.0f}%')


def _print_table(title, heads, tables, scores):
    """Print the rows of several methods side by side."""
    print(f'\n{title}:')
    width = len(_COLUMNS)
    print(' ' * 12 + '   '.join(f'{score.name:^{width}}'
                                for score in scores))
    print(' ' * 12 + '   '.join(_COLUMNS for _ in scores))
    for head, rows in zip(heads, zip(*tables, strict=True), strict=True):
        print(f'{head:12}' + '   '.join(_format(row) for row in rows))


def _print_bins(title, field, scores, rows):
    """Print flux errors of some sources in bins of true magnitude."""
    import numpy as np

    from vaephot.evaluate.flux_errors import flux_error_table

    band = field.bands[0]
    mag = field.true_mag(band)
    edges = np.arange(np.floor(mag.min()), np.ceil(mag.max()) + BIN_WIDTH,
                      BIN_WIDTH)
    tables = [flux_error_table(mag[rows], score.errors[band][rows], edges)
              for score in scores]
    filled = np.flatnonzero(tables[0]['n'])
    tables = [[*table[filled], flux_error_table(
        mag[rows], score.errors[band][rows], edges[[0, -1]])[0]]
        for table, score in zip(tables, scores, strict=True)]
    heads = [f'{edges[i]:.0f} to {edges[i + 1]:.0f}' for i in filled]
    _print_table(title, [*heads, 'all'], tables, scores)


def _print_bands(field, scores, rows):
    """Print flux errors of some sources in each band."""
    import numpy as np

    from vaephot.evaluate.flux_errors import flux_error_table

    mag = np.zeros(rows.sum())
    tables = [[flux_error_table(mag, score.errors[band][rows], [-1, 1])[0]
               for band in field.bands] for score in scores]
    _print_table('df/f in each band, the same sources', field.bands, tables,
                 scores)


def _write(paths, field, result, scores, blended, overwrite):
    """Write catalogue, result and figure."""
    from vaephot.cli.deblend import write_catalog
    from vaephot.utils.optional_deps import has_package

    catalog, models, figure = paths
    written = [catalog, models]
    with ExitStack() as stack:
        def place(path):
            return stack.enter_context(atomic_write(path,
                                                    overwrite=overwrite))

        write_catalog(result.table, place(catalog))
        result.write(place(models), overwrite=True)
        if has_package('matplotlib'):
            from vaephot.cli._demo_figure import draw_demo

            drawn = draw_demo(field, result, scores, blended)
            drawn.savefig(place(figure), dpi=110)
            written.append(figure)
        else:
            print('no demo.png: matplotlib is not installed '
                  '(pip install "vaephot[plot]")', file=sys.stderr)
    print(f'\nWritten: {", ".join(map(str, written))}')
