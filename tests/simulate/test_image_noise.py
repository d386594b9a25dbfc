# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from scipy.signal import fftconvolve

from vaephot.exceptions import CatalogError
from vaephot.simulate.image_noise import (
    add_noise,
    background_residual,
    bad_pixels,
    correlated_noise,
    depth_factor,
    large_sum_factor,
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


@pytest.mark.parametrize('width', [1, 1.68, 2, 3])
def test_noise_of_any_width_has_its_factors(width):
    rng = np.random.default_rng(4)
    noise = correlated_noise(rng, (900, 900), width)
    assert noise.std() == pytest.approx(1, abs=0.02)
    sums = noise.reshape(30, 30, 30, 30).sum(axis=(1, 3))
    assert sums.std() / 30 == pytest.approx(large_sum_factor(width),
                                            rel=0.12)
    psf = np.exp(-0.5 * np.add.outer(np.arange(-8, 9) ** 2,
                                     np.arange(-8, 9) ** 2) / 4)
    fluxes = fftconvolve(noise, psf, 'valid') / (psf ** 2).sum()
    white = 1 / np.sqrt((psf ** 2).sum())
    assert fluxes.std() / white == pytest.approx(depth_factor(psf, width),
                                                 rel=0.05)


def test_a_residual_background_has_its_size_and_no_small_scales():
    sizes = [np.sqrt((background_residual(np.random.default_rng(k),
                                          (60, 80), 2.0) ** 2).mean())
             for k in range(80)]
    assert np.sqrt(np.mean(np.square(sizes))) == pytest.approx(2, rel=0.2)
    one = background_residual(np.random.default_rng(1), (60, 80), 2.0)
    assert abs(np.diff(one, axis=0)).max() < 0.5


def test_bad_pixels_have_their_share_and_hold_columns():
    mask = bad_pixels(np.random.default_rng(1), (400, 500), 0.05)
    assert mask.mean() == pytest.approx(0.05, rel=0.3)
    assert mask.all(axis=0).any()
    assert not bad_pixels(np.random.default_rng(1), (40, 50), 0.0).any()
    with pytest.raises(CatalogError, match='below 1'):
        bad_pixels(np.random.default_rng(1), (4, 5), 1.0)


def test_masks_of_saturation_can_grow():
    image = np.zeros((1, 7, 7))
    image[0, 3, 3] = 9.0
    _, mask = saturate(image, [3.0], growth=1)
    assert mask.sum() == 5
