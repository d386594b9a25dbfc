# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from photutils.aperture import BoundingBox
from photutils.segmentation import SegmentationImage
from scipy.ndimage import generate_binary_structure
from scipy.ndimage import label as find_components

from vaephot.deblend.outputs.assign import (
    assign_pixels,
    find_owners,
    members_of_parents,
)
from vaephot.exceptions import ShapeMismatchError

RANK = {4: 1, 8: 2}


def n_parts(region, connectivity):
    structure = generate_binary_structure(2, RANK[connectivity])
    return find_components(region, structure=structure)[1]


def check(owner, region, n_children, n_pixels, connectivity):
    """What must hold whatever the models are."""
    assert_array_equal(owner >= 0, region)
    assert owner.max() < n_children
    owning = np.unique(owner[region])
    for k in owning:
        assert n_parts(owner == k, connectivity) == 1
        if len(owning) > 1:
            assert (owner == k).sum() >= n_pixels


@pytest.mark.parametrize('connectivity', [4, 8])
@pytest.mark.parametrize('seed', range(30))
def test_rules_hold_for_any_models(seed, connectivity):
    rng = np.random.default_rng(seed)
    parts, _ = find_components(
        rng.random((24, 31)) < 0.75,
        structure=generate_binary_structure(2, RANK[connectivity]))
    region = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    n_children = int(rng.integers(1, 9))
    dominance = rng.normal(0, 1, (n_children, *region.shape))
    dominance[rng.random(dominance.shape) < 0.1] = np.nan
    n_pixels = int(rng.integers(1, 40))
    owner = assign_pixels(dominance, region, n_pixels,
                          connectivity=connectivity)
    check(owner, region, n_children, n_pixels, connectivity)


def gaussians(positions, shape=(40, 60), sigma=4):
    iy, ix = np.mgrid[:shape[0], :shape[1]]
    return np.stack([a * np.exp(-((ix - x) ** 2 + (iy - y) ** 2)
                                / 2 / sigma ** 2) for x, y, a in positions])


def test_largest_model_owns_the_pixel():
    dominance = gaussians([(15, 20, 1), (35, 20, 1), (45, 22, 0.5)])
    region = dominance.sum(0) > 0.01
    owner = assign_pixels(dominance, region, 5)
    assert_array_equal(owner[region], dominance.argmax(0)[region])
    assert_array_equal(np.unique(owner), [-1, 0, 1, 2])


def test_detached_part_goes_to_the_child_around_it():
    dominance = np.zeros((3, 9, 30))
    dominance[0, :, :10] = 5
    dominance[0, 4, 24] = 9   # far away, inside the third child
    dominance[1, :, 10:20] = 4
    dominance[2, :, 20:] = 3
    region = np.ones((9, 30), bool)
    owner = assign_pixels(dominance, region, 5)
    assert owner[4, 24] == 2
    assert owner[0, 0] == 0


def test_child_that_dominates_nowhere_owns_nothing():
    dominance = gaussians([(15, 20, 1), (15, 20, 0.5), (40, 20, 1)])
    region = np.ones(dominance.shape[1:], bool)
    owner = assign_pixels(dominance, region, 5)
    assert_array_equal(np.unique(owner), [0, 2])


def test_too_small_child_is_merged_where_its_neighbours_dominate():
    dominance = np.zeros((3, 5, 20))
    dominance[0] = np.linspace(10, 1, 20)
    dominance[2] = np.linspace(1, 10, 20)
    dominance[1, 2, 8:12] = 20
    owner = assign_pixels(dominance, np.ones((5, 20), bool), 5)
    assert_array_equal(np.unique(owner), [0, 2])
    assert_array_equal(owner[2, 8:12], [0, 0, 2, 2])
    owner = assign_pixels(dominance, np.ones((5, 20), bool), 4)
    assert_array_equal(np.unique(owner), [0, 1, 2])


def test_one_child_is_kept_however_small():
    dominance = np.ones((3, 2, 2))
    owner = assign_pixels(dominance, np.ones((2, 2), bool), 100)
    assert_array_equal(owner, 0)


@pytest.mark.parametrize('value', [0, -1, np.nan])
def test_no_light_at_all_goes_to_the_first(value):
    owner = assign_pixels(np.full((2, 4, 4), value), np.ones((4, 4), bool),
                          1)
    assert_array_equal(owner, 0)


def test_parent_in_two_pieces_loses_nothing():
    dominance = gaussians([(8, 10, 1), (40, 10, 1)], (20, 50))
    region = np.ones((20, 50), bool)
    region[:, 20:26] = False
    region[0, 23] = True  # an island that touches nobody
    owner = assign_pixels(dominance, region, 5)
    assert_array_equal(owner >= 0, region)
    assert_array_equal(np.unique(owner[region]), [0, 1])


def test_bad_input_is_refused():
    with pytest.raises(ShapeMismatchError, match=r'\(0, 2, 2\)'):
        assign_pixels(np.ones((0, 2, 2)), np.ones((2, 2), bool), 1)
    with pytest.raises(ShapeMismatchError, match=r'\(2, 3\)'):
        assign_pixels(np.ones((1, 2, 2)), np.ones((2, 3), bool), 1)
    with pytest.raises(ValueError, match='6'):
        assign_pixels(np.ones((1, 2, 2)), np.ones((2, 2), bool), 1,
                      connectivity=6)


def _models():
    """Two boxes side by side, that overlap in the middle column."""
    left, right = np.ones((1, 3, 4)), np.ones((1, 3, 4))
    left[..., -1], right[..., 0] = 2.0, 0.5
    return ([BoundingBox(1, 5, 1, 4), BoundingBox(4, 8, 1, 4)],
            [left, right])


def _segm():
    segm = np.zeros((5, 9), int)
    segm[1:4, 1:8] = 3
    return SegmentationImage(segm)


def test_members_are_told_by_parent():
    members = members_of_parents(np.array([4, 0, 2, 4]))
    assert list(members) == [2, 4]
    assert_array_equal(members[4], [0, 3])
    assert not members_of_parents(np.zeros(0, int))


def test_pixels_go_to_the_stronger_model():
    owners = find_owners(_segm(), np.array([3, 3]), *_models(),
                         np.ones((2, 1)), 1)
    owner, n_members = owners[3]
    assert n_members == 2
    assert_array_equal(owner, [[0, 0, 0, 0, 1, 1, 1]] * 3)


def test_owners_do_not_depend_on_the_order_of_the_sources():
    boxes, models = _models()
    owner, _ = find_owners(_segm(), np.array([3, 3]), boxes[::-1],
                           models[::-1], np.ones((2, 1)), 1)[3]
    assert_array_equal(owner, [[1, 1, 1, 1, 0, 0, 0]] * 3)


def test_whole_parents_have_no_owners():
    assert find_owners(_segm(), np.array([3, 0]), *_models(),
                       np.ones((2, 1)), 1) == {}
