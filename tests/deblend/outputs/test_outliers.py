# Licensed under a 3-clause BSD style license - see LICENSE.rst
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from photutils.aperture import BoundingBox

from vaephot.deblend.outputs.outliers import (
    LIMIT,
    LIMIT_SNR,
    TERMS,
    Misfit,
    misfit,
    oddity_terms,
)
from vaephot.models.encoder import Gaussian

SHAPE = (41, 41)
N_LATENT = 2
# models are sums of Gaussians of this width in pixels
SIGMA = 3.0


def _blob(x, y):
    iy, ix = np.mgrid[:SHAPE[0], :SHAPE[1]]
    image = np.exp(-0.5 * ((ix - x) ** 2 + (iy - y) ** 2) / SIGMA ** 2)
    return image / image.sum()


def _models(*rows):
    """Solution of blobs ``(x, y, flux)``, each in a box of the frame."""
    box = BoundingBox(0, SHAPE[1], 0, SHAPE[0])
    models = [flux * _blob(x, y)[None] for x, y, flux in rows]
    return SimpleNamespace(boxes=[box] * len(rows), models=models,
                           model_image=sum(models))


def _observation(data, noise=1.0, **options):
    values = {'data': data, 'variance': np.full((1, 1, 1), noise ** 2),
              'gain': None, 'mask': np.zeros(data.shape, bool),
              'noise_correlation': np.ones(len(data)), **options}
    return SimpleNamespace(**values)


def test_misfit_of_noise_is_zero_within_its_variance():
    rng = np.random.default_rng(1)
    solution = _models((20, 20, 1000.0))
    values = [misfit(solution, _observation(
        solution.model_image + rng.standard_normal((1, *SHAPE))))
        for _ in range(200)]
    pull = np.array([v.excess[0] / np.sqrt(v.variance[0]) for v in values])
    # errors of mean and scatter of 200 normal numbers: 0.07 and 0.05
    assert pull.mean() == pytest.approx(0, abs=0.3)
    assert pull.std() == pytest.approx(1, abs=0.2)


def test_power_is_the_squared_signal_to_noise_ratio():
    solution = _models((20, 20, 1000.0))
    left = misfit(solution, _observation(solution.model_image, 2.0))
    # a Gaussian covers 4 pi sigma^2 pixels
    expected = 1000 ** 2 / (4 * np.pi * SIGMA ** 2) / 4
    assert left.power[0] == pytest.approx(expected, rel=1e-3)


def test_light_that_is_left_over_adds_its_squared_signal():
    solution = _models((20, 20, 1000.0))
    extra = np.zeros((1, *SHAPE))
    extra[0, 20, 20] = 7.0
    data = solution.model_image + extra
    plain, odd = (misfit(solution, _observation(d)).excess[0]
                  for d in (solution.model_image, data))
    assert odd - plain == pytest.approx(49)


def test_masked_pixels_do_not_count():
    solution = _models((20, 20, 1000.0))
    data = solution.model_image.copy()
    observation = _observation(data)
    whole = misfit(solution, observation)
    observation.mask[0, 18:23, 18:23] = True
    data[0, 18:23, 18:23] = np.nan
    part = misfit(solution, observation)
    assert np.isfinite(part).all()
    assert part.variance[0] == pytest.approx(whole.variance[0] - 2 * 25)
    assert part.power[0] < whole.power[0]


def test_misfit_goes_to_the_source_whose_light_is_there():
    solution = _models((12, 20, 500.0), (28, 20, 500.0))
    data = solution.model_image.copy()
    data[0, 20, 12] += 100
    left = misfit(solution, _observation(data))
    assert left.excess[0] > 9000
    assert abs(left.excess[1]) < 0.1 * left.excess[0]


def test_correlated_noise_widens_the_misfit():
    solution = _models((20, 20, 1000.0))
    one, two = (misfit(solution, _observation(
        solution.model_image, noise_correlation=np.array([c])))
        for c in (1.0, 2.0))
    assert two.variance[0] == pytest.approx(4 * one.variance[0])
    assert two.excess == one.excess


def _fitted(n=1, *, is_point=False, n_prior=None, **offset):
    """Solution at the prior but for offsets in units of its sigma."""
    sigma = np.array([0.5, 0.5, 0.4, 0.3, 0.3, *[1.0] * N_LATENT])
    mean = np.array([20.0, 20.0, 1.0, *[0.0] * (2 + N_LATENT)])
    z = np.zeros(len(sigma))
    for name, value in offset.items():
        z[{'x': 0, 'size': 2, 'eta1': 3, 'latent': 5}[name]] = value
    parameters = np.tile(mean + z * sigma, (n, 1))
    rows = n if n_prior is None else n_prior
    return SimpleNamespace(
        boxes=[None] * n, is_point=np.full(n, is_point),
        prior=Gaussian(*(torch.as_tensor(np.tile(v, (rows, 1)))
                         for v in (mean, sigma ** -2))),
        fit=SimpleNamespace(parameters=parameters, prior_distance=np.full(
            n, (z[5:] ** 2).sum())))


def _left(excess=0.0, variance=200.0, snr=50.0, n=1):
    return Misfit(*(np.full(n, v) for v in (excess, variance, snr ** 2)))


def _terms(left=None, **options):
    terms = oddity_terms(_fitted(**options), left or _left(), 2.0)
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
    terms = oddity_terms(_fitted(3, n_prior=2), Misfit(
        excess=np.zeros(3), variance=np.array([200.0, 0.0, 200.0]),
        power=np.array([2500.0, 0.0, 2500.0])), 2.0)
    np.testing.assert_array_equal(
        np.isnan(sum(terms.values())), [False, True, True])
