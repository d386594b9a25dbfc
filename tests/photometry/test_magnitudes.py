# Licensed under a 3-clause BSD style license - see LICENSE.rst
import astropy.units as u
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from vaephot.photometry import (
    ab_magnitude,
    ab_magnitude_error,
    zeropoint_of_unit,
)


@pytest.mark.parametrize(('unit', 'want'), [
    (u.uJy, 23.9), (u.nJy, 31.4), (u.Jy, 8.9), (u.ABflux, 0),
    (10 * u.nJy, 28.9), (u.nmgy, 22.5), (u.Unit('erg s-1 cm-2 Hz-1'), -48.6)])
def test_zeropoint_of_flux_units(unit, want):
    assert zeropoint_of_unit(unit) == pytest.approx(want, abs=1e-3)


@pytest.mark.parametrize('unit', [None, u.adu, u.electron / u.s, u.m,
                                  u.dimensionless_unscaled])
def test_no_zeropoint_of_other_units(unit):
    assert zeropoint_of_unit(unit) is None


def test_magnitude_agrees_with_astropy():
    flux = np.array([0.01, 1, 33.3])
    assert_allclose(ab_magnitude(flux, zeropoint_of_unit(u.uJy)),
                    (flux * u.uJy).to_value(u.ABmag), rtol=1e-14)


def test_magnitude_of_no_flux_is_nan():
    assert_array_equal(ab_magnitude([0, -1, np.nan], 20), np.nan)
    assert_array_equal(ab_magnitude_error([0, -1, np.nan], 1.0), np.nan)


def test_zeropoint_per_band():
    got = ab_magnitude([[10, 100], [1, 1]], [20, 25])
    assert_allclose(got, [[17.5, 20], [20, 25]])


def test_error_is_the_derivative():
    step = 1e-4
    want = (ab_magnitude(50 - step, 20) - ab_magnitude(50 + step, 20)) / 2
    assert_allclose(ab_magnitude_error(50, step), want, rtol=1e-6)
