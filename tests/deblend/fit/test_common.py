# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
import torch

from vaephot.deblend.fit.common import (
    FIRST_RADIUS,
    POINT_LOG_SIZE,
    CommonFit,
    default_shapes,
    first_look,
)

PARAMETERS = np.array([[22.3, 30.6, 0.9, 0.3, -0.1, 0, 0],
                       [27.1, 33.2, 0.5, -0.2, 0.3, 0, 0],
                       [71.2, 44.1, 0.7, 0.1, 0.4, 0, 0]])
FLUX = np.array([[9000.0, 5000], [4000, 7000], [3000, 6000]])
MEMBERS = ((0, 1), (2,))


@pytest.fixture
def problem(make_trial, gaussian_band, draw_frame):
    """Return a function that makes groups of two and one galaxies."""
    def make(flux=FLUX, **given):
        psfs = [gaussian_band(1.2), gaussian_band(2.2)]
        data = draw_frame(PARAMETERS, flux, psfs, (70, 120))
        return make_trial(PARAMETERS, flux, MEMBERS, psfs, data=data,
                          **given).problem
    return make


def _common(problem):
    local = default_shapes(problem)
    known = torch.zeros(local.shape[:2], dtype=torch.bool)
    with torch.inference_mode():
        return CommonFit(problem, local, known=known)


def test_default_shapes_sit_at_the_sources(problem):
    made = problem(is_point=np.array([False, True, False]))
    local = default_shapes(made)
    np.testing.assert_allclose(local[0, :, :2], PARAMETERS[:2, :2])
    np.testing.assert_allclose(local[1, 0, 2].exp(),
                               FIRST_RADIUS * made.fwhm.min())
    assert local[0, 1, 2] == POINT_LOG_SIZE
    assert (local[..., 3:] == 0).all()


def test_first_look_says_how_bright_sources_are(problem):
    made = problem()
    used = torch.ones(2, 2, dtype=torch.bool)
    with torch.inference_mode():
        flux = first_look(made, default_shapes(made), used)
    np.testing.assert_allclose(flux[1, :, 0], FLUX[2], rtol=0.5)
    assert flux[1, 0, 1] == 0


def test_only_bands_that_say_most_of_shapes_are_fitted(problem):
    every, some = (_common(problem(FLUX, settings={'least_known': share}))
                   for share in (1.0, 0.5))
    assert every.used.all()
    assert (some.used.sum(1) == 1).all()
    # a source that one band alone sees needs that band
    flux = FLUX.copy()
    flux[1, 0] = 1.0
    found = _common(problem(flux, settings={'least_known': 0.5}))
    assert found.used[0, 1]


def test_shapes_of_galaxies_are_found(problem):
    with torch.inference_mode():
        shape, flux, n_steps = _common(problem()).run()
    np.testing.assert_allclose(shape[0, :, :2], PARAMETERS[:2, :2], atol=0.1)
    np.testing.assert_allclose(shape[1, 0, 2], PARAMETERS[2, 2], atol=0.1)
    np.testing.assert_allclose(flux[:, 0].flatten()[:3], FLUX[:, 0],
                               rtol=0.1)
    assert (n_steps > 0).all()


def test_a_quick_fit_takes_fewer_steps(problem):
    slow, quick = (problem(settings={
        'refine': refine, 'tolerance': 0.0, 'relative_tolerance': 0.0,
        'max_common_quick': 2}) for refine in (True, False))
    with torch.inference_mode():
        counts = [_common(made).run()[2].max() for made in (slow, quick)]
    assert counts[1] == 2 < counts[0]


def test_known_sources_begin_where_they_were(problem):
    made = problem()
    local = default_shapes(made)
    local[0, 0, 2] = 1.7
    known = torch.tensor([[True, False], [False, False]])
    with torch.inference_mode():
        found = CommonFit(made, local, known=known)
    assert found.shape[0, 0, 2] == 1.7
    torch.testing.assert_close(found.shape[0, 1], found.mean[0, 1])
