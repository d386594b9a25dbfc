# Licensed under a 3-clause BSD style license - see LICENSE.rst
from dataclasses import replace
from pathlib import Path
from runpy import run_path

import astropy.units as u
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from vaephot.photometry.euclid import microjansky_factors

BLENDS = run_path(str(Path(__file__).parents[1] / '_blends.py'))
make_result, make_wcs = BLENDS['make_result'], BLENDS['make_wcs']


@pytest.fixture(name='result', scope='module')
def _result():
    return make_result(wcs=make_wcs(angle=30), unit=None)


def test_fluxes_are_in_microjansky(result):
    table = result.euclid_table()
    # the zeropoint of the result is 23.9
    assert table['FLUX_VIS_TEMPLFIT'].unit == u.uJy
    assert_allclose(table['FLUX_H_TEMPLFIT'].value,
                    result.table['flux_H'])
    assert_allclose(table['FLUXERR_H_TEMPLFIT'].value,
                    result.table['flux_err_H'])


def test_zeropoints_are_told_by_meta_or_unit(result):
    moved = result.table.copy()
    moved.meta |= {'zeropoint_VIS': 23.9, 'zeropoint_Y': 26.4,
                   'zeropoint_H': 21.4}
    assert_allclose(microjansky_factors(replace(result, table=moved)),
                    [1, 0.1, 10])
    plain = make_result(1, unit=u.nJy)
    del plain.table.meta['zeropoint_VIS']
    assert_allclose(microjansky_factors(plain), [1e-3])
    counts = make_result(1, unit=u.electron)
    del counts.table.meta['zeropoint_VIS']
    assert microjansky_factors(counts) is None
    assert counts.euclid_table()['FLUX_VIS_TEMPLFIT'].unit == u.electron


def test_names_of_everything_else(result):
    table = result.euclid_table()
    source = result.table
    assert_array_equal(table['OBJECT_ID'], source['label'])
    assert_allclose(table['RIGHT_ASCENSION'].value,
                    source['sky_centroid'].ra.deg)
    assert_array_equal(table['SEGMENTATION_MAP_ID'] > 0, source['area'] > 0)
    assert_array_equal(table['DEBLENDED_FLAG'], source['n_blended'] > 1)
    assert_allclose(table['ELLIPTICITY'], 1 - source['axis_ratio'])
    assert_array_equal(table['VAEPHOT_FLAGS'], source['flags'])
    assert {'POINT_LIKE_PROB', 'EXTENDED_PROB',
            'SPURIOUS_PROB'} < set(table.colnames)


def test_position_angles_are_from_north_through_east(result):
    # east is to the left and the pixels are turned by 30 degrees
    got = result.euclid_table()['POSITION_ANGLE'].value
    angle = np.deg2rad(result.table['orientation'].to_value(u.deg))
    wcs = result.wcs
    for k in range(len(result)):
        x, y = (result.table[f'{a}_centroid'][k] for a in 'xy')
        one = wcs.pixel_to_world(x, y)
        two = wcs.pixel_to_world(x + np.cos(angle[k]), y + np.sin(angle[k]))
        east = (two.ra - one.ra).deg * np.cos(one.dec.rad)
        want = np.rad2deg(np.arctan2(east, (two.dec - one.dec).deg))
        assert (got[k] - want + 90) % 180 - 90 == pytest.approx(0, abs=0.01)


def test_kron_flux_on_request(result):
    table = result.euclid_table(kron=True)
    want = result.aperture_table(bands=['VIS'])['kron_flux_VIS']
    assert_allclose(table['FLUX_DETECTION_TOTAL'].value, want)
    assert 'FLUX_DETECTION_TOTAL' not in result.euclid_table().colnames
