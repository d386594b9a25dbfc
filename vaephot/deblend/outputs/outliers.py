# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
How unlike the galaxies of the training each source is.

Five terms, each in units of what about one in a hundred good galaxies
reach, and their sum, divided by a limit so that a sum above 1 is odd. The
constants were set with ``benchmarks/odd_sources.py`` to simulated isolated
galaxies; the model card says how many of which odd sources are found.
"""

from typing import NamedTuple

import numpy as np

from vaephot.deblend.outputs.measure import (
    SHARE_LEVEL,
    box_index,
    noise_variance,
)

__all__ = ['TERMS', 'Misfit', 'misfit', 'oddity_terms']

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


class Misfit(NamedTuple):
    """
    What the models leave over where sources shine.

    ``excess`` of the chi-square over its expectation, ``variance`` of that
    by noise, and ``power``, the squared signal-to-noise ratio of the model,
    each ``(n, n_bands)`` or, of all bands together, ``(n,)``.
    """

    excess: np.ndarray
    variance: np.ndarray
    power: np.ndarray

    def total(self):
        """
        Sum over the bands.

        Returns
        -------
        Misfit
        """
        return Misfit(*[column.sum(1) for column in self])


def misfit(solution, observation, data=None):
    """
    Sum up what the models leave over, in the bands of one pixel grid.

    Each pixel counts with the share of the source in the light of all
    models, so that a badly fitted neighbour does not matter.

    Parameters
    ----------
    solution : `~vaephot.deblend.pipeline.Solution`
        Fitted sources.
    observation : `~vaephot.deblend.inputs.read.Observation`
        Data and noise.
    data : `numpy.ndarray`, (n_bands, ny, nx), optional
        What the models are compared with instead of the data.

    Returns
    -------
    Misfit
        Sums of each band over the pixels where the model is brighter than
        `~vaephot.deblend.outputs.measure.SHARE_LEVEL` times the noise of the
        sky.
        The square of a normal number has the variance 2; correlated noise
        multiplies that of a sum by the sum of its squared correlation
        function, which is at most the square of ``noise_correlation``.
    """
    model, good = solution.model_image, ~observation.mask
    variance = np.broadcast_to(noise_variance(solution, observation),
                               model.shape)
    data = observation.data if data is None else data
    residual = np.where(good, data - model, 0)
    correlation = np.asarray(observation.noise_correlation, float)
    rows = []
    for bbox, own in zip(solution.boxes, solution.models, strict=True):
        box = box_index(bbox)
        sky = observation.variance
        sky = sky if sky.shape[-1] == 1 else sky[box]
        noise = variance[box]
        region = good[box] & (own > SHARE_LEVEL * np.sqrt(sky))
        share = np.where(region, np.clip(
            own / np.maximum(model[box], 1e-300), 0, 1), 0)
        rows.append((
            (share * (residual[box] ** 2 / noise - 1)).sum((1, 2)),
            2 * correlation ** 2 * (share ** 2).sum((1, 2)),
            np.where(good[box], own ** 2 / noise, 0).sum((1, 2))))
    return Misfit(*np.array(rows).reshape(-1, 3, len(model)).swapaxes(0, 1))


def _limit(power):
    """Sum of terms that one in a hundred good galaxies reach."""
    snr = np.sqrt(np.maximum(power, 1e-300))
    return np.interp(np.log(snr), np.log(LIMIT_SNR), LIMIT)


def _misfit_term(fit, left, fwhm):
    """Excess of the chi-square over what noise and structure make it."""
    size = np.exp(fit.parameters[:, 2]) / fwhm
    structure = STRUCTURE * size ** 2 / (size ** 2 + RESOLVED ** 2)
    scale = np.sqrt(NOISE_SIGMA ** 2 * left.variance
                    + (structure * left.power) ** 2)
    return np.maximum(left.excess, 0) / np.where(scale > 0, scale, np.nan)


def oddity_terms(solution, left, fwhm, centroids=None):
    r"""
    Terms of the oddity of sources.

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

    Parameters
    ----------
    solution : `~vaephot.deblend.pipeline.Solution`
        Fitted sources; those behind the rows of its prior were not
        fitted.
    left : Misfit
        What `misfit` returned, summed over bands and pixel grids.
    fwhm : float
        Smallest FWHM of the PSFs, in pixels of the reference grid.
    centroids : `numpy.ndarray`, (n, 2), optional
        Positions that count; by default those of the fit.

    Returns
    -------
    dict
        Terms by name, each ``(n,)``, all divided by the limit of their
        sum. NaN where a source was not fitted or no pixel is good. Point
        sources have no term of size, shear and latent.
    """
    fit, n = solution.fit, len(solution.boxes)
    mean, precision = (column.detach().cpu().double().numpy()
                       for column in solution.prior)
    z = np.full(fit.parameters.shape, np.nan)
    values = fit.parameters.copy()
    if centroids is not None:
        values[:, :2] = centroids
    z[:len(mean)] = (values[:len(mean)] - mean) * np.sqrt(precision)
    terms = {
        'misfit': _misfit_term(fit, left, fwhm),
        'small': np.minimum(z[:, 2], 0) ** 2 / SMALL,
        'shear': (z[:, 3:5] ** 2).sum(1) / SHEAR,
        'position': (z[:, :2] ** 2).sum(1) / POSITION,
        'latent': fit.prior_distance / LATENT}
    unknown = (np.arange(n) >= len(mean)) | ~(left.power > 0)
    limit = np.where(unknown, np.nan, _limit(left.power))
    for name in ('small', 'shear', 'latent'):
        terms[name] = np.where(solution.is_point, 0, terms[name])
    return {name: terms[name] / limit for name in TERMS}
