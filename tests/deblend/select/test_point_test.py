# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest

from vaephot.deblend.fit.common import POINT_LOG_SIZE
from vaephot.deblend.scene import Scene, empty_result
from vaephot.deblend.select import point_test
from vaephot.deblend.select.point_test import point_cost, point_fluxes

SHAPE = (60, 90)
# a point, a compact galaxy beside it, and a larger one
PARAMETERS = np.array([[22.3, 30.6, POINT_LOG_SIZE, 0, 0, 0, 0],
                       [31.1, 33.2, -0.3, -0.2, 0.3, 0, 0],
                       [70.4, 20.8, 1.2, 0.3, 0.0, 0, 0]])
FLUX = np.array([[900.0, 500], [4000, 7000], [8000, 3000]])
RMS = np.array([1.0, 2.0])


@pytest.fixture
def drawn(gaussian_band, make_observation, make_engine, make_sources):
    """Return a function: an engine, and sources as they are drawn."""
    def make(flux=FLUX, **options):
        psfs = [gaussian_band(1.2), gaussian_band(1.6)]
        engine = make_engine(make_observation(
            np.zeros((2, *SHAPE)), psfs, rms=RMS, **options))
        fit = empty_result(3, 2, 7)
        fit.parameters[:], fit.flux[:] = PARAMETERS, flux
        fit.band_parameters[:] = PARAMETERS[:, None]
        scene = Scene(sources=make_sources(PARAMETERS[:, :2]), fit=fit,
                      groups=[], drawn=engine.draw(fit))
        return engine, scene
    return make


def _slow(engine, scene, k, weight):
    """Best fluxes of a point, and its chi-square, by least squares."""
    image = scene.model_image - scene.image_without([k])
    chi2, fluxes = 0.0, []
    for band, (data, w) in enumerate(zip(image, weight, strict=True)):
        # so bright that its box is large
        point = engine.point_image(scene.fit.parameters[[k], :2],
                                   np.full((1, 2), 1e6))[band] / 1e6
        root = np.sqrt(w).ravel()
        column, target = root * point.ravel(), root * data.ravel()
        best = np.linalg.lstsq(column[:, None], target)[0]
        fluxes.append(best[0])
        chi2 += ((target - best * column) ** 2).sum()
    return fluxes, chi2


def test_a_point_costs_nothing_and_a_galaxy_much(drawn):
    cost = point_cost(*drawn(), np.arange(3))
    assert cost.shape == (3,)
    assert 0 <= cost[0] < 1
    assert cost[1:].min() > 1000
    # what is too faint to be seen as a galaxy costs nothing either
    assert point_cost(*drawn(FLUX / 1000), np.arange(3)).max() < 1


@pytest.mark.parametrize('gain', [None, 2.0])
def test_the_cost_is_what_a_fit_would_lose(drawn, gain):
    engine, scene = drawn(gain=gain)
    weight = engine.pixels.weight(scene.model_image)
    cost = point_cost(engine, scene, np.arange(len(scene)))
    found = point_fluxes(engine, scene, np.arange(3))
    # of the largest, a part is beyond the stamp
    for k in (0, 1):
        fluxes, chi2 = _slow(engine, scene, k, weight)
        np.testing.assert_allclose(found[k], fluxes, rtol=0.01)
        assert cost[k] == pytest.approx(chi2, rel=0.01, abs=0.5)


def test_fluxes_of_a_point_are_its_own(drawn):
    engine, scene = drawn()
    found = point_fluxes(engine, scene, np.array([0]))
    np.testing.assert_allclose(found, FLUX[:1], rtol=1e-3)
    none = point_fluxes(engine, scene, np.arange(0))
    assert none.shape == (0, 2)


def test_bad_pixels_do_not_count(drawn):
    mask = np.zeros((2, *SHAPE), bool)
    mask[1] = True
    engine, scene = drawn(mask=mask)
    cost = point_cost(engine, scene, np.arange(len(scene)))
    _, chi2 = _slow(engine, scene, 1, engine.pixels.weight(scene.model_image))
    assert cost[1] == pytest.approx(chi2, rel=0.01)
    found = point_fluxes(engine, scene, np.array([0]))
    np.testing.assert_allclose(found, [[FLUX[0, 0], 0]], rtol=1e-3)


def test_drawing_in_parts_changes_nothing(drawn, monkeypatch):
    engine, scene = drawn()
    whole = point_cost(engine, scene, np.arange(len(scene)))
    monkeypatch.setattr(point_test, 'CHUNK_PIXELS', 1)
    parts = point_cost(engine, scene, np.arange(len(scene)))
    np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-3)
