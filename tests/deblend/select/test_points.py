# Licensed under a 3-clause BSD style license - see LICENSE.rst
from dataclasses import replace

import numpy as np
import pytest

from vaephot.deblend.fit.common import POINT_LOG_SIZE
from vaephot.deblend.select.point_test import point_fluxes
from vaephot.deblend.select.points import fit_points

SHAPE = (60, 110)
# a point, another far away, and a galaxy
PARAMETERS = np.array([[22.3, 30.6, POINT_LOG_SIZE, 0, 0, 0, 0],
                       [55.1, 33.2, POINT_LOG_SIZE, 0, 0, 0, 0],
                       [86.4, 24.8, 0.8, 0.3, 0.0, 0, 0]])
FLUX = np.array([[900.0, 500], [400, 700], [2000, 3000]])


@pytest.fixture
def fitted(gaussian_band, draw_frame, make_observation, make_engine,
           make_sources):
    """Return a function: an engine, and galaxies with some scores."""
    psfs = [gaussian_band(1.2), gaussian_band(1.6)]
    data = draw_frame(PARAMETERS, FLUX, psfs, SHAPE)
    data = data + np.random.default_rng(4).standard_normal(data.shape)

    def make(p_point, is_known=False, **settings):
        engine = make_engine(make_observation(data, psfs), **settings)
        scene = engine.fit(make_sources(PARAMETERS[:, :2]))
        known = np.broadcast_to(is_known, 3).copy()
        return engine, replace(
            scene, sources=replace(scene.sources, is_known=known),
            scores=np.stack([np.ones(3), p_point], 1))
    return make


def _variances(fit):
    return np.diagonal(fit.covariance, axis1=1, axis2=2)[:, :2]


def test_likely_points_become_points(fitted):
    engine, scene = fitted([0.9, 0.8, 0.01], is_known=[False, True, False])
    out = fit_points(engine, scene)
    # what is known stays as it is
    assert out.is_point.tolist() == [True, False, False]
    assert not scene.is_point.any()
    sizes = out.fit.parameters[:, 2]
    assert sizes[0] == pytest.approx(POINT_LOG_SIZE)
    for name in ('parameters', 'flux', 'flux_err', 'covariance'):
        np.testing.assert_array_equal(getattr(out.fit, name)[1:],
                                      getattr(scene.fit, name)[1:])
    apart = (out.fit.flux[0] - FLUX[0]) / out.fit.flux_err[0]
    assert abs(apart).max() < 4
    # images are those of the new fit
    np.testing.assert_allclose(out.model_image,
                               engine.draw(out.fit)[0].image, atol=1e-3)


def test_doubt_is_in_the_errors(fitted):
    p = np.array([0.3, 0.01, 0.2])
    engine, scene = fitted(p)
    out = fit_points(engine, scene)
    np.testing.assert_array_equal(out.fit.flux, scene.fit.flux)
    assert not out.is_point.any()
    other = point_fluxes(engine, scene, np.arange(3))
    doubt = abs(other - scene.fit.flux) * np.sqrt(p * (1 - p))[:, None]
    doubt[1] = 0
    assert doubt[2].min() > scene.fit.flux_err[2].max()
    np.testing.assert_allclose(out.fit.flux_err,
                               np.hypot(scene.fit.flux_err, doubt))
    np.testing.assert_allclose(_variances(out.fit),
                               _variances(scene.fit) + doubt ** 2)
    shared = ~np.eye(scene.fit.covariance.shape[1], dtype=bool)
    np.testing.assert_array_equal(out.fit.covariance[:, shared],
                                  scene.fit.covariance[:, shared])


def test_the_doubt_of_points_is_that_of_galaxies(fitted):
    # nothing but the doubt differs
    outs = [fit_points(*fitted([p, 0, 0])) for p in (1 - 1e-12, 0.7)]
    before = fitted([0, 0, 0])[1].fit.flux[0]
    np.testing.assert_array_equal(outs[0].fit.flux, outs[1].fit.flux)
    doubt = abs(outs[0].fit.flux[0] - before) * np.sqrt(0.7 * 0.3)
    np.testing.assert_allclose(outs[1].fit.flux_err[0],
                               np.hypot(outs[0].fit.flux_err[0], doubt),
                               rtol=1e-6)


def test_nothing_changes_without_doubt(fitted):
    engine, scene = fitted([0.0, 0.02, 0.9], is_known=[False, False, True])
    assert fit_points(engine, scene) is scene
