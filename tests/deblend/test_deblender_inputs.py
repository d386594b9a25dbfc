# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What a deblender accepts, and what it refuses."""

import warnings
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import astropy.units as u
import numpy as np
import pytest
from astropy.modeling.models import Gaussian2D
from astropy.nddata import (
    CCDData,
    InverseVariance,
    NDData,
    StdDevUncertainty,
    VarianceUncertainty,
)
from astropy.table import Table
from astropy.wcs import WCS
from numpy.testing import assert_allclose, assert_array_equal
from photutils.psf import CircularGaussianPRF, GriddedPSFModel, ImagePSF
from photutils.segmentation import SegmentationImage

from vaephot.deblend.deblender import VAEDeblender
from vaephot.exceptions import (
    BandMismatchError,
    DeblendWarning,
    PSFError,
    ShapeMismatchError,
    UnitMismatchError,
    VaephotWarning,
)
from vaephot.results.flags import decode_flags

SCENES = Path(__file__).with_name('_scenes.py')
scenes = SimpleNamespace(**run_path(str(SCENES)))
GALAXIES, SHAPE, FWHM = scenes.GALAXIES, scenes.SHAPE, scenes.FWHM
BLEND, SINGLE = scenes.BLEND, scenes.SINGLE
XY = np.array([row[:2] for row in GALAXIES])

# what the networks have learned is no matter of these tests
pytestmark = pytest.mark.filterwarnings(
    'ignore::vaephot.exceptions.DeblendWarning')


# -------------------------------------------------------- kinds of images
def _read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize('convert', [
    lambda d: d.astype('>f8'),
    _read_only,
    np.asfortranarray,
    lambda d: d.tolist(),
    lambda d: np.ma.array(d),
    lambda d: NDData(d, uncertainty=StdDevUncertainty(np.ones(d.shape))),
    lambda d: NDData(d, uncertainty=VarianceUncertainty(np.ones(d.shape))),
    lambda d: NDData(d, uncertainty=InverseVariance(np.ones(d.shape))),
], ids=['big-endian', 'read-only', 'fortran', 'list', 'masked array',
        'std', 'variance', 'ivar'])
def test_kinds_of_images_give_the_same_result(deblend, reference, data,
                                              segm, convert):
    given = convert(data)
    error = None if isinstance(given, NDData) else 1.0
    result = deblend(given, segm, error=error, psf=FWHM)
    scenes.assert_same(reference, result, rtol=1e-10)


@pytest.mark.filterwarnings('ignore:data of band:UserWarning')
@pytest.mark.parametrize('dtype', ['f4', '>f4', 'i2', '>i4', 'u2', 'i8'])
def test_any_dtype_is_accepted(deblend, data, segm, dtype):
    if dtype[-2] in 'iu':
        data = np.round(data + 100)
    given = data.astype(dtype)
    result = deblend(given, segm, error=1.0, psf=FWHM)
    wanted = deblend(given.astype(float), segm, error=1.0, psf=FWHM)
    scenes.assert_same(wanted, result, rtol=1e-10)


@pytest.mark.parametrize('as_ccd', [False, True])
def test_units_are_kept(deblend, reference, data, segm, as_ccd):
    given = CCDData(data, unit=u.uJy, uncertainty=StdDevUncertainty(
        np.ones(SHAPE))) if as_ccd else data * u.uJy
    error = None if as_ccd else 1e-6 * u.Jy
    result = deblend(given, segm, error=error, psf=FWHM)
    assert result.table['flux'].unit == u.uJy
    assert result.table['mag'].unit == u.ABmag
    assert result.model_image.unit == u.uJy
    source = next(iter(result))
    assert source.image.unit == source.flux.unit == u.uJy
    assert_allclose(result.table['flux'].value, reference.table['flux'],
                    rtol=1e-6)
    assert_allclose(result.table['mag'].value,
                    23.9 - 2.5 * np.log10(reference.table['flux']),
                    atol=1e-3)


