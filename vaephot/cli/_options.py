# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What the subcommands share: options and the error for wrong usage."""

import argparse

from vaephot.exceptions import VaephotError

__all__ = ['UsageError', 'add_common_options', 'positive_float',
           'positive_int']


class UsageError(VaephotError, ValueError):
    """Arguments that cannot be used together; the exit code is 2."""


def add_common_options(subparsers):
    """
    Give every command of ``subparsers`` the options that all have.

    Parameters
    ----------
    subparsers : argparse._SubParsersAction
        What ``ArgumentParser.add_subparsers`` returned.
    """
    for parser in subparsers.choices.values():
        parser.add_argument(
            '--debug', action='store_true', default=argparse.SUPPRESS,
            help='show the traceback of an error')


def positive_int(text):
    """
    Read a whole number of at least 1, as the ``type`` of an option.

    Parameters
    ----------
    text : str
        What the user wrote.

    Returns
    -------
    int

    Raises
    ------
    argparse.ArgumentTypeError
        If it is smaller; argparse names the option then.
    """
    value = int(text)
    if value < 1:
        msg = f'{text!r} is no positive whole number'
        raise argparse.ArgumentTypeError(msg)
    return value


def positive_float(text):
    """
    Read a number above 0, as the ``type`` of an option.

    Parameters
    ----------
    text : str
        What the user wrote.

    Returns
    -------
    float

    Raises
    ------
    argparse.ArgumentTypeError
        If it is not; argparse names the option then.
    """
    value = float(text)
    if not value > 0:
        msg = f'{text!r} is no positive number'
        raise argparse.ArgumentTypeError(msg)
    return value
