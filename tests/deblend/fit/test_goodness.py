# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from photutils.aperture import BoundingBox
from scipy.ndimage import zoom
from scipy.signal import convolve2d

from vaephot.deblend.fit.goodness import (
    SHARE_LEVEL,
    make_residual,
    reduced_chi2,
    sum_sources,
)

FWHM = 3.0
SIGMA = FWHM / 2.3548200450309493


def blob(shape, x, y, flux, sigma=2.0):
    iy, ix = np.mgrid[:shape[0], :shape[1]]
    image = np.exp(-0.5 * ((ix - x) ** 2 + (iy - y) ** 2) / sigma ** 2)
    return flux * image / (2 * np.pi * sigma ** 2)


def white(shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape)


def resampled(shape, factor=3, seed=1):
    """Noise of 1 per pixel, drawn on coarse pixels and interpolated."""
    coarse = white([n // factor + 4 for n in shape], seed)
    fine = zoom(coarse, factor, order=1)[:shape[0], :shape[1]]
    return fine / fine.std()


def residual_of(data, model=None, *, variance=1.0, mask=None, gain=None,
                fwhm=FWHM):
    """Residual of one band."""
    data = np.asarray(data, float)[None]
    variance = np.broadcast_to(variance, (1, 1, 1)) if np.ndim(
        variance) == 0 else variance[None]
    return make_residual(
        data, np.zeros_like(data) if model is None else model[None], variance,
        np.zeros(data.shape, bool) if mask is None else mask[None],
        None if gain is None else np.array([gain]), np.array([fwhm]))


def boxes_of(shape, side):
    return [BoundingBox(x, x + side, y, y + side)
            for y in range(0, shape[0], side)
            for x in range(0, shape[1], side)]


def chi2_of_boxes(residual, shape, side=60):
    boxes = boxes_of(shape, side)
    empty = [np.zeros((1, side, side))] * len(boxes)
    return reduced_chi2(sum_sources(boxes, empty, residual))


# ---------------------------------------------------------------- the sky
@pytest.mark.parametrize('noise', [white, resampled])
@pytest.mark.parametrize('scale', [1.0, 0.3])
def test_reduced_chi_square_of_noise_is_one(noise, scale):
    # also where the stated error is not that of the pixels
    shape = (480, 600)
    residual = residual_of(scale * noise(shape))
    reduced, n_samples = chi2_of_boxes(residual, shape)
    error = np.sqrt(2 / n_samples)
    assert reduced.mean() == pytest.approx(1, abs=0.02)
    assert np.std((reduced - 1) / error) == pytest.approx(1, abs=0.25)


def test_factor_is_the_scatter_of_the_smoothed_sky():
    shape = (400, 400)
    same = residual_of(white(shape))
    assert_allclose(same.factor, 1, atol=0.02)
    # noise alike over the width of the PSF does not average out
    wide = residual_of(resampled(shape))
    assert wide.factor[0] > 1.5
    assert wide.area[0] > 1.2 * same.area[0]
    assert same.area[0] == pytest.approx(2 * np.pi * SIGMA ** 2, rel=0.1)


def test_small_images_have_no_sky_of_their_own():
    residual = residual_of(5 * white((12, 14)))
    assert_array_equal(residual.factor, 1)


@pytest.mark.parametrize('noise', [0.0, 1e-9])
def test_images_without_noise_keep_their_error(noise):
    residual = residual_of(noise * white((200, 240)))
    assert_array_equal(residual.factor, 1)


def test_sources_do_not_count_as_sky():
    shape = (200, 240)
    model = sum(blob(shape, x, y, 1e5, 6.0)
                for x in range(40, 240, 80) for y in range(40, 200, 60))
    data = 1.2 * model + white(shape)  # badly fitted
    factor = residual_of(data, model).factor[0]
    assert factor == pytest.approx(1, abs=0.1)


def test_masked_pixels_do_not_count():
    shape = (200, 240)
    mask = np.zeros(shape, bool)
    mask[60:100, 50:90] = mask[150] = True
    data = white(shape)
    data[mask] = 1e6
    residual = residual_of(data, mask=mask)
    assert (residual.smoothed[0][mask] == 0).all()
    # beside the mask the scatter is 1 as well
    beside = residual.smoothed[0][[149, 151]]
    assert beside.std() == pytest.approx(1, abs=0.15)
    sums = sum_sources([BoundingBox(50, 90, 60, 101)],
                       [np.zeros((1, 41, 40))], residual)
    assert sums.n_samples[0, 0] * residual.area[0] == pytest.approx(40)


def test_chi_square_without_good_pixels_is_unknown():
    data = white((40, 50))
    residual = residual_of(data, mask=np.ones(data.shape, bool))
    reduced, n_samples = chi2_of_boxes(residual, (40, 40), 40)
    assert np.isnan(reduced).all()
    assert_array_equal(n_samples, 0)


def test_scatter_is_one_at_the_edges():
    images = [residual_of(white((60, 70), seed)).smoothed[0]
              for seed in range(60)]
    for edge in (np.s_[:, 0], np.s_[:, -1], np.s_[:, :, 0], np.s_[:, :, -1]):
        assert np.std(np.array(images)[edge]) == pytest.approx(1, abs=0.07)


def test_photons_of_the_model_are_noise():
    shape = (200, 240)
    model, gain = blob(shape, 120, 100, 4e5, 8.0), 2.0
    data = model + white(shape) * np.sqrt(1 + model / gain)
    plain, aware = (chi2_of_boxes(residual_of(data, model, gain=g),
                                  shape, 40)[0] for g in (None, gain))
    middle = 2 * 6 + 2
    assert plain[middle] > 10
    assert aware[middle] == pytest.approx(1, abs=0.5)


@pytest.mark.parametrize('unit', [1e-30, 1e20])
def test_units_of_the_data_do_not_matter(unit):
    shape = (80, 100)
    model = blob(shape, 50, 40, 500.0)
    data = model + white(shape)
    boxes, models = [BoundingBox(30, 70, 20, 60)], [
        (unit * model[None, 20:60, 30:70])]
    one = sum_sources(boxes, [models[0] / unit], residual_of(
        data, model, gain=3.0))
    other = sum_sources(boxes, models, residual_of(
        unit * data, unit * model, variance=unit ** 2, gain=3.0 / unit))
    scale = {'left': unit, 'left_variance': unit ** 2}
    for name, value in one._asdict().items():
        assert_allclose(getattr(other, name) / scale.get(name, 1), value,
                        rtol=1e-3, atol=1e-4)


# ------------------------------------------------- against plain arithmetic
def slow_sums(boxes, models, data, variance, mask, gain, residual):
    """The same sums by the formulas, in double precision."""
    total = np.zeros(data.shape)
    for box, model in zip(boxes, models, strict=True):
        total[box.iymin:box.iymax, box.ixmin:box.ixmax] += model[0]
    noise = np.sqrt(variance + np.maximum(total, 0) / gain)
    pull = np.where(mask, 0, (data - total) / noise)
    half = int(np.ceil(3 * SIGMA))
    line = np.exp(-0.5 * (np.arange(-half, half + 1) / SIGMA) ** 2)
    kernel = line[:, None] * line
    smoothed = convolve2d(pull, kernel, 'same') / np.sqrt(
        convolve2d(~mask, kernel ** 2, 'same'))
    smoothed = np.where(mask, 0, smoothed / residual.factor)
    rows, area = [], residual.area[0]
    for box, model in zip(boxes, models, strict=True):
        cut = np.s_[box.iymin:box.iymax, box.ixmin:box.ixmax]
        own, every, good = model[0], total[cut], ~mask[cut]
        sigma = noise[cut] * residual.factor[0]
        share = np.where(good & (own > SHARE_LEVEL * sigma),
                         np.minimum(own / every, 1), 0)
        z2, left = smoothed[cut] ** 2, np.where(good, data[cut] - every, 0)
        rows.append([
            z2.sum() / area, good.sum() / area,
            (share * (z2 - 1)).sum() / area, 2 * (share ** 2).sum() / area,
            (good * own ** 2 / sigma ** 2).sum(), (share * left).sum(),
            (share ** 2 * sigma ** 2).sum(),
            1 - (own ** 2).sum() / (own * every).sum()])
    return np.array(rows)


def scene(order=(0, 1, 2), seed=3):
    """Three sources, of which two overlap, with a mask and photons."""
    shape = (150, 170)
    rng = np.random.default_rng(seed)
    sources = [(40, 50, 900.0), (46, 54, 400.0), (120, 90, 3000.0)]
    boxes, models, total = [], [], np.zeros(shape)
    for i in order:
        x, y, flux = sources[i]
        box = BoundingBox(x - 20, x + 21, y - 18, y + 19)
        cut = np.s_[box.iymin:box.iymax, box.ixmin:box.ixmax]
        models.append(blob(shape, x, y, flux)[cut][None].astype('f4'))
        boxes.append(box)
        total[cut] += models[-1][0]
    variance = rng.uniform(0.5, 2, shape)
    mask = rng.random(shape) < 0.02
    data = 1.1 * total + rng.standard_normal(shape) * np.sqrt(variance)
    residual = residual_of(np.where(mask, 0, data), total, variance=variance,
                           mask=mask, gain=4.0)
    return boxes, models, data, variance, mask, residual


def test_sums_are_those_of_the_formulas():
    boxes, models, data, variance, mask, residual = scene()
    found = np.array(sum_sources(boxes, models, residual))[..., 0].T
    assert_allclose(found, slow_sums(boxes, models, data, variance, mask,
                                     4.0, residual), rtol=2e-4, atol=2e-4)


def test_sums_do_not_depend_on_the_order_of_the_sources():
    one, other = (sum_sources(*made[:2], made[-1])
                  for made in (scene(), scene(order=(2, 0, 1))))
    for a, b in zip(one, other, strict=True):
        assert_allclose(b, a[[2, 0, 1]], rtol=1e-4, atol=1e-5)


def test_lonely_source_is_not_blended():
    boxes, models, *_, residual = scene()
    blendedness = sum_sources(boxes, models, residual).blendedness[:, 0]
    assert blendedness[2] == pytest.approx(0, abs=1e-6)
    # the fainter one is the more blended one
    assert 0 < blendedness[0] < blendedness[1] < 1


def test_source_without_light_is_not_blended():
    boxes, models, *_, residual = scene()
    dark = sum_sources(boxes[:1], [0 * models[0]], residual)
    assert dark.blendedness[0, 0] == 0
    assert dark.excess[0, 0] == dark.power[0, 0] == 0


def test_power_is_the_squared_signal_to_noise_ratio():
    shape = (60, 60)
    model = blob(shape, 30, 30, 1000.0, 3.0)
    sums = sum_sources([BoundingBox(0, 60, 0, 60)], [model[None]],
                       residual_of(model, model, variance=4.0, fwhm=30.0))
    # a Gaussian covers 4 pi sigma^2 pixels
    expected = 1000 ** 2 / (4 * np.pi * 3.0 ** 2) / 4
    assert sums.power[0, 0] == pytest.approx(expected, rel=1e-3)


def test_excess_of_noise_is_zero_within_its_variance():
    shape = (200, 300)
    box = BoundingBox(120, 180, 70, 130)
    model = blob(shape, 150, 100, 3000.0, 8.0)
    pulls = []
    for seed in range(100):
        sums = sum_sources(
            [box], [model[None, 70:130, 120:180]],
            residual_of(model + white(shape, seed), model))
        pulls.append(sums.excess[0, 0] / np.sqrt(sums.excess_variance[0, 0]))
    assert np.mean(pulls) == pytest.approx(0, abs=0.3)
    assert np.std(pulls) == pytest.approx(1, abs=0.25)


def test_misfit_goes_to_the_source_whose_light_is_there():
    shape = (60, 80)
    left, right = blob(shape, 22, 30, 500.0), blob(shape, 58, 30, 500.0)
    data = left + right
    data[30, 22] += 100
    sums = sum_sources([BoundingBox(0, 80, 0, 60)] * 2,
                       [left[None], right[None]],
                       residual_of(data, left + right))
    assert sums.excess[0, 0] > 900
    assert abs(sums.excess[1, 0]) < 0.1 * sums.excess[0, 0]


def test_no_sources_have_no_sums():
    sums = sum_sources([], [], residual_of(white((40, 50))))
    assert all(column.shape == (0, 1) for column in sums)
