# Licensed under a 3-clause BSD style license - see LICENSE.rst
import threading
from contextlib import closing

import pytest
import torch

from vaephot.train.dataset import BlendSampler
from vaephot.train.store import read_store
from vaephot.train.stream import BatchStream


@pytest.fixture
def sampler(tiny_store):
    return BlendSampler(read_store(tiny_store, 'train'), 16, 3)


def _images(sampler, seed=(1, 0), n_workers=0, steps=range(5)):
    with closing(BatchStream(sampler, seed, 5, 4, 2, n_workers)) as stream:
        return [stream.batch(step).stamps.data for step in steps]


def _equal(first, second):
    return all(map(torch.equal, first, second))


@pytest.mark.parametrize('n_workers', [1, 3, 9])
def test_threads_draw_the_same_batches(sampler, n_workers):
    assert _equal(_images(sampler), _images(sampler, n_workers=n_workers))


@pytest.mark.parametrize('n_workers', [0, 2])
def test_batches_do_not_depend_on_those_before(sampler, n_workers):
    whole = _images(sampler)
    part = _images(sampler, n_workers=n_workers, steps=(3, 4))
    assert _equal(whole[3:], part)
    assert not torch.equal(whole[3], whole[4])


def test_seed_sets_all_batches(sampler):
    for one, other in zip(_images(sampler), _images(sampler, (2, 0)),
                          strict=True):
        assert not torch.equal(one, other)


def test_threads_end_and_their_errors_are_raised(sampler, monkeypatch):
    before = threading.active_count()
    _images(sampler, n_workers=2, steps=(0,))
    assert threading.active_count() == before
    monkeypatch.setattr(BlendSampler, 'draw', lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        _images(sampler, n_workers=2)
