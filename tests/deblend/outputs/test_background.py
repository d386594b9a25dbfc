# Licensed under a 3-clause BSD style license - see LICENSE.rst
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from vaephot.deblend.outputs.background import fit_backgrounds

SHAPE = (60, 90)
Y, X = np.mgrid[:SHAPE[0], :SHAPE[1]]


def make_view(data, *, mask=None, gain=None, model=None):
    data = np.asarray(data, float)[None]
    return SimpleNamespace(
        data=data, rows=np.array([0]), variance=np.ones((1, 1, 1)),
        mask=np.zeros(data.shape, bool) if mask is None else mask[None],
        gain=gain, model_image=np.zeros_like(data) if model is None
        else model[None])


def fit(view, kind, regions):
    """Background of a view with regions (x, y, width, height)."""
    corner = np.array([row[:2] for row in regions]).reshape(-1, 1, 2)
    size = np.array([row[2:] for row in regions]).reshape(-1, 1, 2)
    problem = SimpleNamespace(regions=lambda: (corner, size))
    engine = SimpleNamespace(
        settings=SimpleNamespace(background=kind),
        fitter=SimpleNamespace(problem=lambda *_: problem,
                               planes=[SimpleNamespace(binning=1)]))
    scene = SimpleNamespace(groups=list(regions), sources=None)
    return fit_backgrounds(engine, scene, [view])[0]


def test_without_a_free_background_there_is_none():
    assert fit(make_view(np.ones(SHAPE)), None, [(5, 5, 20, 20)]) is None


@pytest.mark.parametrize('corner', [(10, 20), (-8, -5), (70, 45)])
def test_a_plane_is_found_exactly_within_a_region(corner):
    sky = 3 + 0.1 * X - 0.05 * Y
    (found,) = fit(make_view(sky), 'plane', [(*corner, 30, 25)])
    part = np.s_[max(corner[1], 0):corner[1] + 25,
                 max(corner[0], 0):corner[0] + 30]
    assert_allclose(found[part], sky[part], atol=1e-9)


def test_outside_of_all_regions_the_nearest_counts():
    data = np.where(X < 45, 1.0, 5.0)
    (found,) = fit(make_view(data), 'constant',
                   [(5, 5, 20, 20), (60, 30, 20, 20)])
    assert_allclose(found[:, 0], 1)
    assert_allclose(found[:, -1], 5)


def test_overlapping_regions_share_their_mean():
    data = np.where(X < 40, 1.0, 3.0)
    (found,) = fit(make_view(data), 'constant',
                   [(10, 10, 30, 20), (40, 10, 30, 20), (30, 10, 20, 20)])
    assert_allclose([found[15, 20], found[15, 35], found[15, 45]],
                    [1, 1.5, 2.5])


def test_bad_pixels_and_photons_do_not_count():
    rng = np.random.default_rng(3)
    mask = rng.random(SHAPE) < 0.1
    model = 1e4 * np.exp(-0.5 * ((X - 30) ** 2 + (Y - 30) ** 2) / 9)
    # the light left over under a bright source has large photon noise
    data = 2.0 + model + 0.01 * model + np.where(mask, 1e6, 0)
    (found,) = fit(make_view(data, mask=mask, model=model,
                             gain=np.array([1e-3])),
                   'constant', [(0, 0, 90, 60)])
    assert_allclose(found, 2, atol=0.01)


def test_without_regions_it_is_the_sky():
    (found,) = fit(make_view(np.full(SHAPE, 7.0)), 'constant', [])
    assert_allclose(found, 7)


def test_a_region_without_a_good_pixel_has_none_of_its_own():
    mask = X < 30
    (found,) = fit(make_view(np.where(mask, 99.0, 4.0), mask=mask),
                   'constant', [(0, 0, 20, 20), (50, 20, 20, 20)])
    assert_allclose(found, 4)
