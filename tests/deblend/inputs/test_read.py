# Licensed under a 3-clause BSD style license - see LICENSE.rst
import tracemalloc
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import astropy.units as u
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from vaephot.deblend.inputs.read import prepare_observation
from vaephot.exceptions import PSFError

images = SimpleNamespace(**run_path(
    str(Path(__file__).with_name('_images.py'))))
make_data, prepare = images.make_data, images.prepare


def test_a_2d_image_is_one_band():
    data = make_data()
    obs = prepare(data)
    assert_array_equal(obs.data[0], data)
    assert obs.is_2d
    assert obs.bands == ('band1',)
    assert obs.unit is obs.zeropoint is obs.gain is obs.wcs is None
    assert_array_equal(obs.variance, [[[4.0]]])
    assert not obs.error_estimated
    assert not obs.psf_estimated


def test_a_cube_has_bands_along_its_first_axis():
    data = make_data(3)
    obs = prepare(data, bands=['g', 'r', 'i'], error=[1, 2, 3])
    assert_array_equal(obs.data, data)
    assert obs.bands == ('g', 'r', 'i')
    assert_array_equal(obs.variance.ravel(), [1, 4, 9])
    assert not obs.is_2d
    assert prepare(data[:1]).is_2d is False


def test_inputs_are_neither_changed_nor_kept():
    data = make_data(2)
    data[0, 3, 4] = np.nan
    error = np.full(data.shape, 2.0)
    error[1, 5, 6] = -1
    mask = np.zeros(data.shape, bool)
    mask[0, 1, 1] = True
    before = [a.copy() for a in (data, error, mask)]
    obs = prepare(data, error=error, mask=mask)
    for array in (obs.data, obs.variance, obs.mask):
        array[...] = 1
    for array, old in zip((data, error, mask), before, strict=True):
        assert_array_equal(array, old)


def test_a_quantity_gives_its_unit_and_zeropoint():
    obs = prepare(make_data() << u.uJy, error=2 * u.uJy)
    assert obs.unit == u.uJy
    assert_allclose(obs.zeropoint, 23.9, atol=1e-3)
    obs = prepare(make_data() << u.uJy, error=2e-3 * u.mJy, zeropoint=20)
    assert_allclose(obs.variance, 4)
    assert_array_equal(obs.zeropoint, [20])


def test_a_missing_error_is_estimated_per_band():
    rng = np.random.default_rng(2)
    data = rng.normal(0, [[[1.0]], [[5.0]]], (2, 200, 200))
    data[:, 50:60, 50:60] += 1000
    data[0, 3, 3] = np.nan
    obs = prepare(data, error=None)
    assert obs.error_estimated
    assert_allclose(np.sqrt(obs.variance.ravel()), [1, 5], rtol=0.05)


def test_the_psf_is_estimated_if_missing():
    yy, xx = np.mgrid[:80, :90]
    data = sum(500 * np.exp(-0.5 * ((xx - x)**2 + (yy - y)**2) / 1.7**2)
               for x, y in [(25, 25), (60, 30), (40, 60)])
    data = data + np.random.default_rng(1).normal(0, 1, data.shape)
    obs = prepare(np.stack([data, data]), psf=None, error=1.0)
    assert obs.psf_estimated
    assert_allclose([p.fwhm for p in obs.psfs], 4, rtol=0.05)
    with pytest.raises(PSFError):
        prepare(data, psf=-1)


@pytest.mark.parametrize('unit', [1e-30, 3e-18, 1e-7, 1e7, 2e18, 1e30])
@pytest.mark.parametrize('error', [None, 2.0])
def test_extreme_numbers_are_scaled_by_a_power_of_2(unit, error):
    data = make_data(2)
    options = {'gain': 10 / unit, 'zeropoint': 25.0, 'psf': 3.0}
    obs = prepare(data * unit, **options, error=error and error * unit)
    assert np.log2(obs.scale) == round(np.log2(obs.scale))
    assert_allclose(obs.data, data * unit * obs.scale, rtol=1e-12)
    assert 0.5 < np.sqrt(obs.variance[0, 0, 0]) < 2
    # electrons and magnitudes stay what they were
    assert_allclose(obs.data * obs.gain[0], 10 * data, rtol=1e-12)
    assert_allclose(obs.zeropoint - 2.5 * np.log10(obs.scale), 25)


def test_ordinary_numbers_are_not_scaled():
    for unit in (1e-5, 1.0, 1e5):
        obs = prepare(make_data() * unit, error=2 * unit)
        assert obs.scale == 1
        assert_array_equal(obs.data[0], make_data() * unit)


def test_memory_is_bounded():
    image = np.random.default_rng(0).normal(
        0, 1, (1500, 1500)).astype(np.float32)
    prepare_observation(image)
    tracemalloc.start()
    obs = prepare_observation(image)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 9.5 * obs.data.size
    assert peak < 20 * obs.data.size
