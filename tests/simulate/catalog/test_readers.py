# Licensed under a 3-clause BSD style license - see LICENSE.rst
import gzip

import numpy as np
import pytest
from astropy.io import fits

from vaephot.exceptions import CatalogError
from vaephot.simulate.catalog.readers import (
    iterate_columns,
    read_column_names,
)
from vaephot.utils.optional_deps import has_package


def test_large_integers_of_csv_stay_exact(tmp_path):
    path = tmp_path / 'a.csv'
    path.write_text('id, x\n9007199254740993,1.5\n9007199254740995,\n')
    assert read_column_names(path) == ['id', 'x']
    rows = next(iterate_columns(path, ['x', 'id']))
    assert rows['id'].tolist() == [9007199254740993, 9007199254740995]
    assert np.isnan(rows['x'][1])


def test_pieces_are_no_larger_than_asked(tmp_path):
    path = tmp_path / 'a.csv'
    path.write_text('x\n' + '\n'.join(map(str, range(25))))
    sizes = [len(p['x']) for p in iterate_columns(path, ['x'],
                                                  chunk_rows=10)]
    assert sizes == [10, 10, 5]


def test_a_fits_file_without_table_is_refused(tmp_path):
    path = tmp_path / 'a.fits'
    fits.PrimaryHDU(np.zeros((2, 2))).writeto(path)
    with pytest.raises(CatalogError, match='no FITS table'):
        read_column_names(path)


@pytest.mark.parametrize(('name', 'content'), [
    ('a.fits', b'hello'), ('a.csv.gz', b'xxxx'),
    ('cut.csv.gz', gzip.compress(b'a,b\n' + b'1,2\n' * 5000)[:40]),
    ('a.csv', b'a,b\n\xff\xfe,2\n'),
    pytest.param('a.parquet', b'PAR1xx', marks=pytest.mark.skipif(
        not has_package('pyarrow'), reason='pyarrow is not installed'))])
def test_damaged_files_are_named(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(CatalogError, match=f'{name} cannot be read'):
        list(iterate_columns(path, ['a']))


def test_trouble_of_the_caller_is_not_blamed_on_the_file(tmp_path):
    path = tmp_path / 'a.csv'
    path.write_text('x\n1\n')
    with pytest.raises(ValueError, match='mine'):
        for _ in iterate_columns(path, ['x']):
            raise ValueError('mine')
