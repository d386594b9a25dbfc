# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The subcommand ``vaephot evaluate``."""

import os
import sys
from pathlib import Path

from vaephot.cli._options import UsageError, positive_int
from vaephot.cli._output import add_overwrite_option

__all__ = ['add_parser', 'run']

CONFIG_SUFFIXES = ('.toml', '.json')
# methods that measure a file of blends or a field if none is named
DEFAULT_METHODS = ('vaephot', 'vaephot_blind', 'oracle',
                   'sextractor_classic', 'sep_default',
                   'photutils_default')


def add_parser(subparsers):
    """
    Add the parser of the subcommand.

    Parameters
    ----------
    subparsers : argparse._SubParsersAction
        Where to add it.
    """
    parser = subparsers.add_parser(
        'evaluate', help='compare deblenders on blends with known truth',
        description='Run deblenders side by side on simulated blends or '
        'fields and write tables, figures and a page that shows them. An '
        'interrupted run is finished when the same command is given '
        'again.')
    parser.add_argument(
        'source', metavar='CONFIG|TRUTH',
        help='settings (.toml, .json; examples in configs/experiments), or '
        'blends (.npz, FITS) or a field (FITS) that vaephot simulate '
        'wrote')
    parser.add_argument('-o', '--output', metavar='DIR', required=True,
                        help='folder of the run; made if absent')
    parser.add_argument(
        '--method', action='append', default=[], dest='methods',
        metavar='NAME', help='add a method: a name, or module:function of '
        'your own; may be repeated. With TRUTH, only these are run')
    parser.add_argument('--only', action='append', default=[],
                        metavar='NAME', help='run only this method of '
                        'CONFIG; may be repeated')
    parser.add_argument('--set', action='append', default=[], dest='sets',
                        metavar='NAME', help='run only this set of CONFIG; '
                        'may be repeated')
    parser.add_argument('-n', '--number', type=positive_int, metavar='N',
                        help='blends of each set, instead of CONFIG')
    parser.add_argument('--weights', metavar='NAME',
                        help='name or path of the weights of vaephot')
    parser.add_argument('--workers', type=positive_int,
                        default=os.cpu_count() or 1, metavar='N',
                        help='number of processes (default: %(default)s)')
    parser.add_argument('--report-only', action='store_true',
                        help='write the report of a run that is finished')
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
    from vaephot.evaluate.report import write_report
    from vaephot.evaluate.runner import evaluate

    config = _configure(args)
    if not args.report_only:
        # each worker is one process; more threads would only compete
        os.environ.setdefault('OMP_NUM_THREADS', '1')
        manifest = evaluate(
            config, args.output, n_workers=args.workers,
            overwrite=args.overwrite,
            progress_bar=not args.quiet and sys.stderr.isatty())
        for name, why in manifest['skipped'].items():
            print(f'{name} was not run: {why}', file=sys.stderr)
    tables, page = write_report(args.output, config)
    _print_summary(tables['summary'], config)
    if page is None:
        print('no report.html: matplotlib is not installed '
              '(pip install "vaephot[plot]")', file=sys.stderr)
    print(f'Written: {page or Path(args.output) / "tables"}')
    return 0


def _configure(args):
    """Settings of the run from the file and the options."""
    from dataclasses import replace

    from vaephot.evaluate.evaluation_config import read_config
    from vaephot.evaluate.methods import find_method

    if not Path(args.source).is_file():
        msg = f'there is no file {args.source}.'
        raise FileNotFoundError(msg)
    extra = [find_method(text) for text in args.methods]
    if Path(args.source).suffix in CONFIG_SUFFIXES:
        config = read_config(args.source)
        sets = _choose(config.sets, args.sets, '--set')
        methods = [*_choose(config.methods, args.only, '--only'), *extra]
        if args.number is not None:
            sets = [replace(item, n=args.number,
                            floors=min(item.floors, args.number))
                    for item in sets]
        config = replace(config, sets=sets, methods=methods)
    else:
        config = _configure_truth(args, extra)
    if args.weights is not None:
        config = replace(config, methods=[_with_weights(m, args.weights)
                                          for m in config.methods])
    return config


def _choose(items, names, option):
    """Items with these names; all if there are none."""
    known = [item.name for item in items]
    unknown = [name for name in names if name not in known]
    if unknown:
        msg = (f'{option} names {", ".join(unknown)}; there are '
               f'{", ".join(known)}.')
        raise UsageError(msg, unknown=unknown)
    return [item for item in items if not names or item.name in names]


def _configure_truth(args, methods):
    """Settings that measure one file."""
    from vaephot.evaluate.evaluation_config import EvaluationConfig, SetConfig
    from vaephot.evaluate.methods import find_method
    from vaephot.evaluate.observed import has_models

    for option in ('only', 'sets', 'number'):
        if getattr(args, option):
            msg = (f'--{option.rstrip("s")} belongs to a CONFIG; '
                   f'{args.source} is measured whole.')
            raise UsageError(msg, option=option)
    path = Path(args.source)
    if not methods:
        names = [name for name in DEFAULT_METHODS
                 if name != 'oracle' or has_models(path)]
        methods = [find_method(name) for name in names]
    return EvaluationConfig(
        title=f'Deblenders on {path.name}', methods=methods,
        sets=[SetConfig(name=path.name.split('.')[0],
                        file=str(path.resolve()))])


def _with_weights(method, weights):
    """The method with other weights, if it has any."""
    from dataclasses import replace

    if not method.use.startswith('vaephot'):
        return method
    return replace(method, options={**method.options, 'weights': weights})


def _print_summary(table, config):
    """Print the share of good fluxes, completeness and purity."""
    bands = [name for name in table.colnames if name.startswith('good10_')
             and not name.endswith('_err')]
    low, high = config.good_mags
    print(f'share within 10 % (of all, magnitude {low:g} to {high:g}), '
          'completeness and purity:')
    names = ['set', 'method', 'n_blends', 'n_mid', *bands, 'completeness',
             'purity', 'sources_per_s']
    shown = table[names]
    for name in names[4:]:
        shown[name].info.format = '.3f' if name != 'sources_per_s' else '.3g'
    print('\n'.join(shown.pformat(max_lines=-1, max_width=-1)))
