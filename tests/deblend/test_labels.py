# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
from photutils.segmentation import SegmentationImage

from vaephot.deblend.labels import (
    brightest_of_parent,
    sum_by_label,
    values_of_labels,
)


def test_values_follow_their_labels_however_large():
    segm = SegmentationImage(np.array([[3, 0, 700_000_000, 9]]))
    found = values_of_labels(segm, [1.0, 2.0, 3.0],
                             np.array([700_000_000, 3, 0, 5, 9]))
    np.testing.assert_array_equal(found, [3, 1, 0, 0, 2])


def test_empty_segmentation_has_no_values():
    segm = SegmentationImage(np.zeros((2, 2), int))
    assert values_of_labels(segm, [], np.array([0, 4])).tolist() == [0, 0]


def test_sums_are_over_equal_labels():
    labels = np.array([5, 700_000_000, 5, 0])
    assert sum_by_label(labels).tolist() == [2, 1, 2, 1]
    found = sum_by_label(labels, np.array([1.0, 2, 3, 4]))
    np.testing.assert_array_equal(found, [4, 2, 4, 4])
    assert len(sum_by_label(np.zeros(0, int))) == 0


def test_one_source_of_each_parent_is_the_brightest():
    found = brightest_of_parent(np.array([1.0, 3, 3, -2]),
                                np.array([4, 4, 4, 2]))
    assert found.tolist() == [False, True, False, True]
