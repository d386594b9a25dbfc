# Licensed under a 3-clause BSD style license - see LICENSE.rst
import copy

import numpy as np
import pytest
from astropy.utils import minversion
from numpy.testing import assert_array_equal
from photutils.segmentation import SegmentationImage, SourceCatalog

from vaephot.deblend.outputs.children import (
    build_segmentation,
    label_sources,
)
from vaephot.exceptions import ShapeMismatchError


def parents(dtype=int, labels=(3, 7, 12)):
    data = np.zeros((20, 60), dtype)
    data[2:12, 2:22] = labels[0]
    data[5:15, 30:40] = labels[1]
    data[4:16, 45:57] = labels[2]
    return SegmentationImage(data)


def halves(shape, n_children=2):
    owner = np.zeros(shape, int)
    owner[:, shape[1] // 2:] = n_children - 1
    return owner, n_children


def owners_of(segm):
    """First parent split in two, second kept, third split in two of three."""
    first, second, third = segm.labels.tolist()
    return {first: halves((10, 20)), second: (np.zeros((10, 10), int), 1),
            third: halves((12, 12), 3)}


@pytest.mark.parametrize('relabel', [True, False])
@pytest.mark.parametrize('dtype', ['u1', 'u2', 'i4', 'i8', '>i4'])
def test_segmentation_follows_photutils(dtype, relabel):
    segm = parents(dtype)
    before = copy.deepcopy(segm.data)
    made = build_segmentation(segm, owners_of(segm), relabel=relabel)
    out = made.segmentation_image
    assert type(out) is SegmentationImage
    assert out.data.dtype == segm.data.dtype
    assert_array_equal(segm.data, before)
    assert_array_equal(out.data > 0, segm.data > 0)
    maps = out.parent_to_deblended_labels
    assert list(maps) == [3, 12]
    want = [[2, 3], [4, 5]] if relabel else [[13, 14], [15, 16]]
    for parent, children in zip((3, 12), want, strict=True):
        assert_array_equal(maps[parent], children)
        assert maps[parent].dtype == segm.data.dtype
        assert_array_equal(np.isin(out.data, children),
                           segm.data == parent)
    kept = 1 if relabel else 7
    assert_array_equal(out.data == kept, segm.data == 7)
    assert_array_equal(out.deblended_labels, np.ravel(want))
    assert out.deblended_label_to_parent == {
        c: p for p, v in maps.items() for c in v}
    assert_array_equal(made.child_labels[7], [kept])
    assert_array_equal(made.child_labels[3], want[0])
    # the middle child owns nothing: a label beyond the segmentation
    assert_array_equal(made.child_labels[12],
                       [want[1][0], want[1][1] + 1, want[1][1]])
    assert made.next_label == want[1][1] + 2
    assert len(SourceCatalog(np.ones(out.shape), out).to_table()) == 5
    assert out.areas.sum() == segm.areas.sum()


def test_single_survivor_leaves_the_parent_as_it_was():
    segm = parents()
    owner = np.full((10, 20), 1)
    made = build_segmentation(segm, {3: (owner, 2)}, relabel=False)
    assert_array_equal(made.segmentation_image.data, segm.data)
    assert not np.shares_memory(made.segmentation_image.data, segm.data)
    assert made.segmentation_image.parent_to_deblended_labels == {}
    assert_array_equal(made.child_labels[3], [13, 3])
    assert_array_equal(made.child_labels[12], [12])
    assert made.next_label == 14


def test_labels_that_do_not_fit_get_a_larger_dtype():
    segm = parents('u1', (3, 7, 254))
    kept = build_segmentation(segm, owners_of(segm)).segmentation_image
    assert kept.data.dtype == np.uint8
    wide = build_segmentation(segm, owners_of(segm), relabel=False)
    assert wide.segmentation_image.data.dtype == np.uint16
    assert wide.segmentation_image.max_label == 258


def test_relabel_without_owners_is_consecutive():
    out = build_segmentation(parents(), {}).segmentation_image
    assert_array_equal(out.labels, [1, 2, 3])
    assert out.deblended_labels.size == 0


def test_empty_segmentation():
    made = build_segmentation(SegmentationImage(np.zeros((4, 5), int)), {})
    assert made.segmentation_image.n_labels == 0
    assert made.next_label == 1


def test_owner_of_the_wrong_shape_is_refused():
    with pytest.raises(ShapeMismatchError, match='parent 3'):
        build_segmentation(parents(), {3: halves((4, 4))})


@pytest.mark.skipif(not minversion('photutils', '3.1'),
                    reason='segments have flags since photutils 3.1')
@pytest.mark.parametrize('relabel', [True, False])
def test_children_are_flagged_as_those_of_photutils(relabel):
    segm = SegmentationImage(np.array([[4, 4, 0, 9]]))
    made = build_segmentation(segm, {4: (np.array([[0, 1]]), 2)},
                              relabel=relabel).segmentation_image
    flagged = made.labels[made.flags == 32].tolist()
    assert flagged == made.deblended_labels.tolist()
    assert sorted(made.flags.tolist()) == [0, 32, 32]


def test_sources_have_the_labels_of_their_children():
    segm = parents()
    made, labels = label_sources(segm, np.array([7, 3, 0, 3]),
                                 {3: halves((10, 20))})
    assert labels[0] == made.data[5, 30]
    assert_array_equal(labels[[1, 3]], [made.data[2, 2], made.data[2, 21]])
    # outside of all segments: above all labels
    assert labels[2] > made.max_label
