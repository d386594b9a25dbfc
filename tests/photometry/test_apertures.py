# Licensed under a 3-clause BSD style license - see LICENSE.rst
from pathlib import Path
from runpy import run_path

import astropy.units as u
import numpy as np
import pytest
from numpy.testing import assert_allclose

from vaephot import VAEDeblender
from vaephot.photometry.apertures import aperture_table

BLENDS = run_path(str(Path(__file__).parents[1] / '_blends.py'))
make_result, make_wcs = BLENDS['make_result'], BLENDS['make_wcs']


@pytest.fixture(name='result', scope='module')
def _result():
    return make_result(wcs=make_wcs())


def test_columns_are_added_at_the_end(result):
    table = result.aperture_table([2.0, 5.0], bands=['VIS', 'H'])
    n = len(result.table.colnames)
    assert table.colnames[:n] == result.table.colnames
    assert table.colnames[n:] == [
        f'{name}_{band}' for name in (
            'aperture_flux_0', 'aperture_flux_1', 'aperture_flux_err_0',
            'aperture_flux_err_1', 'kron_flux', 'kron_flux_err')
        for band in ('VIS', 'H')]
    assert table['aperture_flux_0_VIS'].unit == u.uJy
    assert table.meta['aperture_radii'] == [2.0, 5.0]
    assert 'aperture_radii' not in result.table.meta


def test_circles_hold_their_share_of_a_round_gaussian(result):
    # the second galaxy: sigma 2.2, axis ratio 0.9, flux 120
    row = int(np.argmin(np.hypot(result.table['x_centroid'] - 40.5,
                                 result.table['y_centroid'] - 35.1)))
    table = result.aperture_table([3.0, 9.0], kron=False, bands=['VIS'])
    sigma = 2.2 * np.sqrt(0.9)
    for i, radius in enumerate((3.0, 9.0)):
        want = 120 * (1 - np.exp(-0.5 * (radius / sigma) ** 2))
        got = table[f'aperture_flux_{i}_VIS'][row].value
        assert got == pytest.approx(want, rel=0.03)


def test_errors_count_the_pixels_of_the_circle(result):
    table = result.aperture_table([3.0], kron=False)
    row = result.labels.tolist().index(3)
    assert table['aperture_flux_err_0_Y'][row].value == pytest.approx(
        0.05 * np.sqrt(np.pi * 9), rel=1e-6)


def test_rows_without_a_source_are_measured_where_they_were_found():
    image = np.random.default_rng(1).standard_normal((40, 60))
    y, x = np.mgrid[:40, :60]
    image += 60 * np.exp(-((x - 20) ** 2 + (y - 20) ** 2) / 8)
    segm = np.zeros(image.shape, int)
    segm[15:26, 15:26], segm[18:22, 48:52] = 1, 2
    result = VAEDeblender(device='cpu', refine=False)(
        image, segm, error=1.0, psf=3.0)
    table = result.aperture_table([3.0], kron=False)
    assert np.isfinite(table['aperture_flux_0']).all()
    assert abs(table['aperture_flux_0'][1]) < 5 * table[
        'aperture_flux_err_0'][1]


def test_angles_are_turned_into_pixels(result):
    pixels = result.aperture_table([4.0], kron=False)
    angles = result.aperture_table([0.4] * u.arcsec, kron=False)
    assert_allclose(angles['aperture_flux_0_H'].value,
                    pixels['aperture_flux_0_H'].value, rtol=1e-5)
    with pytest.raises(ValueError, match='WCS'):
        aperture_table(make_result(1), [0.4] * u.arcsec)
    for wrong in ([0.0], [-1.0], [np.nan]):
        with pytest.raises(ValueError, match='radii'):
            result.aperture_table(wrong)


def test_kron_fluxes_are_those_of_photutils(result):
    table = result.aperture_table()
    detection = result.to_catalog()
    forced = result.to_catalog('H', detection_catalog=detection)
    rows = [result.labels.tolist().index(k) for k in forced.labels]
    assert_allclose(table['kron_flux_VIS'].value[rows],
                    detection.kron_flux.value)
    assert_allclose(table['kron_flux_err_H'].value[rows],
                    forced.kron_flux_err.value)


def test_2d_names_have_no_band():
    table = make_result(1, is_2d=True).aperture_table([3])
    assert table.colnames[-4:] == ['aperture_flux_0', 'aperture_flux_err_0',
                                   'kron_flux', 'kron_flux_err']


def test_circles_on_grids_of_their_own_are_equal_on_the_sky():
    native = BLENDS['make_native_result']()
    table = native.aperture_table([6.0], kron=True)
    row = native.labels.tolist().index(1)
    share = 1 - np.exp(-0.5 * (2.0 / 1.2) ** 2)
    assert table['aperture_flux_0_H'][row].value == pytest.approx(
        native[1].flux[1].value * share, rel=0.04)
    assert np.isfinite(table['kron_flux_H'].value[row])
