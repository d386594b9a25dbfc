# Licensed under a 3-clause BSD style license - see LICENSE.rst
import sys
from dataclasses import replace
from pathlib import Path
from runpy import run_path

import astropy.units as u
import numpy as np
import pytest
from astropy.wcs import WCS
from numpy.testing import assert_allclose, assert_array_equal

from vaephot.exceptions import MissingDependencyError
from vaephot.results.exports import source_ellipses

BLENDS = run_path(str(Path(__file__).parents[1] / '_blends.py'))
make_result = BLENDS['make_result']


def with_table(result, **columns):
    table = result.table.copy()
    for name, values in columns.items():
        table[name] = values
    return replace(result, table=table)


@pytest.mark.parametrize('wcs', [None, BLENDS['make_wcs'](scale=0.3)])
def test_ellipses_are_in_pixels(wcs):
    result = make_result(wcs=wcs)
    x, y, major, minor, angle = source_ellipses(result)[2]
    row = list(result.labels).index(2)
    # the radius of the table is that of this Gaussian of sigma 3
    assert (major * minor) ** 0.5 == pytest.approx(1.1774 * 3)
    assert minor / major == pytest.approx(result.table['axis_ratio'][row])
    assert angle == pytest.approx(30)
    assert x == result[2].x_centroid
    assert y == result[2].y_centroid


def test_regions_have_the_labels_and_the_size_of_the_sources():
    regions = pytest.importorskip('regions')
    result = make_result(wcs=BLENDS['make_wcs']())
    made = result.to_regions(scale=2)
    assert isinstance(made, regions.Regions)
    assert [region.meta['text'] for region in made] == list(
        map(str, result.labels))
    shape = source_ellipses(result)[2]
    second = made[list(result.labels).index(2)]
    assert second.width == pytest.approx(4 * shape.major)
    assert second.height == pytest.approx(4 * shape.minor)
    assert second.angle == 30 * u.deg
    assert second.center.x == result[2].x_centroid


def test_regions_can_be_written_and_read(tmp_path):
    regions = pytest.importorskip('regions')
    made = make_result().to_regions()
    made.write(tmp_path / 'sources.reg', format='ds9')
    again = regions.Regions.read(tmp_path / 'sources.reg', format='ds9')
    assert_allclose([region.center.x for region in again],
                    [region.center.x for region in made], atol=1e-6)


def test_stars_are_points_and_sources_without_position_are_left_out():
    regions = pytest.importorskip('regions')
    result = make_result(1)
    x = np.array(result.table['x_centroid'])
    x[3] = np.nan
    radius = result.table['half_light_radius'].copy()
    radius[2] = np.nan
    made = with_table(result, p_point=[0.9, 0, 0, 0, np.nan],
                      x_centroid=x, half_light_radius=radius).to_regions()
    kinds = [isinstance(region, regions.PointPixelRegion)
             for region in made]
    assert kinds == [True, False, True, False]


def test_regions_without_the_package_name_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, 'regions', None)
    with pytest.raises(MissingDependencyError, match=r'vaephot\[regions\]'):
        make_result(1).to_regions()


def test_cutouts_are_the_boxes_of_the_sources():
    result = make_result(wcs=BLENDS['make_wcs']())
    hdus = result.cutouts([3, 1])
    assert [hdu.name for hdu in hdus[1:]] == [
        'DATA_3', 'IMAGE_3', 'MODEL_3', 'DATA_1', 'IMAGE_1', 'MODEL_1']
    source = result[3]
    assert_array_equal(hdus['DATA_3'].data,
                       result.data.value[..., *source.slices])
    assert_array_equal(hdus['IMAGE_3'].data, source.image.value)
    assert_array_equal(hdus['MODEL_3'].data, source.model.value)
    header = hdus['DATA_3'].header
    assert header['BUNIT'] == 'uJy'
    assert header['PARENT'] == source.parent_label
    x, y = header['XFIRST'], header['YFIRST']
    assert (y, x) == (source.slices[0].start, source.slices[1].start)


def test_cutouts_have_the_sky_of_the_frame(tmp_path):
    result = make_result(1, is_2d=True, wcs=BLENDS['make_wcs'](angle=20))
    result.cutouts(2).writeto(tmp_path / 'stamps.fits')
    hdus = result.cutouts(2)
    wcs, header = WCS(hdus['IMAGE_2'].header), hdus['IMAGE_2'].header
    sky = wcs.pixel_to_world(3, 5)
    want = result.wcs.pixel_to_world(3 + header['XFIRST'],
                                     5 + header['YFIRST'])
    assert sky.separation(want).arcsec < 1e-6


def test_cutouts_of_grids_of_their_own_have_the_name_of_the_band():
    native = BLENDS['make_native_result']()
    hdus = native.cutouts()
    assert len(hdus) == 1 + 6 * len(native)
    assert_array_equal(hdus['MODEL_2_H'].data, native[2].model['H'].value)
    assert hdus['MODEL_2_H'].header['CDELT2'] == pytest.approx(0.3 / 3600)


def test_cutouts_of_an_unknown_label():
    with pytest.raises(KeyError, match='99'):
        make_result(1).cutouts([1, 99])
