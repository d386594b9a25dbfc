# Licensed under a 3-clause BSD style license - see LICENSE.rst
import copy

import numpy as np
import pytest
from astropy.utils import minversion
from numpy.testing import assert_array_equal
from photutils.segmentation import SegmentationImage, SourceCatalog
from scipy.ndimage import generate_binary_structure
from scipy.ndimage import label as find_components

from vaephot.deblend.outputs.assign import assign_pixels, build_segmentation
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
