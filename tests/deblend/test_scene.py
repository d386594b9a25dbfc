# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from photutils.aperture import BoundingBox

from vaephot.deblend.scene import Drawn, Scene, empty_result

FLUX = np.array([[3.0, 4], [5, 6], [7, 8]])


@pytest.fixture
def scene(make_sources):
    """Return three flat sources, two of which overlap, in two bands."""
    boxes = [BoundingBox(0, 3, 0, 2), BoundingBox(2, 4, 1, 3),
             BoundingBox(5, 6, 4, 5)]
    models = [np.broadcast_to(flux[:, None, None], (2, *box.shape))
              for flux, box in zip(FLUX, boxes, strict=True)]
    image = np.zeros((2, 5, 6))
    for box, model in zip(boxes, models, strict=True):
        image[:, box.iymin:box.iymax, box.ixmin:box.ixmax] += model
    fit = empty_result(3, 2, 7)
    fit.flux[:] = FLUX
    fit.flux_err[:] = FLUX / 10
    fit.snr[:] = FLUX * 2
    return Scene(sources=make_sources([(1, 1), (3, 2), (5, 4)], [1, 1, 2],
                                      is_point=[True, False, False]),
                 fit=fit, groups=[],
                 drawn=(Drawn(boxes, models, np.zeros(3, bool), image),))


def test_a_scene_shows_the_models_of_the_reference_grid(scene):
    assert len(scene) == 3
    assert_array_equal(scene.is_point, [True, False, False])
    assert scene.models is scene.drawn[0].models
    assert scene.boxes is scene.drawn[0].boxes
    assert_array_equal(scene.model_image[:, 1, 2], FLUX[:2].sum(0))
    assert not scene.truncated.any()


def test_some_sources_are_taken_off_the_image(scene):
    before = scene.model_image.copy()
    left = scene.image_without([0, 2])
    assert_array_equal(left[:, 1:3, 2:4], np.broadcast_to(
        FLUX[1][:, None, None], (2, 2, 2)))
    assert left.sum() == 4 * FLUX[1].sum()
    assert_array_equal(scene.model_image, before)


def test_bands_are_chosen_by_their_numbers(scene):
    seen = scene.in_bands([1])
    for name in ('flux', 'flux_err', 'snr'):
        assert_array_equal(getattr(seen.fit, name),
                           getattr(scene.fit, name)[:, 1:])
    assert seen.fit.parameters is scene.fit.parameters
    assert seen.models is scene.models


def test_nothing_is_known_of_new_sources():
    fit = empty_result(2, 3, 7)
    assert fit.covariance.shape == (2, 10, 10)
    assert fit.band_parameters.shape == (2, 3, 7)
    assert not fit.converged.any()
    assert list(fit.group_covariance) == [None, None]
