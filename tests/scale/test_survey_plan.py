# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from vaephot.exceptions import BandMismatchError, UnitMismatchError
from vaephot.scale.survey_plan import make_plan
from vaephot.utils.fits_images import InputFileError


@pytest.fixture
def files(tmp_path):
    """Two images, in uJy and mJy, with gains, errors and masks."""
    paths = {}
    for band, unit, gain in (('r', 'uJy', 4.0), ('i', 'mJy', 3000.0)):
        header = fits.Header({'BUNIT': unit, 'GAIN': gain})
        paths[band] = tmp_path / f'{band}.fits'
        fits.writeto(paths[band], np.ones((8, 9), 'f4'), header)
        paths[f'{band}_rms'] = tmp_path / f'{band}_rms.fits'
        fits.writeto(paths[f'{band}_rms'], np.ones((8, 9), 'f4'),
                     fits.Header({'BUNIT': 'uJy'}))
    return paths


def plan_of(files, tmp_path, **arguments):
    return make_plan({'r': files['r'], 'i': files['i']}, tmp_path / 'run',
                     **arguments)


def test_all_bands_are_in_the_unit_of_the_first(files, tmp_path):
    plan = plan_of(files, tmp_path, error=[1.0, 2.0], gain='header')
    assert [band.factor for band in plan.files] == [1.0, 1000.0]
    assert plan.error == (1.0, 2000.0)
    assert plan.gain == (4.0, 3.0)
    assert plan.unit == 'uJy'
    assert plan.shape == (8, 9)


def test_errors_have_units_of_their_own(files, tmp_path):
    plan = plan_of(files, tmp_path, error={
        'r': files['r_rms'], 'i': files['i_rms']})
    assert [band.error_factor for band in plan.files] == [1.0, 1.0]
    assert plan.error is None


def test_psfs_are_read_where_they_are_files(files, tmp_path):
    hdu = fits.PrimaryHDU(np.outer(*[np.hanning(11)] * 2))
    hdu.header['OVERSAMP'] = 2
    hdu.writeto(tmp_path / 'psf.fits')
    plan = plan_of(files, tmp_path, psf={'r': tmp_path / 'psf.fits',
                                         'i': tmp_path / 'psf.fits'})
    assert plan.psf[1].oversampling.tolist() == [2, 2]
    assert plan_of(files, tmp_path, psf=3.0).psf == [3.0, 3.0]


@pytest.mark.parametrize(('arguments', 'error', 'text'), [
    ({'error': [1.0, 2.0, 3.0]}, BandMismatchError, '3 values for 2'),
    ({'psf': [1.0, 2.0, 3.0]}, BandMismatchError, '3 PSFs for 2'),
    ({'gain': 'EXPTIME'}, InputFileError, 'no keyword EXPTIME')])
def test_what_does_not_fit_the_bands_is_refused(files, tmp_path, arguments,
                                                error, text):
    with pytest.raises(error, match=text):
        plan_of(files, tmp_path, **arguments)


def test_units_that_cannot_be_converted_are_refused(files, tmp_path):
    fits.setval(files['i'], 'BUNIT', value='m')
    with pytest.raises(UnitMismatchError, match='must agree'):
        plan_of(files, tmp_path)


def test_an_error_of_another_shape_is_refused(files, tmp_path):
    fits.writeto(files['i_rms'], np.ones((8, 8)), overwrite=True)
    with pytest.raises(InputFileError, match=r'\(8, 8\)'):
        plan_of(files, tmp_path, error={'r': files['r_rms'],
                                        'i': files['i_rms']})


def test_positions_are_pixels_of_the_mosaic(files, tmp_path):
    table = Table({'x_centroid': [1.0, 2.0], 'y_centroid': [3.0, 4.0],
                   'fixed': [True, False]})
    plan = plan_of(files, tmp_path, positions=table)
    assert plan.positions['x'].tolist() == [1, 2]
    assert plan.positions['fixed'].tolist() == [True, False]
    pairs = plan_of(files, tmp_path, positions=[(1.0, 3.0)]).positions
    assert pairs['y'].tolist() == [3]
