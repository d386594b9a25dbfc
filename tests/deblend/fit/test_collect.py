# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest

from vaephot.deblend.fit.collect import fill
from vaephot.deblend.scene import empty_result

N_BANDS, N_PARAMETERS, PLACES, N_SKY = 2, 6, 3, 1
MEMBERS = np.array([[3, 0, 2], [1, -1, -1]])
CORES = np.array([2, 1])


@pytest.fixture
def found():
    """Return what the fit of two groups found, each with a free sky."""
    rng = np.random.default_rng(4)
    size = N_BANDS * (PLACES + N_SKY) + PLACES * N_PARAMETERS
    shapes = (2, PLACES, N_PARAMETERS)
    return {
        'parameters': rng.normal(0, 1, shapes),
        'prior_mean': rng.normal(0, 1, shapes),
        'prior_precision': rng.uniform(1, 2, shapes),
        'band_parameters': rng.normal(0, 1, (2, PLACES, N_BANDS,
                                             N_PARAMETERS)),
        'flux': rng.normal(0, 1, (2, PLACES, N_BANDS)),
        'snr': rng.normal(0, 1, (2, PLACES, N_BANDS)),
        # an entry tells its row and its column
        'covariance': np.broadcast_to(
            100.0 * np.arange(size)[:, None] + np.arange(size),
            (2, size, size)).copy(),
        'converged': np.array([[True] * 3, [False] * 3])}


def _filled(found, n_parameters=N_PARAMETERS):
    result = empty_result(4, N_BANDS, n_parameters)
    fill(result, CORES, MEMBERS, found)
    return result


def test_sources_get_what_was_found_at_their_places(found):
    fit = _filled(found)
    for name in ('parameters', 'band_parameters', 'flux', 'snr',
                 'prior_mean', 'prior_precision'):
        values = getattr(fit, name)
        np.testing.assert_array_equal(values[[3, 0]], found[name][0, :2])
        np.testing.assert_array_equal(values[1], found[name][1, 0])


def test_covariance_is_of_the_fluxes_and_then_the_parameters(found):
    fit = _filled(found)
    # fluxes and sky of each band, then parameters source by source
    rows = np.array([1, 5, *range(14, 20)])
    np.testing.assert_array_equal(fit.covariance[0],
                                  100 * rows[:, None] + rows)
    np.testing.assert_allclose(fit.flux_err[0] ** 2, [101, 505])


def test_sources_of_a_core_share_a_matrix(found):
    fit = _filled(found)
    (one, matrix), (two, other) = fit.group_covariance[[3, 0]]
    assert (one, two) == (0, 1)
    assert matrix is other
    size = N_BANDS + N_PARAMETERS
    np.testing.assert_array_equal(matrix[:size, :size], fit.covariance[3])
    np.testing.assert_array_equal(matrix[size:, size:], fit.covariance[0])
    assert fit.group_covariance[1] is None


def test_only_cores_are_filled(found):
    fit = _filled(found)
    assert fit.converged.tolist() == [True, False, False, True]
    assert (fit.parameters[2] == 0).all()
    assert (fit.covariance[2] == 0).all()
    assert fit.group_covariance[2] is None


def test_parameters_that_were_not_free_have_rows_of_zeros(found):
    n_all = N_BANDS + N_PARAMETERS + 2
    fit = _filled(found, N_PARAMETERS + 2)
    short = _filled(found)
    n = N_BANDS + N_PARAMETERS
    np.testing.assert_array_equal(fit.covariance[:, :n, :n],
                                  short.covariance)
    assert (fit.covariance[:, n:] == 0).all()
    assert (fit.parameters[:, N_PARAMETERS:] == 0).all()
    place, matrix = fit.group_covariance[0]
    assert matrix.shape == (2 * n_all, 2 * n_all)
    own = np.s_[place * n_all:(place + 1) * n_all]
    np.testing.assert_array_equal(matrix[own, own], fit.covariance[0])
