# Licensed under a 3-clause BSD style license - see LICENSE.rst
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import astropy.units as u
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from vaephot.exceptions import (
    BandMismatchError,
    UnitMismatchError,
)

images = SimpleNamespace(**run_path(
    str(Path(__file__).with_name('_images.py'))))
make_data, prepare = images.make_data, images.prepare


@pytest.mark.parametrize(('unit', 'zeropoint'), [
    (u.Jy, 8.9), (u.nJy, 31.4), (u.nmgy, 22.5), (u.AB, 0), (u.adu, None),
    (u.electron / u.s, None), (u.erg / u.s / u.cm**2 / u.Hz, -48.6)])
def test_the_zeropoint_follows_the_unit(unit, zeropoint):
    obs = prepare(make_data() << unit, error=2 * unit)
    if zeropoint is None:
        assert obs.zeropoint is None
    else:
        assert_allclose(obs.zeropoint, zeropoint, atol=0.002)


@pytest.mark.parametrize(('gain', 'want'), [
    (2, [2, 2]), ([2, 3], [2, 3]), ({'band2': 3, 'band1': 2}, [2, 3])])
def test_the_gain_may_be_common_or_per_band(gain, want):
    obs = prepare(make_data(2), gain=gain)
    assert_array_equal(obs.gain, want)


def test_a_gain_with_a_unit_gives_electrons():
    adu = make_data() << u.adu
    gain = 2 * u.electron / u.adu
    assert_array_equal(prepare(adu, error=2 * u.adu, gain=gain).gain, [2])
    rate = make_data() << u.electron / u.s
    obs = prepare(rate, error=2 * rate.unit, gain=1 * u.hour)
    assert_allclose(obs.gain, [3600])
    with pytest.raises(UnitMismatchError, match='electrons'):
        prepare(adu, error=2 * u.adu, gain=2 * u.Jy)


@pytest.mark.parametrize('gain', [0, -1, np.nan, np.inf])
def test_a_gain_out_of_range_raises(gain):
    with pytest.raises(ValueError, match='gain is'):
        prepare(make_data(), gain=gain)


@pytest.mark.parametrize('given', [25, [25, 25], 25 * u.ABmag, 25 * u.mag,
                                   {'band1': 25, 'band2': 25}])
def test_the_zeropoint_may_be_common_or_per_band(given):
    obs = prepare(make_data(2), zeropoint=given)
    assert_array_equal(obs.zeropoint, [25, 25])


def test_a_zeropoint_that_is_none_raises():
    with pytest.raises(UnitMismatchError, match='Jy'):
        prepare(make_data(), zeropoint=3 * u.Jy)
    with pytest.raises(ValueError, match='zeropoint is'):
        prepare(make_data(), zeropoint=np.nan)
    with pytest.raises(BandMismatchError):
        prepare(make_data(), zeropoint=[1, 2])
