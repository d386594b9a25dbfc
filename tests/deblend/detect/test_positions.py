# Licensed under a 3-clause BSD style license - see LICENSE.rst
import warnings

import astropy.units as u
import numpy as np
import pytest
from astropy.table import MaskedColumn, QTable, Table
from numpy.testing import assert_allclose, assert_array_equal
from photutils.detection import DAOStarFinder
from photutils.segmentation import SegmentationImage, detect_sources

from vaephot.deblend.detect.positions import (
    candidates_from_finder,
    candidates_from_positions,
)


def two_sources():
    """Image of three Gaussians, two of them in one segment."""
    yy, xx = np.mgrid[:80, :100]
    image = sum(peak * np.exp(-((xx - x)**2 + (yy - y)**2) / 8)
                for x, y, peak in ((30, 40, 100), (39, 40, 90), (80, 10, 50)))
    return image, detect_sources(image, 5, 5)


def test_a_photutils_finder_may_be_used():
    image, segm = two_sources()
    finder = DAOStarFinder(threshold=10, fwhm=4, min_separation=3)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        found = candidates_from_finder(finder, image, None, segm, None)
    assert_allclose(sorted(found.x), [30, 39, 80], atol=0.5)
    label = segm.data[40, 30]
    found = candidates_from_finder(finder, image, None, segm, [label])
    assert_array_equal(found.label, [label, label])


def test_finders_of_other_kinds():
    image, segm = two_sources()
    mask = np.zeros(image.shape, bool)

    def finder(data, mask=None):
        assert mask is not None
        return QTable({'xcentroid': [30.2, 60], 'ycentroid': [40.1, 60]})

    found = candidates_from_finder(finder, image, mask, segm, None)
    assert_array_equal(found.x, [30.2])
    assert len(candidates_from_finder(lambda d, mask: None, image, mask,
                                      segm, None)) == 0
    with pytest.raises(TypeError, match='list'):
        candidates_from_finder(lambda d, mask: [1], image, mask, segm, None)
    with pytest.raises(ValueError, match='columns ra'):
        candidates_from_finder(lambda d, mask: Table({'ra': [1]}), image,
                               mask, segm, None)


@pytest.mark.parametrize('form', ['list', 'array', 'x', 'x_centroid',
                                  'xcentroid', 'quantity'])
def test_positions_may_be_pairs_or_a_table(form):
    _, segm = two_sources()
    x, y = np.array([39.0, 2.0, -7.0]), np.array([40.0, 3.0, 500.0])
    given = np.stack([x, y], axis=1)
    if form == 'list':
        given = given.tolist()
    elif form == 'quantity':
        given = QTable({'x': x * u.pix, 'y': y * u.pix})
    elif form != 'array':
        given = Table({form: x, 'y' + form[1:]: y})
    got = candidates_from_positions(given, segm)
    assert_array_equal(got.x, x)
    assert_array_equal(got.y, y)
    assert_array_equal(got.label, [segm.data[40, 39], 0, 0])
    assert_array_equal(got.fixed, [False] * 3)
    assert got.point_source.mask.all()
    assert len(got) == 3
    got.x[:] = 0
    assert x[0] == 39


def test_positions_belong_to_the_pixel_they_are_in():
    segm = SegmentationImage(np.array([[1, 2], [3, 4]]))
    xy = [(0.49, 0.49), (0.51, 0.49), (-0.5, 1.49), (1.49, 1.49), (1.5, 0)]
    got = candidates_from_positions(xy, segm)
    assert_array_equal(got.label, [1, 2, 3, 4, 0])


@pytest.mark.parametrize('column', [
    np.array([True, False, True]), [1, 0, 1],
    MaskedColumn([True, False, True], mask=[False, False, True]),
    np.array([True, False, None], dtype=object), [1.0, 0.0, np.nan]])
def test_point_sources_may_be_said_or_left_open(column):
    _, segm = two_sources()
    table = Table({'x': [1.0, 2, 3], 'y': [1.0, 2, 3],
                   'fixed': [True, False, True]})
    table['point_source'] = column
    got = candidates_from_positions(table, segm)
    assert_array_equal(got.fixed, [True, False, True])
    assert got.point_source[0]
    assert not got.point_source[1]
    is_open = got.point_source.mask[2]
    assert is_open or got.point_source[2]
    assert got.point_source.dtype == bool


@pytest.mark.parametrize(('given', 'match'), [
    ([1, 2, 3], 'shape'), (np.ones((2, 3)), 'shape'),
    ([[1, np.nan]], 'row 0'), ([[1, 2], [np.inf, 2]], 'row 1'),
    (Table({'x': [1.0]}), 'columns x'),
    (Table({'x': [1.0], 'y': [2.0], 'fixed': [3]}), "'fixed' has"),
    (QTable({'x': [1.0] * u.deg, 'y': [2.0] * u.deg}), 'unit deg'),
    (Table({'x': MaskedColumn([1.0], mask=[True]), 'y': [1.0]}), 'row 0')])
def test_positions_that_cannot_be_used_raise(given, match):
    _, segm = two_sources()
    with pytest.raises(ValueError, match=match):
        candidates_from_positions(given, segm)


def test_no_positions_are_no_sources():
    _, segm = two_sources()
    assert len(candidates_from_positions([], segm)) == 0
