# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
import torch

from vaephot.deblend.start import (
    FULL_RADIUS,
    MAX_FWHM,
    MAX_MARKED,
    bin_factors,
    cut_stamps,
    pool_posterior,
)

SIZE = 16


def _image(n_bands=2, ny=60, nx=80, seed=2):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, (n_bands, ny, nx))


def _cut(data, x, y, factor=1, *, mask=None, variance=None, which=None):
    mask = np.zeros(data.shape, bool) if mask is None else mask
    if variance is None:
        variance = np.array([4.0, 9.0])[:len(data), None, None]
    factors = np.full(len(x), factor)
    return cut_stamps(data, variance, mask, np.array(x, float),
                      np.array(y, float), factors, SIZE, which=which)


def test_small_sources_are_not_binned():
    factors = bin_factors(np.array([0.5, FULL_RADIUS, FULL_RADIUS + 0.1,
                                    3 * FULL_RADIUS]), 3.0)
    assert factors.tolist() == [1, 1, 2, 3]


def test_wide_psfs_are_binned():
    assert bin_factors(np.array([1.0]), 2.5 * MAX_FWHM).tolist() == [3]


def test_stamps_are_windows_about_the_nearest_pixel():
    data = _image()
    stamps = _cut(data, [40.3, 30.0], [25.8, 20.0])
    np.testing.assert_array_equal(stamps.data[0],
                                  data[:, 26 - 8:26 + 8, 40 - 8:40 + 8])
    np.testing.assert_allclose(stamps.corner, [[40, 26], [30, 20]])
    np.testing.assert_allclose(stamps.target, [[0.3, -0.2], [0, 0]])
    np.testing.assert_allclose(stamps.sky_rms, [[2, 3]] * 2)


