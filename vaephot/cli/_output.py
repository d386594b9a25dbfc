# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Outputs of the subcommands, written all or nothing.

Call `check_outputs` before the work, so that a bad path costs no time, and
`atomic_write` for each file when its content is there.
"""

from pathlib import Path

from vaephot.cli._options import UsageError
from vaephot.utils.atomic import atomic_write, check_output

__all__ = ['add_overwrite_option', 'atomic_write', 'check_outputs',
           'check_weights_output']

WEIGHTS_SUFFIX = '.safetensors'


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


def check_weights_output(path, option, *, overwrite=False):
    """
    Refuse a bad name of weights before the hours of training.

    Parameters
    ----------
    path : path-like or None
        Weights to be written later; `None` is passed over.
    option : str
        The option that names them.
    overwrite : bool, optional
        Whether existing files may be replaced.

    Raises
    ------
    UsageError
        If the name has another ending.
    OutputExistsError
        If the weights or their record exist and ``overwrite`` is False.
    """
    if path is None:
        return
    path = Path(path)
    if path.suffix != WEIGHTS_SUFFIX:
        msg = f'{option} is {path}; its name must end in {WEIGHTS_SUFFIX}.'
        raise UsageError(msg, path=path)
    check_outputs(path, path.with_suffix('.json'), overwrite=overwrite)
