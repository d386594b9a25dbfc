# Licensed under a 3-clause BSD style license - see LICENSE.rst
from dataclasses import replace

import numpy as np
import pytest

from vaephot.deblend.scene import Scene, empty_result

SHAPE = (60, 90)
PARAMETERS = np.array([[22.3, 30.6, 0.9, 0.3, -0.1, 0, 0],
                       [27.1, 33.2, 0.5, -0.2, 0.3, 0, 0],
                       [70.4, 20.8, 0.7, 0.0, 0.0, 0, 0]])
FLUX = np.array([[900.0, 500], [400, 700], [800, 300]])


@pytest.fixture(scope='module')
def scene(gaussian_band, make_observation, make_engine, make_sources):
    """Return three sources as they were drawn."""
    psfs = [gaussian_band(1.2), gaussian_band(1.6)]
    engine = make_engine(make_observation(np.zeros((2, *SHAPE)), psfs))
    fit = empty_result(3, 2, 7)
    fit.parameters[:], fit.flux[:] = PARAMETERS, FLUX
    fit.band_parameters[:] = PARAMETERS[:, None]
    return Scene(sources=make_sources(PARAMETERS[:, :2],
                                      is_point=[False, True, False]),
                 fit=fit, groups=[], drawn=engine.draw(fit))


def test_scene_has_its_models_on_the_reference_grid(scene):
    assert len(scene) == len(scene.boxes) == len(scene.models) == 3
    assert scene.model_image.shape == (2, *SHAPE)
    assert scene.is_point.tolist() == [False, True, False]
    assert not scene.truncated.any()
    np.testing.assert_allclose(
        [model.sum((1, 2)) for model in scene.models], FLUX, rtol=0.01)


def test_image_without_some_sources(scene):
    before = scene.model_image.copy()
    found = scene.image_without([0, 1])
    box = scene.boxes[2]
    only = np.zeros_like(found)
    only[:, box.iymin:box.iymax, box.ixmin:box.ixmax] = scene.models[2]
    np.testing.assert_allclose(found, only, atol=1e-4)
    np.testing.assert_array_equal(scene.model_image, before)


def test_fluxes_of_some_bands(scene):
    some = scene.in_bands([1])
    np.testing.assert_array_equal(some.fit.flux, FLUX[:, [1]])
    assert some.fit.flux_err.shape == some.fit.snr.shape == (3, 1)
    assert some.fit.band_parameters is scene.fit.band_parameters


def test_scores_are_named(scene):
    scored = replace(scene, scores=np.array([[.9, .1], [.8, .2], [.7, 0]]))
    np.testing.assert_array_equal(scored.p_source, [.9, .8, .7])
    np.testing.assert_array_equal(scored.p_point, [.1, .2, 0])


def test_empty_results_have_room_for_all():
    fit = empty_result(4, 2, 7)
    assert fit.covariance.shape == (4, 9, 9)
    assert not fit.converged.any()
    assert fit.group_covariance.tolist() == [None] * 4
    joined = fit.take([0, 2]).join(fit.blank(1))
    assert joined.flux.shape == (3, 2)


def test_sources_are_taken_and_joined(scene):
    sources = scene.sources
    both = sources.take([2]).join(sources.take([0, 1]))
    np.testing.assert_array_equal(both.x, sources.x[[2, 0, 1]])
    np.testing.assert_array_equal(both.is_point, [False, False, True])
    assert len(both) == 3
