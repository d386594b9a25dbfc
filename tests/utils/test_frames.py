# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np

from vaephot.utils.frames import each, is_mapping, pick_band


def test_each_goes_through_the_bands():
    one, two = {'g': 1, 'r': 2}, {'r': 20, 'g': 10}
    assert each(lambda a, b: a + b, one, two) == {'g': 11, 'r': 22}
    assert each(lambda a, b: a + b, 1, 2) == 3


def test_bands_are_picked_from_anything():
    stack = np.arange(8).reshape(2, 2, 2)
    assert pick_band(stack, 1, 'r') is not stack
    np.testing.assert_array_equal(pick_band(stack, 1, 'r'), stack[1])
    np.testing.assert_array_equal(pick_band(stack[0], 0, 'r'), stack[0])
    assert pick_band({'r': stack[1]}, 5, 'r').base is stack.base
    assert pick_band(None, 0, 'r') is None
    assert is_mapping({})
    assert not is_mapping(stack)
