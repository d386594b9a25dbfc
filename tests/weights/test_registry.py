# Licensed under a 3-clause BSD style license - see LICENSE.rst
from pathlib import Path

import pytest
import torch

import vaephot
from vaephot.exceptions import WeightsError
from vaephot.weights import (
    import_weights,
    list_weights,
    load_weights,
    registry,
)
from vaephot.weights.registry import find_record, known_names, user_folder


def test_list_is_empty_without_weights(weights_home):
    assert list_weights() == []


def test_shipped_and_imported_weights_are_listed(
        weights_home, make_weights, tmp_path):
    make_weights(weights_home / 'default.safetensors')
    import_weights(make_weights(tmp_path / 'a.safetensors'), 'mine')
    assert [record.name for record in list_weights()] == ['default', 'mine']


def test_import_copies_file_and_record_under_the_new_name(
        weights_home, make_weights, tmp_path):
    path = make_weights(tmp_path / 'a.safetensors')
    record = import_weights(path, 'mine')
    path.unlink()
    assert record.name == 'mine'
    weights = load_weights('mine')
    assert weights.record == record
    assert torch.equal(weights.tensors['scale'], torch.tensor([0.5, -2.0]))


def test_import_writes_nothing_inside_the_package(weights_home):
    package = Path(vaephot.__file__).parent
    assert package not in user_folder().parents


@pytest.mark.parametrize('name', ['default', 'mine'])
def test_import_refuses_a_name_that_is_taken(
        weights_home, make_weights, tmp_path, name):
    make_weights(weights_home / 'default.safetensors')
    path = make_weights(tmp_path / 'a.safetensors')
    import_weights(path, 'mine')
    with pytest.raises(WeightsError, match=f'{name!r} exist already'):
        import_weights(path, name)


@pytest.mark.parametrize('name', ['../up', 'a/b', '', '.hidden'])
def test_import_refuses_names_that_are_no_names(
        weights_home, make_weights, tmp_path, name):
    path = make_weights(tmp_path / 'a.safetensors')
    with pytest.raises(WeightsError, match='name is'):
        import_weights(path, name)
    assert known_names() == []


def test_import_refuses_a_damaged_file(weights_home, make_weights, tmp_path):
    path = make_weights(tmp_path / 'a.safetensors')
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(WeightsError, match='SHA-256'):
        import_weights(path, 'mine')
    assert known_names() == []


def test_without_a_cache_folder_shipped_weights_still_work(
        weights_home, make_weights, tmp_path, monkeypatch):
    def refuse(*args):
        raise PermissionError('read-only')

    make_weights(weights_home / 'default.safetensors')
    monkeypatch.setattr(registry, 'get_cache_dir', refuse)
    assert known_names() == ['default']
    with pytest.raises(WeightsError, match='no writable cache'):
        import_weights(make_weights(tmp_path / 'a.safetensors'), 'mine')


def test_a_record_with_another_name_than_its_file_is_refused(
        weights_home, make_weights):
    make_weights(weights_home / 'a.safetensors', name='b')
    with pytest.raises(WeightsError, match="its name is 'b', expected 'a'"):
        find_record('a')
