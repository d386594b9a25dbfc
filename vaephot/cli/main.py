# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The command ``vaephot``.

Each subcommand is a module of this package with two functions:
``add_parser(subparsers)``, which must stay light, and ``run(args)``, which
imports what it needs and returns the exit code.
"""

import argparse
import os
import sys
import traceback
import warnings
from importlib import import_module

from vaephot import __version__
from vaephot.cli._options import UsageError, add_common_options

__all__ = ['SUBCOMMANDS', 'main', 'make_parser']

# modules of vaephot.cli, in the order of the help text
SUBCOMMANDS = (
    'deblend',
    'demo',
    'evaluate',
    'psf',
    'simulate',
    'survey',
    'train',
    'train-classifier',
    'weights',
)

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


def _module(name):
    """Module of a subcommand."""
    return import_module(f'vaephot.cli.{name.replace("-", "_")}')


def make_parser():
    """
    Make the parser of the command line.

    Returns
    -------
    argparse.ArgumentParser
    """
    parser = argparse.ArgumentParser(
        prog='vaephot',
        description='Deblend overlapping galaxies and stars with '
                    'variational autoencoders, and measure their fluxes.',
        epilog='exit codes: 0 done, 1 failed, 2 wrong usage')
    parser.add_argument('--version', action='version',
                        version=f'vaephot {__version__}')
    parser.add_argument('--debug', action='store_true',
                        help='show the traceback of an error')
    subparsers = parser.add_subparsers(dest='command', required=True,
                                       metavar='COMMAND')
    for name in SUBCOMMANDS:
        _module(name).add_parser(subparsers)
    add_common_options(subparsers)
    return parser


def main(argv=None):
    """
    Run the command line.

    Parameters
    ----------
    argv : list of str or None, optional
        Arguments; `None` means those of the process.

    Returns
    -------
    int
        0 if all went well, 1 if the work failed, 2 for wrong usage.
    """
    try:
        args = make_parser().parse_args(argv)
    except SystemExit as stop:  # argparse has printed why
        return stop.code or OK
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        return _run(args)


def _run(args):
    """Call the subcommand and turn errors into an exit code."""
    try:
        command = _module(args.command)
        code = command.run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _fail('interrupted', INTERRUPTED, args.debug)
    except BrokenPipeError:  # the reader, such as head, had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except UsageError as err:
        return _fail(str(err), USAGE, args.debug)
    except Exception as err:  # noqa: BLE001 - the last stop of every error
        return _fail(_describe(err), FAILED, args.debug)
    return code


def _describe(err):
    """Return an error as one line, with its class if that is needed."""
    from vaephot.exceptions import VaephotError

    text = ' '.join(str(err).split())
    if isinstance(err, (VaephotError, OSError)) and text:
        return text
    return (f'{type(err).__name__}: {text} (run again with --debug for '
            'the traceback)')


def _fail(text, code, debug):
    """Print an error and return the exit code."""
    if debug:
        traceback.print_exc()
    print(f'vaephot: error: {text}', file=sys.stderr)
    return code


def _show_warning(message, category, filename, lineno, file=None, line=None):
    """Print a warning as one line."""
    text = ' '.join(str(message).split())
    print(f'vaephot: warning: {text}', file=sys.stderr)


if __name__ == '__main__':
    sys.exit(main())
