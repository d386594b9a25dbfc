# Licensed under a 3-clause BSD style license - see LICENSE.rst
from types import SimpleNamespace

import numpy as np
from numpy.testing import assert_array_equal
from photutils.aperture import BoundingBox
from photutils.segmentation import SegmentationImage

from vaephot.deblend.outputs.owners import find_owners, members_of_parents

DEBLENDER = SimpleNamespace(n_pixels=1, connectivity=8)


def _solution(parent):
    """Two boxes side by side, that overlap in the middle column."""
    left, right = np.ones((1, 3, 4)), np.ones((1, 3, 4))
    left[..., -1], right[..., 0] = 2.0, 0.5
    boxes = [BoundingBox(1, 5, 1, 4), BoundingBox(4, 8, 1, 4)]
    return SimpleNamespace(
        sources=SimpleNamespace(parent=np.array(parent)), boxes=boxes,
        models=[left, right])


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
    owners = find_owners(DEBLENDER, _segm(), _solution([3, 3]),
                         np.ones((2, 1)))
    owner, n_members = owners[3]
    assert n_members == 2
    assert_array_equal(owner, [[0, 0, 0, 0, 1, 1, 1]] * 3)


def test_whole_parents_have_no_owners():
    assert find_owners(DEBLENDER, _segm(), _solution([3, 0]),
                       np.ones((2, 1))) == {}
