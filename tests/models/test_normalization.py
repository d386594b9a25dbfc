# Licensed under a 3-clause BSD style license - see LICENSE.rst
import math

import numpy as np
import pytest
import torch
from scipy.special import erf

from vaephot.models.normalization import (
    CANONICAL_FWHM,
    LEFT_RANGE,
    LINEAR_RANGE,
    MISFIT_RANGE,
    N_CHANNELS,
    bin_factor,
    bin_psf,
    encoder_inputs,
    from_asinh,
    left_moments,
    model_misfit,
    point_peak,
    position_map,
    psf_numbers,
    to_asinh,
)

FWHM_PER_SIGMA = math.sqrt(8 * math.log(2))


@pytest.mark.parametrize(('dtype', 'rtol'), [(torch.float32, 2e-5),
                                             (torch.float64, 1e-12)])
@pytest.mark.parametrize('sign', [1, -1])
def test_normalisation_is_invertible_over_seven_decades(dtype, rtol, sign):
    flux = sign * torch.cat([torch.zeros(1), torch.logspace(-3, 7, 200)])
    flux = flux.to(dtype)
    back = from_asinh(to_asinh(flux, 0.7), 0.7)
    torch.testing.assert_close(back, flux, rtol=rtol, atol=1e-7)


def test_normalisation_is_linear_in_the_noise():
    small = torch.tensor([1e-3, -1e-3], dtype=torch.float64)
    torch.testing.assert_close(to_asinh(2.5 * small, 2.5), small, rtol=1e-5,
                               atol=0)


def test_normalisation_depends_on_signal_to_noise_only():
    data = torch.linspace(-5, 500, 30)
    torch.testing.assert_close(to_asinh(8 * data, 8.0), to_asinh(data, 1.0))


