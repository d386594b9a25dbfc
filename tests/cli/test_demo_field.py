# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import QTable

from vaephot.cli._demo_field import (
    detect_parents,
    load_demo_field,
    mark_blended,
    score_catalog,
)
from vaephot.utils.fits_images import InputFileError


@pytest.fixture(scope='module')
def field():
    return load_demo_field()


@pytest.fixture(scope='module')
def parents(field):
    return detect_parents(field)


def test_the_shipped_field_is_complete(field):
    shape = field.data.shape
    assert shape[0] == len(field.bands) == len(field.psfs) == 4
    assert field.data.unit == u.uJy
    assert field.mask.shape == shape
    assert field.mask.mean() < 0.01
    assert (field.sky_rms > 0).all()
    assert (field.gain > 0).all()
    assert field.wcs.naxis == 2
    for psf in field.psfs:
        assert psf.data.sum() == pytest.approx(psf.oversampling[0]**2)


def test_the_truth_fits_the_images(field):
    ny, nx = field.data.shape[1:]
    assert ((field.true_xy > -1) & (field.true_xy < (nx, ny))).all()
    for k, band in enumerate(field.bands):
        flux = field.true_flux(band)
        expected = 23.9 - 2.5 * np.log10(flux)
        assert field.true_mag(band) == pytest.approx(expected, abs=1e-6)
        # saturation takes some light, sources beyond the edge add some
        assert field.data[k].value.sum() == pytest.approx(flux.sum(),
                                                          rel=0.3)


def test_the_noise_is_that_of_the_header(field):
    for image, rms in zip(field.data.value, field.sky_rms, strict=True):
        dark = image[image < np.median(image)]
        spread = np.sqrt(((dark - np.median(image)) ** 2).mean())
        assert spread == pytest.approx(rms, rel=0.25)


def test_most_sources_are_detected_and_some_are_blended(field, parents):
    blended = mark_blended(field, parents)
    x, y = np.round(field.true_xy).astype(int).T
    ny, nx = parents.shape
    inside = (x >= 0) & (x < nx) & (y >= 0) & (y < ny)
    assert (parents.data[y[inside], x[inside]] > 0).mean() > 0.8
    assert 0.1 < blended.mean() < 0.9


def test_a_source_is_blended_only_if_others_in_its_segment_matter(field):
    class Parents:
        shape = field.data.shape[1:]
        data = np.zeros(shape, int)

    assert not mark_blended(field, Parents).any()
    Parents.data = np.ones(Parents.shape, int)
    flux = field.true_flux(field.bands[0])
    others = flux.sum() - flux
    everywhere = mark_blended(field, Parents)
    assert everywhere[np.argmin(flux)]
    brightest = np.argmax(flux)
    assert everywhere[brightest] == (
        others[brightest] >= 0.05 * flux[brightest])


def test_the_truth_as_catalogue_has_no_errors(field):
    truth = field.truth
    table = QTable({'x_centroid': truth['x'], 'y_centroid': truth['y'],
                    **{f'flux_{band}': truth[f'flux_{band}']
                       for band in field.bands}})[::-1]
    score = score_catalog('truth', table, field)
    assert score.found.all()
    for band in field.bands:
        assert score.errors[band] == pytest.approx(0, abs=1e-12)
    half = score_catalog('half', table[::2], field)
    assert half.found.sum() == half.n_measured
    assert np.isnan(half.errors['VIS'][~half.found]).all()


def test_a_file_without_truth_is_refused(tmp_path):
    path = tmp_path / 'a.fits'
    fits.writeto(path, np.zeros((4, 4)))
    with pytest.raises(InputFileError, match='no extension TRUTH'):
        load_demo_field(path)
