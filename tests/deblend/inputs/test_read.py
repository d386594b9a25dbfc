# Licensed under a 3-clause BSD style license - see LICENSE.rst
import warnings

import astropy.units as u
import numpy as np
import pytest
from astropy.nddata import (
    CCDData,
    InverseVariance,
    NDData,
    StdDevUncertainty,
    UnknownUncertainty,
    VarianceUncertainty,
)
from astropy.wcs import WCS
from numpy.testing import assert_allclose, assert_array_equal

from vaephot.deblend.inputs.read import prepare_observation
from vaephot.exceptions import (
    BandMismatchError,
    PSFError,
    ShapeMismatchError,
    UnitMismatchError,
)

NY, NX = 40, 50


def make_data(n_bands=None, seed=0):
    shape = (NY, NX) if n_bands is None else (n_bands, NY, NX)
    return np.random.default_rng(seed).normal(0, 2, shape)


def make_wcs(x0=10.0, scale=1e-4):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = 'RA---TAN', 'DEC--TAN'
    wcs.wcs.crval = 30, 10
    wcs.wcs.crpix = x0, 10
    wcs.wcs.cdelt = -scale, scale
    return wcs


def prepare(data, **options):
    options = {'error': 2.0, 'psf': 3.0, **options}
    obs = prepare_observation(data, **options)
    n_bands, ny, nx = obs.data.shape
    for name in ('data', 'variance'):
        array = getattr(obs, name)
        assert array.dtype == np.float64
        assert array.dtype.isnative
    assert obs.data.flags.c_contiguous
    assert np.isfinite(obs.data).all()
    assert obs.mask.shape == obs.data.shape
    assert obs.mask.dtype == bool
    assert (obs.data[obs.mask] == 0).all()
    assert (obs.variance > 0).all()
    assert obs.variance.shape in ((n_bands, ny, nx), (n_bands, 1, 1))
    assert len(obs.bands) == len(obs.psfs) == n_bands
    assert obs.noise_correlation.shape == (n_bands,)
    return obs


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


@pytest.mark.parametrize(('unit', 'zeropoint'), [
    (u.Jy, 8.9), (u.nJy, 31.4), (u.nmgy, 22.5), (u.AB, 0), (u.adu, None),
    (u.electron / u.s, None), (u.erg / u.s / u.cm**2 / u.Hz, -48.6)])
def test_the_zeropoint_follows_the_unit(unit, zeropoint):
    obs = prepare(make_data() << unit, error=2 * unit)
    if zeropoint is None:
        assert obs.zeropoint is None
    else:
        assert_allclose(obs.zeropoint, zeropoint, atol=0.002)


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
    (None, TypeError, 'object'),
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
