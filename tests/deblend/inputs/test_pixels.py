# Licensed under a 3-clause BSD style license - see LICENSE.rst
import warnings
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import astropy.units as u
import numpy as np
import pytest
from astropy.nddata import (
    CCDData,
    Cutout2D,
    FlagCollection,
    InverseVariance,
    NDData,
    StdDevUncertainty,
    UnknownUncertainty,
    VarianceUncertainty,
)
from astropy.utils.masked import Masked
from numpy.testing import assert_allclose, assert_array_equal

from vaephot.exceptions import (
    BandMismatchError,
    ShapeMismatchError,
    UnitMismatchError,
    VaephotWarning,
)

images = SimpleNamespace(**run_path(
    str(Path(__file__).with_name('_images.py'))))
make_data, make_wcs, prepare = (
    images.make_data, images.make_wcs, images.prepare)
NY, NX = images.NY, images.NX


@pytest.mark.parametrize('dtype', ['f2', 'f4', '>f4', '>f8', 'i2', '>i4',
                                   'u1', bool, 'f8'])
def test_every_real_dtype_and_byte_order(dtype):
    data = np.abs(make_data()).astype(dtype)
    data.flags.writeable = False
    obs = prepare(data)
    assert_array_equal(obs.data[0], data.astype(float))
    assert not np.shares_memory(obs.data, data)


@pytest.mark.parametrize('layout', ['list', 'fortran', 'reversed'])
def test_every_layout(layout):
    data = make_data()
    given = {'list': data.tolist(), 'fortran': np.asfortranarray(data),
             'reversed': data[::-1, ::-1].copy()[::-1, ::-1]}[layout]
    assert_array_equal(prepare(given).data[0], data)


def test_a_masked_array_masks():
    mask = make_data() > 3
    obs = prepare(np.ma.array(make_data(), mask=mask))
    assert_array_equal(obs.mask[0], mask)


@pytest.mark.parametrize('kind', [StdDevUncertainty, VarianceUncertainty,
                                  InverseVariance])
@pytest.mark.parametrize('unit', [None, u.nJy])
def test_nddata_brings_uncertainty_mask_unit_and_wcs(kind, unit):
    error = np.abs(make_data(seed=1)) + 1
    power = {StdDevUncertainty: 1, VarianceUncertainty: 2,
             InverseVariance: -2}[kind]
    mask = make_data() > 3
    wcs = make_wcs()
    data = NDData(make_data(), uncertainty=kind(error**power), mask=mask,
                  unit=unit, wcs=wcs)
    obs = prepare(data, error=None)
    assert_allclose(obs.variance[0], error**2)
    assert_array_equal(obs.mask[0], mask)
    assert obs.unit == unit
    assert obs.wcs is data.wcs
    assert not obs.error_estimated
    # the argument goes before the uncertainty
    unit = 1 if unit is None else unit
    assert_allclose(prepare(data, error=3 * unit).variance, 9)


def test_an_uncertainty_in_another_unit_is_converted():
    error = np.full((NY, NX), 2e-3)
    data = NDData(make_data(), unit=u.uJy, uncertainty=StdDevUncertainty(
        error, unit=u.mJy))
    assert_allclose(prepare(data, error=None).variance, 4)


def test_zero_inverse_variance_masks_without_a_warning():
    ivar = np.ones((NY, NX))
    ivar[4, 5] = 0
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        obs = prepare(CCDData(make_data(), unit='adu',
                              uncertainty=InverseVariance(ivar)), error=None)
    assert np.argwhere(obs.mask[0]).tolist() == [[4, 5]]


def test_an_unknown_uncertainty_raises():
    data = NDData(make_data(), uncertainty=UnknownUncertainty(make_data()))
    with pytest.raises(TypeError, match='UnknownUncertainty'):
        prepare(data, error=None)


def test_a_mapping_names_the_bands():
    data = {'r': make_data(seed=1), 'g': make_data(seed=2)}
    obs = prepare(data, psf={'g': 2.0, 'r': 3.0}, error={'r': 2, 'g': 1})
    assert obs.bands == ('r', 'g')
    assert_array_equal(obs.data[1], data['g'])
    assert_array_equal(obs.variance.ravel(), [4, 1])
    assert obs.psfs[0].fwhm > obs.psfs[1].fwhm
    obs = prepare(data, bands=('g', 'r'))
    assert obs.bands == ('g', 'r')
    assert_array_equal(obs.data[0], data['g'])
    assert not prepare({'g': data['g']}).is_2d


