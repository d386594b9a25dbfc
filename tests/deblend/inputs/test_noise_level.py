# Licensed under a 3-clause BSD style license - see LICENSE.rst
import os
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import gaussian_filter, uniform_filter, zoom

from vaephot.deblend.inputs.noise_level import measure_noise
from vaephot.deblend.inputs.read import prepare_observation
from vaephot.exceptions import VaephotWarning

images = SimpleNamespace(
    **run_path(str(Path(__file__).with_name('_images.py'))))
DATA = os.environ.get('VAEPHOT_TEST_DATA')
SIZE = 420


def white(seed=0, size=SIZE):
    return np.random.default_rng(seed).standard_normal((size, size))


def resampled(order, seed=0):
    """Noise of 3 times larger pixels; the error is that of its pixels."""
    image = zoom(white(seed, SIZE // 3), 3, order=order)
    return image / image.std()


def level(image, error=1.0, mask=None, **options):
    mask = np.zeros(image.shape, bool) if mask is None else mask
    error = np.broadcast_to(error, image.shape)
    found = measure_noise(image[None], error[None], mask[None], **options)
    assert found.correlation.shape == (1, 7)
    return found


def test_a_crowded_frame_has_no_sky_to_measure_areas_on():
    image, _ = images.crowded(2500)
    found = level(image)
    assert not found.measured
    assert found.used == 1
    assert_allclose(found.ratio, 1, atol=0.12)


def with_galaxies(n, peak, sigma, *, size=SIZE, seed=5):
    """White noise with round galaxies all over it."""
    rng = np.random.default_rng(seed)
    image = white(seed, size)
    half = int(5 * sigma)
    steps = np.arange(-half, half + 1)
    blob = np.exp(-0.5 * np.hypot(steps, steps[:, None])**2 / sigma**2)
    for x, y in rng.integers(half, size - half, (n, 2)):
        image[y - half:y + half + 1, x - half:x + half + 1] += (
            peak * rng.uniform(0.1, 1) * blob)
    return image


@pytest.mark.parametrize('size', [120, 300, 700])
@pytest.mark.parametrize('seed', range(5))
def test_white_noise_changes_nothing(size, seed):
    found = level(white(seed, size), psf_fwhm=[2.5])
    assert found.measured
    assert found.used == 1
    assert_allclose(found.ratio, 1, atol=0.03)
    assert_allclose(found.large_ratio, 1, atol=30 / size)
    assert_allclose(found.psf_ratio, 1, atol=0.05)
    assert_allclose(found.correlation[0], [1, 0, 0, 0, 0, 0, 0], atol=0.03)


def test_white_noise_is_measured_without_bias():
    found = [level(white(seed, 700)).large_ratio[0] for seed in range(6)]
    # the median of the cells and the clipping take 1 or 2 %
    assert 0.97 < np.mean(found) < 1.01


@pytest.mark.parametrize('order', [1, 3])
def test_resampled_noise_has_the_level_of_its_large_areas(order):
    image = resampled(order)
    found = level(image, psf_fwhm=[5.0])
    areas = uniform_filter(image, 14)[7::14, 7::14].std() * 14
    assert found.measured
    assert_allclose(found.large_ratio, areas, rtol=0.1)
    larger = uniform_filter(image, 42)[21::42, 21::42].std() * 42
    assert_allclose(found.used, larger, rtol=0.1)
    assert found.used > found.large_ratio
    assert_allclose(found.ratio, 1, rtol=0.05)
    assert 2 < found.psf_ratio < found.large_ratio * 1.02
    want = np.mean([(image[:, 1:] * image[:, :-1]).mean(),
                    (image[1:] * image[:-1]).mean()])
    assert_allclose(found.correlation[0, 1], want, atol=0.03)


def test_a_factor_of_the_error_is_found():
    found = level(white(), 0.5)
    assert_allclose([found.ratio[0], found.used[0]], 2, rtol=0.06)


@pytest.mark.parametrize(('n', 'peak', 'sigma'), [
    (150, 30, 2.0), (40, 300, 4.0), (6, 3000, 3.0), (400, 10, 1.5)])
def test_sources_are_no_noise(n, peak, sigma):
    image = with_galaxies(n, peak, sigma)
    assert level(image).used == 1
    found = level(image, sources=gaussian_filter(image, 2) > 0.6)
    assert found.used == 1
    assert_allclose(found.ratio, 1, atol=0.06)


@pytest.mark.parametrize('n', [700, 1500])
def test_crowded_frames_are_left_alone(n):
    image = with_galaxies(n, 30, 4.0)
    assert (gaussian_filter(image, 2) > 1).mean() > 0.6
    assert level(image).used == 1


@pytest.mark.parametrize('image', [
    with_galaxies(30, 500, 9.0, size=100), white(size=60), white(size=12),
    white()[:20], np.zeros((200, 200)), gaussian_filter(white(), 12)])
def test_without_sky_enough_nothing_is_measured(image):
    found = level(image)
    assert not found.measured
    assert found.used == 1
    assert np.isnan(found.large_ratio)


@pytest.mark.parametrize(('period', 'most'), [(300, 1.2), (900, 1.0)])
def test_a_residual_background_counts_little(period, most):
    y, x = np.mgrid[:SIZE, :SIZE]
    sky = 0.2 * np.sin(2 * np.pi * x / period) * np.cos(
        2 * np.pi * y / period) + 1.5
    # sums over areas of the sky scatter by 1.4 times their error each
    assert 1 <= level(white() + sky).used <= most


def test_light_on_large_scales_counts_in_part_only():
    light = gaussian_filter(white(3), 10)
    found = level(white() + 0.3 * light / light.std())
    assert found.large_ratio > 2
    assert 1 < found.used < 1.6


def test_masked_pixels_and_changing_errors_play_no_part():
    mask = np.zeros((SIZE, SIZE), bool)
    mask[:, ::60] = mask[200:300] = True
    mask |= np.random.default_rng(1).random(mask.shape) < 0.1
    error = np.ones((SIZE, SIZE))
    error[:, :200] = 5.0
    image = np.where(mask, 1e6, white() * error)
    found = level(image, error, mask)
    assert found.measured
    assert found.used == 1
    assert_allclose(found.ratio, 1, atol=0.03)


def test_bands_are_measured_one_by_one():
    image = np.stack([white(1), resampled(1, 2), 0 * white()])
    found = measure_noise(image, np.ones((3, 1, 1)),
                          np.zeros(image.shape, bool))
    assert found.measured.tolist() == [True, True, False]
    assert found.used[0] == found.used[2] == 1 < found.used[1]


# ------------------------------------------------- as part of the inputs
@pytest.mark.parametrize('options', [{}, {'error': 1.0}])
@pytest.mark.parametrize('scale', [1e-30, 1.0, 1e30])
def test_the_level_is_measured_by_default(options, scale):
    options = {name: value * scale for name, value in options.items()}
    found = prepare_observation(np.stack([white(), resampled(3)]) * scale,
                                psf=3.0, **options)
    assert found.noise_correlation[0] == 1
    assert 3 < found.noise_correlation[1] < 4.5
    assert_array_equal(found.noise.used, found.noise_correlation)
    assert found.noise.measured.all()


def test_a_factor_that_is_given_is_used_and_the_other_recorded():
    found = prepare_observation(np.stack([resampled(1)] * 3), error=1.0,
                                psf=3.0, noise_correlation=[1, 2, None])
    assert found.noise_correlation[:2].tolist() == [1, 2]
    assert found.noise_correlation[2] > found.noise.large_ratio[0] > 3


def test_pixels_of_known_sources_may_be_told():
    image = with_galaxies(60, 3, 6.0)
    sources = gaussian_filter(image, 3) > 0.3
    found = prepare_observation(image, error=1.0, psf=3.0, sources=sources)
    assert found.noise_correlation == 1


@pytest.mark.parametrize('make', [
    lambda: white(), lambda: resampled(1),
    lambda: 0.22 * resampled(3), lambda: with_galaxies(150, 30, 2.0),
    lambda: gaussian_filter(with_galaxies(20, 30, 5.0), 8) * 0.01])
def test_errors_of_pixels_or_of_large_areas_are_right(make):
    prepare_observation(make(), error=1.0, psf=3.0)


@pytest.mark.parametrize(('sigma', 'error', 'said'), [
    (0.1, 1.0, 'is 1,'), (10.0, 1.0, 'is 1,'),
    (10.0, 100.0, 'as a variance would be'),
    (10.0, 0.01, 'as an inverse variance would be')])
def test_an_error_that_cannot_be_one_is_said(sigma, error, said):
    for options in ({'error': error}, {'error': np.full((SIZE,) * 2, error)}):
        with pytest.warns(VaephotWarning, match=said):
            found = prepare_observation(sigma * white(), psf=3.0, **options)
        assert_allclose(found.noise_correlation * error, sigma, rtol=0.06)


def test_the_image_is_not_its_error():
    image = np.abs(white()) + 3
    with pytest.raises(ValueError, match='image itself'):
        prepare_observation(image, error=image.copy(), psf=3.0)
    # but images may be as constant as their errors
    prepare_observation(np.ones((40, 40)), error=np.ones((40, 40)), psf=3.0)


@pytest.mark.skipif(not DATA, reason='VAEPHOT_TEST_DATA is not set')
@pytest.mark.parametrize(('band', 'pixel', 'beside', 'large'), [
    ('VIS', (0.6, 0.68), 0.2, (0.9, 1.1)),
    ('NIR_Y', (0.21, 0.26), 0.8, (0.85, 1.4)),
    ('NIR_J', (0.21, 0.26), 0.8, (0.85, 1.4)),
    ('NIR_H', (0.21, 0.26), 0.8, (0.85, 1.4))])
def test_the_sky_of_euclid(band, pixel, beside, large):
    path = Path(DATA, 'euclid_q1', 'field_a.fits')
    with fits.open(path) as hdus:
        data = hdus[f'{band}_FLUX'].data
        error = hdus[f'{band}_RMS'].data
        obs = prepare_observation(data, error=error, mask=error > 1e10,
                                  psf=hdus[f'{band}_PSF'].data)
    found = obs.noise
    assert found.measured
    assert pixel[0] < found.ratio < pixel[1]
    assert_allclose(found.correlation[0, 1], beside, atol=0.05)
    assert large[0] < found.large_ratio < large[1]
    assert found.ratio < found.psf_ratio < found.large_ratio * 1.1
