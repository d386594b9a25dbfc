# Licensed under a 3-clause BSD style license - see LICENSE.rst
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import astropy.units as u
import numpy as np
import pytest
from astropy.nddata import CCDData, NDData
from astropy.wcs import WCS
from numpy.testing import assert_allclose, assert_array_equal

from vaephot.deblend.inputs.read import prepare_observation
from vaephot.exceptions import (
    BandMismatchError,
    ShapeMismatchError,
    VaephotWarning,
)

images = SimpleNamespace(**run_path(
    str(Path(__file__).with_name('_images.py'))))
make_data, make_wcs, prepare = (
    images.make_data, images.make_wcs, images.prepare)


def test_bands_on_one_grid_share_their_wcs():
    data = {name: CCDData(make_data(), unit='Jy', wcs=make_wcs(x0))
            for name, x0 in (('g', 10), ('r', 10.01))}
    obs = prepare(data, error=1 * u.Jy)
    assert obs.wcs is data['g'].wcs
    wcs = make_wcs()
    assert prepare(data, error=1 * u.Jy, wcs=wcs).wcs is wcs
    assert prepare(make_data(2), wcs=[wcs, None]).wcs is wcs


@pytest.mark.parametrize('other', [make_wcs(11), make_wcs(10, 3e-4)])
def test_bands_on_other_grids_are_layers(other):
    data = {'g': CCDData(make_data(), unit='Jy', wcs=make_wcs()),
            'r': CCDData(1e3 * make_data(), unit='mJy', wcs=other)}
    native = prepare_observation(data, error=[1, 2] * u.Jy, psf=2.0)
    assert [layer.bands for layer in native.layers] == [('g',), ('r',)]
    assert native.reference is native.layers[0]
    assert_allclose(native.layers[1].data, native.layers[0].data)
    assert_array_equal(native.layers[1].variance, [[[4.0]]])
    assert native.maps[0].is_identity
    x, y = native.maps[1]([5.0], [6.0])
    sky = make_wcs().pixel_to_world(5.0, 6.0)
    assert other.pixel_to_world(x[0], y[0]).separation(sky).arcsec < 1e-6


def native_inputs():
    coarse = make_wcs(20, 3e-4)
    return {
        'data': {'g': NDData(make_data(), wcs=make_wcs()),
                 'H': NDData(make_data()[:30, :20], wcs=coarse),
                 'r': NDData(2 * make_data(), wcs=make_wcs()),
                 'J': NDData(make_data()[:30, :20] + 1, wcs=coarse)}}


def test_each_grid_gets_its_share_of_every_argument():
    errors = {'g': 1.0, 'H': np.full((30, 20), 2.0), 'r': 3.0,
              'J': np.full((30, 20), 4.0)}
    masks = {name: np.zeros((40, 50) if name in 'gr' else (30, 20), bool)
             for name in 'gHrJ'}
    masks['J'][3, 4] = True
    native = prepare_observation(
        **native_inputs(), error=errors, mask=masks, gain=[1, 2, 3, 4],
        psf={'g': 2.0, 'H': 4.0, 'r': 3.0, 'J': 5.0}, zeropoint=[1, 2, 3, 4],
        noise_correlation=[1, 1, 2, 3])
    first, second = native.layers
    assert first.bands == ('g', 'r')
    assert second.bands == ('H', 'J')
    assert_array_equal(first.gain, [1, 3])
    assert_array_equal(second.noise_correlation, [1, 3])
    assert_array_equal(native.zeropoint, [1, 2, 3, 4])
    assert_allclose([psf.fwhm for psf in second.psfs], [4, 5], rtol=0.01)
    assert_array_equal(second.variance[1], 16)
    assert second.mask[1, 3, 4]
    assert not second.mask[0].any()
    assert [list(rows) for rows in native.rows] == [[0, 2], [1, 3]]
    frames = native.by_band([layer.data for layer in native.layers])
    assert list(frames) == list('gHrJ')
    assert_array_equal(frames['J'], second.data[1])


def test_arguments_of_grids_are_checked():
    with pytest.raises(BandMismatchError, match='gain'):
        prepare_observation(**native_inputs(), gain=[1, 2], psf=2.0)
    with pytest.raises(ShapeMismatchError, match='mask'):
        prepare_observation(**native_inputs(), psf=2.0,
                            mask=np.zeros((40, 50), bool))


def test_shapes_differ_on_one_grid():
    wcs = make_wcs()
    native = prepare_observation({'g': make_data(), 'r': make_data()[:9]},
                                 wcs=wcs, psf=2.0)
    assert len(native.layers) == 2
    assert native.maps[1].is_identity


def header_wcs(*types):
    wcs = WCS(naxis=len(types))
    wcs.wcs.ctype = types
    wcs.wcs.cdelt = [1e-4] * len(types)
    return wcs


@pytest.mark.parametrize('wcs', [WCS(naxis=2), header_wcs('FREQ', 'STOKES'),
                                 header_wcs('WAVE')])
def test_coordinates_that_are_not_celestial_are_refused(wcs):
    for given in (wcs, [wcs], {'band1': wcs}):
        with pytest.raises(ValueError, match='wcs.* celestial'):
            prepare(make_data(), wcs=given)
    with pytest.raises(TypeError, match='of type str'):
        prepare(make_data(), wcs='file.fits')


def test_the_celestial_axes_of_more_are_used():
    wcs = header_wcs('RA---TAN', 'DEC--TAN', 'FREQ', 'STOKES')
    assert prepare(make_data(), wcs=wcs).wcs.naxis == 2


def test_other_coordinates_that_came_along_are_left_out():
    data = NDData(make_data(), wcs=header_wcs('FREQ', 'STOKES'))
    with pytest.warns(VaephotWarning, match='It is not used'):
        assert prepare(data).wcs is None