def test_a_mapping_of_nddata_is_brought_to_one_unit():
    data = {'a': NDData(make_data(), unit=u.uJy,
                        uncertainty=StdDevUncertainty(0 * make_data() + 1)),
            'b': NDData(make_data(), unit=u.nJy,
                        uncertainty=StdDevUncertainty(0 * make_data() + 1))}
    obs = prepare(data, error=None)
    assert obs.unit == u.uJy
    assert_allclose(obs.data[1], make_data() / 1000)
    assert_allclose(obs.variance[1], 1e-6)
    as_list = prepare(list(data.values()), error=None, bands=['a', 'b'])
    assert_array_equal(as_list.data, obs.data)


@pytest.mark.parametrize(('data', 'error', 'match'), [
    (make_data().ravel(), ShapeMismatchError, '1 dimensions'),
    (np.zeros((2, 2, 2, 2)), ShapeMismatchError, '4 dimensions'),
    (np.zeros((0, 5)), ShapeMismatchError, 'empty'),
    (make_data() + 0j, TypeError, 'complex'),
    (make_data().astype(str), TypeError, '<U'),
    (None, TypeError, 'NoneType'),
    (make_data() * u.ABmag, UnitMismatchError, 'logarithmic'),
    ({'g': make_data(2)}, ShapeMismatchError, '3 dimensions'),
    ({'g': make_data(), 'r': make_data()[1:]}, ShapeMismatchError,
     "'r' has shape .* no WCS"),
    ({'g': make_data(), 'r': make_data() * u.Jy}, UnitMismatchError, 'r'),
    ({'g': make_data() * u.s, 'r': make_data() * u.Jy}, UnitMismatchError,
     'converted'),
    ({'g': make_data(), 'r': NDData(
        make_data(), uncertainty=StdDevUncertainty(make_data()))},
     BandMismatchError, 'uncertainty'),
    ({}, BandMismatchError, 'name'),
    ({1: make_data()}, TypeError, 'strings')])
def test_data_that_cannot_be_used_raise(data, error, match):
    with pytest.raises(error, match=match):
        prepare(data)


@pytest.mark.parametrize('bands', [['g'], ['g', 'r', 'i'], ['g', 'g']])
def test_another_number_of_bands_raises(bands):
    with pytest.raises(BandMismatchError, match='bands'):
        prepare(make_data(2), bands=bands)
    with pytest.raises(BandMismatchError):
        prepare({'g': make_data(), 'r': make_data()}, bands=bands)


def test_one_name_may_be_a_string():
    assert prepare(make_data(), bands='VIS').bands == ('VIS',)


def test_nan_and_inf_are_masked():
    data = make_data()
    data[1, 2], data[3, 4] = np.nan, -np.inf
    obs = prepare(data)
    assert np.argwhere(obs.mask[0]).tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize('form', ['2d', '3d', 'mapping', 'int'])
def test_a_mask_may_be_common_or_per_band(form):
    mask = np.zeros((2, NY, NX), bool)
    mask[:, 3, 4] = True
    if form in ('3d', 'mapping'):
        mask[1, 5, 6] = True
    given = {'2d': mask[0], '3d': mask, 'int': 4 * mask[0].astype(int),
             'mapping': {'band2': mask[1], 'band1': mask[0]}}[form]
    assert_array_equal(prepare(make_data(2), mask=given).mask, mask)
    assert not prepare(make_data(2), mask=np.ma.nomask).mask.any()


def test_a_mask_of_another_shape_or_kind_raises():
    with pytest.raises(ShapeMismatchError, match='mask has shape'):
        prepare(make_data(), mask=np.zeros((NX, NY), bool))
    with pytest.raises(TypeError, match='float'):
        prepare(make_data(), mask=make_data())


