# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from numpy.testing import assert_allclose
from photutils.psf import GriddedPSFModel, ImagePSF

from vaephot.deblend.inputs.psf import (
    make_band_psfs,
    measure_fwhm,
    read_psf,
    write_psf,
)
from vaephot.exceptions import PSFError

SHAPE = (100, 120)


def gaussian(fwhm, half=12, x=0.0, y=0.0):
    steps = np.arange(-half, half + 1)
    image = np.exp(-4 * np.log(2) * ((steps - x) ** 2
                                     + (steps[:, None] - y) ** 2) / fwhm ** 2)
    return image / image.sum()


def fwhm_at(psf, x, y):
    (made,) = make_band_psfs(psf, ['r'], SHAPE)
    return measure_fwhm(*made.sample(x, y))


def write_psfex(path, images, step=0.5, **header):
    column = fits.Column('PSF_MASK', f'{images.size}E',
                         dim=str(images.shape[::-1]).replace(' ', ''),
                         array=images[None].astype('f4'))
    hdu = fits.BinTableHDU.from_columns([column], name='PSF_DATA')
    n_terms = len(images)
    hdu.header.update({
        'POLNAXIS': 2, 'POLNGRP': 1, 'POLNAME1': 'X_IMAGE',
        'POLNAME2': 'Y_IMAGE', 'POLZERO1': 60.0, 'POLSCAL1': 100.0,
        'POLZERO2': 50.0, 'POLSCAL2': 80.0, 'PSF_SAMP': step,
        'POLDEG1': int((np.sqrt(8 * n_terms + 1) - 3) / 2), **header})
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)


@pytest.mark.parametrize('step', [0.5, 0.4, 1.0])
def test_a_psfex_model_has_its_pixel_scale(tmp_path, step):
    path = tmp_path / 'a.psf'
    write_psfex(path, gaussian(3.0 / step, 25)[None], step)
    psf = read_psf(path)
    assert isinstance(psf, ImagePSF)
    assert_allclose(fwhm_at(psf, 0, 0), 3.0, rtol=0.02)


