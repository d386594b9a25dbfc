# Licensed under a 3-clause BSD style license - see LICENSE.rst
import hashlib
import json

import pytest
import torch
from safetensors.torch import load_file

from vaephot.exceptions import OutputExistsError, WeightsError
from vaephot.weights.files import (
    load_weights,
    read_checked,
    record_path,
    save_weights,
)
from vaephot.weights.records import read_record


@pytest.fixture
def path(tmp_path, make_weights):
    return make_weights(tmp_path / 'tiny.safetensors')


def rewrite_record(path, **values):
    record = record_path(path)
    record.write_text(json.dumps({**json.loads(record.read_text()),
                                  **values}))


def test_saved_tensors_load_to_equal_values(path):
    weights = load_weights(path)
    assert sorted(weights.tensors) == ['scale', 'table']
    assert torch.equal(weights.tensors['scale'], torch.tensor([0.5, -2.0]))
    assert torch.equal(weights.tensors['table'],
                       torch.arange(6.0).reshape(2, 3).T)
    assert weights.model_config == {'n_latent': 4}
    assert "'tiny' version 1.0, 2 tensors" in repr(weights)


def test_file_is_readable_by_safetensors_itself(path):
    assert torch.equal(load_file(path)['scale'], torch.tensor([0.5, -2.0]))


def test_record_holds_hash_and_size_of_the_file(path):
    record = read_record(record_path(path))
    content = path.read_bytes()
    assert record.sha256 == hashlib.sha256(content).hexdigest()
    assert record.size_bytes == len(content)
    assert record.name == 'tiny'


def test_same_tensors_give_the_same_file(path, tmp_path, make_weights):
    other = make_weights(tmp_path / 'other.safetensors')
    assert other.read_bytes() == path.read_bytes()


def test_tensors_that_share_memory_or_need_gradients_are_saved(
        tmp_path, record_fields):
    tensor = torch.ones(3, requires_grad=True)
    path = tmp_path / 'shared.safetensors'
    save_weights(path, {'a': tensor, 'b': tensor[:2]}, record_fields)
    tensors = load_weights(str(path)).tensors
    assert torch.equal(tensors['a'], torch.ones(3))
    assert torch.equal(tensors['b'], torch.ones(2))
    assert tensor.requires_grad


def test_existing_files_are_kept_unless_overwrite(
        path, record_fields):
    before = path.read_bytes()
    with pytest.raises(OutputExistsError):
        save_weights(path, {'a': torch.zeros(1)}, record_fields)
    assert path.read_bytes() == before
    save_weights(path, {'a': torch.zeros(1)}, record_fields, overwrite=True)
    assert list(load_weights(path).tensors) == ['a']


def test_a_bad_record_leaves_nothing_behind(tmp_path, record_fields):
    del record_fields['licence']
    with pytest.raises(WeightsError, match='lacks the keys: licence'):
        save_weights(tmp_path / 'a.safetensors', {'a': torch.zeros(1)},
                     record_fields)
    assert list(tmp_path.iterdir()) == []


def test_an_orphan_record_is_not_overwritten(tmp_path, record_fields):
    (tmp_path / 'a.json').write_text('{}')
    with pytest.raises(OutputExistsError):
        save_weights(tmp_path / 'a.safetensors', {'a': torch.zeros(1)},
                     record_fields)
    assert [item.name for item in tmp_path.iterdir()] == ['a.json']


def test_other_suffixes_are_refused(tmp_path, record_fields):
    with pytest.raises(WeightsError, match=r'ends in \.safetensors'):
        save_weights(tmp_path / 'a.pt', {}, record_fields)


def test_a_flipped_byte_is_an_error_with_file_hashes_and_way_out(path):
    expected = read_record(record_path(path)).sha256
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    found = hashlib.sha256(content).hexdigest()
    with pytest.raises(WeightsError) as info:
        load_weights(path)
    for part in (str(path), found, expected, 'fetch --force tiny'):
        assert part in str(info.value)
    assert (info.value.found, info.value.expected) == (found, expected)


def test_a_truncated_file_is_an_error(path):
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(WeightsError, match='truncated'):
        load_weights(path)


def test_a_wrong_hash_in_the_record_is_an_error(path):
    rewrite_record(path, sha256='1' * 64)
    with pytest.raises(WeightsError, match='1' * 64):
        load_weights(path)


def test_a_file_that_is_no_safetensors_is_an_error(path):
    path.write_bytes(b'junk')
    rewrite_record(path, sha256=hashlib.sha256(b'junk').hexdigest())
    with pytest.raises(WeightsError, match='not a safetensors file'):
        load_weights(path)


def test_a_missing_record_or_file_is_an_error(path):
    record = read_record(record_path(path))
    path.unlink()
    with pytest.raises(WeightsError, match='no weights file'):
        read_checked(path, record)
    record_path(path).unlink()
    with pytest.raises(WeightsError, match='no record'):
        load_weights(path)


def test_an_unknown_name_lists_the_known_ones(weights_home, make_weights):
    make_weights(weights_home / 'known.safetensors')
    with pytest.raises(WeightsError, match="known: 'known'.*weights list"):
        load_weights('unknown')


def test_none_means_the_default_set(weights_home, make_weights):
    make_weights(weights_home / 'default.safetensors', version='7')
    assert load_weights().record.version == '7'
    assert load_weights('default').record.version == '7'
