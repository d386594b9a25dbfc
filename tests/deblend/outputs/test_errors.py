# Licensed under a 3-clause BSD style license - see LICENSE.rst
from types import SimpleNamespace

import numpy as np
import pytest
from photutils.aperture import BoundingBox
from scipy.ndimage import gaussian_filter

from vaephot.deblend.fit.goodness import (
    SourceSums,
    make_residual,
    sum_sources,
)
from vaephot.deblend.outputs import errors
from vaephot.deblend.outputs.errors import (
    residual_flux,
    spread_over_bands,
    widen_errors,
)

SHAPE, SIGMA, FWHM = (40, 60), 1.5, 2.0
NOISE_AREA = 4 * np.pi * (FWHM / 2.3548200450309493) ** 2


def _gaussian(x, y, flux, sigma=SIGMA):
    yy, xx = np.mgrid[:SHAPE[0], :SHAPE[1]]
    return flux / (2 * np.pi * sigma ** 2) * np.exp(
        -0.5 * ((xx - x) ** 2 + (yy - y) ** 2) / sigma ** 2)


def _solution(*sources, n_bands=1):
    models = [np.repeat(_gaussian(*s)[None], n_bands, 0) for s in sources]
    return SimpleNamespace(boxes=[BoundingBox(0, SHAPE[1], 0, SHAPE[0])
                                  for _ in models],
                           models=models, model_image=sum(models))


def _sums(solution, data):
    residual = make_residual(
        data, solution.model_image, np.ones((len(data), 1, 1)),
        np.zeros(data.shape, bool), None, [FWHM] * len(data))
    return residual, sum_sources(solution.boxes, solution.models, residual)


def model_variance(solution, data):
    residual, sums = _sums(solution, data)
    return errors.model_variance(solution.boxes, solution.models, residual,
                                 sums, [FWHM] * len(data))


def _noise(n_bands=1, seed=1):
    return np.random.default_rng(seed).standard_normal((n_bands, *SHAPE))


def _structure(seed=2):
    """Scatter of 1 that is alike over the PSF."""
    image = gaussian_filter(_noise(seed=seed), (0, FWHM / 2.35, FWHM / 2.35))
    return image / image.std()


def test_a_model_that_describes_the_data_adds_nothing():
    solution = _solution((20, 20, 3000.0), (26, 20, 500.0))
    found = [model_variance(solution, solution.model_image
                            + _noise(seed=seed)) for seed in range(20)]
    # two standard deviations are exceeded once in forty times
    assert (np.array(found) == 0).mean() > 0.8


def test_it_is_the_misfit_of_the_model_under_it():
    sigma = 4.0
    solution = _solution((30, 20, 2e4, sigma))
    # everywhere a tenth more, less or nothing
    model = solution.models[0][0]
    expected = 0.75 * NOISE_AREA * 0.01 * (model ** 4).sum() / (
        model ** 2).sum()
    found = [model_variance(solution, solution.model_image * (
        1 + 0.1 * _structure(seed)) + _noise())[0, 0] for seed in range(30)]
    # few independent samples hold the light
    assert np.mean(found) == pytest.approx(expected, rel=0.5)


def test_a_faint_source_suffers_from_a_bright_one_it_lies_on():
    bright, faint, far = (20, 20, 9000.0), (23, 20, 60.0), (50, 20, 60.0)
    solution = _solution(bright, faint, far)
    data = solution.model_image * (1 + 0.1 * _structure(3)) + _noise()
    own, beside, away = model_variance(solution, data)[:, 0]
    assert own > beside > 1
    assert away < 0.1 * beside


def test_windows_of_boxes_do_not_matter():
    solution = _solution((20, 20, 9000.0), (23, 20, 60.0))
    data = solution.model_image * (1 + 0.1 * _structure(3)) + _noise()
    whole = model_variance(solution, data)
    solution.boxes = [BoundingBox(5, 36, 4, 37), BoundingBox(12, 35, 9, 32)]
    solution.models = [
        model[:, box.iymin:box.iymax, box.ixmin:box.ixmax]
        for box, model in zip(solution.boxes, solution.models, strict=True)]
    np.testing.assert_allclose(model_variance(solution, data), whole,
                               rtol=1e-3)


def test_bands_are_measured_one_by_one_and_share_a_little():
    solution = _solution((20, 20, 3000.0), n_bands=2)
    data = solution.model_image + _noise(2)
    data[0] += 0.2 * _structure(4)[0] * solution.model_image[0]
    found = model_variance(solution, data)
    assert found[0, 0] > 5
    assert found[0, 1] < 0.1 * found[0, 0]
    spread = spread_over_bands(found)
    assert spread[0, 0] == found[0, 0]
    assert spread[0, 1] >= 0.05 * found[0, 0]


def test_no_sources_have_no_variance():
    solution = SimpleNamespace(boxes=[], models=[],
                               model_image=np.zeros((2, *SHAPE)))
    found = model_variance(solution, _noise(2))
    assert found.shape == (0, 2)
    assert spread_over_bands(found).shape == (0, 2)


def test_errors_are_widened_with_their_correlations():
    half = np.random.default_rng(5).standard_normal((5, 5))
    before = (half @ half.T)[None]
    flux_err = np.sqrt(np.diag(before[0])[:2])[None]
    wide_err, wide = widen_errors(flux_err, before, np.array([[3.0, 8.0]]))
    np.testing.assert_allclose(wide_err, flux_err * [[2, 3]])
    np.testing.assert_allclose(np.diag(wide[0]) / np.diag(before[0]),
                               [4, 9, 9, 9, 9])

    def correlation(matrix):
        scale = np.sqrt(np.diag(matrix))
        return matrix / scale / scale[:, None]
    np.testing.assert_allclose(correlation(wide[0]), correlation(before[0]))


def _share(excess, left=10.0):
    row = np.array([[1.0]])
    return [float(value[0, 0]) for value in residual_flux(SourceSums(
        chi2=row, n_samples=row, excess=excess * row, power=row,
        excess_variance=4 * row, left=left * row, left_variance=2 * row,
        blendedness=row))]


def test_noise_that_is_left_over_is_no_flux():
    assert _share(0.0) == [0, 0]
    assert _share(-30.0) == [0, 0]


def test_what_the_model_leaves_over_is_flux():
    # excess of three and of many sigma: half of it, and all
    flux, variance = _share(6.0)
    assert flux == pytest.approx(5)
    assert variance == pytest.approx(0.5 ** 2 * 2 + (0.5 * 5) ** 2)
    assert _share(1e6)[0] == pytest.approx(10)
