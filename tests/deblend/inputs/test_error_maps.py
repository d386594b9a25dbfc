# Licensed under a 3-clause BSD style license - see LICENSE.rst
import re
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import astropy.units as u
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import gaussian_filter

from vaephot.deblend.inputs.error_maps import warn_background
from vaephot.exceptions import (
    BandMismatchError,
    ShapeMismatchError,
    UnitMismatchError,
    VaephotWarning,
)

images = SimpleNamespace(**run_path(
    str(Path(__file__).with_name('_images.py'))))
make_data, prepare = images.make_data, images.prepare
NY, NX = images.NY, images.NX


@pytest.mark.parametrize('form', ['map', 'list', 'mapping', 'mixed', 'masked',
                                  'quantities'])
def test_forms_of_the_error(form):
    data = make_data(2)
    error = np.abs(make_data(2, seed=3)) + 1
    if form == 'mixed':
        error[0] = 2.0
    given = {'map': error, 'list': list(error),
             'mapping': dict(zip(('band1', 'band2'), error, strict=True)),
             'mixed': {'band1': 2.0, 'band2': error[1]},
             'masked': np.ma.array(error, mask=error > 3),
             'quantities': [e << u.mJy for e in error]}[form]
    if form == 'quantities':
        data = data << u.mJy
    obs = prepare(data, error=given)
    good = ~obs.mask
    assert_allclose(obs.variance[good], error[good]**2)
    assert_array_equal(obs.mask, error > 3 if form == 'masked' else False)


@pytest.mark.parametrize('bad', [0.0, -1.0, np.nan, np.inf])
def test_single_bad_errors_mask_and_whole_ones_raise(bad):
    error = np.full((NY, NX), 2.0)
    error[7, 8] = bad
    obs = prepare(make_data(), error=error)
    assert np.argwhere(obs.mask[0]).tolist() == [[7, 8]]
    assert_array_equal(obs.variance, 4)
    for given in (bad, [bad], np.full((NY, NX), bad)):
        with pytest.raises(ValueError, match=f"'band1' is {bad}"):
            prepare(make_data(), error=given)


@pytest.mark.parametrize('bad', [0.0, -1.0, np.nan, np.inf])
def test_a_band_without_any_weight_has_no_data(bad):
    error = np.full((2, NY, NX), 2.0)
    error[1] = bad
    with pytest.warns(VaephotWarning, match="'band2' .* no data"):
        obs = prepare(make_data(2), error=error)
    assert obs.mask[1].all()
    assert not obs.mask[0].any()
    with pytest.raises(ValueError, match='band1'):
        prepare(make_data(2), error=np.full((2, NY, NX), bad))


@pytest.mark.parametrize(('given', 'error', 'match'), [
    (np.ones((NX, NY)), ShapeMismatchError, r'\(50, 40\)'),
    ([1, 2, 3], BandMismatchError, '3 entries'),
    ({'g': 1}, BandMismatchError, 'g'),
    (np.ones((NY, NX)), ShapeMismatchError, 'error has shape'),
    (2 * u.Jy, UnitMismatchError, 'no unit'),
    (1e-200, ValueError, 'out of range'),
    (1j, TypeError, 'complex')])
def test_errors_that_do_not_fit_raise(given, error, match):
    with pytest.raises(error, match=match):
        prepare(make_data(2), error=given)


def test_units_of_data_and_error_must_agree():
    data = make_data() << u.Jy
    for error in (2.0, 2 * u.s):
        with pytest.raises(UnitMismatchError, match='error'):
            prepare(data, error=error)


@pytest.mark.parametrize(('given', 'want'), [
    (None, [1, 1]), (2, [2, 2]), ([1.5, None], [1.5, 1]),
    (np.ones((3, 3)), [3, 3]), ([np.eye(3), 2], [3**0.5, 2]),
    (5 * np.ones((2, 3, 3)), [3, 3]), ({'band2': 3, 'band1': 1}, [1, 3]),
    (np.array([1.0, 3.0]), [1, 3])])
def test_the_noise_correlation_becomes_a_factor(given, want):
    obs = prepare(make_data(2), noise_correlation=given)
    assert_allclose(obs.noise_correlation, want)


@pytest.mark.parametrize(('given', 'error'), [
    (0, ValueError), (-1, ValueError), (np.nan, ValueError),
    (-np.ones((3, 3)), ValueError), ([1, 2, 3], BandMismatchError),
    ([np.ones(3), 1], ShapeMismatchError)])
def test_a_noise_correlation_out_of_range_raises(given, error):
    with pytest.raises(error, match='noise_correlation'):
        prepare(make_data(2), noise_correlation=given)


# ------------------------------------------------- what cannot be an error
def sky(size, seed=1):
    return np.random.default_rng(seed).normal(0, 2.0, (size, size))


@pytest.mark.parametrize(('error', 'match'), [
    (0.5, 'is 0.5, but large areas'), (7.0, 'is 7, but large areas'),
    (4.0 + 6.0, 'is 10, but large areas'),
    (0.25, 'is 0.25 as an inverse variance would be')])
def test_an_error_that_the_sky_contradicts_is_told(error, match):
    with pytest.warns(VaephotWarning, match=match):
        prepare(sky(160), error=error)


@pytest.mark.parametrize('factor', [0.5, 2.0])
def test_an_error_that_may_be_one_is_not(factor):
    prepare(sky(160), error=2 * factor)
    prepare(sky(40), error=2 * factor)
    # resampled pixels scatter less than what is right for areas
    image = gaussian_filter(sky(200), 2) * 0.5
    prepare(image, error=1.0)


def test_with_little_sky_only_much_too_little_is_told():
    image, _ = images.crowded(2500)
    with pytest.warns(VaephotWarning, match='pixels of the sky scatter'):
        prepare(image, error=0.2)
    prepare(image, error=20.0)
    small = sky(24)
    prepare(small, error=0.5)
    with pytest.warns(VaephotWarning, match='the pixels scatter'):
        prepare(small, error=0.02)
    prepare(small * 0, error=0.02)


@pytest.mark.parametrize('level', [1e4, -1e4, 20.0])
def test_a_background_is_told(level):
    with pytest.warns(VaephotWarning, match=re.escape(
            f'background of {level:.2g}')):
        warn_background(prepare(sky(60) + level))


def test_what_is_no_background_is_not_told():
    warn_background(prepare(sky(60) + 8))
    warn_background(prepare(sky(40) + 1e4))  # may be the middle of a galaxy
    image, _ = images.crowded(2500)
    warn_background(prepare(image, error=1.0))


def test_a_background_is_told_in_the_unit_of_the_data():
    with pytest.warns(VaephotWarning, match='of 5.*e-17, 5'):
        warn_background(prepare(1e-20 * (sky(60) + 5010), error=1e-19))
