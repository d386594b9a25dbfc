# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest

from vaephot.evaluate.matching import match_positions
from vaephot.exceptions import ShapeMismatchError


def test_a_permutation_is_found_again():
    rng = np.random.default_rng(1)
    xy = rng.uniform(0, 1000, (200, 2))
    order = rng.permutation(200)
    match = match_positions(xy[order], xy, 0.1)
    assert np.array_equal(match.measured, order)
    assert np.array_equal(match.reference, np.arange(200))
    assert (match.distance == 0).all()


def test_nobody_is_in_two_pairs_and_the_closest_pair_wins():
    match = match_positions([(0, 0), (1, 0)], [(0.6, 0)], 2)
    assert (match.reference.tolist(), match.measured.tolist()) == ([1], [0])


def test_the_second_choice_is_taken_if_the_first_is_gone():
    match = match_positions([(0, 0), (1, 0)], [(0.9, 0), (-1.5, 0)], 2)
    assert match.measured.tolist() == [1, 0]


def test_pairs_beyond_the_distance_are_none():
    assert len(match_positions([(0, 0)], [(3, 0)], 2.9)) == 0
    assert len(match_positions([(0, 0)], [(3, 0)], 3.1)) == 1


@pytest.mark.parametrize(('first', 'second'), [
    ([], [(0, 0)]), ([(0, 0)], []), ([(np.nan, 0)], [(0, 0)])])
def test_nothing_to_match_gives_no_pairs(first, second):
    assert len(match_positions(first, second, 1)) == 0


def test_rows_that_are_not_finite_are_passed_over():
    match = match_positions([(0, 0), (5, 5)], [(np.nan, 1), (5, 5)], 1)
    assert (match.reference.tolist(), match.measured.tolist()) == ([1], [1])


def test_bad_arguments_are_refused():
    with pytest.raises(ShapeMismatchError, match=r'\(n, 2\)'):
        match_positions([1, 2, 3], [(0, 0)], 1)
    with pytest.raises(ValueError, match='must be positive'):
        match_positions([(0, 0)], [(0, 0)], 0)
