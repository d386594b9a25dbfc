# Licensed under a 3-clause BSD style license - see LICENSE.rst
import math

import numpy as np
import pytest
import torch

from vaephot.models.encoder import (
    MIN_LOG_PRECISION,
    Evidence,
    Gaussian,
    combine,
)
from vaephot.models.normalization import N_CHANNELS


def _random(shape, seed):
    rng = np.random.default_rng(seed)
    return (torch.as_tensor(rng.normal(0, 2, shape)),
            torch.as_tensor(rng.uniform(0.1, 5, shape)))


def _inputs(n=3, size=16, seed=8):
    rng = np.random.default_rng(seed)
    images = rng.normal(0, 1, (n, N_CHANNELS, size, size))
    return torch.as_tensor(images, dtype=torch.float32)


def _numbers(log_fwhm, log_snr, n=3, shape=(0.0, 0.0, 0.0)):
    return (torch.full((n,), log_fwhm), torch.full((n,), log_snr),
            torch.tensor(shape).expand(n, 3))


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


def test_evidence_has_a_row_a_stamp(vae, config):
    evidence = vae.encoder(_inputs(), *_numbers(1.0, 3.0))
    for part in evidence:
        assert part.shape == (3, config.n_parameters)
    assert (evidence.precision >= math.exp(MIN_LOG_PRECISION)).all()
    assert torch.isfinite(evidence.mean).all()


def test_stamps_do_not_influence_each_other(vae):
    inputs = _inputs()
    together = vae.encoder(inputs, *_numbers(1.0, 3.0))
    alone = vae.encoder(inputs[1:2], *_numbers(1.0, 3.0, 1))
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a[1:2], b, rtol=1e-4, atol=1e-5)


def test_stamps_of_another_size_are_refused(vae):
    with pytest.raises(ValueError, match=r'\(3, 5, 12, 16\).*5, 16, 16'):
        vae.encoder(_inputs()[:, :, 2:14], *_numbers(1.0, 3.0))


def test_numbers_of_psf_and_brightness_are_seen(vae):
    inputs = _inputs()
    base = vae.encoder(inputs, *_numbers(1.0, 3.0))
    wider = vae.encoder(inputs, *_numbers(2.0, 3.0))
    brighter = vae.encoder(inputs, *_numbers(1.0, 6.0))
    # sizes follow the PSF, precisions grow with the S/N
    assert (wider.mean[:, 2] - base.mean[:, 2]).mean() == pytest.approx(
        1, abs=0.5)
    ratio = torch.log(brighter.precision / base.precision)
    assert ratio.mean() > 2


def test_shape_of_the_psf_is_seen(vae):
    inputs = _inputs()
    round_ = vae.encoder(inputs, *_numbers(1.0, 3.0))
    for number in range(3):
        shape = [0.0, 0.0, 0.0]
        shape[number] = 0.1
        other = vae.encoder(inputs, *_numbers(1.0, 3.0, shape=shape))
        assert (other.mean != round_.mean).any(1).all()


def test_weak_evidence_still_has_a_gradient(make_vae):
    encoder = make_vae().encoder.requires_grad_(True)
    with torch.no_grad():
        encoder.head[-1].bias[encoder.config.n_parameters:] -= 12
    evidence = encoder(_inputs(), *_numbers(1.0, 3.0))
    assert (evidence.precision < 1.1 * math.exp(MIN_LOG_PRECISION)).all()
    torch.log(evidence.precision).sum().backward()
    assert encoder.head[-1].bias.grad[-1] > 1e-6
