# Licensed under a 3-clause BSD style license - see LICENSE.rst
import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import Table

from vaephot.exceptions import ShapeMismatchError, VaephotWarning
from vaephot.utils.fits_images import (
    ZEROPOINT_KEYWORDS,
    FitsImage,
    InputFileError,
    read_band_images,
    read_image,
    split_extension,
)


def image_of(**header):
    return FitsImage(data=np.zeros((4, 5)), header=fits.Header(header),
                     name='a.fits')


@pytest.fixture
def field(tmp_path):
    path = tmp_path / 'field.fits'
    hdus = [fits.PrimaryHDU()]
    for i, band in enumerate('gr'):
        hdus.append(fits.ImageHDU(np.full((4, 5), i + 1.0, '>f4'),
                                  name=band))
    table = fits.table_to_hdu(Table({'x': [1.0]}))
    table.name = 'TRUTH'
    fits.HDUList([*hdus, table]).writeto(path)
    return path


@pytest.mark.parametrize(('text', 'name', 'extension'), [
    ('a.fits', 'a.fits', None), ('a.fits[1]', 'a.fits', 1),
    ('d/a.fits.gz[VIS]', 'd/a.fits.gz', 'VIS'), ('[1]', '[1]', None)])
def test_names_are_split(text, name, extension):
    path, found = split_extension(text)
    assert (str(path), found) == (name, extension)


def test_a_file_with_brackets_in_its_name_has_precedence(tmp_path):
    path = tmp_path / 'a[1]'
    path.touch()
    assert split_extension(str(path)) == (path, None)


@pytest.mark.parametrize(('suffix', 'extension', 'value'), [
    ('', None, 1), ('[2]', None, 2), ('[r]', None, 2), ('', 'R', 2),
    ('', 2, 2), ('[g]', 'r', 1)])
def test_extensions_are_found(field, suffix, extension, value):
    image = read_image(f'{field}{suffix}', extension)
    assert image.data.shape == (4, 5)
    assert (image.data == value).all()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no file .*absent\.fits'):
        read_image(str(tmp_path / 'absent.fits'))


@pytest.mark.parametrize('extension', ['J', 7])
def test_a_missing_extension_lists_those_that_exist(field, extension):
    with pytest.raises(InputFileError, match=r'1 \(G\), 2 \(R\), 3 \(TRUTH'):
        read_image(f'{field}[{extension}]')


@pytest.mark.parametrize('extension', [0, 'truth'])
def test_an_extension_without_an_image_is_refused(field, extension):
    with pytest.raises(InputFileError, match='is not an image'):
        read_image(str(field), extension)


def test_a_file_without_images_is_refused(tmp_path):
    path = tmp_path / 'table.fits'
    Table({'x': [1.0]}).write(path)
    with pytest.raises(InputFileError, match='holds no image'):
        read_image(str(path))


def test_a_file_that_is_not_fits_is_one_clear_error(tmp_path):
    path = tmp_path / 'text.fits'
    path.write_text('not an image')
    with pytest.raises(InputFileError, match='cannot be read as a FITS'):
        read_image(str(path))


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / 'cut.fits'
    fits.writeto(path, np.zeros((100, 100)))
    path.write_bytes(path.read_bytes()[:20000])
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        with pytest.raises(InputFileError, match=r'cut\.fits'):
            read_image(str(path))


def test_one_dimension_is_no_image(tmp_path):
    path = tmp_path / 'line.fits'
    fits.writeto(path, np.zeros((1, 5)))
    with pytest.raises(ShapeMismatchError, match='cube'):
        read_image(str(path))


def test_bands_come_from_files_a_cube_or_named_extensions(field, tmp_path):
    cube = tmp_path / 'cube.fits'
    fits.writeto(cube, np.stack([np.ones((4, 5)), np.full((4, 5), 2.0)]))
    for texts, bands in ([[f'{field}[g]', f'{field}[r]'], None],
                         [[str(cube)], None], [[str(field)], ['g', 'r']]):
        images = read_band_images(texts, bands=bands)
        assert [image.data[0, 0] for image in images] == [1, 2]


def test_a_band_without_extension_falls_back_to_the_first_image(field):
    assert len(read_band_images([str(field)], bands=['g', 'J'])) == 1