@pytest.mark.parametrize('size', [9, 12])
def test_mark_is_at_the_column_of_x_and_the_row_of_y(size):
    offsets = torch.tensor([[[2.0, -3.0]]])
    image = position_map(offsets, torch.ones(1, 1), size)[0]
    iy, ix = np.unravel_index(int(image.argmax()), image.shape)
    assert (ix, iy) == (size // 2 + 2, size // 2 - 3)
    assert float(image.max()) == pytest.approx(1)


def test_mark_moves_by_parts_of_a_pixel():
    image = position_map(torch.tensor([[[0.25, 0.0]]]), torch.ones(1, 1), 15)
    row = image[0, 7]
    assert float((row * torch.arange(15)).sum() / row.sum()) == pytest.approx(
        7.25, abs=1e-4)


def test_absent_positions_leave_no_mark():
    offsets = torch.zeros(1, 3, 2)
    assert position_map(offsets, torch.zeros(1, 3), 9).abs().max() == 0


def test_marks_are_cut_at_one():
    image = position_map(torch.zeros(1, 4, 2), torch.ones(1, 4), 9)
    assert float(image.max()) == 1


def test_channels_are_data_mask_target_and_neighbours():
    rng = np.random.default_rng(2)
    data = torch.as_tensor(rng.normal(0, 3, (2, 8, 8)))
    good = torch.ones(2, 8, 8, dtype=torch.float64)
    good[0, 3, 5] = 0
    rms = torch.full((2, 1, 1), 2.0, dtype=torch.float64)
    target = torch.tensor([[0.5, -1.0], [0.0, 0.0]], dtype=torch.float64)
    near = torch.tensor([[[2.0, 1.0]], [[1.0, 1.0]]], dtype=torch.float64)
    present = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
    peak = torch.tensor([1.5, 8.0], dtype=torch.float64)
    model = torch.as_tensor(rng.uniform(0, 3, (2, 8, 8)))
    left = torch.as_tensor(rng.normal(0, 3, (2, 8, 8)))
    inputs = encoder_inputs(data, rms, good, target, near, present, peak,
                            model, left)
    assert inputs.shape == (2, N_CHANNELS, 8, 8)
    assert inputs.dtype == torch.float32
    assert inputs[0, 0, 3, 5] == 0
    torch.testing.assert_close(inputs[1, 0], torch.asinh(data[1] / 2).float())
    torch.testing.assert_close(inputs[:, 1], good.float())
    own = position_map(target[:, None], torch.ones(2, 1), 8).float()
    torch.testing.assert_close(inputs[:, 2], own)
    assert inputs[0, 3].argmax() == (4 + 1) * 8 + (4 + 2)
    assert inputs[1, 3].abs().max() == 0
    # this one is linear in the flux and cut at both ends
    linear = np.clip(data[0].numpy() / 2 / 1.5, *LINEAR_RANGE)
    linear[3, 5] = 0
    assert (linear == LINEAR_RANGE[0]).any()
    np.testing.assert_allclose(inputs[0, 4], linear, rtol=1e-6)
    np.testing.assert_allclose(inputs[1, 4], data[1] / 16, rtol=1e-6)
    assert inputs[:, 5].amax((1, 2)).tolist() == [1, 1]
    np.testing.assert_allclose(inputs[:, 5] * model.amax((1, 2),
                                                         keepdim=True),
                               model, rtol=1e-6)
    np.testing.assert_allclose(inputs[:, 6], left.clip(*LEFT_RANGE),
                               rtol=1e-6)


def _gaussian(sigma=2.0, x=0.0, y=0.0, size=24):
    grid = np.arange(size) - size // 2
    row, column = (np.exp(-0.5 * ((grid - c) / sigma) ** 2) for c in (x, y))
    return torch.as_tensor(column[:, None] * row)[None]


def _unit(model):
    return torch.ones(1, 1, 1).double(), torch.ones_like(model)


@pytest.mark.parametrize('share', [0.003, 0.1, -0.1])
def test_misfit_is_the_share_of_the_model_that_is_wrong(share):
    model = 1000 * _gaussian()
    rms, good = _unit(model)
    misfit, left = model_misfit((1 + share) * model, rms, good, model)
    assert float(misfit) == pytest.approx(abs(share), rel=1e-4)
    # in units of it, what is left is the model over its mean
    scale = ((model ** 3).sum() / model.sum()) ** 0.5
    torch.testing.assert_close(left, np.sign(share) * model / scale)


def test_misfit_of_noise_falls_with_the_brightness():
    noise = torch.as_tensor(np.random.default_rng(1).normal(size=(1, 24, 24)))
    found = []
    for flux in (30.0, 300.0):
        model = flux * _gaussian()
        found.append(float(model_misfit(model + noise, *_unit(model),
                                        model)[0]))
    assert found[0] == pytest.approx(10 * found[1], rel=1e-6)


@pytest.mark.parametrize('flux', [0.0, -5.0, 1e-9])
def test_models_without_light_are_no_measure(flux):
    model = flux * _gaussian()
    data = torch.ones_like(model)
    misfit, left = model_misfit(data, *_unit(model), model)
    assert float(misfit) == 1
    assert torch.isfinite(left).all()


def test_bad_pixels_leave_nothing():
    model = 100 * _gaussian()
    rms, good = _unit(model)
    good[0, 12, 12] = 0
    data = model.clone()
    data[0, 12, 12] = 1e9
    misfit, left = model_misfit(data, rms, good, model)
    assert float(misfit) == MISFIT_RANGE[0]
    assert (left == 0).all()


def test_moments_are_those_of_a_sum():
    rng = np.random.default_rng(4)
    model = 10 * _gaussian(2.0, 0.4, -0.3)
    left = torch.as_tensor(rng.normal(size=model.shape))
    _, good = _unit(model)
    place = torch.tensor([[0.4, -0.3]]).double()
    width, moments = left_moments(left, good, model, place)
    assert float(width) == pytest.approx(2.0, rel=1e-3)
    grid = np.arange(24) - 12
    x, y = (grid[None] - 0.4) / 2, (grid[:, None] + 0.3) / 2
    weight = (model[0] / model.sum()).numpy() * left[0].numpy()
    expected = [(weight * f).sum() for f in (
        1 + 0 * x, x, y, (x ** 2 + y ** 2) / 2 - 1, (x ** 2 - y ** 2) / 2,
        x * y)]
    np.testing.assert_allclose(moments[0], expected, atol=1e-3)


@pytest.mark.parametrize(('change', 'moment'), [
    ({'x': 0.1}, 1), ({'y': 0.1}, 2), ({'sigma': 2.1}, 3)])
def test_each_error_has_its_moment(change, moment):
    model = 1e4 * _gaussian()
    # of equal flux
    data = 1e4 * _gaussian(**change) * (2 / change.get('sigma', 2)) ** 2
    _, left = model_misfit(data, *_unit(model), model)
    _, moments = left_moments(left, *_unit(model)[1:], model,
                              torch.zeros(1, 2).double())
    rest = [k for k in range(1, 6) if k != moment]
    assert float(moments[0, moment]) > 0.05
    assert moments[0, rest].abs().max() < 0.2 * moments[0, moment]


def test_psfs_are_binned_until_they_are_narrow_enough():
    fwhm = np.array([0.8, CANONICAL_FWHM, CANONICAL_FWHM + 0.01, 8.0, 40.0])
    factor = bin_factor(fwhm)
    assert factor.tolist()[:3] == [1, 1, 2]
    assert (fwhm / factor <= CANONICAL_FWHM).all()
    # one less would not do
    more = factor > 1
    assert (fwhm[more] / (factor[more] - 1) > CANONICAL_FWHM).all()


def _pixel_psf(sigma, side, oversampling, half):
    """Gaussian of width sigma integrated over squares of a side."""
    grid = np.arange(-half * oversampling, half * oversampling + 1)
    grid = grid / oversampling
    scale = sigma * math.sqrt(2)
    row = 0.5 * (erf((grid + side / 2) / scale)
                 - erf((grid - side / 2) / scale))
    image = row[:, None] * row
    return image / image.sum()


@pytest.mark.parametrize(('factor', 'oversampling'), [
    (2, 2), (3, 1), (3, 3), (4, 2)])
def test_binned_psf_is_that_of_the_larger_pixels(factor, oversampling):
    sigma = 2.5
    image = _pixel_psf(sigma, 1, oversampling, 20)
    binned, samples = bin_psf(image, oversampling, factor)
    assert samples == factor * oversampling
    expected = _pixel_psf(sigma, factor, oversampling, 20)
    np.testing.assert_allclose(binned, expected,
                               atol=1e-6 * expected.max())


def test_binned_pixels_of_a_star_are_those_of_the_binned_psf():
    # a star in the middle of a pixel, summed three by three
    image = _pixel_psf(2.0, 1, 1, 16)
    binned, samples = bin_psf(image, 1, 3)
    block = image.reshape(11, 3, 11, 3).sum((1, 3))
    middle = len(image) // 2
    there = binned[middle % samples::samples, middle % samples::samples]
    np.testing.assert_allclose(9 * there, block, atol=1e-8)


def test_psf_that_is_not_binned_stays_as_it_is():
    image = _pixel_psf(1.0, 1, 2, 8)
    same, samples = bin_psf(image, 2, 1)
    assert same is image
    assert samples == 2


def _elliptical(sigma, ratio, angle, oversampling=3, half=14):
    """Gaussian with axes sigma and ratio * sigma, turned by an angle."""
    grid = np.arange(-half * oversampling, half * oversampling + 1)
    y, x = np.meshgrid(grid / oversampling, grid / oversampling,
                       indexing='ij')
    c, s = math.cos(angle), math.sin(angle)
    return np.exp(-0.5 * (((c * x + s * y) / sigma) ** 2
                          + ((c * y - s * x) / sigma / ratio) ** 2))


@pytest.mark.parametrize('angle', [0.0, 0.4, math.pi / 4, 2.0])
@pytest.mark.parametrize('ratio', [0.6, 0.9])
def test_numbers_of_an_elliptical_psf(ratio, angle):
    sigma = 1.7
    fwhm = FWHM_PER_SIGMA * sigma * math.sqrt(ratio)
    found = psf_numbers(_elliptical(sigma, ratio, angle), 3, fwhm)
    # variances under a round weight of the same area: 1 / (1 / a + 1 / w)
    weight = sigma ** 2 * ratio
    major, minor = (1 / (1 / a + 1 / weight)
                    for a in (sigma ** 2, (ratio * sigma) ** 2))
    length = (major - minor) / (major + minor)
    expected = [length * math.cos(2 * angle), length * math.sin(2 * angle), 0]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_wings_make_a_psf_wider_than_its_core():
    core, wings = (_elliptical(s, 1, 0, half=24) for s in (1.2, 3.6))
    image = core / core.sum() * 0.8 + wings / wings.sum() * 0.2
    found = psf_numbers(image, 3, FWHM_PER_SIGMA * 1.2)
    # integral of the square: 1 / (4 pi) (p^2 / a + q^2 / b) + p q / pi c
    a, b = 1.2 ** 2, 3.6 ** 2
    square = (0.64 / a + 0.04 / b + 4 * 0.16 / (a + b)) / (4 * math.pi)
    expected = 0.5 * math.log(1 / square / (4 * math.pi * a))
    np.testing.assert_allclose(found, [0, 0, expected], atol=1e-6)
    assert expected > 0.1


@pytest.mark.parametrize('scale', [1.0, 7.0])
def test_numbers_do_not_depend_on_sampling_or_unit(scale):
    found = [psf_numbers(scale * _elliptical(1.7, 0.7, 0.5, n), n, 3.4)
             for n in (1, 2, 5)]
    np.testing.assert_allclose(found[1:], [found[0]] * 2, atol=1e-4)


@pytest.mark.parametrize(('fwhm', 'snr'), [(2.0, 10.0), (3.1, 500.0)])
def test_peak_of_a_point_source_follows_from_its_signal_to_noise(fwhm, snr):
    sigma = fwhm / FWHM_PER_SIGMA
    psf = _elliptical(sigma, 1, 0, oversampling=1)
    psf /= psf.sum()
    # noise of the flux of a matched filter for a pixel noise of one
    flux = snr / np.sqrt((psf ** 2).sum())
    peak = point_peak(*(torch.tensor([math.log(v)]).double()
                        for v in (fwhm, snr, 1.0)))
    assert float(peak) == pytest.approx(flux * psf.max(), rel=0.01)
    # the noise of a wider one is larger, so its flux and its core are too
    wide = point_peak(*(torch.tensor([math.log(v)]).double()
                        for v in (fwhm, snr, 1.2)))
    assert float(wide / peak) == pytest.approx(1.2)


def test_peak_is_never_below_the_noise():
    peak = point_peak(*(torch.tensor([v]) for v in (1.0, 0.0, 0.0)))
    assert float(peak) == 1
