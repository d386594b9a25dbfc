# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from astropy.io import fits

from vaephot.exceptions import CatalogError
from vaephot.simulate.catalog.readers import (
    iterate_columns,
    read_column_names,
)


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
