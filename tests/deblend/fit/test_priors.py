# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
import torch

from vaephot.deblend.fit.priors import prior_of_sources

PLACES = torch.tensor([[40.3, 25.8], [10.0, 12.5]]).double()


def _prior(vae, fwhm, snr=50.0, sigma=0.5):
    fwhm = np.atleast_1d(fwhm)
    snr = torch.as_tensor(np.broadcast_to(
        np.asarray(snr, float), (2, len(fwhm))).copy())
    sigma = torch.full((2,), sigma).double()
    return prior_of_sources(vae.prior, PLACES, sigma, fwhm, snr)


@pytest.mark.parametrize('fwhm', [2.5, 4.0, 11.0])
def test_prior_is_in_pixels_of_the_image(tiny_vae, fwhm):
    prior = _prior(tiny_vae, fwhm, sigma=0.7)
    np.testing.assert_allclose(prior.mean[:, :2], PLACES)
    np.testing.assert_allclose(prior.precision[:, :2], 0.7 ** -2)
    assert (prior.mean[:, 3:] == 0).all()
    assert (prior.precision[:, 5:] == 1).all()


def test_size_scales_with_the_psf(tiny_vae):
    one, three = _prior(tiny_vae, 3.0), _prior(tiny_vae, 9.0)
    np.testing.assert_allclose(three.mean[:, 2] - one.mean[:, 2], np.log(3),
                               rtol=1e-6)
    np.testing.assert_allclose(three.precision[:, 2:], one.precision[:, 2:],
                               rtol=1e-6)


def test_no_signal_is_a_ratio_of_one(tiny_vae):
    priors = [_prior(tiny_vae, 3.0, snr) for snr in (-5.0, 0.0, 1.0)]
    for prior in priors[:2]:
        torch.testing.assert_close(prior.mean, priors[2].mean)


def test_prior_is_that_of_the_band_that_shows_a_source_best(tiny_vae):
    both = _prior(tiny_vae, [2.8, 3.8], [[30.0, 20.0], [10.0, 90.0]])
    first = _prior(tiny_vae, 2.8, [[30.0], [10.0]])
    second = _prior(tiny_vae, 3.8, [[20.0], [90.0]])
    torch.testing.assert_close(both.mean[0], first.mean[0])
    torch.testing.assert_close(both.mean[1], second.mean[1])
    torch.testing.assert_close(both.precision[1], second.precision[1])
