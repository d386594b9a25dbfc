# Licensed under a 3-clause BSD style license - see LICENSE.rst
from types import SimpleNamespace

import numpy as np
import pytest

from vaephot.scale import tile_work
from vaephot.scale.seams import Parents
from vaephot.scale.sections import Window
from vaephot.scale.tile_work import large_parents


def parents_of(*boxes):
    n = len(boxes)
    return Parents(label=np.arange(1, n + 1), box=np.array(boxes),
                   offset=np.array([0, n]), of_section=np.arange(1, n + 1))


def test_parents_are_large_in_halos():
    plan = SimpleNamespace(halo=10, tile=60)
    parents = parents_of((0, 40, 0, 5), (0, 41, 0, 5), (0, 300, 0, 300))
    large, too_large = large_parents(plan, parents)
    assert large.tolist() == [1]
    assert too_large.tolist() == [2]


def test_a_window_holds_the_parents_that_come_near(monkeypatch):
    plan = SimpleNamespace(halo=20, shape=(300, 300))
    # touches the core; near it; beyond half the halo; cut by the window
    parents = parents_of((95, 130, 50, 60), (40, 50, 105, 150),
                         (60, 70, 112, 160), (117, 150, 70, 80))
    labels = np.zeros(plan.shape, int)
    for label, (y0, y1, x0, x1) in zip(parents.label, parents.box,
                                       strict=True):
        labels[y0:y1, x0:x1] = label
    monkeypatch.setattr(tile_work, 'read_labels',
                        lambda plan, parents, window: labels[window.slices])
    core = Window(y0=0, y1=100, x0=0, x1=100)
    scope = tile_work._scope(plan, parents, core, [], [])
    assert scope.window.y1 >= 130
    assert scope.window.x1 >= 150
    found = set(np.unique(scope.labels)) - {0}
    assert {1, 2} <= found
    # what the edge cuts is not fitted, and its pixels are not used
    whole = parents.within(scope.window)
    assert found == set(parents.label[whole].tolist())
    assert scope.left_out.any() == (~whole).any()


def test_parents_that_are_left_out_do_not_make_the_window_grow(monkeypatch):
    plan = SimpleNamespace(halo=20, shape=(300, 300))
    parents = parents_of((95, 250, 50, 60))
    labels = np.zeros(plan.shape, int)
    labels[95:250, 50:60] = 1
    monkeypatch.setattr(
        tile_work, 'read_labels',
        lambda plan, parents, window: labels[window.slices].copy())
    core = Window(y0=0, y1=100, x0=0, x1=100)
    for large, too_large in (([1], []), ([], [1])):
        scope = tile_work._scope(plan, parents, core, large, too_large)
        assert scope.window.shape == (120, 120)
        assert not scope.labels.any()
        # the model of a large one is subtracted, of the others there is none
        assert scope.left_out.any() == bool(too_large)


@pytest.mark.parametrize('n_gpus', [0, None])
def test_the_device_is_that_of_the_settings(n_gpus):
    plan = SimpleNamespace(settings={'device': 'cpu', 'n_gpus': n_gpus})
    assert tile_work._device(plan) == 'cpu'
