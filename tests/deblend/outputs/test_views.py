# Licensed under a 3-clause BSD style license - see LICENSE.rst
from types import SimpleNamespace

import numpy as np
from astropy.wcs import WCS
from numpy.testing import assert_allclose, assert_array_equal
from photutils.segmentation import SegmentationImage

from vaephot.deblend.outputs.views import columns_of_bands, make_views
from vaephot.utils.grids import GridMap


def make_wcs(scale, size):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = 'RA---TAN', 'DEC--TAN'
    wcs.wcs.crpix = [(size + 1) / 2] * 2
    wcs.wcs.cdelt = -scale / 3600, scale / 3600
    return wcs


def layer(size, n_bands, fwhm):
    data = np.zeros((n_bands, size, size))
    return SimpleNamespace(
        data=data, mask=data > 0, variance=np.ones((n_bands, 1, 1)),
        gain=None, psfs=[SimpleNamespace(fwhm=fwhm)] * n_bands, wcs=None,
        bands=tuple(range(n_bands)))


def scene(drawn=None):
    """Two sources, of which one is a parent without a pixel elsewhere."""
    first = SimpleNamespace(boxes=['box'], models=['model'], image='image')
    return SimpleNamespace(
        drawn=(first,) if drawn is None else (first, drawn),
        sources=SimpleNamespace(parent=np.array([4, 9])),
        fit=SimpleNamespace(parameters=np.array([[10.0, 12.0, 0.5],
                                                 [3.0, 3.0, 0.5]])))


def parents():
    data = np.zeros((30, 30), int)
    data[9:15, 6:15] = 4
    data[3, 3] = 9
    return SegmentationImage(data)


def test_bands_on_one_grid_are_one_view():
    observation, segm = layer(30, 2, 2.5), parents()
    grids = [(observation, np.arange(2), None)]
    view, = make_views(SimpleNamespace(grids=grids), scene(), segm)
    assert view.data is observation.data
    assert view.segm is segm
    assert (view.boxes, view.models, view.model_image) == (
        ['box'], ['model'], 'image')
    assert_array_equal(view.rows, [0, 1])
    assert_allclose(view.fwhm, 2.5)
    assert view.scale == 1


def test_each_grid_has_a_view_in_its_own_pixels():
    first, second = make_wcs(0.1, 30), make_wcs(0.3, 10)
    observation = SimpleNamespace(grids=[
        (layer(30, 1, 2.0), np.array([1]), None),
        (layer(10, 2, 1.5), np.array([0, 2]), GridMap(first, second))])
    drawn = SimpleNamespace(boxes=['b'], models=['m'], image='i')
    one, two = make_views(observation, scene(drawn), parents())
    assert_array_equal(one.rows, [1])
    assert two.models == ['m']
    assert_allclose(two.scale, 1 / 3, rtol=1e-6)
    assert_allclose(two.xy[0], (np.array([10, 12]) - 1) / 3, atol=1e-6)
    # what has no pixel there belongs to no parent
    assert_array_equal(two.parent, [4, 0])
    assert set(two.segm.labels) == {4}
    columns = columns_of_bands([one, two], [np.ones((2, 1)),
                                            np.array([[2.0, 3.0]] * 2)])
    assert_array_equal(columns, [[2, 1, 3]] * 2)
