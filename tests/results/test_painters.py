# Licensed under a 3-clause BSD style license - see LICENSE.rst
from pathlib import Path
from runpy import run_path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from vaephot.results.painters import (
    asinh_stretch,
    band_painter,
    box_window,
    color_painter,
    make_rgb,
    make_scene,
    noise_of,
    value_with_error,
)

make_result = run_path(
    str(Path(__file__).parents[1] / '_blends.py'))['make_result']


def test_stretch_is_monotonic_and_bounded():
    got = asinh_stretch(np.array([-99, -1.5, 0, 1, 50, 100, 1e5]), 1.0, 100)
    assert got[0] == got[1] == 0
    assert got[5] == got[6] == 1
    assert (np.diff(got[1:6]) > 0).all()


def test_colours_keep_their_hue_in_bright_pixels():
    images = np.full((3, 1, 2), [10.0, 1e5])
    images[0] *= 2
    rgb = make_rgb(images, [1, 1, 1], 1.0, 1e3)
    assert rgb.min() >= 0
    assert rgb.max() <= 1
    assert (rgb[..., 0] > rgb[..., 1]).all()


def test_noise_of_images():
    image = np.random.default_rng(1).normal(3, 2, (100, 100))
    image[0, :5] = np.nan, 1e9, 1e9, 1e9, 1e9
    assert noise_of(image) == pytest.approx(2, rel=0.05)
    assert noise_of(np.zeros((3, 3))) == 1
    assert noise_of(np.full((3, 3), np.nan)) == 1


@pytest.mark.parametrize(('value', 'error', 'want'), [
    (120.04, 0.0569, '120.040 ± 0.057'), (12, 340.0, '12 ± 340'),
    (-3.21, 1.26, '-3.2 ± 1.3'), (np.nan, 1.0, 'nan'),
    (1.5e-9, 2e-10, '1.5e-09 ± 2e-10'), (5.0, np.nan, '5')])
def test_flux_is_written_to_the_digits_of_its_error(value, error, want):
    assert value_with_error(value, error) == want


def test_scene_holds_the_window_and_nothing_else():
    result = make_result(mask_some=True)
    window = box_window([result[2], result[3]], (70, 90))
    scene = make_scene(result, [result[3]], window)
    assert_array_equal(scene.model,
                       result.model_image.value[:, *window])
    want = result.make_source_image(3).value[:, *window]
    assert_array_equal(scene.images[0], want)
    mask = result.mask[:, *window]
    assert_array_equal(np.isnan(scene.data), mask)
    assert scene.extent[0] == window[1].start - 0.5


def test_windows_end_at_the_frame():
    result = make_result(1)
    y, x = box_window(result.sources, (70, 90))
    assert (y.stop, x.start) == (70, 0)
    assert x.stop == 4 + max(s.slices[1].stop for s in result)


def test_painters_measure_residuals_in_sigma():
    result = make_result()
    cube = result.residual_image.value
    for painter in (band_painter(result, 1), color_painter(result)):
        assert np.std(painter.residual(cube)) == pytest.approx(1, abs=0.05)
        picture = painter.scaled_to(result.data.value).image(
            result.data.value)
        assert picture.min() >= 0
        assert picture.max() <= 1
