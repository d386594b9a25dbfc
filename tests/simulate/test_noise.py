# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest

from vaephot.simulate.noise import (
    add_noise,
    correlated_noise,
    noise_variance,
    saturate,
)

SKY = np.array([0.1, 0.3])
GAIN = np.array([100.0, 20.0])


def test_the_variance_is_that_of_sky_and_photons():
    model = np.full((2, 3, 4), 5.0)
    variance = noise_variance(model, SKY, GAIN)
    assert variance[0] == pytest.approx(0.01 + 5 / 100)
    assert variance[1] == pytest.approx(0.09 + 5 / 20)


def test_negative_pixels_have_the_noise_of_the_sky():
    assert noise_variance(np.full((2, 1, 1), -3.0), SKY, GAIN).ravel() == (
        pytest.approx(SKY ** 2))


def test_the_noise_has_the_stated_error():
    rng = np.random.default_rng(1)
    model = np.full((2, 300, 200), 2.0)
    image, error = add_noise(rng, model, SKY, GAIN)
    pulls = (image - model) / error
    assert pulls.std(axis=(1, 2)) == pytest.approx(1, abs=0.02)
    assert pulls.mean() == pytest.approx(0, abs=0.02)
    assert (model == 2.0).all()


def test_correlated_noise_has_unit_variance_and_its_factor_in_sums():
    noise = correlated_noise(np.random.default_rng(2), (1200, 900), 3)
    assert noise.std() == pytest.approx(1, abs=0.02)
    sums = noise.reshape(40, 30, 30, 30).sum(axis=(1, 3))
    assert sums.std() / 30 == pytest.approx(3, rel=0.08)


def test_each_band_has_its_own_correlation():
    image, _ = add_noise(np.random.default_rng(3), np.zeros((2, 300, 300)),
                         SKY, GAIN, correlation=(1, 3))
    neighbors = [np.corrcoef(band[:, 1:].ravel(), band[:, :-1].ravel())[0, 1]
                 for band in image]
    assert neighbors == pytest.approx([0, 2 / 3], abs=0.03)


def test_saturation_clips_and_masks_a_copy():
    image = np.array([[[1.0, 5.0]], [[1.0, 5.0]]])
    clipped, mask = saturate(image, [3.0, np.inf])
    assert clipped.tolist() == [[[1.0, 3.0]], [[1.0, 5.0]]]
    assert mask.tolist() == [[[False, True]], [[False, False]]]
    assert image[0, 0, 1] == 5.0