def test_a_wcs_and_a_zeropoint_add_their_columns(deblend, data, segm):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = 'RA---TAN', 'DEC--TAN'
    wcs.wcs.crval, wcs.wcs.crpix = (150, 2), (35, 25)
    wcs.wcs.cdelt = -5e-5, 5e-5
    result = deblend(data, segm, error=1.0, psf=FWHM, wcs=wcs,
                     zeropoint=27.0)
    table = result.table
    x, y = wcs.world_to_pixel(table['sky_centroid'])
    assert_allclose(x, table['x_centroid'], atol=1e-6)
    assert_allclose(y, table['y_centroid'], atol=1e-6)
    assert table['half_light_radius'].unit == u.arcsec
    assert_allclose(table['mag'].value, 27 - 2.5 * np.log10(table['flux']))


def _celestial(scale=5e-5):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = 'RA---TAN', 'DEC--TAN'
    wcs.wcs.crval, wcs.wcs.crpix = (150, 2), (35, 25)
    wcs.wcs.cdelt = -scale, scale
    return wcs


@pytest.mark.parametrize('kind', ['sky', 'ra and dec', 'sextractor'])
def test_positions_may_be_on_the_sky(fast, data, segm, kind):
    wcs = _celestial()
    sky = wcs.pixel_to_world(*XY.T)
    positions = {'sky': sky,
                 'ra and dec': Table({'ra': sky.ra, 'dec': sky.dec}),
                 'sextractor': Table({'X_IMAGE': XY[:, 0] + 1,
                                      'Y_IMAGE': XY[:, 1] + 1})}[kind]
    options = {'error': 1.0, 'psf': FWHM, 'wcs': wcs}
    wanted = fast(data, segm, positions=XY, **options)
    found = fast(data, segm, positions=positions, **options)
    scenes.assert_same(wanted, found, rtol=1e-5)


def test_a_surface_brightness_gives_fluxes(fast, data, segm):
    wcs = _celestial()
    area = (5e-5 * u.deg)**2
    wanted = fast(data << u.uJy, segm, error=1 * u.uJy, psf=FWHM, wcs=wcs)
    given = (data << u.uJy) / area
    found = fast(given.to(u.MJy / u.sr), segm, error=1 * u.uJy / area,
                 psf=FWHM, wcs=wcs)
    assert found.table['flux'].unit == u.uJy
    assert_allclose(found.table['flux'], wanted.table['flux'], rtol=1e-4)
    assert_allclose(found.table['mag'].value, wanted.table['mag'].value,
                    atol=1e-3)


def test_inputs_are_never_changed(deblend, data, segm):
    data[3, 3] = np.nan
    mask = data > 50
    error = np.ones(SHAPE)
    error[5, 5] = 0
    psf = scenes.psf_image()
    positions = XY.copy()
    given = SegmentationImage(segm)
    arrays = [data, mask, error, psf, positions, given.data]
    before = [array.copy() for array in arrays]
    deblend(data, given, error=error, mask=mask, psf=psf,
            positions=positions)
    deblend(data, given, error=error, mask=mask, psf=psf)
    for array, old in zip(arrays, before, strict=True):
        assert_array_equal(array, old)
    assert_array_equal(given.labels, [BLEND, SINGLE])


# ------------------------------------------------------------ many bands
@pytest.fixture
def bands():
    """Return images in three bands with three PSFs."""
    colours = np.array([[1, 2, 0.5], [1, 0.5, 2], [1, 1, 1]])
    return {name: scenes.noisy(
        [(x, y, s, f * colours[k, i])
         for k, (x, y, s, f) in enumerate(GALAXIES)], seed=i,
        psf_sigma=1.0 + 0.3 * i) for i, name in enumerate('gri')}


PSFS = {name: 2.35482 * (1 + 0.3 * i) for i, name in enumerate('gri')}


