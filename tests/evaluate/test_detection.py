# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np

from vaephot.evaluate.detection import detect_truth, share_table

TRUE = [(5, 5), (10, 5), (30, 5), (40, 5)]
FOUND = [(5.2, 5), (5, 6), (30, 6), (20, 20)]


def compare(**keywords):
    return detect_truth(TRUE, FOUND, max_distance=3, merge_distance=6,
                        **keywords)


def test_each_source_is_detected_split_merged_or_missed():
    result = compare()
    assert result.detected.tolist() == [True, False, True, False]
    assert result.split.tolist() == [True, False, False, False]
    assert result.merged.tolist() == [False, True, False, False]


def test_one_of_the_pieces_is_real_and_the_others_are_false():
    assert compare().real.tolist() == [True, False, True, False]


def test_a_segmentation_decides_what_is_merged():
    segm = np.zeros((20, 50), int)
    segm[:, 28:42] = 3
    result = compare(segmentation=segm)
    assert result.merged.tolist() == [False, False, False, True]
    # pixels of a false source merge nothing
    segm[segm == 3] = 4
    assert not compare(segmentation=segm).merged.any()


def test_nothing_found_and_nothing_there_are_fine():
    empty = detect_truth(TRUE, [], max_distance=3, merge_distance=6)
    assert not empty.detected.any()
    assert len(empty.real) == 0
    invented = detect_truth([], FOUND, max_distance=3, merge_distance=6)
    assert invented.real.tolist() == [False] * 4


def test_shares_are_per_bin():
    table = share_table([20, 20.5, 22], [True, False, True], [20, 21, 23])
    assert table['share'].tolist() == [0.5, 1]
