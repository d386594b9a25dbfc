# Licensed under a 3-clause BSD style license - see LICENSE.rst
import json

import numpy as np
import pytest
from photutils.psf import ImagePSF

from vaephot.exceptions import OutputExistsError
from vaephot.scale.journal import Journal, _content, basis_of


def test_records_come_back_by_what_they_rest_on(tmp_path):
    journal = Journal(tmp_path / 'run', {'tile': 5})
    journal.add('tile', 0, {'sources': 3}, 'a')
    journal.add('tile', 2, {'failure': 'OSError: no'}, 'a')
    journal.add('tile', 1, {'sources': 4}, 'b')
    again = Journal(tmp_path / 'run', {'tile': 5})
    assert list(again.done('tile', 3, 'a')) == [0]
    assert list(again.done('tile', 3, 'b')) == [1]
    assert again.failures('tile', 3, 'a') == {2: 'OSError: no'}
    assert again.record('tile', 5) is None


def test_another_configuration_is_refused_and_named(tmp_path):
    Journal(tmp_path / 'run', {'tile': 5, 'halo': 3})
    with pytest.raises(OutputExistsError, match=r'different: halo\)') as info:
        Journal(tmp_path / 'run', {'tile': 5, 'halo': 4})
    assert info.value.changed == ['halo']


def test_what_a_killed_process_left_is_removed(tmp_path):
    Journal(tmp_path / 'run', {})
    left = [tmp_path / 'run' / name for name in (
        'catalog/.0123abcd.part-000001.parquet', '.0123abcd.labels.fits',
        'catalog/part-000001.parquet', 'catalog/.hidden')]
    for path in left:
        path.write_text('')
    Journal(tmp_path / 'run', {})
    assert [path.exists() for path in left] == [False, False, True, True]


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / 'x').write_text('')
    with pytest.raises(OutputExistsError, match='left as it is'):
        Journal(tmp_path, {})


def test_all_kinds_of_values_have_a_text():
    psf = ImagePSF(np.eye(5) / 5)
    one = _content({'psf': [psf, 2.0], 'error': np.ones(3), 'n': np.int64(2),
                    'none': None})
    json.dumps(one)
    assert one == _content({'psf': [ImagePSF(np.eye(5) / 5), 2.0],
                            'error': np.ones(3), 'n': 2, 'none': None})
    other = _content({'psf': [ImagePSF(np.ones((5, 5)) / 25), 2.0]})
    assert other['psf'] != one['psf']


def test_what_stands_for_a_content_does_not_depend_on_its_order():
    assert basis_of({'a': 1, 'b': 2}) == basis_of({'b': 2, 'a': 1})
    assert basis_of([1, 2]) != basis_of([2, 1])