def test_bands_get_columns_of_their_own(deblend, bands, segm):
    result = deblend(bands, segm, error=1.0, psf=PSFS)
    scenes.check_laws(result, segm)
    rows = scenes.by_position(result, XY)
    assert result.bands == ('g', 'r', 'i')
    for k, (band, scale) in enumerate(
            [('g', [1, 1, 1]), ('r', [2, 0.5, 1]), ('i', [0.5, 2, 1])]):
        truth = np.array([row[3] for row in GALAXIES]) * scale
        assert_allclose(scenes.flux_of(result, band)[rows], truth,
                        rtol=0.15)
        assert result.band_index(band) == k
    assert result[1].model.ndim == 3
    assert result.model_image.shape == (3, *SHAPE)


@pytest.mark.parametrize('kind', ['cube', 'list', 'nddata', 'units',
                                  'one error each', 'error cube'])
def test_bands_may_come_in_any_container(fast, bands, segm, kind):
    wanted = fast(bands, segm, error=1.0, psf=PSFS)
    names, error, data = tuple(bands), 1.0, bands
    psf = list(PSFS.values())
    if kind == 'cube':
        data = np.stack(list(bands.values()))
    elif kind == 'list':
        data = [NDData(band) for band in bands.values()]
    elif kind == 'nddata':
        data = {name: NDData(band, uncertainty=StdDevUncertainty(
            np.ones(SHAPE))) for name, band in bands.items()}
        error = None
    elif kind == 'units':
        units = (u.nJy, u.uJy, u.Jy)
        data = {name: (band * u.nJy).to(unit) for (name, band), unit
                in zip(bands.items(), units, strict=True)}
        error = 1 * u.nJy
    elif kind == 'one error each':
        error = [1, 1, 1]
    else:
        error = np.ones((3, *SHAPE))
    result = fast(data, segm, error=error, psf=psf, bands=names)
    for band in names:
        assert_allclose(scenes.flux_of(result, band),
                        scenes.flux_of(wanted, band), rtol=1e-5)


def test_a_band_of_one_keeps_its_axis(fast, data, segm):
    result = fast(data[None], segm, error=1.0, psf=FWHM, bands=['VIS'])
    assert 'flux_VIS' in result.table.colnames
    assert result.model_image.shape == (1, *SHAPE)


# ------------------------------------------------- masks, NaN and errors
def test_masked_pixels_carry_no_weight(deblend, data, segm):
    mask = np.zeros(SHAPE, bool)
    mask[30, 45:56] = True
    clean = deblend(data, segm, error=1.0, psf=FWHM, mask=mask)
    spoilt = data.copy()
    spoilt[mask] = 1e5
    dirty = deblend(spoilt, segm, error=1.0, psf=FWHM, mask=mask)
    scenes.assert_same(clean, dirty, rtol=1e-10)
    scenes.check_laws(dirty, segm)
    row = scenes.by_position(dirty, XY[2:])[0]
    assert 'masked_pixels' in decode_flags(int(dirty.table['flags'][row]))
    assert_allclose(scenes.flux_of(dirty)[row], 800, rtol=0.2)


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
def test_bad_values_are_masked(deblend, data, segm, bad):
    mask = np.zeros(SHAPE, bool)
    mask[30, 45:56] = mask[0, 0] = True
    wanted = deblend(data, segm, error=1.0, psf=FWHM, mask=mask)
    data[mask] = bad
    scenes.assert_same(wanted, deblend(data, segm, error=1.0, psf=FWHM),
                       rtol=1e-10)


@pytest.mark.parametrize('bad', [np.nan, np.inf, 0.0, -1.0])
def test_pixels_with_a_bad_error_are_masked(deblend, data, segm, bad):
    mask = np.zeros(SHAPE, bool)
    mask[30, 45:56] = True
    wanted = deblend(data, segm, error=np.ones(SHAPE), psf=FWHM, mask=mask)
    error = np.where(mask, bad, 1.0)
    scenes.assert_same(wanted, deblend(data, segm, error=error, psf=FWHM),
                       rtol=1e-10)


