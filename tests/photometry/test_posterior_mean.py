# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import quad
from scipy.optimize import minimize

from vaephot.photometry.posterior_mean import (
    COUNTS_SLOPE,
    non_negative_flux,
    posterior_mean_flux,
)


def test_bright_sources_move_by_the_first_order():
    flux = np.array([50.0, 100.0, 400.0])
    mean, scatter = posterior_mean_flux(flux, 2.0)
    shift = -(1 + COUNTS_SLOPE / 0.4) * 4 / flux
    assert_allclose(mean - flux, shift, rtol=0.02)
    assert_allclose(scatter, 2.0, rtol=0.01)


@pytest.mark.parametrize('snr', [-2.0, 0.0, 1.5, 4.0, 20.0])
def test_mean_is_the_integral(snr):
    def density(f, power):
        return (f ** (power - 1.9) * np.exp(-0.5 * (f - snr) ** 2))
    ends = 1.0, max(snr, 1) + 12
    norm = quad(density, *ends, (0,), points=[max(snr, 1.5)])[0]
    want = quad(density, *ends, (1,), points=[max(snr, 1.5)])[0] / norm
    mean, _ = posterior_mean_flux(snr * 3.0, 3.0, slope=0.36)
    assert mean == pytest.approx(3 * want, rel=2e-4)


def test_mean_corrects_what_the_counts_do_on_average():
    rng = np.random.default_rng(1)
    # fluxes from the density itself, above the limit
    true = rng.uniform(size=400_000) ** (-1 / 0.9) * 2.0
    flux = true + rng.standard_normal(len(true))
    near = (flux > 6) & (flux < 8)
    flux, true = flux[near], true[near]
    mean, _ = posterior_mean_flux(flux, 1.0, slope=0.36, faint_limit=2.0)
    assert np.mean(flux - true) > 0.2
    assert np.mean(mean - true) == pytest.approx(0, abs=0.02)


def test_no_flux_no_mean():
    mean, scatter = posterior_mean_flux([np.nan, 1.0, 1.0, 5.0],
                                        [1.0, np.nan, 0.0, 1.0])
    assert np.isnan(mean[:3]).all()
    assert np.isnan(scatter[:3]).all()
    assert np.isfinite(mean[3])
    for wrong in ({'slope': np.nan}, {'faint_limit': 0}):
        with pytest.raises(ValueError, match='faint_limit'):
            posterior_mean_flux(1.0, 1.0, **wrong)


def test_positive_fluxes_stay():
    cov = [[1.0, 0.3], [0.3, 2.0]]
    assert_allclose(non_negative_flux([1.0, 0.0], cov), [1.0, 0.0])


def test_raised_fluxes_are_the_best_allowed():
    rng = np.random.default_rng(2)
    root = rng.normal(size=(4, 6))
    cov = root @ root.T
    flux = np.array([3.0, -2.0, 1.0, -0.5])
    found = non_negative_flux(flux, cov)
    inverse = np.linalg.inv(cov)

    def chi2(values):
        return (values - flux) @ inverse @ (values - flux)
    best = minimize(chi2, np.maximum(flux, 0), bounds=[(0, None)] * 4,
                    tol=1e-12)
    assert (found >= 0).all()
    assert chi2(found) <= best.fun * (1 + 1e-6)


def test_unseen_fluxes_take_no_part():
    cov = np.diag([1.0, np.nan, 0.0, 1.0])
    found = non_negative_flux([-1.0, 2.0, 2.0, 3.0], cov)
    assert_allclose(found, [0.0, np.nan, np.nan, 3.0])
