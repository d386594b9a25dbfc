# Licensed under a 3-clause BSD style license - see LICENSE.rst
from dataclasses import dataclass, fields

import numpy as np
import pytest

from vaephot.utils.rows import Rows


@dataclass(frozen=True, kw_only=True)
class Table(Rows):
    number: np.ndarray
    matrix: np.ndarray
    thing: np.ndarray


@pytest.fixture
def table():
    """Return three rows."""
    return Table(number=np.arange(3), matrix=np.arange(12.0).reshape(3, 2, 2),
                 thing=np.array([None, (0, np.eye(2)), None], object))


def _dtypes(table):
    return [getattr(table, field.name).dtype for field in fields(table)]


def test_rows_are_taken_by_number_or_mask(table):
    for rows in ([2, 0], np.array([True, False, True])):
        some = table.take(np.array(rows))
        assert isinstance(some, Table)
        np.testing.assert_array_equal(some.number, table.number[rows])
        np.testing.assert_array_equal(some.matrix, table.matrix[rows])


def test_blank_rows_can_be_joined(table):
    both = table.join(table.blank(2))
    assert _dtypes(both) == _dtypes(table)
    assert both.number.tolist() == [0, 1, 2, 0, 0]
    assert (both.matrix[3:] == 0).all()
    assert both.thing[1] is table.thing[1]
    assert both.thing[3:].tolist() == [None, None]


def test_merged_rows_are_those_of_the_other(table):
    other = table.take(np.array([2, 1, 0]))
    merged = table.merge(other, [0])
    assert merged.number.tolist() == [2, 1, 2]
    np.testing.assert_array_equal(merged.matrix[0], table.matrix[2])
    # nothing is changed in place
    assert table.number.tolist() == [0, 1, 2]