def test_masked_arrays_bring_their_mask(deblend, data, segm):
    mask = np.zeros(SHAPE, bool)
    mask[25, 10:20] = True
    wanted = deblend(data, segm, error=1.0, psf=FWHM, mask=mask)
    result = deblend(np.ma.array(data, mask=mask), segm, error=1.0,
                     psf=FWHM)
    scenes.assert_same(wanted, result, rtol=1e-10)


def test_the_error_scales_with_the_noise(deblend, data, segm,
                                         errors_of_noise):
    once, twice = (deblend(data, segm, error=noise, psf=FWHM)
                   for noise in (1.0, 2.0))
    ratio = twice.table['flux_err'] / once.table['flux_err']
    assert_allclose(ratio, 2, rtol=0.25)


def test_models_that_do_not_fit_have_errors_without_noise(deblend, segm):
    # Gaussians are no galaxies; the noise is far below that
    sharp = scenes.draw(scenes.GALAXIES)
    sharp = sharp + 0.01 * np.random.default_rng(3).standard_normal(SHAPE)
    places = [row[:2] for row in scenes.GALAXIES]
    result = deblend(sharp, segm, error=0.01, psf=FWHM, positions=places)
    truth = np.array([row[3] for row in scenes.GALAXIES])
    away = abs(scenes.flux_of(result) - truth)
    error = np.array(result.table['flux_err'])
    assert (away > 10 * 0.2).any()
    assert (away < 5 * error).all()
    assert (error < 0.2 * truth).all()


def test_an_error_map_of_ones_is_the_number_one(deblend, data, segm,
                                                reference):
    result = deblend(data, segm, error=np.ones(SHAPE), psf=FWHM)
    scenes.assert_same(reference, result, rtol=1e-6)


def test_an_estimated_error_is_flagged(deblend, data, segm, reference):
    result = deblend(data, segm, psf=FWHM)
    assert all('error_estimated' in names
               for names in decode_flags(result.table['flags']))
    assert_allclose(scenes.flux_of(result), scenes.flux_of(reference),
                    rtol=0.1)


def test_correlated_noise_raises_the_errors(deblend, data, segm,
                                            errors_of_noise):
    one, three = (deblend(data, segm, error=1.0, psf=FWHM,
                          noise_correlation=factor) for factor in (1, 3))
    np.testing.assert_array_less(1.5 * one.table['flux_err'],
                                 three.table['flux_err'])


def test_a_gain_adds_photon_noise(deblend, data, segm, errors_of_noise):
    without, result = (deblend(data, segm, error=1.0, psf=FWHM, gain=gain)
                       for gain in (None, 0.5))
    np.testing.assert_array_less(without.table['flux_err'],
                                 result.table['flux_err'])
    # at least the Poisson noise of all the photons
    np.testing.assert_array_less(np.sqrt(0.9 * result.table['flux'] / 0.5),
                                 result.table['flux_err'])


# ------------------------------------------------------------------ PSFs
def _image_psf(oversampling):
    # an ImagePSF is normalised to 1 over the pixels of the detector
    image = scenes.psf_image(25 * oversampling + 1 - oversampling % 2,
                             oversampling=oversampling)
    return ImagePSF(image / image.sum() * oversampling ** 2,
                    oversampling=oversampling)


def _grid_psf():
    image = scenes.psf_image(75, oversampling=3)
    image = image / image.sum() * 9
    return GriddedPSFModel(NDData(np.array([image] * 4), meta={
        'grid_xypos': [(0, 0), (69, 0), (0, 50), (69, 50)],
        'oversampling': 3}))


