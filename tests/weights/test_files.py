# Licensed under a 3-clause BSD style license - see LICENSE.rst
import hashlib

import pytest
import torch
from safetensors.torch import load_file

from vaephot.exceptions import OutputExistsError, WeightsError
from vaephot.weights.files import record_path, save_weights
from vaephot.weights.loading import load_weights
from vaephot.weights.records import read_record


@pytest.fixture
def path(tmp_path, make_weights):
    return make_weights(tmp_path / 'tiny.safetensors')


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