@pytest.mark.parametrize('factor', [2, 3])
def test_binned_pixels_are_sums_and_keep_positions(factor):
    data = _image(ny=120, nx=140)
    x, y = 60.3, 51.6
    stamps = _cut(data, [x], [y], factor)
    # the position in the image follows from the one in the stamp
    place = stamps.corner[0] + factor * stamps.target[0]
    np.testing.assert_allclose(place, [x, y])
    assert abs(stamps.target).max() <= 0.5
    # sum of the pixels that the central binned pixel covers
    ix, iy = np.rint(stamps.corner[0] - (factor - 1) / 2).astype(int)
    block = data[:, iy:iy + factor, ix:ix + factor].sum((1, 2))
    np.testing.assert_allclose(stamps.data[0, :, SIZE // 2, SIZE // 2], block)
    np.testing.assert_allclose(stamps.sky_rms, [[2 * factor, 3 * factor]])


def test_point_lands_on_the_central_pixel_after_binning():
    data = np.zeros((1, 60, 80))
    data[0, 20, 50] = 7
    for factor in (1, 2, 3):
        stamps = _cut(data, [50], [20], factor)
        image = stamps.data[0, 0]
        assert np.unravel_index(image.argmax(), image.shape) == (8, 8)
        assert image.max() == pytest.approx(7)


def test_pixels_beyond_the_edge_are_bad_and_empty():
    data = _image() + 100
    stamps = _cut(data, [2], [58])
    assert not stamps.good[0][:, :, :6].any()
    assert not stamps.good[0][:, 10:].any()
    assert stamps.good[0][:, :10, 6:].all()
    assert (stamps.data[0][~stamps.good[0]] == 0).all()


def test_masked_pixels_do_not_count():
    data = _image()
    mask = np.zeros(data.shape, bool)
    mask[0, 25, 41] = True
    data[0, 25, 41] = 1e9
    stamps = _cut(data, [40], [26], mask=mask)
    assert not stamps.good[0, 0, 7, 9]
    assert stamps.good[0, 1].all()
    assert abs(stamps.data).max() < 10


def test_binned_pixel_with_one_bad_of_four_is_scaled_up():
    data = np.ones((1, 60, 80))
    mask = np.zeros(data.shape, bool)
    stamps = _cut(data, [40], [26], 2)
    ix, iy = np.rint(stamps.corner[0] - 0.5).astype(int)
    mask[0, iy, ix] = True
    mask[0, iy:iy + 2, ix + 2:ix + 4] = True
    masked = _cut(data, [40], [26], 2, mask=mask)
    assert masked.good[0, 0, 8, 8]
    assert masked.data[0, 0, 8, 8] == pytest.approx(4)
    assert not masked.good[0, 0, 8, 9]
    assert masked.data[0, 0, 8, 9] == 0


def test_noise_map_is_that_of_the_stamp():
    data = _image()
    variance = np.ones(data.shape)
    variance[:, :, 40:] = 25.0
    stamps = _cut(data, [20, 60], [30, 30], variance=variance)
    np.testing.assert_allclose(stamps.sky_rms, [[1, 1], [5, 5]])


def test_noise_map_at_the_edge_is_finite():
    data = _image()
    stamps = _cut(data, [0], [0], variance=np.full(data.shape, 4.0))
    np.testing.assert_allclose(stamps.sky_rms, 2)


def test_neighbours_are_marked_nearest_first_and_relative_to_the_centre():
    data = _image()
    stamps = _cut(data, [40, 43, 38, 70], [30, 31, 26, 30], which=[0])
    assert stamps.present[0].tolist() == [1, 1] + [0] * (MAX_MARKED - 2)
    np.testing.assert_allclose(stamps.neighbours[0, :2], [[3, 1], [-2, -4]])


def test_only_the_nearest_neighbours_are_marked():
    x = 40 + 0.4 * np.arange(MAX_MARKED + 4)
    stamps = _cut(_image(), x, np.full(len(x), 30.0), which=[0])
    assert stamps.present[0].sum() == MAX_MARKED
    np.testing.assert_allclose(stamps.neighbours[0, -1],
                               [0.4 * MAX_MARKED, 0])


def _pool(vae, stamps, factors, fwhm=(3.0, 4.0), sigma=0.5, reference=0):
    n = len(stamps.data)
    return pool_posterior(
        vae, stamps, np.array(fwhm), np.full((n, len(fwhm)), 50.0),
        np.full(n, sigma), np.asarray(factors), device='cpu',
        reference=np.full(n, reference))


def test_pooled_posterior_is_in_pixels_of_the_image(tiny_vae):
    x, y = [40.3, 25.6], [25.8, 30.0]
    stamps = _cut(_image(), x, y)
    posterior, prior = _pool(tiny_vae, stamps, [1, 1])
    np.testing.assert_allclose(prior.mean[:, :2], np.transpose([x, y]),
                               atol=1e-5)
    np.testing.assert_allclose(prior.precision[:, :2], 4, rtol=1e-6)
    assert posterior.mean.dtype == torch.float64
    assert (posterior.precision > prior.precision).all()


def test_binning_is_undone(tiny_vae):
    # an image whose pixels are repeated looks the same when binned again
    small = _image(n_bands=1, ny=40, nx=40)
    large = np.kron(small, np.ones((2, 2)))
    one = _cut(small, [20.0], [21.0], variance=np.ones((1, 1, 1)))
    two = _cut(large, [40.5], [42.5], 2, variance=np.full((1, 1, 1), 4.0))
    a, prior_a = _pool(tiny_vae, one, [1], (2.0,), 0.5)
    b, prior_b = _pool(tiny_vae, two, [2], (4.0,), 1.0)
    for near, far in ((a, b), (prior_a, prior_b)):
        np.testing.assert_allclose(far.mean[:, :2],
                                   2 * near.mean[:, :2] + 0.5, atol=1e-4)
        np.testing.assert_allclose(far.mean[:, 2],
                                   near.mean[:, 2] + np.log(2), rtol=1e-4)
        np.testing.assert_allclose(far.mean[:, 3:], near.mean[:, 3:],
                                   rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(far.precision[:, :2],
                                   near.precision[:, :2] / 4, rtol=1e-4)
        np.testing.assert_allclose(far.precision[:, 2:],
                                   near.precision[:, 2:], rtol=1e-4)


def test_another_band_sharpens_the_posterior(tiny_vae):
    data = _image()
    one = _cut(data[:1], [40.3], [25.8])
    two = _cut(data, [40.3], [25.8])
    a, _ = _pool(tiny_vae, one, [1], (3.0,))
    b, _ = _pool(tiny_vae, two, [1], (3.0, 4.0))
    assert (b.precision > a.precision).all()


def test_prior_goes_by_the_reference_band(tiny_vae):
    stamps = _cut(_image(), [40.3], [25.8])
    _, narrow = _pool(tiny_vae, stamps, [1], reference=0)
    _, wide = _pool(tiny_vae, stamps, [1], reference=1)
    assert narrow.mean[0, 2] < wide.mean[0, 2]


def test_sources_do_not_influence_each_other(tiny_vae):
    data = _image()
    x, y = [40.3, 22.0, 60.0], [25.8, 20.0, 40.0]
    both, _ = _pool(tiny_vae, _cut(data, x, y), [1, 1, 1])
    alone, _ = _pool(tiny_vae, _cut(data, x, y, which=[1]), [1])
    for a, b in zip(both, alone, strict=True):
        np.testing.assert_allclose(a[1:2], b, rtol=1e-4, atol=1e-5)
