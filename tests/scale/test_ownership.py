# Licensed under a 3-clause BSD style license - see LICENSE.rst
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.table import Table

from vaephot.scale import ownership
from vaephot.scale.ownership import _fill_lost, _match, _Neighbours
from vaephot.scale.tiles import TileGrid

GRID = TileGrid(shape=(100, 100), side=50)


def rows(places, first, parents=None):
    x, y = np.array(places, float).reshape(-1, 2).T
    return Table({'x_place': x, 'y_place': y,
                  'label': first + np.arange(len(x)),
                  'parent_label': np.arange(len(x)) if parents is None
                  else np.array(parents)})


@pytest.fixture
def owners(monkeypatch):
    """Return a function: labels that each tile keeps, by its number."""
    def run(tables):
        monkeypatch.setattr(
            ownership, '_rows_file', lambda plan, number: SimpleNamespace(
                exists=lambda: number in tables, number=number))
        monkeypatch.setattr(ownership, 'read_part',
                            lambda path: tables[path.number])
        around = _Neighbours(SimpleNamespace(tiles=GRID), 0)
        out = {}
        for number in tables:
            owner, final = around.owners(number)
            label = np.asarray(tables[number]['label'])
            out[number] = (label[owner == number].tolist(), final.tolist())
        return out
    return run


def test_a_source_on_a_border_is_kept_once(owners):
    # each tile puts it into its own core, or into that of the other
    for left, right in ((49.49, 49.51), (49.51, 49.49), (49.2, 49.6)):
        found = owners({0: rows([(left, 20.0)], 100, [7]),
                        1: rows([(right, 20.0)], 200, [7])})
        kept = found[0][0] + found[1][0]
        assert len(kept) == 1
        # and both call it the same
        assert found[0][1] == found[1][1] == kept


def test_neighbours_of_other_parents_are_not_confused(owners):
    found = owners({0: rows([(49.4, 20.0), (49.6, 20.3)], 100, [7, 8]),
                    1: rows([(49.4, 20.0), (49.6, 20.3)], 200, [7, 8])})
    assert found[0] == ([100], [100, 201])
    assert found[1] == ([201], [100, 201])


def test_what_a_tile_alone_sees_belongs_to_the_core_it_lies_in(owners):
    found = owners({0: rows([(30.0, 20.0), (51.0, 20.0)], 100),
                    1: rows([], 200)})
    assert found[0] == ([100], [100, 0])


def test_tiles_that_were_set_aside_have_no_say(owners):
    found = owners({0: rows([(30.0, 20.0), (51.0, 20.0)], 100)})
    assert found[0] == ([100], [100, 0])


def test_matches_are_mutual_and_near():
    one = rows([(1.0, 1.0), (1.4, 1.0), (9.0, 9.0)], 1, [1, 1, 2])
    other = rows([(1.1, 1.0), (9.0, 30.0)], 1, [1, 2])
    assert _match(one, other).tolist() == [0, -1, -1]
    assert _match(other, one).tolist() == [0, -1]
    assert _match(one[:0], other).tolist() == []


def test_pixels_of_what_is_lost_go_to_the_nearest_of_the_parent():
    labels = np.zeros((1, 8), int)
    labels[0, :7] = [100, 100, 101, 101, 102, 102, 103]
    table = rows(np.zeros((4, 2)), 100, [5, 5, 5, 6])
    out = _fill_lost(labels, table, np.array([100, 0, 202, 0]))
    assert out[0].tolist() == [100, 100, 100, 202, 202, 202, 0, 0]
