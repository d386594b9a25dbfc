# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest

from vaephot.evaluate.image_metrics import (
    IMAGE_METRICS,
    image_metrics,
    overlap,
    structural_similarity,
    true_segmentation,
)

Y, X = np.mgrid[:31, :33]
TRUE = np.exp(-((X - 16) ** 2 + (Y - 15) ** 2) / 18)
PERFECT = {'residual': 0, 'cosine': 1, 'ssim': 1, 'iou': 1}


def test_the_truth_is_perfect():
    metrics = image_metrics(TRUE, TRUE, 0.1)
    assert tuple(metrics) == IMAGE_METRICS
    assert metrics == pytest.approx(PERFECT)


def test_nothing_at_all_is_as_bad_as_it_should_be():
    metrics = image_metrics(TRUE, 0 * TRUE, 0.1)
    assert metrics['residual'] == 1
    assert metrics['cosine'] == metrics['iou'] == 0
    assert metrics['ssim'] < 0.9


def test_the_cosine_is_blind_to_the_flux_and_the_residual_is_not():
    metrics = image_metrics(TRUE, 1.3 * TRUE, 0.1)
    assert metrics['cosine'] == pytest.approx(1)
    assert metrics['residual'] == pytest.approx(0.3)


def test_all_get_worse_with_a_shift():
    near, far = (image_metrics(TRUE, np.roll(TRUE, k, 1), 0.1)
                 for k in (1, 4))
    assert near['residual'] < far['residual']
    for name in ('cosine', 'ssim', 'iou'):
        assert near[name] > far[name]


def test_ssim_agrees_with_scikit_image():
    metrics = pytest.importorskip('skimage.metrics')
    noisy = TRUE + np.random.default_rng(1).normal(0, 0.1, TRUE.shape)
    expected = metrics.structural_similarity(
        TRUE, noisy, data_range=TRUE.max() - TRUE.min(), sigma=1.5,
        gaussian_weights=True, use_sample_covariance=False, full=True)[1]
    assert structural_similarity(TRUE, noisy) == pytest.approx(
        expected.mean(), abs=1e-6)


def test_overlap_of_a_source_below_the_threshold_is_unknown():
    assert np.isnan(overlap(TRUE, TRUE, 2))


def test_pixels_belong_to_the_brightest_source():
    segm = true_segmentation([[[3, 1, 0]], [[1, 2, 0]]], 0.5)
    assert segm.tolist() == [[1, 2, 0]]