PSF_FORMS = {
    'odd': lambda: scenes.psf_image(25),
    'even': lambda: scenes.psf_image(24),
    'oblong': lambda: scenes.psf_image(25)[2:-3, 1:],
    'float32': lambda: scenes.psf_image(25).astype('>f4'),
    'ImagePSF': lambda: _image_psf(1),
    'oversampled': lambda: _image_psf(3),
    'grid': _grid_psf,
    'photutils': lambda: CircularGaussianPRF(fwhm=FWHM),
    'astropy': lambda: Gaussian2D(1, 0, 0, scenes.PSF_SIGMA,
                                  scenes.PSF_SIGMA),
    'function': lambda: lambda x, y, band: scenes.psf_image(25),
    'function of a number': lambda: lambda x, y, band: FWHM,
    'list': lambda: [FWHM],
    'mapping': lambda: {'band1': scenes.psf_image(25)},
}


@pytest.mark.parametrize('form', PSF_FORMS)
def test_every_form_of_a_psf_gives_the_same_fluxes(deblend, data, segm,
                                                   reference, form):
    result = deblend(data, segm, error=1.0, psf=PSF_FORMS[form]())
    assert_allclose(scenes.flux_of(result), scenes.flux_of(reference),
                    rtol=0.02)
    assert not any('psf_estimated' in names
                   for names in decode_flags(result.table['flags']))


def test_a_psf_that_varies_is_used_where_the_sources_are(deblend):
    def psf(x, y, band):
        assert band == 'band1'
        return scenes.psf_image(31, sigma=1.0 + x / 60)
    places = [(15.0, 20.0), (75.0, 22.0)]
    data = sum(scenes.draw([(x, y, 0.0, 900.0)], (41, 90), 1 + x / 60)
               for x, y in places)
    result = deblend(data, scenes.label(data > 2), error=1.0, psf=psf,
                     positions=Table({'x': [15.0, 75.0], 'y': [20.0, 22.0],
                                      'point_source': [True, True]}))
    assert_allclose(scenes.flux_of(result), 900, rtol=0.02)


def test_an_estimated_psf_is_flagged(deblend, data, segm):
    with pytest.warns(DeblendWarning, match='too few stars'):
        result = deblend(data, segm, error=1.0)
    assert 'a Gaussian estimated from' in result.table.meta['psf']
    assert all('psf_estimated' in names
               for names in decode_flags(result.table['flags']))
    scenes.check_laws(result, segm)


