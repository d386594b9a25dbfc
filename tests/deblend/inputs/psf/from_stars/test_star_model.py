# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.interpolate import BSpline

from vaephot.deblend.inputs.psf.from_stars.star_model import (
    Moffat,
    StarModel,
    make_basis,
)


def profile(fwhm=3.0, e1=0.1, e2=-0.05, beta=3.0):
    return Moffat(theta=np.array([np.log(fwhm), e1, e2, np.log(beta)]))


def test_a_profile_is_half_of_its_peak_within_the_area_of_its_fwhm():
    steps = np.linspace(-5, 5, 1001)
    dx, dy = np.meshgrid(steps, steps)
    area = (profile()(dx, dy) >= 0.5).sum() * (steps[1] - steps[0]) ** 2
    assert_allclose(area, np.pi * 1.5 ** 2, rtol=5e-3)
    assert profile()(0, 0) == 1


def test_parameters_stay_in_their_limits():
    limited = profile(9.0, 2.0, -2.0, 50.0).limited(1.0, 4.0)
    assert_allclose(limited.fwhm, 4.0)
    assert np.abs(limited.theta[1:3]).max() < 1


def test_splines_are_the_product_of_cubic_ones():
    basis = make_basis(3.0)
    rng = np.random.default_rng(0)
    dx, dy = rng.uniform(-4, 4, (2, 50))
    coefficients = rng.normal(size=basis.size)
    got = basis.evaluate(coefficients, dx, dy)
    cubic = BSpline.basis_element([-2, -1, 0, 1, 2], extrapolate=False)
    cy, cx = basis.centres()
    want = np.nan_to_num(cubic((dy[:, None] - cy) / basis.step)) * (
        np.nan_to_num(cubic((dx[:, None] - cx) / basis.step)))
    assert_allclose(got, want @ coefficients, atol=1e-10)
    assert_allclose(basis.design(dx, dy).toarray(), want, atol=1e-12)


@pytest.mark.parametrize('n_terms', [1, 3, 6])
def test_terms_are_polynomials_of_the_position(n_terms):
    basis = make_basis(3.0)
    model = StarModel(moffat=profile(), basis=basis, shape=(11, 21),
                      coefficients=np.zeros((n_terms, basis.size)))
    got = model.terms(np.array([0.0, 10, 20]), np.array([10.0, 5, 0]))
    u, v = np.array([-1, 0, 1]), np.array([1, 0, -1])
    want = np.stack([u * 0 + 1, u, v, u * u, u * v, v * v], 1)
    assert_allclose(got, want[:, :n_terms])


def test_a_moved_model_is_the_same_elsewhere():
    basis = make_basis(3.0)
    model = StarModel(moffat=profile(), basis=basis, shape=(11, 21),
                      coefficients=0.01 * np.ones((1, basis.size)))
    dx, dy = np.random.default_rng(1).uniform(-3, 3, (2, 1, 9))
    zero = np.zeros(1)
    assert_allclose(model.moved(0.3, -0.2).evaluate(dx, dy, zero, zero),
                    model.evaluate(dx + 0.3, dy - 0.2, zero, zero))
    assert_allclose(model.fwhm, 3.0, rtol=0.05)
