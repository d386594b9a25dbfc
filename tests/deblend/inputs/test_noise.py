# Licensed under a 3-clause BSD style license - see LICENSE.rst
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.convolution import convolve
from numpy.testing import assert_allclose
from photutils.segmentation import make_2dgaussian_kernel
from scipy.ndimage import gaussian_filter, uniform_filter

from vaephot.deblend.inputs.noise import (
    correlation_of_smoothing,
    estimate_noise,
    estimate_smoothing,
    impossible_pixels,
    sky_image,
)
from vaephot.deblend.inputs.read import prepare_observation

images = SimpleNamespace(
    **run_path(str(Path(__file__).with_name('_images.py'))))


def sky(seed=0, shape=(300, 300)):
    return np.random.default_rng(seed).standard_normal(shape)


def test_filled_pixels_are_not_taken_for_the_sky():
    image = sky()
    image[:, 100:] = 0
    assert_allclose(estimate_noise(image), 1, atol=0.03)
    assert estimate_smoothing(image, 1.0) == 0
    # photons of sources on a dark sky have no negative pixels
    image = np.abs(image)
    assert estimate_noise(image) < 0.01


@pytest.mark.parametrize(('smoothing', 'n', 'covered', 'most'), [
    (0, 1800, 0.75, 1.08), (0, 2500, 0.88, 1.12), (1, 1800, 0.75, 1.15)])
def test_the_noise_of_a_crowded_frame_is_that_between_its_sources(
        smoothing, n, covered, most):
    image, light = images.crowded(n, smoothing=smoothing)
    assert (light > 0.5).mean() > covered
    noise = estimate_noise(image)
    assert 0.95 < noise < most
    # nor are sources taken for smoothing
    assert_allclose(estimate_smoothing(image, noise), 2.35 * smoothing,
                    rtol=0.1)


@pytest.mark.parametrize('smoothing', [0, 0.6, 1.0, 1.5])
def test_an_empty_frame_is_not_crowded(smoothing):
    image, _ = images.crowded(0, smoothing=smoothing)
    assert_allclose(estimate_noise(image), 1, rtol=0.02)


@pytest.mark.parametrize('scale', [1e-30, 1.0, 1e20])
def test_an_image_without_noise_gets_a_positive_error(scale):
    image = np.zeros((30, 30))
    assert estimate_noise(image) == 1
    image[10:12, 10:12] = scale
    assert_allclose(estimate_noise(image), 1e-4 * scale)
    assert estimate_noise(image, mask=np.ones(image.shape, bool)) == 1
    obs = prepare_observation(image / scale)
    assert obs.variance > 0
    assert obs.noise_correlation == 1


@pytest.mark.parametrize('scale', [1e-6, 1.0, 1e6])
@pytest.mark.parametrize('fwhm', [2.0, 3.0, 5.0])
def test_smoothing_is_told_from_the_noise(scale, fwhm):
    image = scale * gaussian_filter(sky(), fwhm / 2.3548)
    width = estimate_smoothing(image, estimate_noise(image))
    assert_allclose(width, fwhm, rtol=0.05)


@pytest.mark.parametrize(('fwhm', 'size'), [(2, 3), (3, 5), (4, 9)])
def test_large_sums_of_smoothed_noise_are_as_noisy_as_told(fwhm, size):
    image = convolve(sky(shape=(512, 512)),
                     make_2dgaussian_kernel(fwhm, size=size))
    noise = estimate_noise(image)
    factor = correlation_of_smoothing(np.array([
        estimate_smoothing(image, noise)]))
    boxes = uniform_filter(image, 32)[16::32, 16::32]
    assert_allclose(factor, boxes.std() * 32 / noise, rtol=0.2)


def test_independent_noise_is_no_smoothing():
    image = sky()
    assert estimate_smoothing(image, 1.0) == 0
    image[100:200, 100:200] += 50  # what is bright does not count
    image[:, :100] = 0
    bad = np.zeros(image.shape, bool)
    bad[200:] = True
    image[bad] = np.nan
    image = np.where(bad, 7, image)
    assert estimate_smoothing(image, 1.0, mask=bad) == 0
    assert correlation_of_smoothing(np.zeros(2)).tolist() == [1, 1]


def test_an_image_without_noise_says_so():
    y, x = np.mgrid[:60, :60]
    for image in (np.exp(-(x - 30.)**2 / 18 - (y - 30.)**2 / 18),
                  np.ones((60, 60)), np.zeros((60, 60))):
        width = estimate_smoothing(image, estimate_noise(image))
        assert width == np.inf
    assert correlation_of_smoothing(np.array([np.inf])) == 1