# ------------------------------------------------------------ bad input
CUBE = np.zeros((3, *SHAPE))
BAD_CALLS = {
    'one dimension': ({'data': np.ones(5)}, ShapeMismatchError,
                      r'data has 1 dimensions .*\(n_bands, ny, nx\)'),
    'no pixels': ({'data': np.ones((0, 5))}, ShapeMismatchError, 'empty'),
    'complex data': ({'data': CUBE[0] * 1j}, TypeError,
                     'data has dtype complex128; give real numbers'),
    'text': ({'data': 'image.fits'}, (TypeError, ValueError), 'data'),
    'names': ({'bands': ['g', 'r']}, BandMismatchError,
              r'data have 1 bands but bands names 2 \(g, r\)'),
    'same names': ({'data': CUBE, 'bands': ['g', 'r', 'g']},
                   BandMismatchError, 'each only once'),
    'grids': ({'data': {'g': CUBE[0], 'r': CUBE[0, :9]}},
              ShapeMismatchError, "band 'r' has shape .* and no WCS"),
    'small segmentation': (
        {'segmentation_image': np.ones((50, 70), int)}, ShapeMismatchError,
        r'segmentation_image has shape \(50, 70\) but the data have '
        r'\(51, 70\); they must be the same'),
    'segmentation elsewhere': (
        {'segmentation_image': np.ones((500, 500), int)},
        ShapeMismatchError, r'\(500, 500\)'),
    'segmentation of floats': (
        {'segmentation_image': np.ones(SHAPE)}, TypeError,
        'segmentation_image has dtype float64; give a SegmentationImage'),
    'negative label': ({'segmentation_image': -np.ones(SHAPE, int)},
                       ValueError, 'negative'),
    'unknown label': ({'labels': [5]}, ValueError, '5'),
    'error of zero': ({'error': 0}, ValueError,
                      r"error of band 'band1' is 0.0 .*must be positive"),
    'negative error': ({'error': -1.0}, ValueError, 'is -1.0'),
    'error not a number': ({'error': np.nan}, ValueError, 'is nan'),
    'error map of zeros': ({'error': np.zeros(SHAPE)}, ValueError,
                           'is 0.0 everywhere'),
    'small error map': ({'error': np.ones((3, 3))}, ShapeMismatchError,
                        r'error has shape \(3, 3\) but the data have'),
    'mask': ({'mask': np.zeros((4, 4), bool)}, ShapeMismatchError,
             r'mask has shape \(4, 4\) but the data have'),
    'mask of floats': ({'mask': np.zeros(SHAPE)}, TypeError,
                       'mask has dtype float64; give booleans'),
    'gain': ({'gain': 0}, ValueError, 'gain is .*must be positive'),
    'gains': ({'gain': [1, 2]}, BandMismatchError, 'gain has 2'),
    'correlation': ({'noise_correlation': -1}, ValueError,
                    'noise_correlation.*-1.0; it must be positive'),
    'zeropoint': ({'zeropoint': np.nan}, ValueError, 'zeropoint is .*nan'),
    'empty psf': ({'psf': np.zeros((0, 0))}, PSFError,
                  r"psf of band 'band1' is empty, of shape \(0, 0\)"),
    'dark psf': ({'psf': np.zeros((5, 5))}, PSFError, 'zero everywhere'),
    'negative psf': ({'psf': -np.ones((5, 5))}, PSFError,
                     'has the sum -25, which must be positive'),
    'broken psf': ({'psf': np.full((5, 5), np.nan)}, PSFError,
                   'has 25 values that are not finite'),
    'huge psf': ({'psf': np.ones((2001, 2001))}, PSFError,
                 '2001 pixels on a side.*at most'),
    'line psf': ({'psf': np.ones(5)}, (PSFError, BandMismatchError),
                 'psf'),
    'wrong fwhm': ({'psf': -2.0}, PSFError, 'FWHM of -2.0 pixels; it must'),
    'text psf': ({'psf': 'moffat'}, PSFError,
                 "psf of band 'band1' is of type str; give a 2D array"),
    'two psfs': ({'psf': [2.0, 3.0]}, BandMismatchError,
                 'psf has 2 entries but the data have 1 bands'),
    'unit of the error': ({'error': 1 * u.Jy}, UnitMismatchError,
                          "error has the unit 'Jy' but the data no unit"),
    'unit of the data': ({'data': CUBE[0] * u.Jy}, UnitMismatchError,
                         "error has no unit but the data the unit 'Jy'"),
    'units': ({'data': CUBE[0] * u.Jy, 'error': 1 * u.m},
              UnitMismatchError, "'m', which cannot be converted"),
    'magnitudes': ({'data': CUBE[0] * u.ABmag, 'error': None},
                   UnitMismatchError, 'logarithmic unit mag.AB'),
    'triples': ({'positions': np.ones((2, 3))}, ShapeMismatchError,
                r'positions has shape \(2, 3\); give \(x, y\) pairs'),
    'position not a number': ({'positions': [[1, np.nan]]}, ValueError,
                              r'positions has \(1.0, nan\) in row 0'),
}


@pytest.mark.parametrize('case', BAD_CALLS)
def test_bad_input_is_refused_with_a_clear_message(fast, case):
    options, error, match = BAD_CALLS[case]
    options = {'data': scenes.noisy(GALAXIES), 'error': 1.0, 'psf': FWHM,
               'segmentation_image': scenes.parents(), **options}
    with pytest.raises(error, match=match):
        fast(**options)


