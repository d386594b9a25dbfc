# Licensed under a 3-clause BSD style license - see LICENSE.rst
import dataclasses

import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable
from astropy.wcs import WCS
from numpy.testing import assert_allclose, assert_array_equal

from vaephot.exceptions import BandMismatchError, ShapeMismatchError
from vaephot.photometry import Measurements, make_table, pixel_scale

N = 4


def measure(n_bands=1, **fields):
    rng = np.random.default_rng(8)
    whole = {name: np.arange(N) + i for i, name in enumerate(
        ['label', 'parent_label', 'n_blended', 'area', 'flags'])}
    single = {name: rng.random(N) for name in (
        'x', 'y', 'x_err', 'y_err', 'half_light_radius', 'axis_ratio',
        'orientation', 'reduced_chi2')}
    many = {name: rng.random((N, n_bands)) for name in (
        'flux', 'flux_err', 'blendedness')}
    return Measurements(**{**whole, **single, **many, **fields})


@pytest.fixture(name='wcs')
def _wcs():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = 'RA---TAN', 'DEC--TAN'
    wcs.wcs.crval = 150.1, 2.2
    wcs.wcs.crpix = 10, 12
    wcs.wcs.cdelt = -0.2 / 3600, 0.1 / 3600
    return wcs


COLUMNS = ['label', 'parent_label', 'x_centroid', 'y_centroid', 'x_err',
           'y_err', 'sky_centroid', 'n_blended', 'p_source', 'p_point',
           'area', 'half_light_radius', 'axis_ratio', 'orientation', 'flux',
           'flux_err', 'mag', 'mag_err', 'snr', 'blendedness',
           'reduced_chi2', 'flags']


def test_all_columns_in_order(wcs):
    m = measure(p_source=np.ones(N), p_point=np.zeros(N))
    table = make_table(m, bands=['r'], zeropoint=25, wcs=wcs, is_2d=True)
    assert table.colnames == COLUMNS
    assert type(table) is QTable


def test_columns_that_need_something_are_left_out():
    table = make_table(measure(), bands=['r'], is_2d=True)
    assert table.colnames == [
        name for name in COLUMNS if name not in
        ('sky_centroid', 'mag', 'mag_err')]
    assert 'zeropoint' not in table.meta


def test_unknown_probabilities_are_nan():
    table = make_table(measure(), bands=['r'], is_2d=True)
    assert np.isnan(table['p_source']).all()
    assert np.isnan(table['p_point']).all()


def test_meta_hold_the_zeropoints():
    table = make_table(measure(2), bands=['VIS', 'H'], zeropoint=25)
    assert table.meta == {'zeropoint_VIS': 25.0, 'zeropoint_H': 25.0}
    one = make_table(measure(), bands=['r'], zeropoint=24, is_2d=True)
    assert one.meta == {'zeropoint': 24.0}


def test_several_bands_have_suffixes():
    m = measure(2)
    table = make_table(m, bands=['VIS', 'H'], zeropoint=[20, 25],
                       unit=u.nJy)
    names = table.colnames
    first = names.index('flux_VIS')
    assert names[first:] == [
        f'{name}_{band}' for name in ('flux', 'flux_err', 'mag', 'mag_err',
                                      'snr', 'blendedness')
        for band in ('VIS', 'H')] + ['reduced_chi2', 'flags']
    assert_array_equal(table['flux_H'], m.flux[:, 1] * u.nJy)
    assert_allclose(table['mag_H'].value, 25 - 2.5 * np.log10(m.flux[:, 1]))
    assert_allclose(table['snr_VIS'], m.flux[:, 0] / m.flux_err[:, 0])


def test_units(wcs):
    m = measure()
    table = make_table(m, bands=['r'], unit=u.uJy, zeropoint=23.9, wcs=wcs,
                       is_2d=True)
    assert table['flux'].unit == table['flux_err'].unit == u.uJy
    assert table['mag'].unit == u.ABmag
    assert table['mag_err'].unit == u.mag
    assert table['orientation'].unit == u.deg
    assert_allclose(table['orientation'].value, np.rad2deg(m.orientation))
    assert_allclose(table['half_light_radius'].to_value(u.arcsec),
                    m.half_light_radius * 0.1 * np.sqrt(2))
    want = wcs.pixel_to_world(m.x, m.y)
    assert table['sky_centroid'].separation(want).max() < 1e-9 * u.arcsec
    plain = make_table(m, bands=['r'], is_2d=True)
    assert plain['half_light_radius'].unit == u.pix
    assert plain['flux'].unit is None


def test_orientation_may_have_a_unit():
    m = measure(orientation=np.full(N, 30) * u.deg)
    table = make_table(m, bands=['r'], is_2d=True)
    assert_allclose(table['orientation'].value, 30)


def test_orientation_is_wrapped_as_photutils_does():
    m = measure(orientation=np.array([-90, 100, -260, 90]) * u.deg)
    table = make_table(m, bands=['r'], is_2d=True)
    assert_allclose(table['orientation'].value, [90, -80, -80, 90])


def test_negative_flux_and_zero_error_are_kept():
    m = measure(flux=np.array([[-1.0], [0], [2], [3]]),
                flux_err=np.array([[1.0], [1], [0], [np.nan]]))
    table = make_table(m, bands=['r'], zeropoint=20, is_2d=True)
    assert_array_equal(table['flux'], [-1, 0, 2, 3])
    assert np.isnan(table['mag'].value).tolist() == [True, True, False,
                                                     False]
    assert table['snr'][2] == np.inf


def test_no_sources(wcs):
    m = measure(2)
    empty = Measurements(**{
        field.name: getattr(m, field.name)[:0]
        for field in dataclasses.fields(m)
        if getattr(m, field.name) is not None})
    table = make_table(empty, bands=['a', 'b'], unit=u.nJy, zeropoint=1,
                       wcs=wcs, meta={'version': '1'})
    assert len(table) == 0
    assert table['flux_a'].unit == u.nJy
    assert len(table['sky_centroid']) == 0
    assert table.meta == {'version': '1', 'zeropoint_a': 1,
                          'zeropoint_b': 1}


def test_rotated_pixels_and_units_of_the_wcs(wcs):
    angle = np.deg2rad(30)
    wcs.wcs.cdelt = 0.1, 0.1
    wcs.wcs.cunit = 'arcsec', 'arcsec'
    wcs.wcs.pc = [[np.cos(angle), -np.sin(angle)],
                  [np.sin(angle), np.cos(angle)]]
    assert pixel_scale(wcs).to_value(u.arcsec) == pytest.approx(0.1)


def test_scale_of_another_kind_of_wcs(wcs):
    class Other:
        pixel_to_world = wcs.pixel_to_world

    assert pixel_scale(Other()).to_value('arcsec') == pytest.approx(
        0.1 * np.sqrt(2), rel=1e-4)


@pytest.mark.parametrize(('name', 'shape'), [
    ('x', (N + 1,)), ('flux_err', (N, 3)), ('flux', (N,)),
    ('flux', (N + 1, 1)), ('flags', (N, 1))])
def test_wrong_shapes_are_refused(name, shape):
    with pytest.raises(ShapeMismatchError, match='4 sources'):
        measure(**{name: np.zeros(shape)})


@pytest.mark.parametrize(('bands', 'kwargs'), [
    (['a'], {}), (['a', 'a'], {}), (['a', 'b'], {'is_2d': True}),
    (['a', 'b'], {'zeropoint': [1, 2, 3]})])
def test_bands_must_agree(bands, kwargs):
    with pytest.raises(BandMismatchError, match='a'):
        make_table(measure(2), bands=bands, **kwargs)
