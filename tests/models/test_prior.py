# Licensed under a 3-clause BSD style license - see LICENSE.rst
import math

import pytest
import torch

from vaephot.models.prior import (
    BAND_LATENT_SIGMA,
    BAND_SIGMA,
    LOG_SIGMA_RANGE,
    LOG_SNR_RANGE,
)


def _prior(vae, n=4, log_snr=3.0, log_fwhm=1.0, **options):
    position = torch.arange(2.0 * n, dtype=torch.float64).reshape(n, 2)
    return position, vae.prior(position, torch.full((n,), log_fwhm),
                               torch.full((n,), log_snr), **options)


def test_position_prior_sits_where_the_source_was_found(vae, config):
    position, prior = _prior(vae)
    torch.testing.assert_close(prior.mean[:, :2], position)
    torch.testing.assert_close(
        prior.precision[:, :2],
        torch.full((4, 2), config.position_sigma ** -2).double())


def test_position_scatter_may_differ_from_source_to_source(vae):
    sigma = torch.tensor([0.1, 0.2, 0.5, 2.0], dtype=torch.float64)
    _, prior = _prior(vae, position_sigma=sigma)
    for axis in (0, 1):
        torch.testing.assert_close(prior.precision[:, axis], sigma ** -2)


def test_latent_prior_is_a_standard_normal(vae):
    _, prior = _prior(vae)
    assert prior.mean[:, 5:].abs().max() == 0
    assert (prior.precision[:, 5:] == 1).all()


def test_shear_prior_is_isotropic_about_zero(vae):
    _, prior = _prior(vae)
    assert prior.mean[:, 3:5].abs().max() == 0
    torch.testing.assert_close(prior.precision[:, 3], prior.precision[:, 4])
    low, high = LOG_SIGMA_RANGE
    sigma = prior.precision[:, 2:5] ** -0.5
    assert (sigma >= math.exp(low)).all()
    assert (sigma <= math.exp(high)).all()


def test_size_prior_depends_on_brightness_up_to_a_limit(vae):
    faint, bright, limit, beyond = (
        _prior(vae, log_snr=s)[1].mean[0, 2]
        for s in (1.0, 5.0, LOG_SNR_RANGE[1], 20.0))
    assert faint != bright
    assert limit == beyond


def test_size_prior_scales_with_the_pixel(vae):
    narrow, wide = (_prior(vae, log_fwhm=f)[1].mean[0, 2] for f in (1.0, 1.7))
    assert float(wide - narrow) == pytest.approx(0.7, abs=0.1)


def test_dtype_is_that_of_the_position(vae):
    _, prior = _prior(vae)
    assert prior.mean.dtype == prior.precision.dtype == torch.float64


def test_parameters_of_a_band_scatter_little_about_the_common_ones(vae,
                                                                   config):
    precision = vae.prior.band_precision()
    assert precision.shape == (config.n_parameters,) * 2
    assert precision.dtype == torch.float64
    torch.testing.assert_close(precision, precision.T)
    sigma = torch.linalg.inv(precision).diagonal().sqrt()
    torch.testing.assert_close(
        sigma, torch.tensor([*BAND_SIGMA, *[BAND_LATENT_SIGMA]
                             * config.n_latent], dtype=torch.float64))
    # a colour gradient is a small thing beside the shapes themselves
    _, prior = _prior(vae)
    assert (sigma < 0.5 * prior.precision[0] ** -0.5).all()
