# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Optional packages, and the error that names the extra they are in."""

from importlib import import_module
from importlib.util import find_spec

from vaephot.exceptions import MissingDependencyError

__all__ = ['EXTRAS', 'has_package', 'import_optional']

# package -> extra of pyproject.toml that brings it
EXTRAS = {
    'galsim': 'simulate',
    'sep': 'evaluate',
    'skimage': 'evaluate',
    'matplotlib': 'plot',
    'pyarrow': 'parquet',
    'dask': 'scale',
    'distributed': 'scale',
    'fsspec': 'scale',
    'hats_import': 'hats',
    'regions': 'regions',
}


def has_package(name):
    """
    Whether an optional package is installed.

    Parameters
    ----------
    name : str
        Name of the top-level package.

    Returns
    -------
    bool
    """
    return find_spec(name) is not None


def import_optional(name, purpose):
    """
    Import an optional package, or say which extra brings it.

    Parameters
    ----------
    name : str
        Module to import; its top-level package must be in ``EXTRAS``.
    purpose : str
        What needs it, the subject of the error message.

    Returns
    -------
    module
        The imported module.

    Raises
    ------
    MissingDependencyError
        If the package is not installed.
    """
    package = name.partition('.')[0]
    try:
        return import_module(name)
    except ImportError as err:
        extra = EXTRAS[package]
        msg = (f'{purpose} needs the package {package!r}, which is not '
               f'installed; install it with pip install '
               f'"vaephot[{extra}]".')
        raise MissingDependencyError(msg, package=package,
                                     extra=extra) from err
