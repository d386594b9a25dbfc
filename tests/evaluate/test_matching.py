# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest

from vaephot.evaluate.matching import (
    RULES,
    count_claims,
    match_positions,
    match_segments,
)
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


def test_nearest_never_takes_the_light_beside_a_bright_neighbour():
    true, found = [(0, 0), (3, 0)], [(2, 0)]
    pairs = match_positions(true, found, 4)
    assert pairs.reference.tolist() == [1]
    # one more, closer to the neighbour, leaves the first for nobody
    found.append((3, 0.1))
    assert match_positions(true, found, 4).measured.tolist() == [0, 1]
    nearest = match_positions(true, found, 4, rule='nearest')
    assert (nearest.reference.tolist(), nearest.measured.tolist()) == (
        [1], [1])


def test_optimal_makes_the_most_pairs():
    true, found = [(0, 0), (1, 0)], [(0.6, 0), (1.9, 0)]
    assert len(match_positions(true, found, 1)) == 1
    match = match_positions(true, found, 1, rule='optimal')
    assert match.measured.tolist() == [0, 1]
    assert match.distance == pytest.approx([0.6, 0.9])


@pytest.mark.parametrize('rule', RULES)
def test_every_rule_finds_a_permutation_again(rule):
    rng = np.random.default_rng(2)
    xy = rng.uniform(0, 500, (40, 2))
    order = rng.permutation(40)
    match = match_positions(xy[order], xy, 0.1, rule=rule)
    assert np.array_equal(match.measured, order)


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match='nearest'):
        match_positions([(0, 0)], [(0, 0)], 1, rule='best')


def test_claims_count_who_is_nearest():
    claims = count_claims([(0, 0), (9, 0)], [(1, 0), (0, 1), (4, 0)], 2)
    assert claims.tolist() == [2, 0]
    assert count_claims([(0, 0)], [], 2).tolist() == [0]


def test_segments_are_paired_by_their_overlap():
    true, found = np.zeros((2, 10), int), np.zeros((2, 10), int)
    true[:, :4], true[:, 4:8] = 1, 2
    found[:, :3], found[:, 3:8], found[:, 9] = 5, 7, 6
    match = match_segments(true, found)
    assert match.reference.tolist() == [1, 2]
    assert match.measured.tolist() == [5, 7]
    assert match.distance == pytest.approx([1 - 3 / 4, 1 - 4 / 5])
    assert len(match_segments(true, found, min_overlap=0.9)) == 0
    assert len(match_segments(true, 0 * true)) == 0
    with pytest.raises(ShapeMismatchError, match='shapes'):
        match_segments(true, found[:1])
