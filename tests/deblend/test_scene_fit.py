# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
import torch

from vaephot.deblend.groups import Piece
from vaephot.deblend.refine import GroupFit
from vaephot.deblend.scene_fit import empty_fit, fill_cores

N_BANDS, N_PARAMETERS, PLACES, N_SKY = 2, 6, 3, 1


@pytest.fixture
def done():
    """Return the fit of two pieces, each with a free sky."""
    rng = np.random.default_rng(4)
    size = N_BANDS * (PLACES + N_SKY) + PLACES * N_PARAMETERS
    values = {
        'parameters': rng.normal(0, 1, (2, PLACES, N_PARAMETERS)),
        'band_parameters': rng.normal(0, 1, (2, N_BANDS, PLACES,
                                             N_PARAMETERS)),
        'flux': rng.normal(0, 1, (2, PLACES, N_BANDS)),
        'background': rng.normal(0, 1, (2, N_BANDS, N_SKY)),
        # an entry tells its row and its column
        'covariance': np.broadcast_to(
            100.0 * np.arange(size)[:, None] + np.arange(size),
            (2, size, size)).copy(),
        'converged': np.array([True, False])}
    given = {name: torch.as_tensor(value) for name, value in values.items()}
    return GroupFit(**{name: given.get(name) for name in GroupFit._fields})


PIECES = [Piece(core=(3, 0), halo=(2,), ix=10, iy=-4, size=32, cropped=True),
          Piece(core=(1,), halo=(), ix=0, iy=5, size=32, cropped=False)]


@pytest.fixture
def fit(done):
    """Return the fit of four sources, one in no core."""
    fit = empty_fit(4, N_PARAMETERS, np.ones((4, N_BANDS)))
    fill_cores(fit, PIECES, done)
    return fit


def test_positions_are_those_in_the_image(fit, done):
    np.testing.assert_allclose(fit.parameters[3, :2],
                               done.parameters[0, 0, :2].numpy() + [10, -4])
    np.testing.assert_allclose(
        fit.band_parameters[0, :, :2],
        done.band_parameters[0, :, 1, :2].numpy() + [10, -4])
    np.testing.assert_array_equal(fit.parameters[1, 2:],
                                  done.parameters[1, 0, 2:])
    np.testing.assert_array_equal(fit.flux[[3, 0]], done.flux[0, :2])


def test_covariance_is_of_the_fluxes_and_then_the_parameters(fit):
    # fluxes and sky of each band, then parameters source by source
    rows = np.array([1, 5, *range(14, 20)])
    np.testing.assert_array_equal(fit.covariance[0],
                                  100 * rows[:, None] + rows)
    np.testing.assert_allclose(fit.flux_err[0] ** 2, [101, 505])


def test_sources_of_a_core_share_a_matrix(fit):
    (one, matrix), (two, other) = fit.group_covariance[[3, 0]]
    assert (one, two) == (0, 1)
    assert matrix is other
    size = N_BANDS + N_PARAMETERS
    np.testing.assert_array_equal(matrix[:size, :size], fit.covariance[3])
    np.testing.assert_array_equal(matrix[size:, size:], fit.covariance[0])
    assert fit.group_covariance[1] is None


def test_only_cores_are_filled(fit):
    assert fit.converged.tolist() == [True, False, False, True]
    assert fit.cropped.tolist() == [True, False, False, True]
    assert (fit.parameters[2] == 0).all()
    assert (fit.covariance[2] == 0).all()
    assert fit.group_covariance[2] is None
