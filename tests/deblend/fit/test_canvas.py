# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
import torch

from vaephot.deblend.fit.canvas import RUN, Plane, make_canvas

SHAPE = (40, 60)


def _plane(seed=1, binning=1, inverse_gain=0.0, **given):
    rng = np.random.default_rng(seed)
    good = (rng.uniform(size=SHAPE) > 0.1).astype(np.uint8)
    values = {'data': (good * rng.normal(size=SHAPE)).astype(np.float32),
              'good': good, 'variance': rng.uniform(
                  1, 2, SHAPE).astype(np.float32), 'unit': 1.0}
    return Plane(**{**values, **given}, inverse_gain=inverse_gain,
                 binning=binning)


def _canvas(planes, regions, **options):
    """Canvas of regions (x, y, columns, rows), one list for each group."""
    boxes = np.array(regions).reshape(-1, len(planes), 4)
    return make_canvas(planes, boxes[..., :2], boxes[..., 2:], **options)


def _region(canvas, values, g, b):
    """Image of a region."""
    width, height = canvas.size[g, b]
    start = canvas.start[g, b]
    return values[start:start + width * height].reshape(height, width)


def test_regions_are_parts_of_the_image():
    plane = _plane()
    canvas = _canvas([plane], [(7, 12, 20, 16), (30, 3, 17, 25)])
    np.testing.assert_array_equal(_region(canvas, canvas.data, 0, 0),
                                  plane.data[12:28, 7:27])
    np.testing.assert_array_equal(_region(canvas, canvas.data, 1, 0),
                                  plane.data[3:28, 30:47])
    np.testing.assert_allclose(_region(canvas, canvas.weight, 1, 0),
                               (plane.good / plane.variance)[3:28, 30:47],
                               rtol=1e-6)


@pytest.mark.parametrize('corner', [(-5, 10), (50, 10), (20, -9), (20, 30),
                                    (-3, -4), (-100, 5), (20, 400)])
@pytest.mark.parametrize('binning', [1, 2])
def test_pixels_beyond_the_edges_have_no_weight(corner, binning):
    plane = _plane(binning=binning, good=np.ones(SHAPE, np.uint8),
                   data=np.ones(SHAPE, np.float32))
    canvas = _canvas([plane], [(*corner, 16, 12)])
    x, y = (c + binning * np.arange(n) for c, n in zip(
        corner, (16, 12), strict=True))
    inside = (((y >= 0) & (y + binning <= SHAPE[0]))[:, None]
              & ((x >= 0) & (x + binning <= SHAPE[1])))
    np.testing.assert_array_equal(
        _region(canvas, canvas.weight, 0, 0) > 0, inside)
    assert torch.isfinite(canvas.weight).all()
    assert (_region(canvas, canvas.data, 0, 0).numpy()[inside]
            == binning ** 2).all()


