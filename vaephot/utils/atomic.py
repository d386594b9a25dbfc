# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Write files so that a half-written one is never seen."""

import os
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from vaephot.exceptions import OutputExistsError, VaephotError

__all__ = ['atomic_write', 'check_output']


def check_output(path, *, overwrite=False):
    """
    Refuse an output path that cannot or must not be written.

    Parameters
    ----------
    path : path-like
        File to be written later.
    overwrite : bool, optional
        Whether an existing file may be replaced.

    Returns
    -------
    pathlib.Path
        The path.

    Raises
    ------
    OutputExistsError
        If the file exists and ``overwrite`` is False.
    IsADirectoryError, FileNotFoundError, PermissionError
        If the path is a folder, or its folder is missing or read-only.
    """
    path = Path(path)
    folder = path.parent
    if path.is_dir():
        msg = f'{path} is a folder; give the name of a file.'
        raise IsADirectoryError(msg)
    if path.exists() and not overwrite:
        msg = (f'{path} exists already; choose another name or pass '
               'overwrite (--overwrite on the command line).')
        raise OutputExistsError(msg, path=path)
    if not folder.is_dir():
        msg = f'cannot write {path}: there is no folder {folder}.'
        raise FileNotFoundError(msg)
    if not os.access(folder, os.W_OK | os.X_OK):
        msg = f'cannot write {path}: the folder {folder} is read-only.'
        raise PermissionError(msg)
    return path


@contextmanager
def atomic_write(path, *, overwrite=False):
    """
    Give a temporary name beside ``path``, moved there on success.

    Parameters
    ----------
    path : path-like
        The file to write.
    overwrite : bool, optional
        Whether an existing file may be replaced.

    Yields
    ------
    pathlib.Path
        An empty file in the same folder, with the same suffixes, to be
        written by the body of the ``with`` statement. If that raises, the
        file is removed and ``path`` stays as it was.

    Raises
    ------
    OutputExistsError
        If the file exists and ``overwrite`` is False.
    OSError
        If it cannot be written, for example to a full disk; the message
        names the file.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from vaephot.utils.atomic import atomic_write
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_write(Path(folder) / 'note.txt') as temporary:
    ...         count = temporary.write_text('done')
    ...     (Path(folder) / 'note.txt').read_text()
    'done'
    """
    path = check_output(path, overwrite=overwrite)
    temporary = path.with_name(f'.{uuid4().hex[:8]}.{path.name}')
    try:
        temporary.open('xb').close()
        yield temporary
        if not overwrite:
            check_output(path)  # it may have appeared in the meantime
        os.replace(temporary, path)
    except VaephotError:
        raise
    except OSError as err:
        why = err.strerror or str(err)
        msg = (f'{path} could not be written, and nothing of it is left: '
               f'{why}. Free some space or choose another folder.')
        raise type(err)(msg) from err
    finally:
        temporary.unlink(missing_ok=True)
