# Licensed under a 3-clause BSD style license - see LICENSE.rst
import argparse

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import Table
from photutils.psf import ImagePSF

from vaephot.cli._inputs import read_inputs, read_positions, read_psfs
from vaephot.cli._options import UsageError
from vaephot.cli.deblend import add_parser
from vaephot.exceptions import (
    PSFError,
    ShapeMismatchError,
    UnitMismatchError,
)
from vaephot.utils.fits_images import InputFileError

TAN = {'CTYPE1': 'RA---TAN', 'CTYPE2': 'DEC--TAN', 'CRVAL1': 10.0,
       'CRVAL2': 20.0, 'CRPIX1': 1.0, 'CRPIX2': 1.0, 'CDELT1': -1e-4,
       'CDELT2': 1e-4}


@pytest.fixture
def write(tmp_path):
    """Return a function that writes an image and gives its name."""
    def write(name, data, **header):
        path = tmp_path / name
        fits.writeto(path, np.asarray(data), fits.Header(header))
        return str(path)

    return write


@pytest.fixture
def two(write):
    return [write(f'{band}.fits', np.full((4, 5), value, '>f4'), GAIN=value)
            for band, value in (('g', 1.0), ('r', 2.0))]


def read(*argv):
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    return read_inputs(parser.parse_args(['deblend', *argv, '-o', 'c.ecsv']))


def test_a_single_image_stays_2d(two):
    call = read(two[0])
    assert set(call) == {'data'}
    assert call['data'].shape == (4, 5)


def test_a_named_single_band_is_a_cube_of_one(two):
    call = read(two[0], '--bands', 'g', '--psf', '2.5')
    assert call['data'].shape == (1, 4, 5)
    assert call['bands'] == ('g',)
    assert call['psf'] == [2.5]


def test_bands_are_stacked_in_order(two):
    call = read(*two, '--bands', 'g,r')
    assert call['data'][:, 0, 0].tolist() == [1, 2]
    assert call['bands'] == ('g', 'r')


@pytest.mark.parametrize('argv', [
    ['--bands', 'g'], ['--bands', 'g,g'], ['--psf', '1,2,3'],
    ['--error', '1', '2', '3'], ['--zeropoint', '1,2,3'],
    ['--zeropoint', 'high'], ['--gain', '1,2,3']])
def test_options_that_do_not_fit_are_wrong_usage(two, argv):
    with pytest.raises(UsageError, match='--'):
        read(*two, *argv)


def test_units_zeropoints_and_coordinates_come_from_headers(write):
    path = write('a.fits', np.ones((4, 5)), MAGZERO=23.9, BUNIT='uJy', **TAN)
    call = read(path, '--error', '0.5', '--gain', '3')
    assert call['data'].unit == u.uJy
    assert call['error'] == [0.5] * u.uJy
    assert 'zeropoint' not in call
    assert call['gain'] == [3]
    assert call['wcs'].wcs.crval.tolist() == [10, 20]


def test_zeropoints_are_of_the_header_or_of_the_option(write):
    path = write('a.fits', np.ones((4, 5)), PHOTZP=27.0, BUNIT='adu')
    assert read(path)['zeropoint'] == [27]
    assert read(path, '--zeropoint', '25')['zeropoint'] == [25]


def test_other_units_are_converted_with_all_that_belongs(write):
    first = write('a.fits', np.ones((4, 5)), BUNIT='uJy')
    second = write('b.fits', np.ones((4, 5)), BUNIT='nJy')
    call = read(first, second, '--error', '1', '--gain', '4')
    assert call['data'][:, 0, 0].value.tolist() == pytest.approx([1, 1e-3])
    assert call['error'].value.tolist() == pytest.approx([1, 1e-3])
    assert call['gain'].tolist() == pytest.approx([4, 4000])


def test_units_that_do_not_agree_are_refused(write):
    first = write('a.fits', np.ones((4, 5)), BUNIT='uJy')
    with pytest.raises(UnitMismatchError, match='electron'):
        read(first, write('b.fits', np.ones((4, 5)), BUNIT='electron'))
    with pytest.raises(UnitMismatchError, match='None'):
        read(first, write('c.fits', np.ones((4, 5))))


def test_errors_are_numbers_keywords_or_files(two, write):
    rms = write('rms.fits', np.full((4, 5), 0.5))
    assert read(*two, '--error', '1,2')['error'].tolist() == [1, 2]
    assert read(*two, '--error', 'GAIN')['error'].tolist() == [1, 2]
    maps = read(*two, '--error', rms)['error']
    assert maps.shape == (2, 4, 5)
    assert read(two[0], '--error', rms)['error'].shape == (4, 5)


