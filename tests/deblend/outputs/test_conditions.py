# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from photutils.segmentation import SegmentationImage

from vaephot.deblend.outputs.conditions import (
    any_around,
    at_edge,
    fits_poorly,
    pack_flags,
    unseen,
)
from vaephot.results.flags import decode_flags

SHAPE = (40, 60)


@pytest.mark.parametrize(('x', 'y', 'edge'), [
    (2, 20, True), (57, 20, True), (30, 2, True), (30, 37, True),
    (6, 20, False), (53, 20, False), (30, 6, False), (30, 33, False)])
def test_edge_flag_knows_all_four_edges(x, y, edge):
    assert at_edge(np.array([[x, y]]), np.array([4.6]), SHAPE) == [edge]


def test_mask_counts_near_the_source_only():
    mask = np.zeros(SHAPE, bool)
    mask[12, 21] = True
    xy = np.array([[20.0, 10.0], [45.0, 30.0], [-9.0, -9.0]])
    assert_array_equal(any_around(mask, xy, np.full(3, 4.0)),
                       [True, False, False])
    assert not any_around(mask, xy, np.zeros(3)).any()
    assert any_around(mask, np.array([[21.0, 12.0]]), np.zeros(1)).all()


def test_poor_fits_exceed_noise_and_a_limit():
    # 5 sigma of 5 samples are 3.2, of 5000 samples 0.1
    reduced = np.array([4.0, 4.4, 2.9, 3.1, np.nan, 0.2])
    samples = np.array([5, 5, 5000, 5000, 0, 5])
    assert_array_equal(fits_poorly(reduced, samples),
                       [False, True, False, True, False, False])


def slow_unseen(mask, segm, parent, xy, radius):
    """The same by counting the good pixels of each source."""
    rows = []
    for label, (x, y), r in zip(parent, xy, radius, strict=True):
        iy, ix = np.mgrid[:mask.shape[1], :mask.shape[2]]
        own = (segm.data == label if label else
               (np.abs(ix - x) <= r + 1) & (np.abs(iy - y) <= r + 1))
        rows.append(~(own & ~mask).any((1, 2)))
    return np.array(rows)


def test_unseen_sources_have_no_good_pixel():
    data = np.zeros(SHAPE, int)
    data[5:15, 5:15], data[20:30, 20:30] = 4, 900
    mask = np.zeros((3, *SHAPE), bool)
    mask[0, :16, :16] = True
    mask[1, 20:30, 20:29] = True
    mask[2] = True
    arguments = (mask, SegmentationImage(data), np.array([900, 4, 0, 4]),
                 np.array([[25.0, 25], [10, 10], [8, 8], [6, 6]]),
                 np.array([3.0, 3.0, 4.0, 3.0]))
    found = unseen(*arguments)
    assert_array_equal(found, slow_unseen(*arguments))
    assert_array_equal(found[:, 0], [False, True, True, True])
    assert found[:, 2].all()


def test_no_sources_have_no_conditions():
    none, no_xy = np.zeros(0), np.zeros((0, 2))
    segm = SegmentationImage(np.zeros(SHAPE, int))
    assert unseen(np.zeros((2, *SHAPE), bool), segm, none.astype(int), no_xy,
                  none).shape == (0, 2)
    assert at_edge(no_xy, none, SHAPE).shape == (0,)
    assert any_around(np.zeros(SHAPE, bool), no_xy, none).shape == (0,)


def test_flags_are_the_conditions_that_hold():
    flags = pack_flags({'edge': np.array([True, False, True]),
                        'no_data': np.array([False, False, True])}, 3)
    assert decode_flags(flags) == [['edge'], [], ['edge', 'no_data']]