# ---------------------------------------------------------- parents gone
def _without(segm, how, data):
    gone = segm == SINGLE
    if how == 'mask':
        return data, {'mask': gone, 'error': 1.0}
    if how == 'error':
        return data, {'error': np.where(gone, np.nan, 1.0)}
    return np.where(gone, np.nan, data), {'error': 1.0}


@pytest.mark.parametrize('how', ['mask', 'nan', 'error'])
@pytest.mark.parametrize('refine', [False, True])
def test_a_parent_without_data_is_flagged(data, segm, how, refine):
    made = VAEDeblender(refine=refine, device='cpu')
    data, options = _without(segm, how, data)
    with pytest.warns(DeblendWarning, match=r"1 of 3 .*'no_data'") as seen:
        result = made(data, segm, psf=FWHM, **options)
    assert sum("'no_data'" in str(w.message) for w in seen) == 1
    row = list(result.table['parent_label']).index(SINGLE)
    assert np.isnan(result.table['flux'][row])
    assert np.isnan(result.table['flux_err'][row])
    assert 'no_data' in decode_flags(int(result.table['flags'][row]))
    assert (segm[result.segmentation_image.data
                 == result.table['label'][row]] == SINGLE).all()
    others = result.table['parent_label'] == BLEND
    assert np.isfinite(scenes.flux_of(result)[others]).all()
    scenes.check_laws(result, segm)


def test_an_image_without_any_data_measures_nothing(fast, data, segm):
    with pytest.warns(DeblendWarning, match=r"2 of 2 .*'no_data'"):
        result = fast(data, segm, error=1.0, psf=FWHM,
                      mask=np.ones(SHAPE, bool))
    assert np.isnan(scenes.flux_of(result)).all()
    assert_array_equal(result.segmentation_image.data > 0, segm > 0)


def test_a_position_outside_the_image_has_no_data(fast, data, segm):
    with pytest.warns(DeblendWarning, match=r"1 of 2 .*'no_data'"):
        result = fast(data, segm, error=1.0, psf=FWHM,
                      positions=[XY[0], (300.0, 25.0)])
    assert np.isfinite(result.table['flux'][0])
    assert np.isnan(result.table['flux'][1])


@pytest.mark.parametrize('how', ['zero', 'nan', 'weight', 'mask'])
def test_a_band_without_coverage_has_no_flux(fast, data, segm, how):
    error, mask = np.ones((2, *SHAPE)), np.zeros((2, *SHAPE), bool)
    images = np.stack([data, data])
    if how == 'weight':
        error[1] = np.inf
    elif how == 'mask':
        mask[1] = True
    else:
        images[1] = {'zero': 0, 'nan': np.nan}[how]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', VaephotWarning)
        table = fast(images, segm, error=error, mask=mask, psf=FWHM).table
    assert np.isnan(table['flux_band2']).all()
    assert np.isnan(table['flux_err_band2']).all()
    assert np.isfinite(table['flux_band1']).all()
    flags = [set(names) for names in decode_flags(table['flags'])]
    assert all('masked_pixels' in names and not names & {
        'saturated', 'no_data'} for names in flags)


def test_saturated_stars_are_flagged_and_masked(fast, segm):
    bright = [(*row[:3], 300 * row[3]) for row in scenes.GALAXIES]
    image = scenes.noisy(bright)
    level = 0.5 * image.max()
    flat = fast(np.minimum(image, level), segm, error=1.0, psf=FWHM)
    told = fast(image, segm, error=1.0, psf=FWHM, saturation=level)
    for result in (flat, told):
        assert (result.mask == (image >= level)).all()
        near = np.hypot(result.table['x_centroid'] - 20.3,
                        result.table['y_centroid'] - 25.1).argmin()
        assert 'saturated' in decode_flags(int(result.table['flags'][near]))
