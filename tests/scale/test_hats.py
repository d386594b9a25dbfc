# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from astropy.table import Table

from vaephot.exceptions import VaephotError
from vaephot.scale.hats import _with_positions, write_hats
from vaephot.scale.parquet import read_part, write_part

pytest.importorskip('pyarrow')


@pytest.fixture
def catalog(tmp_path):
    folder = tmp_path / 'catalog'
    folder.mkdir()
    rng = np.random.default_rng(1)
    for number in range(2):
        table = Table({'label': np.arange(50) + 100 * number,
                       'ra': rng.uniform(150, 150.1, 50),
                       'dec': rng.uniform(2, 2.1, 50)})
        table['ra'][3] = np.nan
        write_part(folder / f'part-{number}.parquet', table)
    return folder


def test_what_has_no_position_is_left_out(catalog, tmp_path):
    parts = _with_positions(catalog, tmp_path)
    assert [len(read_part(path)) for path in parts] == [49, 49]


def test_positions_are_needed(tmp_path):
    write_part(tmp_path / 'part-0.parquet', Table({'label': [1]}))
    with pytest.raises(VaephotError, match='no positions'):
        _with_positions(tmp_path, tmp_path)


def test_all_sources_are_in_the_partitions(catalog, tmp_path):
    pytest.importorskip('hats_import')
    write_hats(catalog, tmp_path / 'hats')
    files = list((tmp_path / 'hats').rglob('Npix=*.parquet'))
    assert sum(len(read_part(path)) for path in files) == 98
