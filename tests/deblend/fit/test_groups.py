# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from photutils.segmentation import SegmentationImage

from vaephot.deblend.groups import (
    MAX_CORE,
    MAX_SOURCES,
    STAMP_SIZES,
    Footprints,
    SourceList,
    make_pieces,
    segment_boxes,
)

FWHM = 3.0


def _sources(places, parents):
    x, y = np.array(places, float).reshape(-1, 2).T
    return SourceList(x=x, y=y, parent=np.array(parents, int),
                      position_sigma=np.full(len(x), 0.5),
                      radius=np.zeros(len(x)))


def _segm(shape, boxes):
    """Rectangular segments; boxes are (x0, x1, y0, y1), upper excluded."""
    data = np.zeros(shape, int)
    for label, (x0, x1, y0, y1) in enumerate(boxes, start=1):
        data[y0:y1, x0:x1] = label
    return SegmentationImage(data)


def _boxes(segm):
    return segment_boxes(segm.data, segm.labels, segm.slices)


def _pieces(sources, segm):
    groups = Footprints(segm, FWHM).group(sources)
    return make_pieces(sources, groups, _boxes(segm), FWHM)


def _crowd(n=60, seed=4, parent=1):
    """Many sources in one large segment."""
    rng = np.random.default_rng(seed)
    segm = _segm((400, 300), [(20, 280, 30, 380)])
    places = np.stack([rng.uniform(25, 275, n), rng.uniform(35, 375, n)], 1)
    return _sources(places, [parent] * n), segm


def test_boxes_are_x_before_y_with_the_upper_end_excluded():
    segm = _segm((30, 50), [(3, 12, 5, 9), (40, 45, 20, 29)])
    assert _boxes(segm) == {1: (3, 12, 5, 9), 2: (40, 45, 20, 29)}


def test_near_footprints_make_one_group_and_far_ones_do_not():
    segm = _segm((60, 90), [(5, 15, 5, 15), (17, 27, 5, 15),
                            (60, 70, 40, 50)])
    sources = _sources([(10, 10), (65, 45), (22, 10), (8, 7)], [1, 3, 2, 1])
    groups = Footprints(segm, FWHM).group(sources)
    assert [g.tolist() for g in groups] == [[0, 2, 3], [1]]


def test_wider_psf_joins_more():
    segm = _segm((40, 60), [(5, 15, 5, 15), (28, 38, 5, 15)])
    sources = _sources([(10, 10), (33, 10)], [1, 2])
    assert len(Footprints(segm, 3.0).group(sources)) == 2
    assert len(Footprints(segm, 10.0).group(sources)) == 1


def test_sources_outside_all_segments_are_grouped_by_place():
    segm = _segm((60, 90), [(5, 15, 5, 15)])
    sources = _sources([(10, 10), (17, 10), (70, 40)], [1, 0, 0])
    groups = Footprints(segm, FWHM).group(sources)
    assert [g.tolist() for g in groups] == [[0, 1], [2]]


def test_x_and_y_are_not_exchanged():
    segm = _segm((30, 90), [(5, 15, 5, 15), (70, 80, 5, 15)])
    sources = _sources([(10, 10), (75, 10)], [1, 2])
    pieces = _pieces(sources, segm)
    assert len(pieces) == 2
    for i, piece in enumerate(pieces):
        assert piece.ix < sources.x[i] < piece.ix + piece.size
        assert piece.iy < sources.y[i] < piece.iy + piece.size


def test_no_sources_make_no_groups():
    segm = _segm((30, 30), [(5, 15, 5, 15)])
    assert _pieces(_sources([], []), segm) == []


@pytest.mark.parametrize('parent', [0, 1])
def test_every_source_is_in_exactly_one_core(parent):
    sources, segm = _crowd(parent=parent)
    cores = sorted(i for p in _pieces(sources, segm) for i in p.core)
    assert cores == list(range(len(sources)))


def test_large_groups_are_cut_into_cores_with_halos():
    sources, segm = _crowd()
    pieces = _pieces(sources, segm)
    assert len(pieces) > 10
    for piece in pieces:
        assert 1 <= len(piece.core) <= MAX_CORE
        assert len(piece.members) <= MAX_SOURCES
        assert not set(piece.core) & set(piece.halo)
    assert any(piece.halo for piece in pieces)


def test_halo_holds_the_nearest_neighbours():
    sources, segm = _crowd(n=120)
    for piece in _pieces(sources, segm):
        if not piece.halo:
            continue
        core = list(piece.core)
        distance = np.hypot(sources.x[:, None] - sources.x[core],
                            sources.y[:, None] - sources.y[core]).min(1)
        others = np.setdiff1d(np.arange(len(sources)), piece.members)
        if len(piece.members) == MAX_SOURCES:
            assert distance[list(piece.halo)].max() <= distance[others].min()


def test_stamps_hold_all_members_with_a_margin():
    sources, segm = _crowd(n=120)
    for piece in _pieces(sources, segm):
        assert piece.size in STAMP_SIZES
        if piece.cropped:
            continue
        x, y = sources.x[list(piece.members)], sources.y[list(piece.members)]
        assert (x - piece.ix > 5).all()
        assert (piece.ix + piece.size - 1 - x > 5).all()
        assert (y - piece.iy > 5).all()
        assert (piece.iy + piece.size - 1 - y > 5).all()


def test_stamp_of_a_single_source_holds_its_segment():
    segm = _segm((100, 120), [(30, 75, 20, 32)])
    piece, = _pieces(_sources([(35, 25)], [1]), segm)
    assert piece.ix <= 30
    assert piece.ix + piece.size >= 75
    assert piece.iy <= 20
    assert piece.iy + piece.size >= 32
    assert not piece.cropped


def test_segment_larger_than_all_stamps_is_cropped_about_its_source():
    segm = _segm((400, 500), [(5, 495, 5, 395)])
    piece, = _pieces(_sources([(200, 150)], [1]), segm)
    assert piece.cropped
    assert piece.size == STAMP_SIZES[-1]
    assert abs(piece.ix + piece.size / 2 - 200) <= 1
    assert abs(piece.iy + piece.size / 2 - 150) <= 1


def test_stamps_may_reach_past_the_edge():
    segm = _segm((40, 40), [(0, 6, 0, 6)])
    piece, = _pieces(_sources([(2, 2)], [1]), segm)
    assert piece.ix < 0
    assert piece.iy < 0


@pytest.mark.parametrize('n', [4, 60])
def test_order_of_the_sources_does_not_matter(n):
    sources, segm = _crowd(n=n)
    order = np.random.default_rng(1).permutation(n)
    turned = sources.take(order)

    def named(pieces, number):
        return {(frozenset(number[i] for i in p.core),
                 frozenset(number[i] for i in p.halo), p.ix, p.iy, p.size)
                for p in pieces}
    assert named(_pieces(sources, segm), list(range(n))) == named(
        _pieces(turned, segm), order.tolist())


def test_few_sources_far_apart_get_stamps_of_their_own():
    segm = _segm((60, 700), [(10, 690, 20, 40)])
    sources = _sources([(30, 30), (340, 30), (660, 30)], [1, 1, 1])
    for piece in _pieces(sources, segm):
        x = sources.x[list(piece.core)]
        assert (x > piece.ix).all()
        assert (x < piece.ix + piece.size).all()
