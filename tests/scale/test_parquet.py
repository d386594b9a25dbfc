# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from astropy import units as u
from astropy.table import Table

from vaephot.scale.parquet import (
    describe,
    read_catalog,
    read_part,
    write_part,
)

pytest.importorskip('pyarrow')


@pytest.fixture
def table():
    table = Table({'label': np.array([3, 1]), 'flux_VIS': [1.0, np.nan]})
    table['flux_VIS'].unit = u.uJy
    describe(table, ('VIS',))
    return table


def test_units_and_descriptions_come_back(table, tmp_path):
    write_part(tmp_path / 'part.parquet', table)
    found = read_part(tmp_path / 'part.parquet')
    assert found['flux_VIS'].unit == u.uJy
    assert found['flux_VIS'].description == 'total flux, VIS'
    assert found['label'].dtype == table['label'].dtype
    assert np.array_equal(found['flux_VIS'], table['flux_VIS'],
                          equal_nan=True)


def test_the_bytes_are_always_the_same(table, tmp_path):
    for name in ('a.parquet', 'b.parquet'):
        write_part(tmp_path / name, table)
    assert ((tmp_path / 'a.parquet').read_bytes()
            == (tmp_path / 'b.parquet').read_bytes())


def test_the_metadata_are_those_that_astropy_reads(table, tmp_path):
    pytest.importorskip('pandas')
    write_part(tmp_path / 'part.parquet', table)
    found = Table.read(tmp_path / 'part.parquet')
    assert found['flux_VIS'].unit == u.uJy
    assert found['flux_VIS'].description == 'total flux, VIS'


def test_an_empty_part_keeps_its_columns(table, tmp_path):
    write_part(tmp_path / 'part-0.parquet', table[:0])
    write_part(tmp_path / 'part-1.parquet', table)
    assert len(read_part(tmp_path / 'part-0.parquet')) == 0
    found = read_catalog(tmp_path)
    assert found['label'].tolist() == [1, 3]
    assert found['flux_VIS'].unit == u.uJy


def test_a_folder_without_parts_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='part-'):
        read_catalog(tmp_path)