@pytest.mark.parametrize('binning', [2, 4])
@pytest.mark.parametrize('constant', [True, False])
def test_binned_pixels_are_sums_and_their_noise_adds_up(binning, constant):
    plane = _plane(binning=binning, good=np.ones(SHAPE, np.uint8), **(
        {'variance': np.full((1, 1), 1.5, np.float32)} if constant else {}))
    canvas = _canvas([plane], [(6, 4, 5, 7)])
    full = np.s_[4:4 + 7 * binning, 6:6 + 5 * binning]
    variance = np.broadcast_to(plane.variance, SHAPE)

    def summed(image):
        return image[full].reshape(7, binning, 5, binning).sum((1, 3))
    np.testing.assert_allclose(_region(canvas, canvas.data, 0, 0),
                               summed(plane.data), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(_region(canvas, canvas.weight, 0, 0),
                               1 / summed(variance), rtol=1e-5)


def test_bins_with_a_bad_pixel_have_no_weight():
    good = np.ones(SHAPE, np.uint8)
    good[11, 9] = 0
    canvas = _canvas([_plane(binning=2, good=good)], [(4, 4, 8, 8)])
    weight = _region(canvas, canvas.weight, 0, 0)
    assert weight[3, 2] == 0
    assert (weight > 0).sum() == 63


def test_sums_are_those_of_each_region():
    planes = [_plane(1), _plane(2)]
    canvas = _canvas(planes, [[(7, 12, 20, 16), (5, 5, 9, 31)],
                              [(30, 3, 17, 25), (0, 0, 0, 0)]])
    found = canvas.sums(canvas.data)
    assert found.dtype == torch.float64
    wanted = [[planes[0].data[12:28, 7:27].sum(),
               planes[1].data[5:36, 5:14].sum()],
              [planes[0].data[3:28, 30:47].sum(), 0]]
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    both = canvas.sums(torch.stack([canvas.data, 2 * canvas.data]))
    torch.testing.assert_close(both, torch.stack([found, 2 * found]))


def test_regions_begin_at_multiples_of_a_run():
    canvas = _canvas([_plane()], [(7, 12, 20, 17), (30, 3, 17, 25)])
    assert (canvas.start % RUN == 0).all()
    assert len(canvas.data) % RUN == 0


def test_some_groups_are_taken_with_their_weights():
    planes = [_plane(1, inverse_gain=0.5), _plane(2)]
    regions = [[(7, 12, 20, 16), (5, 5, 9, 31)],
               [(30, 3, 17, 25), (1, 2, 16, 16)],
               [(3, 3, 18, 19), (9, 4, 20, 20)]]
    canvas = _canvas(planes, regions, ramps=3)
    canvas.set_weight(torch.ones_like(canvas.data))
    some = canvas.take(np.array([2, 0]))
    alone = _canvas(planes, [regions[2], regions[0]], ramps=3)
    alone.set_weight(torch.ones_like(alone.data))
    for name in ('data', 'good', 'variance', 'weight', 'extra',
                 'inverse_gain'):
        torch.testing.assert_close(getattr(some, name), getattr(alone, name))
    np.testing.assert_array_equal(some.start, alone.start)
    torch.testing.assert_close(some.sums(some.data), alone.sums(alone.data))


def test_photons_of_the_model_make_noise():
    canvas = _canvas([_plane(1, inverse_gain=0.5), _plane(1)],
                     [[(7, 12, 20, 16), (7, 12, 20, 16)]])
    before = canvas.weight.clone()
    canvas.set_weight(torch.full_like(canvas.data, 4.0))
    one, other = (_region(canvas, canvas.weight, 0, b) for b in (0, 1))
    good = one > 0
    np.testing.assert_allclose(1 / one[good], 1 / other[good] + 2,
                               rtol=1e-5)
    torch.testing.assert_close(other, _region(canvas, before, 0, 1))
    canvas.set_weight(torch.full_like(canvas.data, -4.0))
    torch.testing.assert_close(canvas.weight, before)


def test_light_of_others_is_taken_off():
    plane = _plane(binning=2, data=np.ones(SHAPE, np.float32))
    asked = []

    def light(g, b, x, y, shape):
        asked.append((g, b, x, y, shape))
        return np.full(shape, 0.25 * (g + 1), np.float32)
    canvas = _canvas([plane], [(4, 6, 8, 9), (10, 2, 10, 8)], light=light)
    assert asked == [(0, 0, 4, 6, (18, 16)), (1, 0, 10, 2, (16, 20))]
    np.testing.assert_allclose(_region(canvas, canvas.data, 0, 0), 3)
    np.testing.assert_allclose(_region(canvas, canvas.data, 1, 0), 2)


def test_backgrounds_are_a_constant_and_slopes_along_x_and_y():
    plane = _plane(good=np.ones(SHAPE, np.uint8))
    canvas = _canvas([plane], [(4, 6, 5, 3)], ramps=3)
    one, x, y = (_region(canvas, image, 0, 0) for image in canvas.extra)
    assert (one == 1).all()
    np.testing.assert_allclose(x, [np.linspace(-1, 1, 5)] * 3)
    np.testing.assert_allclose(y[:, 0], [-1, 0, 1])
    assert (y == y[:, :1]).all()


def test_backgrounds_are_spread_over_their_regions():
    canvas = _canvas([_plane(1), _plane(2)], [
        [(7, 12, 20, 16), (5, 5, 9, 31)],
        [(30, 3, 17, 25), (1, 2, 16, 16)]], ramps=1)
    found = canvas.spread(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    for (g, b), level in zip(np.ndindex(2, 2), (1, 2, 3, 4), strict=True):
        good = _region(canvas, canvas.good, g, b)
        np.testing.assert_allclose(_region(canvas, found, g, b),
                                   level * good)


def test_seen_part_of_a_plane_has_good_pixels():
    good = np.zeros(SHAPE, np.uint8)
    good[10:20, 15:40] = 1
    plane = _plane(good=good)
    low, high = plane.seen(np.array([5, 12]), np.array([30, 70]))
    assert low.tolist() == [15, 12]
    assert high.tolist() == [30, 20]
    low, high = (np.array(v) for v in ([-8, 30], [9, 60]))
    assert [v.tolist() for v in plane.seen(low, high)] == [[-8, 30], [9, 60]]


def test_noise_is_read_at_the_row_of_y():
    plane = _plane(variance=np.arange(2400.0).reshape(SHAPE) + 1)
    found = plane.rms(np.array([50.2, -5.0]), np.array([7.7, 900.0]))
    np.testing.assert_allclose(found ** 2, [8 * 60 + 51, 39 * 60 + 1])
    constant = _plane(variance=np.full((1, 1), 4.0))
    np.testing.assert_allclose(constant.rms(np.zeros(3), np.zeros(3)), 2)
