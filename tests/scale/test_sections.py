# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from vaephot.exceptions import ShapeMismatchError
from vaephot.scale.sections import (
    Window,
    find_pieces,
    place_pieces,
    read_pieces,
    read_section,
)
from vaephot.utils.fits_images import InputFileError

WINDOW = Window(y0=5, y1=17, x0=3, x1=20)


@pytest.fixture(scope='module')
def image():
    return np.random.default_rng(1).normal(size=(30, 40)).astype('f4')


def wcs_header(x0=0.0, y0=0.0):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ['RA---TAN', 'DEC--TAN']
    wcs.wcs.crval = [150.0, 2.0]
    wcs.wcs.crpix = [20 - x0, 15 - y0]
    wcs.wcs.cdelt = [-1e-4, 1e-4]
    return wcs.to_header()


@pytest.mark.parametrize('kind', ['plain', 'compressed', 'scaled'])
def test_a_section_is_that_part_of_the_image(image, tmp_path, kind):
    path = tmp_path / 'image.fits'
    if kind == 'compressed':
        # without loss
        hdu = fits.CompImageHDU(image, compression_type='GZIP_2',
                                quantize_level=0, tile_shape=(8, 8))
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    elif kind == 'scaled':
        hdu = fits.PrimaryHDU(image.astype('f8'))
        hdu.scale('int16', bscale=0.01)
        hdu.writeto(path)
    else:
        fits.writeto(path, image)
    [[(piece, _)]] = find_pieces(path, None)
    assert piece.shape == image.shape
    part = read_section(piece, WINDOW)
    assert part == pytest.approx(image[WINDOW.slices], abs=(
        0.006 if kind == 'scaled' else 0))


def test_extensions_and_planes_are_bands(image, tmp_path):
    path, cube = tmp_path / 'mef.fits', tmp_path / 'cube.fits'
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(image, name='VIS'),
                  fits.ImageHDU(2 * image, name='H')]).writeto(path)
    fits.writeto(cube, np.stack([image, 2 * image]))
    for found in (find_pieces(path, ('VIS', 'H')), find_pieces(cube, None)):
        parts = [read_section(band[0][0], WINDOW) for band in found]
        assert (parts[1] == 2 * parts[0]).all()
        assert (parts[0] == image[WINDOW.slices]).all()


def test_images_that_overlap_are_one(image, tmp_path):
    header = wcs_header()
    paths = []
    for name, columns in (('a', slice(10, 30)), ('b', slice(0, 15)),
                          ('c', slice(28, 40))):
        part = header.copy()
        part['CRPIX1'] -= columns.start
        paths.append(tmp_path / f'{name}.fits')
        fits.writeto(paths[-1], image[:, columns], part)
    placed, shape, wcs = place_pieces(find_pieces({'r': paths}, ('r',)))
    assert shape == image.shape
    assert wcs.wcs.crpix.tolist() == [header['CRPIX1'], header['CRPIX2']]
    whole = Window(y0=0, y1=30, x0=0, x1=40)
    assert (read_pieces([placed[0]], whole)[0] == image).all()


def test_nothing_was_observed_where_no_image_is(image, tmp_path):
    paths = [tmp_path / 'a.fits', tmp_path / 'b.fits']
    fits.writeto(paths[0], image[:10, :10], wcs_header())
    fits.writeto(paths[1], image[20:, 20:], wcs_header(20, 20))
    placed, shape, _ = place_pieces(find_pieces({'r': paths}, ('r',)))
    assert shape == image.shape
    data, other = read_pieces([placed[0], placed[0]],
                              Window(y0=5, y1=25, x0=5, x1=25))
    assert np.isfinite(data).sum() == 50
    assert (other[~np.isfinite(data)] == 0).all()
    assert np.isnan(read_pieces([placed[0]], Window(
        y0=12, y1=15, x0=0, x1=9))[0]).all()


def test_pixels_between_those_of_the_first_image_are_refused(image,
                                                             tmp_path):
    paths = [tmp_path / 'a.fits', tmp_path / 'b.fits']
    fits.writeto(paths[0], image, wcs_header())
    fits.writeto(paths[1], image, wcs_header(0.4))
    with pytest.raises(InputFileError, match=r'0\.40 pixels beside'):
        place_pieces(find_pieces(paths, None))


def test_a_file_that_was_cut_short_is_named(image, tmp_path):
    path = tmp_path / 'image.fits'
    fits.writeto(path, image)
    [[(piece, _)]] = find_pieces(path, None)
    path.write_bytes(path.read_bytes()[:2880 + 160 * 10])
    first = Window(y0=0, y1=8, x0=0, x1=40)
    assert (read_section(piece, first) == image[:8]).all()
    with pytest.raises(InputFileError, match=r'image\.fits.* is damaged'):
        read_section(piece, Window(y0=5, y1=20, x0=0, x1=40))


def test_what_is_no_image_is_refused(tmp_path):
    fits.writeto(tmp_path / 'four.fits', np.zeros((2, 2, 4, 4)))
    with pytest.raises(ShapeMismatchError, match='four'):
        find_pieces(tmp_path / 'four.fits', None)


def test_addresses_are_read_through_fsspec(image):
    fsspec = pytest.importorskip('fsspec')
    with fsspec.open('memory://vaephot-test.fits', 'wb') as file:
        fits.PrimaryHDU(image).writeto(file)
    [[(piece, _)]] = find_pieces('memory://vaephot-test.fits', None)
    assert (read_section(piece, WINDOW) == image[WINDOW.slices]).all()
