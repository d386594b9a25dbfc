# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from photutils.segmentation import SegmentationImage

from vaephot.utils.labels import (
    brightest_of_parent,
    brightest_pixels,
    count_pieces,
    sum_by_label,
    validate_labels,
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


def test_brightest_pixels_are_those_of_the_segments_asked_for():
    image = np.array([[1.0, 5.0, np.nan, 2.0], [3.0, 9.0, np.inf, 4.0],
                      [0.0, 0.0, np.nan, 4.0]])
    segm = SegmentationImage(np.array([[7, 7, 2, 3], [7, 0, 2, 3],
                                       [0, 0, 2, 3]]))
    yx, value = brightest_pixels(image, segm, np.array([3, 7, 2]))
    # the first of two equal ones; one outside of all does not count
    assert yx[:2].tolist() == [[1, 3], [0, 1]]
    assert value.tolist() == [4.0, 5.0, -np.inf]
    yx, value = brightest_pixels(image, segm, np.zeros(0, int))
    assert yx.shape == (0, 2)
    assert not len(value)


def test_labels_are_checked():
    segm = SegmentationImage(np.array([[0, 3, 3, 8, 5]]))
    assert_array_equal(validate_labels(segm, None), [3, 5, 8])
    assert_array_equal(validate_labels(segm, [8, 3, 8]), [8, 3])
    assert_array_equal(validate_labels(segm, 5), [5])
    assert validate_labels(segm, []).dtype == np.int64
    for labels in (1, [3, 4], 0, -3, 3.5):
        with pytest.raises(ValueError, match='invalid'):
            validate_labels(segm, labels)


def test_pieces_are_counted():
    data = np.zeros((5, 8), int)
    data[0, 0] = data[1, 1] = 4
    data[3:, 3:] = 2
    data[0, 6:] = data[3, 1] = 7
    segm = SegmentationImage(data)
    assert count_pieces(segm, np.array([4, 2, 7]), 8).tolist() == [1, 1, 2]
    assert count_pieces(segm, segm.labels, 4).tolist() == [1, 2, 2]
    assert count_pieces(segm, segm.labels[:0], 8).tolist() == []
