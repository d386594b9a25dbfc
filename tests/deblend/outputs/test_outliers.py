# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest

from vaephot.deblend.outputs.outliers import (
    LIMIT,
    LIMIT_SNR,
    TERMS,
    oddity_terms,
)

N_LATENT = 2


def _fitted(n=1, *, is_point=False, n_prior=None, **offset):
    """Sources at the prior but for offsets in units of its sigma."""
    sigma = np.array([0.5, 0.5, 0.4, 0.3, 0.3, *[1.0] * N_LATENT])
    mean = np.array([20.0, 20.0, 1.0, *[0.0] * (2 + N_LATENT)])
    z = np.zeros(len(sigma))
    for name, value in offset.items():
        z[{'x': 0, 'size': 2, 'eta1': 3, 'latent': 5}[name]] = value
    rows = n if n_prior is None else n_prior
    return {'parameters': np.tile(mean + z * sigma, (n, 1)),
            'prior_distance': np.full(n, (z[5:] ** 2).sum()),
            'is_point': np.full(n, is_point),
            'prior': [np.tile(v, (rows, 1)) for v in (mean, sigma ** -2)]}


def _left(excess=0.0, variance=200.0, snr=50.0, n=1):
    return tuple(np.full(n, v) for v in (excess, variance, snr ** 2))


def _terms(left=None, **options):
    terms = oddity_terms(**_fitted(**options), misfit=left or _left(),
                         fwhm=2.0)
    assert tuple(terms) == TERMS
    return {name: float(value[0]) for name, value in terms.items()}


def test_source_as_expected_is_not_odd():
    assert set(_terms().values()) == {0.0}


@pytest.mark.parametrize(('offset', 'term', 'expected'), [
    ({'size': -4.0}, 'small', 4.0), ({'eta1': 7.0}, 'shear', 1.4),
    ({'x': -5.0}, 'position', 5.0), ({'latent': 10.0}, 'latent', 2.0)])
def test_each_distance_from_the_prior_has_its_term(offset, term, expected):
    terms = _terms(**offset)
    assert terms.pop(term) == pytest.approx(expected / LIMIT[0])
    assert set(terms.values()) == {0.0}


def test_large_galaxy_is_not_odd():
    assert _terms(size=3.0)['small'] == 0


def test_point_source_has_no_shape_to_be_odd():
    terms = _terms(size=-9.0, eta1=9.0, latent=9.0, is_point=True)
    assert set(terms.values()) == {0.0}
    assert _terms(x=9.0, is_point=True)['position'] > 1


def test_faint_misfit_is_measured_in_noise():
    left = _left(excess=60.0, variance=100.0, snr=1e-3)
    assert _terms(left)['misfit'] == pytest.approx(60 / 20 / LIMIT[0])


def test_bright_misfit_is_measured_in_signal():
    # half-light radius e = 1.359 FWHM
    share = 0.25 * 1.359141 ** 2 / (1.359141 ** 2 + 2.5 ** 2)
    left = _left(excess=0.3e8, variance=200.0, snr=1e4)
    assert _terms(left)['misfit'] == pytest.approx(
        0.3 / share / LIMIT[1], rel=1e-5)


def test_better_fit_than_expected_is_not_odd():
    assert _terms(_left(excess=-1e4))['misfit'] == 0


def test_structure_of_resolved_galaxies_is_allowed_for():
    left = _left(excess=1e6, snr=1e4)
    small, large = (_terms(left, size=z)['misfit'] for z in (-1.0, 3.0))
    assert large < 0.7 * small


def test_limit_rises_with_brightness():
    values = [_terms(_left(snr=snr), x=5.0)['position']
              for snr in (10, LIMIT_SNR[0], 158.1139, LIMIT_SNR[1], 1e4)]
    low, high = LIMIT
    np.testing.assert_allclose(
        values, 5 / np.array([low, low, (low + high) / 2, high, high]),
        rtol=1e-6)


def test_source_without_data_or_fit_is_not_known():
    terms = oddity_terms(**_fitted(3, n_prior=2), fwhm=2.0, misfit=(
        np.zeros(3), np.array([200.0, 0.0, 200.0]),
        np.array([2500.0, 0.0, 2500.0])))
    np.testing.assert_array_equal(
        np.isnan(sum(terms.values())), [False, True, True])
