# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from photutils.aperture import BoundingBox

from vaephot.deblend.outputs.share import (
    model_centroid,
    pad_to_bbox,
    required_bboxes,
    share_data,
)
from vaephot.exceptions import ShapeMismatchError, StampError

SHAPE = (2, 40, 50)


def gaussian(bbox, x, y, flux=(100.0, 40.0), sigma=3.0):
    iy, ix = np.mgrid[bbox.iymin:bbox.iymax, bbox.ixmin:bbox.ixmax]
    shape = np.exp(-((ix - x) ** 2 + (iy - y) ** 2) / 2 / sigma ** 2)
    shape /= 2 * np.pi * sigma ** 2
    return (np.array(flux)[:, None, None] * shape).astype(np.float32)


def frame_sum(images, bboxes, chosen, shape=SHAPE):
    out = np.zeros(shape)
    for k in chosen:
        box = bboxes[k]
        out[:, box.iymin:box.iymax, box.ixmin:box.ixmax] += images[k]
    return out


@pytest.fixture(name='scene')
def _scene():
    """Two parents that touch: two children, one child; one loose source."""
    segm = np.zeros(SHAPE[1:], int)
    segm[5:30, 3:25] = 7
    segm[8:25, 25:45] = 2
    positions = [(10, 15), (17, 18), (33, 16), (40, 34)]
    bboxes = [BoundingBox(2, 20, 6, 26), BoundingBox(9, 30, 8, 29),
              BoundingBox(20, 46, 5, 28), BoundingBox(33, 48, 28, 40)]
    models = [gaussian(box, *xy) for box, xy in
              zip(bboxes, positions, strict=True)]
    data = np.random.default_rng(3).normal(0, 0.3, SHAPE)
    for box, model in zip(bboxes, models, strict=True):
        data[:, box.iymin:box.iymax, box.ixmin:box.ixmax] += 1.3 * model
    parent_of = np.array([7, 7, 2, 0])
    grown = required_bboxes(bboxes, segm, parent_of, positions)
    models = [pad_to_bbox(*pair) for pair in
              zip(models, bboxes, grown, strict=True)]
    return data, np.zeros(SHAPE, bool), grown, models, segm, parent_of


def share(scene, **kwargs):
    data, mask, bboxes, models, segm, parent_of = scene
    return share_data(data, mask, list(zip(bboxes, models, strict=True)),
                      segm, parent_of, **kwargs)


def test_children_sum_to_the_data_of_their_parent(scene):
    data, _, bboxes, _, segm, parent_of = scene
    images = share(scene)
    for label in (7, 2):
        got = frame_sum(images, bboxes, np.flatnonzero(parent_of == label))
        inside = segm == label
        assert_allclose(got[:, inside], data[:, inside], rtol=0,
                        atol=1e-6 * np.abs(data[:, inside]).max())


def test_nothing_in_the_pixels_of_another_parent(scene):
    _, _, bboxes, _, segm, parent_of = scene
    images = share(scene)
    for k, label in enumerate(parent_of):
        other = (segm != label) & (segm > 0)
        assert_array_equal(
            frame_sum(images, bboxes, [k])[:, other], 0)


def test_background_is_shared_by_all_sources(scene):
    data, _, bboxes, models, segm, _ = scene
    total = frame_sum(models, bboxes, range(4))
    lit = (total > 0) & (segm == 0)
    got = frame_sum(share(scene), bboxes, range(4))
    reached = lit[0] & lit[1]
    assert reached.sum() > 50
    # all share it, except the light of sources is cut to their own parent
    assert_allclose(got[:, reached], data[:, reached], atol=1e-5)
    assert_array_equal(got[total == 0][(segm == 0)[None].repeat(2, 0)
                                       [total == 0]], 0)


def test_shares_follow_the_models(scene):
    data, _, bboxes, models, _, _ = scene
    images = share(scene)
    x, y = 14, 16
    value = [models[k][:, y - bboxes[k].iymin, x - bboxes[k].ixmin]
             for k in (0, 1)]
    want = data[:, y, x] * value[0] / (value[0] + value[1])
    got = images[0][:, y - bboxes[0].iymin, x - bboxes[0].ixmin]
    assert_allclose(got, want, rtol=1e-6)


def test_masked_pixels_hold_the_model(scene):
    data, mask, bboxes, models, _, _ = scene
    mask[0, 15, 10] = True
    data[1, 15, 11] = np.nan
    images = share(scene)
    dy, dx = 15 - bboxes[0].iymin, 10 - bboxes[0].ixmin
    assert images[0][0, dy, dx] == models[0][0, dy, dx]
    assert images[0][1, dy, dx] != models[0][1, dy, dx]
    assert images[0][1, dy, dx + 1] == models[0][1, dy, dx + 1]
    assert all(np.isfinite(image).all() for image in images)


@pytest.mark.parametrize('value', [0.0, -1.0, np.nan])
def test_models_without_light_leave_the_data_to_the_nearest(scene, value):
    data, _, bboxes, models, segm, _ = scene
    for k in (0, 1):
        models[k][:] = value
    positions = [(10, 15), (17, 18), (33, 16), (40, 34)]
    images = share(scene, centroids=positions)
    got = frame_sum(images, bboxes, [0, 1])
    inside = segm == 7
    assert_allclose(got[:, inside], data[:, inside],
                    atol=1e-6 * np.abs(data).max())
    dy, dx = 16 - bboxes[0].iymin, 12 - bboxes[0].ixmin
    assert_allclose(images[0][:, dy, dx], data[:, 16, 12], rtol=1e-6)
    dy, dx = 16 - bboxes[1].iymin, 12 - bboxes[1].ixmin
    assert_array_equal(images[1][:, dy, dx], 0)


