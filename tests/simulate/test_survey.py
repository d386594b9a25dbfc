# Licensed under a 3-clause BSD style license - see LICENSE.rst
from dataclasses import fields

import numpy as np
import pytest

from vaephot.exceptions import CatalogError, PSFError
from vaephot.simulate.survey import (
    SURVEYS,
    ZEROPOINT,
    aperture_depth,
    get_survey,
    native_survey,
    point_depth,
    read_survey,
    survey_psfs,
)


@pytest.fixture(scope='module')
def euclid_psfs():
    return survey_psfs('euclid-wide', 127)


def test_vis_reaches_its_depth_in_an_aperture():
    band = get_survey('euclid-wide').bands[0]
    n_pixels = np.pi * (1.3 / 2 / 0.1) ** 2
    mag = ZEROPOINT - 2.5 * np.log10(10 * band.sky_rms * n_pixels ** 0.5)
    assert mag == pytest.approx(25.6, abs=0.01)


@pytest.mark.galsim
@pytest.mark.parametrize(('k', 'depth'), [(1, 24.3), (2, 24.5), (3, 24.4)])
def test_nisp_reaches_its_depth_for_point_sources(euclid_psfs, k, depth):
    band, psf = get_survey('euclid-wide').bands[k], euclid_psfs[k]
    pixels = psf.image[1::3, 1::3] * 9
    error = band.sky_rms / np.sqrt((pixels ** 2).sum())
    mag = ZEROPOINT - 2.5 * np.log10(5 * error)
    assert mag == pytest.approx(depth, abs=0.01)


@pytest.mark.galsim
def test_psfs_have_the_width_of_the_survey(euclid_psfs):
    survey = get_survey('euclid-wide')
    for band, psf in zip(survey.bands, euclid_psfs, strict=True):
        assert psf.fwhm * survey.pixel_scale == pytest.approx(
            band.psf_fwhm, rel=0.005)


@pytest.mark.galsim
def test_psfs_of_the_ground_have_their_width():
    psf = survey_psfs('lsst', 41)[0]
    assert psf.fwhm * 0.2 == pytest.approx(0.79, rel=0.05)


def test_the_deep_fields_are_deeper_by_their_difference():
    wide, deep = get_survey('euclid-wide'), get_survey('euclid-deep')
    gain = 2.5 * np.log10(wide.sky_rms / deep.sky_rms)
    assert gain == pytest.approx([1.7, 1.7, 1.7, 1.8])
    # the photon noise of a source falls like that of the sky
    assert (wide.sky_rms ** 2 * wide.gain) == pytest.approx(
        deep.sky_rms ** 2 * deep.gain)


@pytest.mark.parametrize('name', SURVEYS)
def test_the_detection_band_comes_first(name):
    survey = get_survey(name)
    assert survey.name == name
    assert survey.band_names[0] in ('VIS', 'i', 'F814W')
    assert len(set(survey.band_names)) == len(survey.bands)
    assert (survey.sky_rms > 0).all()
    assert (survey.gain > 0).all()
    assert get_survey(survey) is survey


def test_lsst_has_its_ten_year_depth():
    band = get_survey('lsst').bands[0]
    n_eff = 2.266 * (band.psf_fwhm / 0.2) ** 2
    depth = ZEROPOINT - 2.5 * np.log10(5 * band.sky_rms * n_eff ** 0.5)
    assert depth == pytest.approx(26.6, abs=0.5)


def test_an_unknown_survey_is_named_with_the_known_ones():
    with pytest.raises(CatalogError, match='euclid-wide') as info:
        get_survey('sdss')
    assert info.value.survey == 'sdss'


MINE = """
name = "mine"
pixel_scale = 0.2
[[bands]]
name = "r"
psf_fwhm = 0.7
zeropoint = 28.0
sky_mag = 21.0
exposure = 1000.0
[bands.sources]
psf_fwhm = "measured"
"""


def test_surveys_of_the_user_are_read(tmp_path):
    path = tmp_path / 'mine.toml'
    path.write_text(MINE)
    survey = get_survey(path)
    band = survey.bands[0]
    assert band.gain == pytest.approx(1000 * 10 ** (0.4 * 4.1))
    electrons = 1000 * 0.04 * 10 ** (0.4 * 7)
    assert band.sky_rms == pytest.approx(electrons ** 0.5 / band.gain)
    assert band.sources == (('psf_fwhm', 'measured'),)
    yaml = tmp_path / 'mine.yaml'
    yaml.write_text('name: mine\npixel_scale: 0.2\nbands:\n'
                    '- {name: r, psf_fwhm: 0.7, zeropoint: 28.0, '
                    'sky_mag: 21.0, exposure: 1000.0, '
                    'sources: {psf_fwhm: measured}}\n')
    assert read_survey(yaml) == survey


