# Licensed under a 3-clause BSD style license - see LICENSE.rst
import pytest
import torch

from vaephot.utils.device import resolve_device


def test_none_picks_the_best_there_is():
    made = resolve_device(None)
    assert isinstance(made, torch.device)
    if torch.cuda.is_available():
        assert made.type == 'cuda'
    elif not torch.backends.mps.is_available():
        assert made.type == 'cpu'


@pytest.mark.parametrize('device', ['cpu', torch.device('cpu')])
def test_a_device_or_its_name_is_kept(device):
    assert resolve_device(device) == torch.device('cpu')


@pytest.mark.parametrize('device', ['gpu', 'cuda:x', '', 'cuda:99'])
def test_what_is_not_there_raises_with_the_value(device):
    with pytest.raises(ValueError, match=repr(device)):
        resolve_device(device)


@pytest.mark.parametrize('device', [0, 1.5, ['cpu']])
def test_another_kind_raises(device):
    with pytest.raises(TypeError, match=type(device).__name__):
        resolve_device(device)


def test_the_order_is_cuda_then_mps(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch.backends.mps, 'is_available', lambda: True)
    assert resolve_device(None).type == 'mps'
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    assert resolve_device(None).type == 'cuda'