def test_an_error_map_may_have_a_unit_of_its_own(write):
    image = write('a.fits', np.ones((4, 5)), BUNIT='uJy')
    rms = write('rms.fits', np.full((4, 5), 50.0), BUNIT='nJy')
    assert read(image, '--error', rms)['error'][0, 0] == 0.05 * u.uJy


@pytest.mark.parametrize('option', ['--error', '--mask', '--segmentation'])
def test_other_shapes_and_missing_files_are_refused(two, write, option):
    other = write('other.fits', np.ones((5, 4)))
    with pytest.raises(ShapeMismatchError, match=r'other\.fits'):
        read(*two, option, other)
    with pytest.raises(FileNotFoundError, match='absent'):
        read(*two, option, 'absent.fits')


def test_gains_come_from_the_header(two):
    assert read(*two, '--gain', 'header')['gain'].tolist() == [1, 2]
    with pytest.raises(InputFileError, match='EGAIN'):
        read(*two, '--gain', 'EGAIN')


def test_masks_are_not_zero_where_bad(two, write):
    mask = write('mask.fits', np.eye(4, 5, dtype=np.int16) * 64)
    call = read(*two, '--mask', mask)
    assert call['mask'].dtype == bool
    assert call['mask'].sum() == 8


def test_segmentations_are_whole_numbers(two, write):
    segm = write('segm.fits', np.eye(4, 5) * 3)
    labels = read(*two, '--segmentation', segm)['segmentation_image']
    assert labels.dtype == np.int32
    assert labels.max() == 3
    with pytest.raises(InputFileError, match='whole'):
        read(*two, '--segmentation', write('f.fits', np.full((4, 5), 0.5)))


def test_psf_images_honour_their_oversampling(write):
    psf = np.outer(np.hanning(17)[1:-1], np.hanning(17)[1:-1])
    plain, fine = (write(f'{k}.fits', psf, OVERSAMP=k) for k in (1, 3))
    first, second = read_psfs([plain, fine], 2)
    assert isinstance(first, np.ndarray)
    assert isinstance(second, ImagePSF)
    assert second.oversampling.tolist() == [3, 3]
    assert second.data.sum() == pytest.approx(9)
    assert len(read_psfs([fine], 4)) == 4


def test_psfs_may_be_extensions_of_one_file(tmp_path):
    path = tmp_path / 'field.fits'
    hdus = [fits.ImageHDU(np.eye(3) * k, name=f'PSF_{band}')
            for k, band in ((1, 'g'), (2, 'r'))]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)
    first, second = read_psfs([str(path)], 2, ['g', 'r'])
    assert (second == 2 * first).all()


@pytest.mark.parametrize(('data', 'header'), [
    (np.zeros((3, 3)), {}), (np.full((3, 3), np.nan), {}),
    (np.ones((3, 3)), {'OVERSAMP': 1.5})])
def test_useless_psfs_are_refused(write, data, header):
    with pytest.raises(PSFError):
        read_psfs([write('psf.fits', data, **header)], 1)


def test_other_pixel_grids_are_handed_over_with_their_coordinates(write):
    fine = write('a.fits', np.ones((8, 10)), **TAN)
    shifted = write('b.fits', np.ones((8, 10)), **{**TAN, 'CRPIX1': 3.0})
    same = write('c.fits', np.ones((8, 10)), **TAN)
    assert read(fine, same)['data'].shape == (2, 8, 10)
    data = read(fine, shifted, '--bands', 'g,r')['data']
    assert list(data) == ['g', 'r']
    assert data['r'].wcs is not None


def test_positions_are_read_from_tables(tmp_path):
    table = Table({'x': [1.0, 2.0], 'y': [3.0, 4.0]})
    for name, layout in (('p.ecsv', 'ascii.ecsv'), ('p.csv', 'csv'),
                         ('p.fits', 'fits')):
        table.write(tmp_path / name, format=layout)
        found = read_positions(str(tmp_path / name))
        assert found['y'].tolist() == [3, 4]
    with pytest.raises(FileNotFoundError):
        read_positions(str(tmp_path / 'absent.csv'))
    (tmp_path / 'bad.fits').write_text('no table')
    with pytest.raises(InputFileError, match=r'bad\.fits'):
        read_positions(str(tmp_path / 'bad.fits'))


# ------------------------------------------- what files of archives mean
@pytest.mark.parametrize(('kind', 'power'), [('rms', 1), ('var', 2),
                                             ('ivar', -2)])
def test_errors_are_of_the_type_that_is_said(two, write, kind, power):
    path = write('e.fits', np.full((4, 5), 0.5) ** power)
    for given in (path, str(0.5 ** power)):
        error = read(*two, '--error', given, '--error-type', kind)['error']
        assert np.broadcast_to(error.T, (5, 4, 2)) == pytest.approx(0.5)


