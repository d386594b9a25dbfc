# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
import torch

from vaephot.models.normalization import (
    N_CHANNELS,
    encoder_inputs,
    from_asinh,
    position_map,
    to_asinh,
)


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
    inputs = encoder_inputs(data, rms, good, target, near, present)
    assert inputs.shape == (2, N_CHANNELS, 8, 8)
    assert inputs.dtype == torch.float32
    assert inputs[0, 0, 3, 5] == 0
    torch.testing.assert_close(inputs[1, 0], torch.asinh(data[1] / 2).float())
    torch.testing.assert_close(inputs[:, 1], good.float())
    own = position_map(target[:, None], torch.ones(2, 1), 8).float()
    torch.testing.assert_close(inputs[:, 2], own)
    assert inputs[0, 3].argmax() == (4 + 1) * 8 + (4 + 2)
    assert inputs[1, 3].abs().max() == 0
