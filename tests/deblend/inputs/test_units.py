# Licensed under a 3-clause BSD style license - see LICENSE.rst
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import astropy.units as u
import numpy as np
import pytest
from astropy.nddata import NDData, StdDevUncertainty
from astropy.wcs import Sip
from numpy.testing import assert_allclose, assert_array_equal

from vaephot.deblend.inputs.read import prepare_observation
from vaephot.deblend.inputs.units import flux_unit, pixel_areas
from vaephot.exceptions import BandMismatchError, UnitMismatchError

images = SimpleNamespace(**run_path(
    str(Path(__file__).with_name('_images.py'))))
NY, NX = images.NY, images.NX
make_data, make_wcs, prepare = (
    images.make_data, images.make_wcs, images.prepare)


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


# --------------------------------------------------- surface brightness
def surface_brightness(flux, scale, unit=u.MJy / u.sr):
    """Image of fluxes per pixel [nJy] as a surface brightness, and WCS."""
    area = (scale * u.deg)**2
    return (flux * u.nJy / area).to(unit), make_wcs(20, scale)


@pytest.mark.parametrize('unit', [u.MJy / u.sr, u.Jy / u.arcsec**2,
                                  u.nJy / u.mas**2])
@pytest.mark.parametrize('form', ['argument', 'nddata', 'list'])
def test_surface_brightness_becomes_flux_per_pixel(unit, form):
    flux = make_data()
    data, wcs = surface_brightness(flux, 1e-5, unit)
    error = surface_brightness(2.0, 1e-5, unit)[0]
    if form == 'argument':
        obs = prepare(data, error=error, wcs=wcs)
    elif form == 'nddata':
        obs = prepare(NDData(data, wcs=wcs, uncertainty=StdDevUncertainty(
            np.full(flux.shape, error.value))), error=None)
    else:
        obs = prepare([NDData(data, wcs=wcs)] * 2, error=[error] * 2)
    assert obs.unit == u.uJy
    assert_allclose(obs.data[0], 1e-3 * flux, rtol=1e-6)
    assert_allclose(obs.variance, 4e-6, rtol=1e-6)
    assert_allclose(obs.zeropoint, 23.9, atol=1e-3)


def test_the_error_of_a_surface_brightness_may_be_a_flux():
    data, wcs = surface_brightness(make_data(2), 1e-5)
    for error in (2 * u.nJy, [2, 2] * u.nJy, np.full((2, NY, NX), 2) * u.nJy):
        obs = prepare(data, error=error, wcs=wcs)
        assert_allclose(obs.variance, 4e-6, rtol=1e-6)


def test_bands_of_other_pixels_have_their_own_areas():
    flux = make_data()
    data = {}
    for name, scale in (('a', 1e-5), ('b', 2e-5)):
        values, wcs = surface_brightness(flux, scale)
        data[name] = NDData(values, wcs=wcs)
    native = prepare_observation(data, error=[2, 2] * u.nJy, psf=2.0)
    for layer in native.layers:
        assert_allclose(layer.data[0], 1e-3 * flux, rtol=1e-6)


def test_areas_follow_the_distortion_of_the_pixels():
    wcs = make_wcs(25, 1e-4)
    wcs.wcs.ctype = 'RA---TAN-SIP', 'DEC--TAN-SIP'
    a = np.zeros((3, 3))
    a[2, 0] = 1e-3
    wcs.sip = Sip(a, np.zeros((3, 3)), None, None, wcs.wcs.crpix)
    area = pixel_areas(wcs, (NY, NX))
    x = np.arange(NX) - 24
    want = np.deg2rad(1e-4)**2 * np.abs(1 + 2e-3 * x)
    assert_allclose(area, np.broadcast_to(want, (NY, NX)), rtol=1e-3)
    flat = pixel_areas(make_wcs(25, 1e-4), (NY, NX))
    assert_allclose(flat, np.deg2rad(1e-4)**2, rtol=1e-5)


@pytest.mark.parametrize(('unit', 'flux'), [
    (u.MJy / u.sr, u.uJy), (u.electron / u.s / u.arcsec**2,
                            u.electron / u.s), (u.Jy, None), (u.adu, None),
    (u.rad, None), (u.Jy / u.beam, None), (None, None)])
def test_which_units_are_surface_brightness(unit, flux):
    assert flux_unit(unit) == flux


def test_without_coordinates_the_unit_stays():
    data = make_data() << u.MJy / u.sr
    assert prepare(data, error=2 * data.unit).unit == u.MJy / u.sr
