# Licensed under a 3-clause BSD style license - see LICENSE.rst
from types import SimpleNamespace

import numpy as np
import pytest

from vaephot.deblend.fit.asymmetry import may_be_asymmetric, radii_within

SHAPE = (64, 110)
N = 7
# a galaxy with asymmetry, a plain one far away, and a faint one
WAVES = np.array([0.8, -0.5, 0.6, 0.4])
PARAMETERS = np.array([[24.3, 30.6, 1.2, 0.3, -0.1, 0, 0, *WAVES],
                       [87.4, 28.8, 0.9, 0.1, 0.2, 0, 0, 0, 0, 0, 0],
                       [58.0, 48.0, 0.9, 0.1, 0.2, 0, 0, *WAVES]])
FLUX = np.array([[20000.0, 30000], [9000, 9000], [60, 60]])


@pytest.fixture
def scene(gaussian_band, draw_frame, make_observation, make_sources,
          make_engine, structured_vae, structured_decoder):
    """Return a function that fits concentric galaxies."""
    def make(parameters=PARAMETERS, flux=FLUX, **given):
        psfs = [gaussian_band(1.2), gaussian_band(1.6)]
        data = draw_frame(parameters, flux, psfs, SHAPE, structured_decoder)
        rng = np.random.default_rng(6)
        data = data + rng.standard_normal(data.shape)
        engine = make_engine(make_observation(data, psfs),
                             vae=structured_vae, **given)
        return engine, engine.fit(make_sources(parameters[:, :2]))
    return make


def _may(engine, scene, fixed=False):
    return may_be_asymmetric(engine, scene, np.broadcast_to(
        fixed, len(scene))).tolist()


def test_bright_galaxies_with_a_misfit_may_be_asymmetric(scene):
    assert _may(*scene()) == [True, False, False]


def test_points_and_fixed_positions_stay_concentric(scene):
    engine, fitted = scene()
    assert not any(_may(engine, fitted, fixed=True))
    fitted.sources.is_point[:] = True
    assert not any(_may(engine, fitted))


def test_galaxies_with_a_source_in_them_stay_concentric(scene):
    near = np.vstack([PARAMETERS, [[27.0, 33.0, 0.3, *[0] * 8]]])
    engine, fitted = scene(near, np.vstack([FLUX, [[3000, 3000]]]))
    assert not _may(engine, fitted)[0]


def test_radii_are_along_the_ellipse():
    eta = 2 * np.log(2.0)
    rows = np.array([[10.0, 20.0, np.log(3.0), eta, 0.0]])
    places = np.array([[[16.0, 20.0], [10.0, 21.5], [10.0, 20.0]]])
    # axes of 3 px times and over the square root of the axis ratio
    found = radii_within(rows, places)
    np.testing.assert_allclose(found, [[1.0, 1.0, 0.0]], atol=1e-3)


def test_asymmetry_is_fitted_and_explains_the_misfit(scene):
    engine, before = scene()
    fit = before.fit.parameters.copy()
    after = engine.fit_asymmetry(before)
    np.testing.assert_allclose(after.fit.band_parameters[0, :, N:],
                               [WAVES] * 2, atol=0.1)
    np.testing.assert_allclose(after.fit.flux[0], FLUX[0], rtol=0.02)

    def chi2(scene):
        residual = engine.pixels.data - scene.model_image
        return (residual[:, 15:46, 9:40] ** 2).mean()
    assert chi2(before) > 3
    assert chi2(after) < 1.3
    # neither what was given nor the other galaxies are changed
    np.testing.assert_array_equal(before.fit.parameters, fit)
    np.testing.assert_array_equal(after.fit.parameters[1], fit[1])
    assert engine.asymmetric(after.fit).tolist() == [True, False, False]


@pytest.mark.parametrize('refine', [False, 'network'])
def test_lower_tiers_leave_galaxies_concentric(scene, refine):
    engine, before = scene()
    quick = SimpleNamespace(settings=SimpleNamespace(refine=refine))
    assert type(engine).fit_asymmetry(quick, before) is before


def test_networks_without_asymmetry_have_none(scene, make_engine, tiny_vae,
                                              make_sources):
    engine, _ = scene()
    plain = make_engine(engine.observation, vae=tiny_vae)
    fitted = plain.fit(make_sources(PARAMETERS[:, :2]))
    assert not any(_may(plain, fitted))
    assert plain.fit_asymmetry(fitted) is fitted


def test_errors_of_amplitudes_are_those_of_the_noise(scene):
    engine, before = scene()
    fit = engine.fit_asymmetry(before).fit
    error = np.sqrt(np.diagonal(fit.covariance, axis1=1, axis2=2))
    own = 2 + np.arange(N, N + 4)
    assert (error[0, own] > 1e-3).all()
    # those that were not fitted have none
    assert (fit.covariance[1, own] == 0).all()