def test_negative_source_takes_no_share(scene):
    _, _, bboxes, models, segm, _ = scene
    models[1][0] *= -1  # first band only
    images = share(scene)
    inside = segm == 7
    lit = frame_sum(models, bboxes, [0])[0] > 0
    negative = frame_sum(images, bboxes, [1])
    assert_array_equal(negative[0][inside & lit], 0)
    assert np.abs(negative[1][inside]).max() > 0


def test_dtype_of_the_model_is_kept_and_inputs_unchanged(scene):
    before = [scene[0].copy(), [model.copy() for model in scene[3]]]
    assert {image.dtype for image in share(scene)} == {np.dtype('f4')}
    assert_array_equal(scene[0], before[0])
    for model, want in zip(scene[3], before[1], strict=True):
        assert_array_equal(model, want)


def test_boxes_grow_only_where_needed():
    segm = np.zeros((20, 60), int)
    segm[5:10, 2:50] = 1
    bboxes = [BoundingBox(5, 12, 4, 11), BoundingBox(30, 60, 0, 20)]
    grown = required_bboxes(bboxes, segm, [1, 1], [(8, 7), (40, 7)])
    assert grown[0] == BoundingBox(2, 25, 4, 11)
    assert grown[1] == BoundingBox(25, 60, 0, 20)
    assert required_bboxes(bboxes, segm, [0, 9], [(8, 7)] * 2) == bboxes


def test_boxes_off_the_parent_do_not_wrap_around():
    segm = np.zeros((20, 20), int)
    segm[10:14, 10:14] = 1
    box = BoundingBox(0, 4, 0, 4)
    grown = required_bboxes([box], segm, [1], [(1, 1)])
    assert grown == [BoundingBox(0, 14, 0, 14)]


def test_uncovered_pixels_are_refused():
    data = np.ones((1, 6, 6))
    sources = [(BoundingBox(0, 2, 0, 2), np.ones((1, 2, 2)))]
    with pytest.raises(StampError, match='required_bboxes'):
        share_data(data, data < 0, sources, np.ones((6, 6), int), [1])


def test_bad_shapes_are_refused():
    data = np.ones((1, 6, 6))
    segm = np.ones((6, 6), int)
    box = BoundingBox(0, 2, 0, 3)
    with pytest.raises(ShapeMismatchError, match='1, 2, 2'):
        share_data(data, data < 0, [(box, np.ones((1, 2, 2)))], segm, [1])
    with pytest.raises(ShapeMismatchError, match='0 sources but 1'):
        share_data(data, data < 0, [], segm, [1])
    with pytest.raises(ShapeMismatchError, match='mask'):
        share_data(data, data[0] < 0, [], segm, [])
    with pytest.raises(StampError, match='inside the frame'):
        required_bboxes([BoundingBox(-1, 2, 0, 2)], segm, [1], [(0, 0)])
    with pytest.raises(StampError, match='does not hold'):
        pad_to_bbox(data, BoundingBox(0, 6, 0, 6), box)


def test_no_sources_give_no_images():
    data = np.ones((1, 6, 6))
    assert share_data(data, data < 0, [], np.ones((6, 6), int), []) == []


def test_centroid_of_a_model():
    box = BoundingBox(5, 36, 7, 38)
    x, y = model_centroid(box, gaussian(box, 20.25, 22.5))
    assert_allclose([x, y], [20.25, 22.5], atol=1e-4)
    assert model_centroid(box, np.zeros((1, 31, 31))) == (20, 22)


def slow_share(data, mask, sources, segm, parent_of):
    """The same pixel by pixel, where every pixel has some light."""
    images = [np.zeros(model.shape) for _, model in sources]
    for b, y, x in np.ndindex(data.shape):
        here = [(k, (b, y - box.iymin, x - box.ixmin))
                for k, (box, _) in enumerate(sources)
                if box.ixmin <= x < box.ixmax and box.iymin <= y < box.iymax
                and segm[y, x] in (0, parent_of[k])]
        light = [max(sources[k][1][place], 0) for k, place in here]
        for (k, place), part in zip(here, light, strict=True):
            images[k][place] = (sources[k][1][place] if mask[b, y, x] else
                                data[b, y, x] * part / max(sum(light), 1e-30))
    return images


def test_shares_are_those_of_the_formula(scene):
    data, mask, bboxes, models, segm, parent_of = scene
    mask[:, 12:14, 8:20] = True
    models[1][0] *= -1
    for image, want in zip(
            share(scene), slow_share(data, mask, list(zip(
                bboxes, models, strict=True)), segm, parent_of),
            strict=True):
        # where only the negative source has light the nearest has the data
        lit = want != 0
        assert lit.mean() > 0.3
        assert_allclose(image[lit], want[lit], rtol=1e-5, atol=1e-6)


def test_shares_do_not_depend_on_the_order_of_the_sources(scene):
    data, mask, bboxes, models, segm, parent_of = scene
    images, order = share(scene), [2, 0, 3, 1]
    again = share((data, mask, [bboxes[i] for i in order],
                   [models[i] for i in order], segm, parent_of[order]))
    for image, k in zip(again, order, strict=True):
        assert_allclose(image, images[k], rtol=1e-5, atol=1e-6)
