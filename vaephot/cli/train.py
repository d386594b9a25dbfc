# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The subcommand ``vaephot train``."""

import logging
import math
import sys
from pathlib import Path

from vaephot.cli._options import positive_float, positive_int
from vaephot.cli._output import (
    add_overwrite_option,
    atomic_write,
    check_weights_output,
)

__all__ = ['add_parser', 'run']


def add_parser(subparsers):
    """
    Add the parser of the subcommand.

    Parameters
    ----------
    subparsers : argparse._SubParsersAction
        Where to add it.
    """
    parser = subparsers.add_parser(
        'train', help='train the networks, or go on with a run',
        description='Train both autoencoders on a store of simulated '
        'galaxies. An interrupted run goes on when the same command is '
        'given again.')
    parser.add_argument('config', metavar='CONFIG.json',
                        help='settings of the run; those left out keep '
                        'their defaults')
    parser.add_argument('--store', metavar='DIR', required=True,
                        help='store of galaxies, made by vaephot simulate')
    parser.add_argument('-o', '--output', metavar='RUN_DIR', required=True,
                        help='folder of the run; made if absent')
    parser.add_argument('--start', metavar='WEIGHTS',
                        help='weights to go on from: a name or a file')
    parser.add_argument('--device', default='auto',
                        help='torch device, cpu or cuda (default: cuda '
                        'where there is one)')
    parser.add_argument('--workers', type=positive_int, default=0,
                        metavar='N', help='threads that draw stamps ahead, '
                        'worth it with a GPU (default: none)')
    parser.add_argument('--max-minutes', type=positive_float, default=math.inf,
                        metavar='M', help='stop after this time')
    parser.add_argument('--validate-every', type=positive_int, default=200,
                        metavar='N', help='steps between two lines of '
                        'figures (default: %(default)s)')
    parser.add_argument('--weights-out', metavar='FILE',
                        help='weights of the finished run, '
                        'NAME.safetensors')
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
        0 if all went well, also if the time was over first.
    """
    config = _read_config(args.config)
    check_weights_output(args.weights_out, '--weights-out',
                         overwrite=args.overwrite)
    from vaephot.train.training_loop import train

    with _Lines():
        vaes, finished, curves = train(
            args.store, args.output, config, start=args.start,
            device=args.device, n_workers=args.workers,
            max_seconds=60 * args.max_minutes,
            validate_every=args.validate_every,
            watch=_figure_writer(Path(args.output) / 'curves.png'))
    if not finished:
        print('the time is over before the run is finished; give the same '
              'command again to go on')
        return 0
    _report(curves, config)
    if args.weights_out is not None:
        from vaephot.train.release import release_weights

        record = release_weights(args.weights_out, vaes, config, curves,
                                 args.store, overwrite=args.overwrite)
        print(f'weights {record.name!r}, SHA-256 {record.sha256}: '
              f'{args.weights_out}')
    return 0


def _read_config(path):
    """Settings, with the file in the message of an error."""
    from vaephot.exceptions import TrainingError
    from vaephot.train.training_config import TrainingConfig

    if not Path(path).is_file():
        msg = f'there is no file {path}.'
        raise FileNotFoundError(msg)
    try:
        return TrainingConfig.read(path)
    except (ValueError, TypeError) as err:
        msg = f'{path}: {err}'
        raise TrainingError(msg, path=path) from err


class _Lines:
    """Print what the training loop logs, as it comes."""

    def __enter__(self):
        self.logger = logging.getLogger('vaephot.train')
        self.before = self.logger.level
        self.handler = logging.StreamHandler(sys.stdout)
        self.handler.setFormatter(logging.Formatter('%(asctime)s '
                                                    '%(message)s',
                                                    '%H:%M:%S'))
        self.logger.addHandler(self.handler)
        self.logger.setLevel(logging.INFO)

    def __exit__(self, *error):
        self.logger.removeHandler(self.handler)
        self.logger.setLevel(self.before)


def _figure_writer(path):
    """Return what draws curves, None where matplotlib is not installed."""
    from vaephot.utils.optional_deps import has_package

    if not has_package('matplotlib'):
        print('no curves.png: matplotlib is not installed '
              '(pip install "vaephot[plot]")', file=sys.stderr)
        return None
    from vaephot.train.curves import plot_curves

    def write(curves):
        with atomic_write(path, overwrite=True) as temporary:
            plot_curves(curves).savefig(temporary, dpi=100)
    return write


def _report(curves, config):
    """Print the figures of the networks that each stage ended with."""
    from vaephot.train.stopping import kept_row

    for stage, rows in curves.items():
        if rows:
            figures = ', '.join(f'{name} {value:.4g}' for name, value
                                in kept_row(rows, config).items())
            print(f'{stage}: {figures}')