def test_a_psfex_model_is_a_polynomial_of_the_position(tmp_path):
    images = np.random.default_rng(0).normal(0, 1e-5, (6, 25, 25))
    images[0] += gaussian(5.0)
    path = tmp_path / 'a.psf'
    write_psfex(path, images)
    x, y = 33.0, 81.0  # from 0; PSFEx counts from 1
    u, v = (x + 1 - 60) / 100, (y + 1 - 50) / 80
    want = sum(term * image for term, image in zip(
        [1, u, u * u, v, u * v, v * v], images.astype('f4'), strict=True))
    got = read_psf(path)(x, y, 'r')
    assert got.oversampling.tolist() == [2, 2]
    assert_allclose(got.data, want * 4 / want.sum(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(('header', 'match'), [
    ({'POLNAME1': 'MAG_AUTO'}, 'MAG_AUTO'), ({'POLDEG1': 2}, '6 terms'),
    ({'POLNGRP': 2}, 'one group')])
def test_psfex_models_of_other_things_are_refused(tmp_path, header, match):
    path = tmp_path / 'a.psf'
    write_psfex(path, np.stack([gaussian(5.0)] * 3), **header)
    with pytest.raises(PSFError, match=match):
        read_psf(path)


@pytest.mark.parametrize('names', [('x_center', 'y_center'), ('X', 'Y')])
@pytest.mark.parametrize('stated', [True, False])
def test_stamps_on_a_canvas_are_taken_near_the_place(tmp_path, names, stated):
    canvas = np.zeros(SHAPE, 'f4')
    places = [(20, 30), (90, 30), (20, 70), (90, 70)]
    for x, y in places:
        canvas[y - 10:y + 11, x - 10:x + 11] = 0.97 * gaussian(
            2.6 + x / 200, 10, 0.1)
    table = fits.table_to_hdu(Table({
        names[0]: [x + 1.0 for x, _ in places],
        names[1]: [y + 1.0 for _, y in places],
        'FWHM': [2.6 + x / 200 for x, _ in places]}))
    image = fits.PrimaryHDU(canvas)
    if stated:
        image.header['STMPSIZE'] = 21
    path = tmp_path / 'EUC_MER_GRID-PSF-VIS.fits'
    fits.HDUList([image, table]).writeto(path)
    psf = read_psf(path)
    assert psf.stamps.shape == (4, 21, 21)
    for x, y in places:
        assert_allclose(fwhm_at(psf, x, y), 2.6 + x / 200, rtol=0.02)
    assert_allclose(fwhm_at(psf, 55, 50), 2.6 + 55 / 200, rtol=0.02)


def test_a_canvas_without_stamps_is_refused(tmp_path):
    path = tmp_path / 'a.fits'
    fits.HDUList([fits.PrimaryHDU(np.zeros(SHAPE)), fits.table_to_hdu(
        Table({'X': [20.0], 'Y': [30.0]}))]).writeto(path)
    with pytest.raises(PSFError, match='no light at the 1 positions'):
        read_psf(path)


def test_grids_of_hst_and_jwst_are_read_by_photutils(tmp_path):
    path = tmp_path / 'STDPSF_ACS_F814W.fits'
    hdu = fits.PrimaryHDU(16 * np.stack([gaussian(8.0, 25)] * 9))
    hdu.header.update({'NXPSFS': 3, 'NYPSFS': 3, **{
        f'{key}{i + 1:02d}': 50 * i + 1 for key in ('IPSFX', 'JPSFY')
        for i in range(3)}})
    hdu.writeto(path)
    psf = read_psf(path)
    assert isinstance(psf, GriddedPSFModel)
    assert_allclose(fwhm_at(psf, 70, 20), 2.0, rtol=0.02)


@pytest.mark.parametrize('oversampling', [1, 3])
def test_images_and_cubes_are_one_psf_a_plane(tmp_path, oversampling):
    image = gaussian(3.0 * oversampling, 20)
    header = fits.Header({'OVERSAMP': oversampling})
    fits.writeto(tmp_path / 'a.fits', image, header)
    fits.writeto(tmp_path / 'b.fits', np.stack([image, image]), header)
    assert_allclose(fwhm_at(read_psf(tmp_path / 'a.fits'), 0, 0), 3,
                    rtol=0.02)
    two = read_psf(tmp_path / 'b.fits')
    assert [fwhm_at(psf, 0, 0) for psf in two] == pytest.approx([3, 3], 0.02)


@pytest.mark.parametrize(('data', 'header', 'match'), [
    (np.full((5, 5), np.nan), {}, '25 are not finite'),
    (-np.ones((5, 5)), {}, 'sum is -25'),
    (np.ones((5, 5)), {'OVERSAMP': 1.5}, 'whole number'),
    (np.ones((2, 2, 5, 5)), {}, 'array of shape')])
def test_what_is_no_psf_is_refused(tmp_path, data, header, match):
    fits.writeto(tmp_path / 'a.fits', data, fits.Header(header))
    with pytest.raises(PSFError, match=match):
        read_psf(tmp_path / 'a.fits')


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match='absent'):
        read_psf(tmp_path / 'absent.fits')
    (tmp_path / 'a.fits').write_text('no FITS')
    with pytest.raises(PSFError, match='cannot be read'):
        read_psf(tmp_path / 'a.fits')
    fits.table_to_hdu(Table({'a': [1]})).writeto(tmp_path / 'b.fits')
    with pytest.raises(PSFError, match='neither an image nor'):
        read_psf(tmp_path / 'b.fits')
    fits.writeto(tmp_path / 'c.fits', gaussian(3.0))
    with pytest.raises(PSFError, match="no extension 'PSF'"):
        read_psf(tmp_path / 'c.fits', 'PSF')


@pytest.mark.parametrize('psf', [
    3.0, gaussian(2.0), lambda x, y, band: ImagePSF(
        9 * gaussian(6.0 + x / 40, 25), oversampling=3)])
def test_a_psf_that_is_written_is_read_again(tmp_path, psf):
    (made,) = make_band_psfs(psf, ['r'], SHAPE)
    write_psf(tmp_path / 'a.fits', made, SHAPE)
    (again,) = make_band_psfs(read_psf(tmp_path / 'a.fits'), ['r'], SHAPE)
    assert again.varies == made.varies
    for x, y in ((0, 0), (59.5, 49.5), (100, 70)):
        want, oversampling = made.sample(x, y)
        got, same = again.sample(x, y)
        assert same == oversampling
        assert_allclose(got, want, atol=1e-2 * want.max())
