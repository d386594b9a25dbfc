# Licensed under a 3-clause BSD style license - see LICENSE.rst
import math

import numpy as np
import pytest
import torch

from vaephot.models.encoder import (
    LIMIT_LATENT,
    LIMIT_SHEAR,
    LIMIT_SIZE,
    MIN_LOG_PRECISION,
    RAW_LIMIT,
    Evidence,
    Gaussian,
    combine,
    limit_guess,
)
from vaephot.models.normalization import N_CHANNELS


def _random(shape, seed):
    rng = np.random.default_rng(seed)
    return (torch.as_tensor(rng.normal(0, 2, shape)),
            torch.as_tensor(rng.uniform(0.1, 5, shape)))


def test_posterior_is_the_product_of_the_densities():
    prior = Gaussian(*_random((1, 1), 1))
    evidence = Evidence(*_random((1, 3, 1), 2))
    posterior = combine(prior, evidence, axis=1)
    x = torch.linspace(-30, 30, 200_001, dtype=torch.float64)
    log = -0.5 * prior.precision * (x - prior.mean) ** 2
    for band in range(3):
        log = log - 0.5 * evidence.precision[:, band] * (
            x - evidence.mean[:, band]) ** 2
    density = torch.exp(log - log.max())[0]
    density = density / density.sum()
    mean = (density * x).sum()
    variance = (density * (x - mean) ** 2).sum()
    torch.testing.assert_close(posterior.mean[0, 0], mean)
    torch.testing.assert_close(1 / posterior.precision[0, 0], variance)


def test_one_band_counts_the_same_with_and_without_the_axis():
    prior = Gaussian(*_random((4, 3), 1))
    evidence = Evidence(*_random((4, 3), 2))
    stacked = Evidence(*[e[:, None] for e in evidence])
    for a, b in zip(combine(prior, evidence),
                    combine(prior, stacked, axis=1), strict=True):
        torch.testing.assert_close(a, b)


def test_bands_may_come_in_any_order():
    prior = Gaussian(*_random((4, 3), 1))
    evidence = Evidence(*_random((4, 5, 3), 2))
    turned = Evidence(*[e.flip(1) for e in evidence])
    for a, b in zip(combine(prior, evidence, axis=1),
                    combine(prior, turned, axis=1), strict=True):
        torch.testing.assert_close(a, b)


def test_another_band_never_lowers_the_precision():
    prior = Gaussian(*_random((20, 3), 1))
    evidence = Evidence(*_random((20, 2, 3), 2))
    one = combine(prior, Evidence(*[e[:, :1] for e in evidence]), axis=1)
    two = combine(prior, evidence, axis=1)
    assert (two.precision > one.precision).all()
    assert (one.precision > prior.precision).all()


def test_band_without_precision_says_nothing():
    prior = Gaussian(*_random((4, 3), 1))
    nothing = Evidence(torch.full((4, 3), 1e3).double(),
                       torch.zeros(4, 3).double())
    for a, b in zip(combine(prior, nothing), prior, strict=True):
        torch.testing.assert_close(a, b)


def test_evidence_has_a_row_a_stamp(vae, config, make_stamps):
    evidence = vae.evidence(make_stamps(3))
    for part in evidence:
        assert part.shape == (3, config.n_parameters)
    assert (evidence.precision >= math.exp(MIN_LOG_PRECISION)).all()
    assert torch.isfinite(evidence.mean).all()


def test_stamps_do_not_influence_each_other(vae, make_stamps):
    stamps = make_stamps(3)
    together = vae.evidence(stamps)
    alone = vae.evidence(type(stamps)(*[part[1:2] for part in stamps]))
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a[1:2], b, rtol=1e-4, atol=1e-5)


def test_stamps_of_another_size_are_refused(vae, make_stamps):
    stamps = make_stamps(3)
    cut = {name: getattr(stamps, name)[:, 2:14]
           for name in ('data', 'good', 'model')}
    with pytest.raises(ValueError, match=r'\(3, 7, 12, 16\).*7, 16, 16'):
        vae.encoder(torch.zeros(3, N_CHANNELS, 12, 16),
                    stamps._replace(**cut), torch.ones(3), torch.ones(3),
                    torch.zeros(3, 6))


