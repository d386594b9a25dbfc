# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Outputs of the subcommands, written all or nothing.

Call `check_outputs` before the work, so that a bad path costs no time, and
`atomic_write` for each file when its content is there.
"""

from pathlib import Path

from vaephot.cli._options import UsageError
from vaephot.utils.atomic import atomic_write, check_output

__all__ = ['add_overwrite_option', 'atomic_write', 'check_outputs']


def add_overwrite_option(parser):
    """
    Add ``--overwrite`` to a parser.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Parser of a subcommand.
    """
    parser.add_argument('--overwrite', action='store_true',
                        help='replace output files that exist')


def check_outputs(*paths, overwrite=False):
    """
    Refuse outputs that cannot or must not be written.

    Parameters
    ----------
    *paths : path-like or None
        Files to be written later; `None` is passed over.
    overwrite : bool, optional
        Whether existing files may be replaced.

    Raises
    ------
    UsageError
        If two outputs are the same file.
    OutputExistsError
        If a file exists and ``overwrite`` is False.
    OSError
        If a path is a folder, or its folder is missing or read-only.
    """
    given = [Path(path) for path in paths if path is not None]
    resolved = [path.resolve() for path in given]
    for path in given:
        if resolved.count(path.resolve()) > 1:
            msg = (f'two outputs have the name {path}; give each output a '
                   'name of its own.')
            raise UsageError(msg, path=path)
        check_output(path, overwrite=overwrite)
