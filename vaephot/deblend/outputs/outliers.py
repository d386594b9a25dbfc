# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
How unlike the galaxies of the training each source is.

Five terms, each in units of what about one in a hundred good galaxies
reach, and their sum, divided by a limit so that a sum above 1 is odd. The
constants were set with ``benchmarks/odd_sources.py`` to simulated isolated
galaxies; the model card says how many of which odd sources are found.
"""

import numpy as np

__all__ = ['TERMS', 'oddity_terms']

TERMS = ('misfit', 'small', 'shear', 'position', 'latent')

# misfit: part of the squared signal that structure of a well resolved
# galaxy leaves over, the half-light radius, in units of the FWHM, at which
# half of that is left, and the noise of the chi-square that counts as much
STRUCTURE = 0.25
RESOLVED = 2.5
NOISE_SIGMA = 2.0
# squared distances from the prior, in units of its variance, of a source
# smaller than expected, of its shear, position and latent
SMALL = 4.0
SHEAR = 35.0
POSITION = 5.0
LATENT = 50.0
# limit of the sum of terms below the first and above the second
# signal-to-noise ratio, linear in its logarithm between them
LIMIT_SNR = (100.0, 250.0)
LIMIT = (1.75, 2.7)


def _limit(power):
    """Sum of terms that one in a hundred good galaxies reach."""
    snr = np.sqrt(np.maximum(power, 1e-300))
    return np.interp(np.log(snr), np.log(LIMIT_SNR), LIMIT)


def _misfit_term(log_size, excess, variance, power, fwhm):
    """Excess of the chi-square over what noise and structure make it."""
    size = np.exp(log_size) / fwhm
    structure = STRUCTURE * size ** 2 / (size ** 2 + RESOLVED ** 2)
    scale = np.sqrt(NOISE_SIGMA ** 2 * variance + (structure * power) ** 2)
    return np.maximum(excess, 0) / np.where(scale > 0, scale, np.nan)


def _distances(values, mean, precision):
    """Distances from the prior in its sigma; NaN beyond its rows."""
    z = np.full(values.shape, np.nan)
    z[:len(mean)] = (values[:len(mean)] - mean) * np.sqrt(precision)
    return z


def oddity_terms(parameters, prior_distance, is_point, prior, misfit, fwhm):
    r"""
    Terms of the oddity by name, each (n,), divided by the limit of their sum.

    With the squared signal-to-noise ratio :math:`P` of the model, the
    excess :math:`X` of its chi-square, of variance :math:`V` by noise, the
    half-light radius :math:`r` over the FWHM, and the difference
    :math:`z_k` of a parameter from its prior in units of its 1-sigma:

    * misfit, :math:`X / \sqrt{4 V + (f P)^2}` if that is positive, with
      :math:`f = 0.25\, r^2 / (r^2 + 2.5^2)`, the part of the squared
      signal that arms and knots may leave over;
    * small, :math:`z^2 / 4` of the logarithm of the size, if negative;
    * shear, :math:`\sum z^2 / 35`; position, :math:`\sum z^2 / 5`;
    * latent, :math:`\sum z^2 / 50`.

    ``parameters`` (n, n_parameters), positions those of the light;
    ``prior_distance`` (n,) of the latent; ``is_point`` (n,), sources without
    terms of size, shear and latent; ``prior`` mean and precision of the
    parameters, sources behind its rows were not fitted; ``misfit`` excess,
    variance and power (n,) of all bands; ``fwhm`` the smallest of the PSFs.
    NaN where a source was not fitted or no pixel is good.
    """
    excess, variance, power = misfit
    z = _distances(parameters, *prior)
    terms = {
        'misfit': _misfit_term(parameters[:, 2], excess, variance, power,
                               fwhm),
        'small': np.minimum(z[:, 2], 0) ** 2 / SMALL,
        'shear': (z[:, 3:5] ** 2).sum(1) / SHEAR,
        'position': (z[:, :2] ** 2).sum(1) / POSITION,
        'latent': prior_distance / LATENT}
    unknown = (np.arange(len(z)) >= len(prior[0])) | ~(power > 0)
    limit = np.where(unknown, np.nan, _limit(power))
    for name in ('small', 'shear', 'latent'):
        terms[name] = np.where(is_point, 0, terms[name])
    return {name: terms[name] / limit for name in TERMS}
