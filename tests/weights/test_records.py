# Licensed under a 3-clause BSD style license - see LICENSE.rst
import dataclasses
import json

import pytest

from vaephot.exceptions import OutputExistsError, WeightsError
from vaephot.weights.records import (
    WeightsRecord,
    read_record,
    write_record,
)


@pytest.fixture
def values(record_fields):
    return {**record_fields, 'name': 'tiny', 'sha256': '0' * 64,
            'size_bytes': 12}


def test_record_survives_the_round_trip(tmp_path, values):
    record = WeightsRecord(**values, bands=('VIS', 'Y'), pixel_scale=0.1,
                           benchmark={'good10': 0.9})
    write_record(tmp_path / 'tiny.json', record)
    assert read_record(tmp_path / 'tiny.json') == record


def test_record_file_is_plain_json(tmp_path, values):
    write_record(tmp_path / 'tiny.json', WeightsRecord(**values))
    content = json.loads((tmp_path / 'tiny.json').read_text())
    assert content['stamp_shape'] == [32, 32]
    assert content['bands'] == 'any'
    assert content['pixel_scale'] is None


def test_record_is_frozen_and_does_not_share_dictionaries(values):
    record = WeightsRecord(**values)
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.name = 'other'
    values['model_config']['n_latent'] = 99
    assert record.model_config['n_latent'] == 4


def test_unknown_keys_raise(values):
    with pytest.raises(WeightsError, match='unknown keys: colour') as info:
        WeightsRecord.from_dict({**values, 'colour': 'red'})
    assert info.value.keys == ['colour']


def test_missing_mandatory_keys_are_named(values):
    del values['licence'], values['sha256']
    with pytest.raises(WeightsError, match='sha256, licence') as info:
        WeightsRecord.from_dict(values)
    assert info.value.keys == ['sha256', 'licence']


@pytest.mark.parametrize(('name', 'value'), [
    ('name', '../evil'),
    ('name', ''),
    ('name', 3),
    ('version', 1.0),
    ('sha256', 'ABC'),
    ('sha256', 'A' * 64),
    ('size_bytes', 0),
    ('size_bytes', True),
    ('stamp_shape', (32,)),
    ('stamp_shape', (32.0, 32)),
    ('stamp_shape', 32),
    ('psf_fwhm_range', (3, 1)),
    ('snr_range', ('a', 'b')),
    ('pixel_scale', -0.1),
    ('bands', ()),
    ('bands', 'VIS'),
    ('model_config', None),
    ('normalization', 2),
    ('benchmark', []),
])
def test_bad_values_raise_and_name_the_entry(values, name, value):
    with pytest.raises(WeightsError, match=f'{name} is') as info:
        WeightsRecord(**{**values, name: value})
    assert info.value.value == value


def test_bad_json_raises_with_the_path(tmp_path):
    path = tmp_path / 'tiny.json'
    path.write_text('{"name": ')
    with pytest.raises(WeightsError, match=r'tiny\.json is not valid JSON'):
        read_record(path)


def test_a_record_that_is_no_dictionary_raises(tmp_path):
    path = tmp_path / 'tiny.json'
    path.write_text('[]')
    with pytest.raises(WeightsError, match='holds a list'):
        read_record(path)


def test_a_missing_record_raises_with_the_path(tmp_path):
    with pytest.raises(WeightsError, match=r'no record .*tiny\.json'):
        read_record(tmp_path / 'tiny.json')


def test_records_are_not_overwritten_by_chance(tmp_path, values):
    record = WeightsRecord(**values)
    write_record(tmp_path / 'tiny.json', record)
    with pytest.raises(OutputExistsError):
        write_record(tmp_path / 'tiny.json', record)
    write_record(tmp_path / 'tiny.json', record.renamed('new'),
                 overwrite=True)
    assert read_record(tmp_path / 'tiny.json').name == 'new'
