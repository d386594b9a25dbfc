# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The weights this installation knows: shipped and imported ones."""

from pathlib import Path

from astropy.config import get_cache_dir

from vaephot.exceptions import WeightsError
from vaephot.weights.files import (
    SUFFIX,
    read_checked,
    record_path,
    write_pair,
)
from vaephot.weights.records import read_record

__all__ = [
    'SHIPPED_FOLDER',
    'find_record',
    'import_weights',
    'known_names',
    'list_weights',
    'user_folder',
]

SHIPPED_FOLDER = Path(__file__).with_name('data')


def user_folder():
    """
    Return the folder of imported weights, in the user's cache.

    Returns
    -------
    pathlib.Path or None
        The folder, which need not exist; `None` if the user has no
        usable cache.
    """
    try:
        return Path(get_cache_dir('vaephot')) / 'weights'
    except OSError:
        return None


def _folders():
    return [folder for folder in (SHIPPED_FOLDER, user_folder())
            if folder is not None]


def known_names():
    """
    Return the names of shipped and imported weights.

    Returns
    -------
    list of str
    """
    return sorted({path.stem for folder in _folders()
                   for path in folder.glob('[!.]*.json')})


def find_record(name):
    """
    Find the record of shipped or imported weights.

    Parameters
    ----------
    name : str
        Name of the weights.

    Returns
    -------
    record : WeightsRecord
        The record.
    path : pathlib.Path
        Where the weights file lies, or would lie, beside its record.

    Raises
    ------
    WeightsError
        If no weights have that name, or the record is bad.
    """
    names = known_names()
    if name not in names:
        known = ', '.join(repr(known) for known in names) or 'none'
        msg = (f'no weights are called {name!r}; known: {known} (vaephot '
               f'weights list). Import a file with "vaephot weights import '
               f'PATH NAME", or give the path of a {SUFFIX} file.')
        raise WeightsError(msg, name=name, known=names)
    path = next(folder / f'{name}{SUFFIX}' for folder in _folders()
                if (folder / f'{name}.json').exists())
    record = read_record(record_path(path))
    if record.name != name:
        msg = (f'the record {record_path(path)} says that its name is '
               f'{record.name!r}, expected {name!r}; rename the files, or '
               'remove them and import again.')
        raise WeightsError(msg, path=path, name=record.name)
    return record, path


def list_weights():
    """
    List the weights that ship with the package or were imported.

    Returns
    -------
    list of WeightsRecord
        Sorted by name; empty if there are none.

    Raises
    ------
    WeightsError
        If a record is damaged.

    Examples
    --------
    >>> from vaephot.weights import list_weights
    >>> names = [record.name for record in list_weights()]
    """
    return [find_record(name)[0] for name in known_names()]


def import_weights(path, name):
    """
    Copy a weights file and its record to the user's weights.

    Parameters
    ----------
    path : path-like
        The ``.safetensors`` file; its record lies beside it.
    name : str
        Name under which the weights are to be known.

    Returns
    -------
    WeightsRecord
        The record under its new name.

    Raises
    ------
    WeightsError
        If the name is taken or not allowed, the file is damaged, or there
        is no folder to copy to. Nothing is written then.
    """
    record = read_record(record_path(path)).renamed(name)
    content = read_checked(path, record)
    if name in known_names():
        msg = (f'weights called {name!r} exist already; choose another '
               'name (vaephot weights list).')
        raise WeightsError(msg, name=name, known=known_names())
    folder = user_folder()
    if folder is None:
        msg = ('there is no writable cache folder to import weights to; '
               f'give the path {path} instead of a name.')
        raise WeightsError(msg, path=path)
    folder.mkdir(parents=True, exist_ok=True)
    write_pair(folder / f'{name}{SUFFIX}', content, record)
    return record
