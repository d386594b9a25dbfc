# Licensed under a 3-clause BSD style license - see LICENSE.rst
import hashlib
import json

import pytest
import torch

from vaephot.exceptions import WeightsError
from vaephot.weights.files import read_checked, record_path
from vaephot.weights.loading import load_weights
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
