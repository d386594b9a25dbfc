# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Read large tables piece by piece: FITS, parquet and CSV.

Each reader yields dictionaries of arrays with the wanted columns, so
that a table larger than the memory can be gone through.
"""

import bz2
import csv
import gzip
import zlib
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from astropy.io import fits

from vaephot.exceptions import CatalogError
from vaephot.utils.optional_deps import import_optional

__all__ = ['iterate_columns', 'read_column_names']

# Rows of a piece.
CHUNK_ROWS = 100_000

_OPENERS = {'.gz': gzip.open, '.bz2': bz2.open}


def _format_of(path):
    """Name of the format, from the suffixes of a path."""
    suffixes = [s.lower() for s in Path(path).suffixes]
    if suffixes and suffixes[-1] in _OPENERS and '.csv' in suffixes:
        return 'csv'
    known = {'.fits': 'fits', '.fit': 'fits', '.csv': 'csv',
             '.parquet': 'parquet', '.pq': 'parquet'}
    for suffix in reversed(suffixes):
        if suffix in known:
            return known[suffix]
    msg = (f'{path} is no catalogue by its name; it must end in .fits, '
           f'.parquet or .csv (also .fits.gz, .csv.gz, .csv.bz2).')
    raise CatalogError(msg, path=str(path))


def _open_text(path):
    opener = _OPENERS.get(Path(path).suffix.lower(), open)
    return opener(path, 'rt', newline='', encoding='utf-8')


def _csv_rows(file):
    """Rows of a CSV file without comments."""
    return csv.reader(line for line in file if not line.startswith('#'))


def _fits_table(hdus, path):
    for hdu in hdus:
        if isinstance(hdu, fits.BinTableHDU):
            return hdu
    msg = f'{path} holds no FITS table.'
    raise CatalogError(msg, path=str(path))


@contextmanager
def _readable(path):
    """Refuse a file that is missing, and tell which one is damaged."""
    if not Path(path).is_file():
        msg = f'there is no catalogue {path}.'
        raise CatalogError(msg, path=str(path))
    try:
        yield
    except CatalogError:
        raise
    # pyarrow's errors, and texts that are none, are ValueErrors
    except (OSError, EOFError, ValueError, TypeError, zlib.error) as err:
        msg = (f'{path} cannot be read as a table: {err}. The file is '
               f'damaged, cut off, or of another format than its name says.')
        raise CatalogError(msg, path=str(path)) from err


def read_column_names(path):
    """
    Names of the columns of a table.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    list of str

    Raises
    ------
    CatalogError
        If the file is missing, damaged or of an unknown format.
    """
    with _readable(path):
        return _NAMES[_format_of(path)](path)


def _fits_names(path):
    with fits.open(path) as hdus:
        return list(_fits_table(hdus, path).columns.names)


def _parquet_names(path):
    parquet = import_optional('pyarrow.parquet', 'a parquet catalogue')
    return list(parquet.ParquetFile(path).schema_arrow.names)


def _csv_names(path):
    with _open_text(path) as file:
        return [name.strip() for name in next(_csv_rows(file), [])]


_NAMES = {'fits': _fits_names, 'parquet': _parquet_names,
          'csv': _csv_names}


def _iterate_fits(path, columns, chunk_rows):
    with fits.open(path, memmap=True) as hdus:
        hdu = _fits_table(hdus, path)
        for start in range(0, hdu.header['NAXIS2'], chunk_rows):
            rows = hdu.data[start:start + chunk_rows]
            yield {name: np.array(rows[name]) for name in columns}


def _iterate_parquet(path, columns, chunk_rows):
    parquet = import_optional('pyarrow.parquet', 'a parquet catalogue')
    file = parquet.ParquetFile(path)
    for batch in file.iter_batches(batch_size=chunk_rows,
                                   columns=list(columns)):
        yield {name: batch.column(name).to_numpy(zero_copy_only=False)
               for name in columns}


def _number(text):
    """Number of a field; what is no number is NaN."""
    try:
        return float(text)
    except ValueError:
        return np.nan


def _pack_csv(rows, places, columns):
    fields = list(zip(*rows, strict=True))
    out = {}
    for name in columns:
        texts = fields[places[name]]
        try:
            out[name] = np.array(texts, dtype=np.int64)
        except ValueError:
            out[name] = np.array([_number(text) for text in texts])
    return out


def _iterate_csv(path, columns, chunk_rows):
    with _open_text(path) as file:
        reader = _csv_rows(file)
        names = [name.strip() for name in next(reader)]
        places = {name: names.index(name) for name in columns}
        rows = []
        for number, row in enumerate(reader, start=2):
            if len(row) != len(names):
                msg = (f'row {number} of {path} has {len(row)} fields, the '
                       f'header {len(names)}; the file is damaged or cut '
                       f'off.')
                raise CatalogError(msg, path=str(path), row=number)
            rows.append(row)
            if len(rows) == chunk_rows:
                yield _pack_csv(rows, places, columns)
                rows = []
        if rows:
            yield _pack_csv(rows, places, columns)


def iterate_columns(path, columns, *, chunk_rows=CHUNK_ROWS):
    """
    Go through some columns of a table.

    Parameters
    ----------
    path : path-like
        FITS, parquet or CSV file, by its suffix.
    columns : sequence of str
        Names of columns that it has.
    chunk_rows : int, optional
        Most rows of a piece.

    Yields
    ------
    dict of ndarray
        The columns of one piece.

    Raises
    ------
    CatalogError
        If the file is missing, damaged or of an unknown format.
    MissingDependencyError
        If a parquet file is given and pyarrow is not installed.
    """
    with _readable(path):
        yield from _PIECES[_format_of(path)](path, columns, chunk_rows)


_PIECES = {'fits': _iterate_fits, 'parquet': _iterate_parquet,
           'csv': _iterate_csv}
