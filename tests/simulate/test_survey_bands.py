# Licensed under a 3-clause BSD style license - see LICENSE.rst
import pytest

from vaephot.exceptions import CatalogError
from vaephot.simulate.survey_bands import Band, Survey

BAND = {'name': 'r', 'psf_fwhm': 0.7, 'sky_rms': 0.01, 'gain': 100.0}


@pytest.mark.parametrize('change', [
    {'psf_fwhm': 0.0}, {'sky_rms': -1.0}, {'gain': float('nan')}])
def test_impossible_bands_are_refused(change):
    with pytest.raises(CatalogError, match='must be positive'):
        Band(**{**BAND, **change})


@pytest.mark.parametrize(('change', 'match'), [
    ({'pixel_scale': 0.0}, 'positive scale'), ({'bands': ()}, 'one band'),
    ({'bands': (Band(**BAND), Band(**BAND))}, 'once'),
    ({'telescope': 'jwst'}, 'choose one of')])
def test_impossible_surveys_are_refused(change, match):
    with pytest.raises(CatalogError, match=match):
        Survey(**{'name': 'mine', 'pixel_scale': 0.2,
                  'bands': (Band(**BAND),), **change})


def test_bands_can_be_selected_in_any_order():
    survey = Survey(name='mine', pixel_scale=0.2, bands=(
        Band(**BAND), Band(**{**BAND, 'name': 'i', 'catalog_band': 'z'})))
    chosen = survey.select(['i', 'r'])
    assert chosen.band_names == ('i', 'r')
    assert chosen.catalog_bands == ('z', 'r')
    with pytest.raises(CatalogError, match='no band'):
        survey.select(['g'])
