# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from photutils.segmentation import SegmentationImage

from vaephot.deblend.fit.groups import (
    MAX_CORE,
    MAX_SIDE,
    MAX_SOURCES,
    MIN_NEIGHBOUR,
    Footprints,
    make_groups,
    segment_boxes,
)

FWHM = 3.0


@pytest.fixture
def crowd(make_sources):
    """Return a function that makes many sources in one large segment."""
    def make(n=60, seed=4, parent=1):
        rng = np.random.default_rng(seed)
        segm = _segm((400, 300), [(20, 280, 30, 380)])
        places = np.stack([rng.uniform(25, 275, n),
                           rng.uniform(35, 375, n)], 1)
        return make_sources(places, parent), segm
    return make


def _segm(shape, boxes):
    """Rectangular segments; boxes are (x0, x1, y0, y1), upper excluded."""
    data = np.zeros(shape, int)
    for label, (x0, x1, y0, y1) in enumerate(boxes, start=1):
        data[y0:y1, x0:x1] = label
    return SegmentationImage(data)


def _connected(sources, segm, fwhm=FWHM):
    return [g.tolist() for g in Footprints(segm, fwhm).group(sources)]


def _groups(sources, segm):
    connected = Footprints(segm, FWHM).group(sources)
    return make_groups(sources, connected, segment_boxes(segm), FWHM)


def test_boxes_are_x_before_y_with_the_upper_end_excluded():
    segm = _segm((30, 50), [(3, 12, 5, 9), (40, 45, 20, 29)])
    assert segment_boxes(segm) == {1: (3, 12, 5, 9), 2: (40, 45, 20, 29)}


def test_near_footprints_make_one_group_and_far_ones_do_not(make_sources):
    segm = _segm((60, 90), [(5, 15, 5, 15), (17, 27, 5, 15),
                            (60, 70, 40, 50)])
    sources = make_sources([(10, 10), (65, 45), (22, 10), (8, 7)],
                           [1, 3, 2, 1])
    assert _connected(sources, segm) == [[0, 2, 3], [1]]


def test_wider_psf_joins_more(make_sources):
    segm = _segm((40, 60), [(5, 15, 5, 15), (28, 38, 5, 15)])
    sources = make_sources([(10, 10), (33, 10)], [1, 2])
    assert len(_connected(sources, segm, 3.0)) == 2
    assert len(_connected(sources, segm, 10.0)) == 1


def test_sources_outside_all_segments_are_grouped_by_place(make_sources):
    segm = _segm((60, 90), [(5, 15, 5, 15)])
    before = segm.data.copy()
    sources = make_sources([(10, 10), (17, 10), (70, 40)], [1, 0, 0])
    assert _connected(sources, segm) == [[0, 1], [2]]
    np.testing.assert_array_equal(segm.data, before)


def test_x_and_y_are_not_exchanged(make_sources):
    segm = _segm((30, 90), [(5, 15, 5, 15), (70, 80, 6, 16)])
    sources = make_sources([(10, 10), (75, 10)], [1, 2], radius=1.0)
    one, other = _groups(sources, segm)
    assert one.span == (5, 15, 5, 15)
    assert other.span == (70, 80, 6, 16)


def test_no_sources_make_no_groups(make_sources):
    segm = _segm((30, 30), [(5, 15, 5, 15)])
    assert _groups(make_sources([]), segm) == []


@pytest.mark.parametrize('parent', [0, 1])
@pytest.mark.parametrize('n', [4, 60])
def test_every_source_is_in_exactly_one_core(crowd, parent, n):
    sources, segm = crowd(n, parent=parent)
    cores = sorted(i for g in _groups(sources, segm) for i in g.core)
    assert cores == list(range(n))


def test_crowded_groups_are_cut_into_cores_with_halos(crowd):
    sources, segm = crowd()
    groups = _groups(sources, segm)
    assert len(groups) > 10
    for group in groups:
        assert 1 <= len(group.core) <= MAX_CORE
        assert len(group.members) <= MAX_SOURCES
        assert not set(group.core) & set(group.halo)
    assert any(group.halo for group in groups)


def test_halo_holds_the_nearest_neighbours_within_reach(crowd):
    sources, segm = crowd(n=120)
    for group in _groups(sources, segm):
        core = list(group.core)
        distance = np.hypot(sources.x[:, None] - sources.x[core],
                            sources.y[:, None] - sources.y[core]).min(1)
        others = np.setdiff1d(np.arange(len(sources)), group.members)
        if len(group.members) < MAX_SOURCES:
            assert distance[others].min() >= MIN_NEIGHBOUR
        else:
            assert (distance[list(group.halo)].max()
                    <= distance[others].min())


def test_spans_hold_all_members(crowd):
    sources, segm = crowd(n=120)
    for group in _groups(sources, segm):
        x, y = (v[list(group.members)] for v in (sources.x, sources.y))
        x0, x1, y0, y1 = group.span
        assert (x >= x0).all()
        assert (x <= x1).all()
        assert (y >= y0).all()
        assert (y <= y1).all()


def test_span_of_a_single_source_holds_its_segment(make_sources):
    segm = _segm((100, 120), [(30, 75, 20, 32)])
    group, = _groups(make_sources([(35, 25)], [1]), segm)
    assert group.span == (30, 75, 20, 32)


def test_few_sources_far_apart_are_cut(make_sources):
    segm = _segm((60, 700), [(10, 690, 20, 40)])
    sources = make_sources([(30, 30), (340, 30), (660, 30)], [1, 1, 1])
    groups = _groups(sources, segm)
    assert len(groups) == 3
    for group in groups:
        assert group.span[1] - group.span[0] < MAX_SIDE


@pytest.mark.parametrize('n', [4, 60])
def test_order_of_the_sources_does_not_matter(crowd, n):
    sources, segm = crowd(n)
    order = np.random.default_rng(1).permutation(n)

    def named(groups, number):
        return {(frozenset(number[i] for i in g.core),
                 frozenset(number[i] for i in g.halo), g.span)
                for g in groups}
    assert named(_groups(sources, segm), list(range(n))) == named(
        _groups(sources.take(order), segm), order.tolist())


def test_the_nearest_sources_stay_together(crowd, make_sources):
    sources, segm = crowd()
    pair = np.array([[150.0, 200.0], [152.0, 200.5]])
    places = np.stack([sources.x, sources.y], 1)
    places = places[np.hypot(*(places - pair[0]).T) > 4]
    groups = _groups(make_sources(np.concatenate([places, pair]), 1), segm)
    n = len(places)
    assert any({n, n + 1} <= set(group.core) for group in groups)


def test_what_is_far_away_does_not_change_how_a_crowd_is_cut(make_sources):
    rng = np.random.default_rng(2)
    near, far = (np.stack([rng.uniform(low, low + 90, 30),
                           rng.uniform(40, 160, 30)], 1)
                 for low in (20, 190))
    segm = _segm((200, 300), [(5, 295, 5, 195)])
    here, everywhere = ({group.core for group in _groups(
        make_sources(places, 1), segm)} for places in (
            near, np.concatenate([near, far])))
    assert here < everywhere
