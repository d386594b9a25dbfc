# Licensed under a 3-clause BSD style license - see LICENSE.rst
from pathlib import Path
from runpy import run_path

import numpy as np
import pytest
from astropy.wcs import WCS
from numpy.testing import assert_allclose, assert_array_equal

from vaephot.utils.grids import (
    GridMap,
    linear_scale,
    map_labels,
    map_positions,
    same_grid,
)

make_wcs = run_path(str(
    Path(__file__).parents[1] / '_blends.py'))['make_wcs']
FINE, COARSE = make_wcs(), make_wcs(0.3, (16, 13), 20)


def galactic(wcs):
    """Coordinates of the same pixels in the galactic frame."""
    centre = wcs.pixel_to_world(0, 0).galactic
    east = wcs.pixel_to_world(1, 0).galactic
    north = wcs.pixel_to_world(0, 1).galactic
    out = WCS(naxis=2)
    out.wcs.ctype = 'GLON-TAN', 'GLAT-TAN'
    out.wcs.crval = centre.l.deg, centre.b.deg
    out.wcs.crpix = 1, 1
    out.wcs.cd = [[(p.l.deg - centre.l.deg) * np.cos(centre.b.rad)
                   for p in (east, north)],
                  [p.b.deg - centre.b.deg for p in (east, north)]]
    return out


def test_there_and_back_again():
    x, y = np.array([0.0, 50.0, 89.0]), np.array([3.0, 20.0, 69.0])
    there = map_positions(FINE, COARSE, x, y)
    back = map_positions(COARSE, FINE, *there)
    assert_allclose(back, [x, y], atol=1e-6)


def test_frames_of_the_sky_may_differ():
    x, y = np.array([3.0, 8.0]), np.array([5.0, 1.0])
    found = map_positions(FINE, galactic(FINE), x, y)
    assert_allclose(found, [x, y], atol=1e-3)


def test_affine_map_agrees_close_by():
    grid_map = GridMap(FINE, COARSE)
    matrix, offset = grid_map.affine([40.0, 10.0], [30.0, 60.0])
    assert matrix.shape == (2, 2, 2)
    x, y = np.array([44.0, 13.0]), np.array([28.0, 62.0])
    want = np.stack(grid_map(x, y), -1)
    got = np.einsum('nij,nj->ni', matrix, np.stack([x, y], -1)) + offset
    assert_allclose(got, want, atol=1e-6)
    turn = np.deg2rad(20)
    assert_allclose(matrix[0] * 3, [[np.cos(turn), np.sin(turn)],
                                    [-np.sin(turn), np.cos(turn)]],
                    atol=1e-4)


def test_identity_needs_no_wcs():
    grid_map = GridMap(None, None)
    assert grid_map.is_identity
    matrix, offset = grid_map.affine([3.0], [4.0])
    assert_array_equal(matrix, [np.eye(2)])
    assert_array_equal(offset, 0)
    assert_array_equal(grid_map([3.0], [4.0]), [[3.0], [4.0]])


def test_scale_is_pixels_per_pixel():
    assert linear_scale(GridMap(FINE, COARSE), (70, 90)) == pytest.approx(
        1 / 3, rel=1e-5)
    assert linear_scale(GridMap(COARSE, FINE), (28, 34)) == pytest.approx(
        3, rel=1e-5)


def test_grids_are_the_same_if_their_corners_are():
    assert same_grid(FINE, FINE, (70, 90))
    assert same_grid(FINE, make_wcs(), (70, 90))
    assert same_grid(FINE, make_wcs(centre=(45.03, 35)), (70, 90))
    assert not same_grid(FINE, make_wcs(centre=(45.1, 35)), (70, 90))
    assert not same_grid(FINE, COARSE, (70, 90))


def test_labels_are_those_at_the_centres_of_pixels():
    labels = np.zeros((70, 90), int)
    labels[20:50, 30:60] = 7
    mapped = map_labels(labels, FINE, COARSE, (28, 34))
    assert set(np.unique(mapped)) == {0, 7}
    for iy, ix in ((0, 0), (12, 15), (20, 20), (27, 33)):
        x, y = map_positions(COARSE, FINE, ix, iy)
        want = 7 if 29.5 < x < 59.5 and 19.5 < y < 49.5 else 0
        assert mapped[iy, ix] == want
    assert_array_equal(map_labels(labels, FINE, FINE, labels.shape), labels)
