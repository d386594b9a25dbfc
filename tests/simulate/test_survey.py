# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest

from vaephot.exceptions import CatalogError
from vaephot.simulate.survey import (
    SURVEYS,
    ZEROPOINT,
    get_survey,
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