@pytest.mark.parametrize('options', [{}, {'error': 0.2}])
def test_a_smoothed_image_gets_the_noise_of_large_areas(options):
    image = gaussian_filter(sky(), 1.5)
    found = prepare_observation(image, **options)
    noise = np.sqrt(found.variance[0, 0, 0]) / image.std()
    assert_allclose(found.noise_correlation, np.sqrt(4 * np.pi) * 1.5 / noise,
                    rtol=0.1)
    given = prepare_observation(image, noise_correlation=2.0, **options)
    assert given.noise_correlation == 2


def test_a_smoothed_image_with_little_sky_gets_the_noise_of_its_kernel():
    image = gaussian_filter(sky(shape=(80, 80)), 1.5)
    found = prepare_observation(image).noise_correlation
    assert_allclose(found, np.sqrt(4 * np.pi) * 1.5, rtol=0.15)
    assert prepare_observation(image, error=0.2).noise_correlation == 1


@pytest.mark.parametrize('kind', ['constant', 'plane'])
def test_sky_is_found_beneath_sources(kind):
    rng = np.random.default_rng(12)
    y, x = np.mgrid[:80, :100]
    sky = 3.0 + (0.03 * x - 0.02 * y) * (kind == 'plane')
    image = sky + rng.standard_normal(sky.shape)
    image[30:40, 50:60] += 50
    mask = np.zeros(sky.shape, bool)
    mask[:, :10] = True
    image[:, :5] = np.nan
    found = sky_image(np.where(mask, 0, image), mask, kind)
    # three values from 7100 pixels, and wings of the clipped distribution
    assert abs(found - sky).max() < 5 * np.sqrt(3 / 7100) + 0.05


def test_sky_of_nothing_is_zero():
    assert not sky_image(np.ones((4, 4)), np.ones((4, 4), bool),
                         'plane').any()


# ----------------------------------------------------- quantised, extreme
def few_sources(size=150, peak=15.0):
    y, x = np.mgrid[:size, :size]
    return sum(peak * np.exp(-((x - x0)**2 + (y - y0)**2) / 9)
               for x0, y0 in [(30, 40), (110, 35), (70, 120)])


@pytest.mark.parametrize('scale', [1, 0.37, 1e-20])
@pytest.mark.parametrize('level', [0.5, 0.7, 1.0, 2.5, 8.0])
def test_the_noise_of_rounded_values(level, scale):
    rng = np.random.default_rng(4)
    sky = np.rint(rng.normal(0.3, level, (150, 150)) + few_sources())
    found = estimate_noise(sky * scale)
    assert_allclose(found, np.hypot(level, 12**-0.5) * scale, rtol=0.1)
    assert estimate_smoothing(sky * scale, found) == 0


@pytest.mark.parametrize('level', [0.1, 0.4, 1.0, 6.0])
@pytest.mark.parametrize('dtype', ['u2', 'i4', 'f4'])
def test_the_noise_of_few_photons(level, dtype):
    rng = np.random.default_rng(4)
    counts = rng.poisson(few_sources() + level).astype(dtype)
    found = prepare_observation(counts, psf=3.0)
    assert_allclose(np.sqrt(found.variance), np.sqrt(level), rtol=0.1)
    assert found.noise_correlation == 1


def test_whole_numbers_without_noise_are_not_noise():
    y, x = np.mgrid[:90, :90]
    discs = sum((np.hypot(x - a, y - b) < 12).astype(int)
                for a, b in [(20, 20), (35, 24), (60, 65)])
    assert_allclose(estimate_noise(discs), 2e-4, rtol=0.6)


@pytest.mark.parametrize('value', [9e5, 3e6, 1e18, -1e9])
def test_one_extreme_pixel_does_not_decide_for_the_noise(value):
    image = sky()
    image[7, 9] = value
    assert_allclose(estimate_noise(image), 1, rtol=0.02)
    wrong = impossible_pixels(image, 1.0)
    assert np.argwhere(wrong).tolist() == [[7, 9]]
    assert impossible_pixels(sky(), 1.0) is None


@pytest.mark.parametrize('fwhm', [1.2, 2.0, 6.0])
def test_a_very_bright_star_is_possible(fwhm):
    y, x = np.mgrid[:300, :300]
    star = 3e6 * np.exp(-4 * np.log(2) * ((x - 90)**2 + (y - 80)**2)
                        / fwhm**2)
    assert impossible_pixels(sky() + star, 1.0) is None
    assert_allclose(estimate_noise(sky() + star), 1, rtol=0.02)
    # nor does it hide all others in an image without noise
    others = few_sources(300, 100.0)
    assert_allclose(estimate_noise(others + star), estimate_noise(others),
                    rtol=1e-6)