@pytest.mark.parametrize('fill', [1e20, -1e20, 3.4e38, -3.4028235e38])
@pytest.mark.parametrize('error', [2.0, None])
@pytest.mark.parametrize('dtype', ['f4', 'f8'])
def test_fill_values_are_masked_and_said(fill, error, dtype):
    data = np.random.default_rng(3).normal(0, 2, (60, 70)).astype(dtype)
    data[:, :4] = data[20, 30] = fill
    with pytest.warns(VaephotWarning, match=r'241 pixels .* \(0, 0\)'):
        obs = prepare(data, error=error)
    assert_array_equal(obs.mask[0], abs(data) > 1e19)
    assert_allclose(np.sqrt(np.median(obs.variance)), 2, rtol=0.05)


def test_a_hot_pixel_is_masked_and_said():
    data = make_data()
    data[11, 22] = 4e6
    with pytest.warns(VaephotWarning, match=r"'band1' .*first, \(22, 11\)"):
        obs = prepare(data, error=None)
    assert np.argwhere(obs.mask[0]).tolist() == [[11, 22]]


def test_masked_carriers_of_astropy_mask():
    data = make_data()
    mask = data > 3
    for given in (Masked(data, mask), Masked(data << u.Jy, mask),
                  NDData(Masked(data, mask))):
        error = 2 * u.Jy if getattr(given, 'unit', None) else 2.0
        obs = prepare(given, error=error)
        assert_array_equal(obs.mask[0], mask)


@pytest.mark.parametrize(('data', 'match'), [
    (Cutout2D(make_data(), (20, 20), 20), r'Cutout2D; .*cutout\.data'),
    (object(), 'of type object'), ('image.fits', '<U')])
def test_what_is_no_image_is_told(data, match):
    with pytest.raises(TypeError, match=match):
        prepare(data)


# ------------------------------------------- what carries masks and errors
def hidden():
    bad = np.zeros((NY, NX), bool)
    bad[4:7, 5:9] = bad[20, 30] = True
    return bad


def flag_collection(bad):
    flags = FlagCollection(shape=bad.shape)
    flags['cosmic'] = bad.astype(np.uint8) * 4
    return flags


@pytest.mark.parametrize('make', [
    lambda data, bad: CCDData(data, unit='adu', flags=bad * 8),
    lambda data, bad: CCDData(data, unit='adu', flags=flag_collection(bad)),
    lambda data, bad: CCDData(data, unit='adu', mask=bad.astype('u8') << 40),
    lambda data, bad: NDData(Masked(data * u.adu, mask=bad)),
    lambda data, bad: NDData(np.ma.array(data, mask=bad), unit='adu')])
def test_every_carrier_of_a_mask_masks(make):
    obs = prepare(make(make_data(), hidden()), error=2 * u.adu)
    assert_array_equal(obs.mask[0], hidden())


@pytest.mark.parametrize('make', [
    lambda bad: bad.tolist(), lambda bad: NDData(bad * 3),
    lambda bad: np.ma.array(bad), lambda bad: Masked(bad),
    lambda bad: np.ma.array(0 * bad, mask=bad), lambda bad: [bad],
    lambda bad: {'band1': bad}, lambda bad: bad.astype('u8') << 63])
def test_every_kind_of_mask_is_one(make):
    assert_array_equal(prepare(make_data(), mask=make(hidden())).mask[0],
                       hidden())


def test_some_bands_may_have_no_mask():
    obs = prepare(make_data(2), mask=[hidden(), None])
    assert_array_equal(obs.mask, [hidden(), False & hidden()])


@pytest.mark.parametrize(('kind', 'power'), [
    (StdDevUncertainty, 1), (VarianceUncertainty, 2), (InverseVariance, -2)])
@pytest.mark.parametrize('unit', [None, u.uJy])
def test_errors_may_be_any_uncertainty(kind, power, unit):
    error = np.abs(make_data(seed=3)) + 1
    error[hidden()] = np.inf
    given = kind(error ** power,
                 unit=None if unit is None else u.nJy ** power)
    data = make_data() if unit is None else make_data() * 1e-3 * unit
    obs = prepare(data, error=given)
    assert_array_equal(obs.mask[0], hidden())
    scale = 1 if unit is None else 1e-3
    assert_allclose(obs.variance[~obs.mask] / obs.scale**2,
                    (error[~hidden()] * scale) ** 2)


def test_a_masked_error_masks():
    error = Masked(np.full((NY, NX), 2.0) * u.uJy, mask=hidden())
    obs = prepare(make_data() * u.uJy, error=error)
    assert_array_equal(obs.mask[0], hidden())