def test_numbers_of_psf_and_brightness_are_seen(vae, make_stamps):
    base = vae.evidence(make_stamps(3))
    wider = vae.evidence(make_stamps(3, log_fwhm=2.0))
    brighter = vae.evidence(make_stamps(3, log_snr=6.0))
    assert (wider.mean != base.mean).all()
    # precisions grow with the S/N
    ratio = torch.log(brighter.precision / base.precision)
    assert ratio.mean() > 2


def test_shape_of_the_psf_is_seen(vae, make_stamps):
    round_ = vae.evidence(make_stamps(3))
    for number in range(3):
        shape = [0.0, 0.0, 0.0]
        shape[number] = 0.1
        other = vae.evidence(make_stamps(3, psf_shape=shape))
        assert (other.mean != round_.mean).any(1).all()


@pytest.mark.parametrize('sign', [-1, 1])
def test_precisions_at_the_limits_still_have_a_gradient(make_vae, make_stamps,
                                                        sign):
    vae = make_vae().requires_grad_(True)
    bias = vae.encoder.head[-1].bias
    with torch.no_grad():
        bias[vae.config.n_parameters:] += 30 * sign
    precision = vae.evidence(make_stamps(3, log_snr=3.0)).precision
    low, high = math.exp(MIN_LOG_PRECISION), math.exp(RAW_LIMIT + 3.0)
    if sign < 0:
        assert (precision < 1.1 * low).all()
    assert ((precision >= low) & (precision <= high)).all()
    assert sign < 0 or (precision > 0.8 * high).all()
    torch.log(precision).sum().backward()
    assert bias.grad[-1] > 1e-6


@pytest.mark.parametrize(('parameter', 'shift'), [
    (0, (0.3, 0.0)), (1, (0.0, 0.3)), (0, (-0.3, 0.0))])
def test_first_corrections_go_the_way_of_the_moments(make_vae, make_stamps,
                                                     parameter, shift):
    # untrained, without the network: the data lie beside the model
    vae = make_vae()
    vae.encoder.head[-1].weight.zero_()
    vae.encoder.head[-1].bias.zero_()
    stamps = make_stamps(1)
    grid = np.arange(16) - 8
    row, column = (np.exp(-0.5 * ((grid - s) / 2.0) ** 2) for s in shift)
    data = torch.as_tensor(5 * column[:, None] * row,
                           dtype=torch.float32)[None]
    step = (vae.evidence(stamps._replace(data=data)).mean
            - stamps.guess)[0]
    assert float(step[parameter]) == pytest.approx(shift[parameter], rel=0.5)
    assert float(step[1 - parameter]) == pytest.approx(0, abs=0.01)


def test_guesses_that_can_be_drawn_stay_as_they_are():
    guess = torch.tensor([[40.2, 31.0, 1.2, 0.4, -0.3, 1.0, -2.0]])
    place, log_fwhm = torch.tensor([[41.0, 30.5]]), torch.tensor([0.8])
    found = limit_guess(guess, place, log_fwhm, torch.tensor([16.0]))
    torch.testing.assert_close(found, guess)


@pytest.mark.parametrize('wild', [1e9, -1e9])
def test_wild_guesses_end_at_their_limits(wild):
    place, log_fwhm = torch.tensor([[41.0, 30.5]]), torch.tensor([0.8])
    found = limit_guess(torch.full((1, 7), wild), place, log_fwhm,
                        torch.tensor([16.0]))[0]
    sign = math.copysign(1, wild)
    torch.testing.assert_close(found[:2], place[0] + 16 * sign)
    size = LIMIT_SIZE[1 if wild > 0 else 0]
    assert float(found[2]) == pytest.approx(0.8 + size)
    torch.testing.assert_close(
        found[3:], sign * torch.tensor([LIMIT_SHEAR] * 2
                                       + [LIMIT_LATENT] * 2))
