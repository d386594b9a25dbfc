# Licensed under a 3-clause BSD style license - see LICENSE.rst
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import astropy.units as u
import numpy as np
import pytest
from astropy.table import MaskedColumn, QTable, Table
from numpy.testing import assert_allclose

from vaephot.deblend.inputs.positions import pixel_positions

images = SimpleNamespace(**run_path(
    str(Path(__file__).with_name('_images.py'))))
X, Y = np.array([3.0, 20.25, 44.0]), np.array([30.5, 11.0, 0.0])
WCS = images.make_wcs()
SKY = WCS.pixel_to_world(X, Y)


@pytest.mark.parametrize('given', [
    SKY, Table({'sky_centroid': SKY}), QTable({'ra': SKY.ra, 'dec': SKY.dec}),
    Table({'ra': SKY.ra.deg, 'dec': SKY.dec.deg}),
    Table({'RA': SKY.ra.rad * u.rad, 'DEC': SKY.dec.to(u.arcmin)}),
    Table({'RIGHT_ASCENSION': MaskedColumn(SKY.ra.deg),
           'DECLINATION': MaskedColumn(SKY.dec.deg)}),
    Table({'sky_centroid': SKY.galactic}),
    Table({'X_IMAGE': X + 1, 'Y_IMAGE': Y + 1}),
    QTable({'X_IMAGE': (X + 1) * u.pix, 'Y_IMAGE': (Y + 1) * u.pix,
            'ALPHA_J2000': X, 'DELTA_J2000': Y})],
    ids=['sky', 'column', 'angles', 'degrees', 'units', 'catalogue',
         'galactic', 'sextractor', 'both'])
def test_positions_become_pixels_from_0(given):
    found = pixel_positions(given, WCS)
    assert found.colnames == ['x_centroid', 'y_centroid']
    assert_allclose(found['x_centroid'], X, atol=1e-6)
    assert_allclose(found['y_centroid'], Y, atol=1e-6)


def test_a_single_sky_position_is_one_row():
    assert len(pixel_positions(SKY[0], WCS)) == 1


def test_other_columns_stay():
    table = Table({'ra': SKY.ra, 'dec': SKY.dec, 'mag': [1, 2, 3],
                   'fixed': [True, False, True], 'point_source': [1, 0, 1]})
    found = pixel_positions(table, WCS)
    assert found.colnames[2:] == ['fixed', 'point_source']
    assert found['fixed'].tolist() == [True, False, True]


@pytest.mark.parametrize('given', [
    None, np.column_stack([X, Y]), [(3.0, 30.5)],
    Table({'x_centroid': X, 'y_centroid': Y, 'ra': X, 'dec': Y}),
    Table({'x': X, 'y': Y}), Table({'x_fit': X, 'y_fit': Y})])
def test_pixels_stay_as_they_are(given):
    assert pixel_positions(given, WCS) is given


def test_what_cannot_be_used_is_told():
    with pytest.raises(ValueError, match='no WCS'):
        pixel_positions(SKY, None)
    with pytest.raises(TypeError, match=r'is a dict; .*Table\(positions\)'):
        pixel_positions({'x': X, 'y': Y}, WCS)
