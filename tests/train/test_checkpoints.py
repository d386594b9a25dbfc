# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
import torch

from vaephot.exceptions import TrainingError
from vaephot.train.checkpoints import read_checkpoint, write_checkpoint


def test_state_comes_back_as_it_was(tmp_path):
    rng = np.random.default_rng(3)
    state = {'step': 7, 'name': 'isolated', 'rows': [{'loss': 0.5}],
             'weights': {'a': torch.arange(3.0)},
             'sampler': rng.bit_generator.state}
    write_checkpoint(tmp_path / 'run.pt', state)
    back = read_checkpoint(tmp_path / 'run.pt')
    assert torch.equal(back['weights'].pop('a'), state['weights'].pop('a'))
    assert back == state


def test_old_state_is_replaced_and_nothing_is_left_over(tmp_path):
    path = tmp_path / 'run.pt'
    for step in (1, 2):
        write_checkpoint(path, {'step': step})
    assert read_checkpoint(path) == {'step': 2}
    assert [p.name for p in tmp_path.iterdir()] == ['run.pt']


def test_failed_writing_keeps_the_old_state(tmp_path):
    path = tmp_path / 'run.pt'
    write_checkpoint(path, {'step': 1})
    with pytest.raises(Exception, match='pickle'):
        write_checkpoint(path, {'step': lambda: 2})
    assert read_checkpoint(path) == {'step': 1}


@pytest.mark.parametrize('keep', [0, 10, 300])
def test_cut_file_is_reported(tmp_path, keep):
    path = tmp_path / 'run.pt'
    write_checkpoint(path, {'a': torch.ones(100)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(TrainingError, match='cannot be read') as caught:
        read_checkpoint(path)
    assert caught.value.path == path


def test_file_of_another_kind_is_reported(tmp_path):
    path = tmp_path / 'run.pt'
    path.write_bytes(b'no checkpoint at all')
    with pytest.raises(TrainingError, match='cannot be read'):
        read_checkpoint(path)


class _Other:
    """Something that is no data."""


def test_code_is_not_unpickled(tmp_path):
    path = tmp_path / 'run.pt'
    torch.save({'a': _Other()}, path)
    with pytest.raises(TrainingError):
        read_checkpoint(path)
