# Licensed under a 3-clause BSD style license - see LICENSE.rst
from types import SimpleNamespace

import numpy as np
import pytest
from photutils.aperture import BoundingBox

from vaephot.deblend.outputs import errors as model_error
from vaephot.deblend.outputs.errors import (
    spread_over_bands,
    with_model_errors,
)
from vaephot.deblend.outputs.outliers import misfit
from vaephot.deblend.scene_fit import empty_fit

SHAPE, SIGMA, FWHM = (40, 60), 1.5, 2.0
NOISE_AREA = 4 * np.pi * (FWHM / 2.3548200450309493) ** 2


def _gaussian(x, y, flux, sigma=SIGMA):
    yy, xx = np.mgrid[:SHAPE[0], :SHAPE[1]]
    return flux / (2 * np.pi * sigma ** 2) * np.exp(
        -0.5 * ((xx - x) ** 2 + (yy - y) ** 2) / sigma ** 2)


def model_variance(solution, observation):
    return model_error.model_variance(solution, observation,
                                      misfit(solution, observation))


def _solution(*sources, n_bands=1):
    models = [np.repeat(_gaussian(*s)[None], n_bands, 0) for s in sources]
    return SimpleNamespace(boxes=[BoundingBox(0, SHAPE[1], 0, SHAPE[0])
                                  for _ in models],
                           models=models, model_image=sum(models))


def _observation(data, correlation=1.0):
    n_bands = len(data)
    return SimpleNamespace(
        data=data, variance=np.ones((n_bands, 1, 1)), gain=None,
        mask=np.zeros(data.shape, bool),
        psfs=[SimpleNamespace(fwhm=FWHM)] * n_bands,
        noise_correlation=np.full(n_bands, correlation))


def _noise(n_bands=1, seed=1):
    return np.random.default_rng(seed).standard_normal((n_bands, *SHAPE))


def test_a_model_that_describes_the_data_adds_nothing():
    solution = _solution((20, 20, 3000.0), (26, 20, 500.0))
    found = [model_variance(solution, _observation(
        solution.model_image + _noise(seed=seed))) for seed in range(20)]
    # two standard deviations are exceeded once in forty times
    assert (np.array(found) == 0).mean() > 0.8


def test_it_is_the_misfit_of_the_model_under_it():
    solution = _solution((20, 20, 3000.0))
    # everywhere a tenth more, less or nothing
    rng = np.random.default_rng(2)
    scatter = 0.1 * rng.standard_normal((1, *SHAPE))
    data = solution.model_image * (1 + scatter) + _noise()
    model = solution.models[0][0]
    expected = 0.75 * NOISE_AREA * 0.01 * (model ** 4).sum() / (
        model ** 2).sum()
    found = model_variance(solution, _observation(data))
    # few pixels hold the light
    assert found[0, 0] == pytest.approx(expected, rel=0.4)
    wide = model_variance(solution, _observation(data, 2.0))
    assert 0 < wide[0, 0] < found[0, 0] / 3


def test_a_faint_source_suffers_from_a_bright_one_it_lies_on():
    bright, faint, far = (20, 20, 9000.0), (23, 20, 60.0), (50, 20, 60.0)
    solution = _solution(bright, faint, far)
    rng = np.random.default_rng(3)
    data = solution.model_image * (
        1 + 0.1 * rng.standard_normal((1, *SHAPE))) + _noise()
    own, beside, away = model_variance(solution, _observation(data))[:, 0]
    assert own > beside > 1
    assert away < 0.1 * beside


def test_bands_are_measured_one_by_one_and_share_a_little():
    solution = _solution((20, 20, 3000.0), n_bands=2)
    data = solution.model_image + _noise(2)
    rng = np.random.default_rng(4)
    data[0] += 0.1 * rng.standard_normal(SHAPE) * solution.model_image[0]
    found = model_variance(solution, _observation(data))
    assert found[0, 0] > 5
    assert found[0, 1] < 0.1 * found[0, 0]
    spread = spread_over_bands(found)
    assert spread[0, 0] == found[0, 0]
    assert spread[0, 1] >= 0.05 * found[0, 0]


def test_no_sources_have_no_variance():
    solution = SimpleNamespace(boxes=[], models=[],
                               model_image=np.zeros((2, *SHAPE)))
    found = model_variance(solution, _observation(_noise(2)))
    assert found.shape == (0, 2)
    assert spread_over_bands(found).shape == (0, 2)


def test_errors_are_widened_with_their_correlations():
    fit = empty_fit(1, 3, np.ones((1, 2)))
    half = np.random.default_rng(5).standard_normal((5, 5))
    fit.covariance[0] = half @ half.T
    fit.flux_err[0] = np.sqrt(np.diag(fit.covariance[0])[:2])
    wide = with_model_errors(fit, np.array([[3.0, 8.0]]))
    np.testing.assert_allclose(wide.flux_err, fit.flux_err * [[2, 3]])
    np.testing.assert_allclose(np.diag(wide.covariance[0])
                               / np.diag(fit.covariance[0]),
                               [4, 9, 9, 9, 9])

    def correlation(matrix):
        scale = np.sqrt(np.diag(matrix))
        return matrix / scale / scale[:, None]
    np.testing.assert_allclose(correlation(wide.covariance[0]),
                               correlation(fit.covariance[0]))
    np.testing.assert_array_equal(wide.flux, fit.flux)