def test_pixels_without_weight_have_an_infinite_error(two, write):
    weight = np.full((4, 5), 4.0)
    weight[1, 2] = 0
    error = read(two[0], '--error', write('w.fits', weight),
                 '--error-type', 'ivar')['error']
    assert np.argwhere(np.isinf(error)).tolist() == [[1, 2]]
    assert error[0, 0] == 0.5


@pytest.mark.parametrize('unit', ['nJy2', 'uJy', None])
def test_variances_have_the_square_of_the_unit(write, unit):
    image = write('a.fits', np.ones((4, 5)), BUNIT='uJy')
    value = 4e6 if unit == 'nJy2' else 4.0
    header = {} if unit is None else {'BUNIT': unit}
    path = write('v.fits', np.full((4, 5), value), **header)
    error = read(image, '--error', path, '--error-type', 'var')['error']
    assert error.to_value('uJy') == pytest.approx(2.0 * np.ones((4, 5)))


@pytest.fixture
def archive(tmp_path):
    """Write a file with the extensions of an archive, and return it."""
    dq = np.zeros((4, 5), np.int32)
    dq[0, 0], dq[1, 1] = 1, 4
    path = tmp_path / 'i2d.fits'
    hdus = [fits.PrimaryHDU(header=fits.Header({'TELESCOP': 'JWST'}))]
    for name, data in (('SCI', np.arange(20.0).reshape(4, 5)),
                       ('ERR', np.full((4, 5), 0.5)), ('DQ', dq),
                       ('WHT', np.full((4, 5), 16.0))):
        hdus.append(fits.ImageHDU(data, name=name))
    fits.HDUList(hdus).writeto(path)
    return str(path)


def test_extensions_are_those_of_the_option(archive):
    call = read(archive, '--error', archive, '--mask', archive)
    assert (call['error'] == 0.5).all()
    assert np.argwhere(call['mask']).tolist() == [[0, 0]]
    call = read(archive, '--error', archive, '--error-type', 'ivar',
                '--mask', archive, '--mask-bits', 'JUMP_DET,1')
    assert (call['error'] == 0.25).all()
    assert np.argwhere(call['mask']).tolist() == [[0, 0], [1, 1]]


def test_a_weight_is_not_taken_for_an_error(archive):
    with pytest.raises(UsageError, match='--error-type ivar'):
        read(archive, '--error', f'{archive}[WHT]')
    with pytest.raises(UsageError, match='--error-type rms'):
        read(archive, '--error', f'{archive}[ERR]', '--error-type', 'ivar')
    with pytest.raises(InputFileError, match='VAR'):
        read(archive, '--error', archive, '--error-type', 'var')
    with pytest.raises(UsageError, match='--mask-bits needs'):
        read(archive, '--mask-bits', '1')


def test_saturation_comes_from_headers_or_the_option(write):
    data = np.arange(400.0).reshape(20, 20)
    path = write('a.fits', data, SATURATE=398.0)
    assert read(path)['saturation'] == [398]
    assert read(path, '--saturation', '300')['saturation'] == [300]
    assert read(path, '--saturation', 'SATURATE')['saturation'] == [398]
    # a level that so many pixels exceed is not one of this image
    assert 'saturation' not in read(write('b.fits', data, SATURATE=200.0))
    with pytest.raises(UsageError, match='--saturation'):
        read(path, '--saturation', 'high')


def test_the_background_is_subtracted_on_request(write):
    data = np.random.default_rng(2).normal(1e4, 1, (50, 60))
    path = write('a.fits', data)
    assert read(path)['data'].mean() > 9e3
    left = read(path, '--subtract-background')['data']
    assert abs(left.mean()) < 0.1


def test_labels_of_a_segmentation_may_be_long(two, write):
    labels = np.zeros((4, 5), np.int64)
    labels[1] = 2**62
    segm = read(two[0], '--segmentation', write('s.fits', labels))
    assert segm['segmentation_image'].max() == 2**62


def test_compressed_tiles_and_scaled_integers_are_read(tmp_path):
    data = np.arange(20).reshape(4, 5).astype('u2')
    path = tmp_path / 'c.fits'
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(
        data.astype('f4'), name='SCI', compression_type='GZIP_1',
        quantize_level=0.0)]).writeto(path)
    assert read(str(path))['data'].tolist() == data.tolist()
    fits.writeto(tmp_path / 'u.fits', data)  # stored with BZERO
    assert read(str(tmp_path / 'u.fits'))['data'].tolist() == data.tolist()