@pytest.mark.parametrize(('text', 'match'), [
    (MINE.replace('psf_fwhm = 0.7', 'seeing = 0.7'), 'seeing'),
    (MINE.replace('psf_fwhm = 0.7', ''), 'incomplete'),
    ('name = "mine"', 'no list'), ('name = ', 'no valid TOML')])
def test_files_that_are_no_survey_are_refused(tmp_path, text, match):
    path = tmp_path / 'mine.toml'
    path.write_text(text)
    with pytest.raises(CatalogError, match=match):
        read_survey(path)


@pytest.mark.parametrize('name', SURVEYS)
def test_each_number_of_a_survey_has_its_source(name):
    for band in get_survey(name).bands:
        known = {f.name for f in fields(band)
                 if getattr(band, f.name) not in (None, (), 0.0)}
        assert {'zeropoint', 'sky_mag', 'exposure', 'saturation_mag',
                'depth'} <= known
        # noise and gain of some follow from others, pixels from the survey
        derived = {'name', 'sources', 'gain', 'sky_rms',
                   'native_pixel_scale', 'native_blur_fwhm'}
        assert known - derived <= {key for key, _ in band.sources}


@pytest.mark.parametrize('name', SURVEYS)
def test_gain_and_noise_follow_from_zeropoint_and_exposure(name):
    for band in get_survey(name).bands:
        gain = band.exposure * 10 ** (0.4 * (band.zeropoint - ZEROPOINT))
        assert band.gain == pytest.approx(gain, rel=0.005)


@pytest.mark.galsim
@pytest.mark.parametrize('name', SURVEYS)
def test_each_survey_has_its_stated_depth(name):
    survey = get_survey(name)
    psfs = survey_psfs(survey, int(6 / survey.pixel_scale))
    for band, psf in zip(survey.bands, psfs, strict=True):
        depth = (point_depth(band, psf, band.depth.n_sigma)
                 if band.depth.aperture is None else aperture_depth(
                     band, survey.pixel_scale, band.depth.aperture,
                     band.depth.n_sigma))
        assert depth == pytest.approx(band.depth.mag, abs=0.03)


@pytest.mark.galsim
def test_a_psf_can_be_an_image(tmp_path):
    from astropy.io import fits

    y, x = np.mgrid[-40:41, -40:41]
    image = np.exp(-0.5 * (x ** 2 + y ** 2) / 6.0 ** 2)
    hdu = fits.PrimaryHDU(image)
    hdu.header['OVERSAMP'] = 3
    hdu.writeto(tmp_path / 'psf.fits')
    path = tmp_path / 'mine.toml'
    path.write_text(MINE.replace('psf_fwhm = 0.7',
                                 'psf_fwhm = 0.7\npsf_file = "psf.fits"'))
    psf = survey_psfs(path, 25)[0]
    assert psf.fwhm == pytest.approx(2.3548 * 2, rel=0.02)
    path.write_text(MINE.replace('psf_fwhm = 0.7',
                                 'psf_fwhm = 0.7\npsf_file = "none.fits"'))
    with pytest.raises(PSFError, match=r'none\.fits'):
        survey_psfs(path, 25)


def test_joined_surveys_keep_their_depth():
    joined, lsst = get_survey('euclid-wide+lsst'), get_survey('lsst')
    assert joined.band_names == ('VIS', 'Y', 'J', 'H', *lsst.band_names)
    assert joined.pixel_scale == 0.1
    # a source covers four times the pixels, so each has half the noise
    assert joined.sky_rms[4:] == pytest.approx(lsst.sky_rms / 2)
    both = get_survey('lsst+hsc-wide').band_names
    assert {'u', 'lsst-i', 'hsc-wide-i'} <= set(both)


@pytest.mark.galsim
def test_native_pixels_keep_the_depth():
    native = native_survey('euclid-wide', 'H')
    assert native.pixel_scale == 0.3
    psf = survey_psfs(native, 21)[0]
    assert point_depth(native.bands[0], psf) == pytest.approx(24.4,
                                                              abs=0.02)
    # first principles give 0.0246 microjansky in 4 x 87 s and a depth of
    # 25.0; the stated one is 0.6 mag brighter
    assert native.sky_rms[0] == pytest.approx(0.0246 * 10 ** 0.24,
                                              rel=0.15)