@pytest.mark.parametrize(('prefix', 'name'), [('ERROR_', 'ERR'),
                                              ('MASK_', 'DQ')])
def test_errors_and_masks_are_not_the_image_beside_them(
        tmp_path, prefix, name):
    path = tmp_path / 'i2d.fits'
    hdus = [fits.ImageHDU(np.ones((4, 5)), name=n)
            for n in ('SCI', 'ERR', 'DQ')]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)
    image, = read_band_images([str(path)], prefix=prefix)
    assert image.name == f'{path}[{name}]'
    fits.delval(path, 'EXTNAME', name)
    with pytest.raises(InputFileError, match='Name the extension'):
        read_band_images([str(path)], prefix=prefix)


def test_distortions_are_read_with_the_image(tmp_path):
    path = tmp_path / 'flc.fits'
    header = fits.Header({
        'CTYPE1': 'RA---TAN', 'CTYPE2': 'DEC--TAN', 'CRVAL1': 150.0,
        'CRVAL2': 2.0, 'CRPIX1': 2.0, 'CRPIX2': 2.0, 'CDELT1': -1e-3,
        'CDELT2': 1e-3, 'CPDIS1': 'LOOKUP', 'CPDIS2': 'LOOKUP'})
    tables = []
    for axis in (1, 2):
        for text in (f'EXTVER: {axis}.0', 'NAXES: 2.0', 'AXIS.1: 1.0',
                     'AXIS.2: 2.0'):
            header.append(fits.Card.fromstring(f"DP{axis}     = '{text}'"))
        tables.append(fits.ImageHDU(np.full((2, 2), 0.5, 'f4'), fits.Header({
            'CRPIX1': 1.0, 'CRPIX2': 1.0, 'CRVAL1': 1.0, 'CRVAL2': 1.0,
            'CDELT1': 8.0, 'CDELT2': 8.0}), name='WCSDVARR', ver=axis))
    image = fits.ImageHDU(np.ones((4, 5), 'f4'), header, name='SCI')
    fits.HDUList([fits.PrimaryHDU(), image, *tables]).writeto(path)
    place = read_image(str(path)).wcs.pixel_to_world(0.5, 0.5)
    assert abs(place.ra.deg - 150) < 1e-7
    assert abs(place.dec.deg - 2) < 1e-7


def test_cubes_among_several_files_are_refused(field, tmp_path):
    cube = tmp_path / 'cube.fits'
    fits.writeto(cube, np.zeros((2, 4, 5)))
    with pytest.raises(ShapeMismatchError, match='several files'):
        read_band_images([str(field), str(cube)])


@pytest.mark.parametrize('keyword', ZEROPOINT_KEYWORDS)
def test_zeropoints_are_found(keyword):
    assert image_of(**{keyword: 23.9}).find_number(
        ZEROPOINT_KEYWORDS) == 23.9


def test_numbers_that_are_none_are_refused():
    assert image_of().find_number(ZEROPOINT_KEYWORDS) is None
    with pytest.raises(InputFileError, match="'n/a'"):
        image_of(MAGZERO='n/a').find_number(ZEROPOINT_KEYWORDS)


@pytest.mark.parametrize(('text', 'unit'), [
    ('uJy', u.uJy), ('nJy', u.nJy), ('electron/s', u.electron / u.s),
    ('ADU', u.adu), ('', None), ('MJy/sr', u.MJy / u.sr)])
def test_units_are_read(text, unit):
    assert image_of(BUNIT=text).unit == unit


def test_an_unknown_unit_warns_and_is_ignored():
    with pytest.warns(VaephotWarning, match='zorkmid'):
        assert image_of(BUNIT='zorkmid').unit is None


def test_coordinates_are_read_if_there_are_any():
    assert image_of().wcs is None
    header = {'CTYPE1': 'RA---TAN', 'CTYPE2': 'DEC--TAN', 'CDELT1': -1e-4,
              'CDELT2': 1e-4}
    assert image_of(**header).wcs.naxis == 2


def test_shapes_are_compared():
    image_of().check_shape((4, 5))
    with pytest.raises(ShapeMismatchError, match=r'a\.fits has .*\(4, 5\)'):
        image_of().check_shape((5, 4))
