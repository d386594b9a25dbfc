# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Errors of fluxes where models do not describe the data.

The covariance of the fit counts the noise alone. Where a galaxy has knots or
arms that its model has not, what is left over is not independent from pixel
to pixel, and sources that overlap trade light.
"""

from dataclasses import replace

import numpy as np
from astropy.stats import gaussian_fwhm_to_sigma

from vaephot.deblend.outputs.measure import box_index, noise_variance

__all__ = ['model_variance', 'spread_over_bands', 'with_model_errors']

# excess of the chi-square that noise may make, in units of its 1-sigma error
NOISE_SIGMA = 2.0
# area over which errors of models are alike, in units of that of the PSF as
# noise sees it, 4 pi sigma^2; set to simulated blends of galaxies with knots,
# arms and bars, and of real ones
COHERENT_AREA = 0.75
# what a band has at least of the largest value of all: shapes are common
COMMON_SHARE = 0.05


def model_variance(solution, observation, left):
    r"""
    Variance that errors of the models add to that by noise.

    A model :math:`m_j` leaves over the share

    .. math::

        \epsilon_j^2 = \max(X_j - 2 \sqrt{V_j}, 0) / P_j

    of its squared signal, with the excess :math:`X_j` of the chi-square,
    its variance :math:`V_j` by noise and the squared signal-to-noise ratio
    :math:`P_j` of `~vaephot.deblend.outputs.outliers.Misfit`. A pixel has
    the variance :math:`\sum_j \epsilon_j^2 m_j^2` from that, and the flux of
    source
    :math:`i`, a mean over pixels with the weights :math:`w_i = m_i^2 /
    \sigma^2`,

    .. math::

        v_i = \kappa \, \frac{\sum w_i \sum_j \epsilon_j^2 m_j^2 / \sigma^2}
        {\sum w_i}

    in units of its variance by noise; :math:`\kappa` is the number of pixels
    over which errors of models are alike. Correlated noise has the square of
    ``noise_correlation`` times the variance, and :math:`v_i` is less.

    Parameters
    ----------
    solution : `~vaephot.deblend.pipeline.Solution`
        Fitted sources.
    observation : `~vaephot.deblend.inputs.read.Observation`
        Data and noise.
    left : `~vaephot.deblend.outputs.outliers.Misfit`
        What `~vaephot.deblend.outputs.outliers.misfit` returned for them.

    Returns
    -------
    `numpy.ndarray`, (n, n_bands)
        0 where the models describe the data.
    """
    model, good = solution.model_image, ~observation.mask
    weight = good / np.broadcast_to(noise_variance(solution, observation),
                                    model.shape)
    excess = left.excess - NOISE_SIGMA * np.sqrt(left.variance)
    share = np.divide(np.maximum(excess, 0), left.power,
                      out=np.zeros_like(left.power), where=left.power > 0)
    power = [own.astype(float) ** 2 * weight[box_index(box)] for box, own
             in zip(solution.boxes, solution.models, strict=True)]
    total = np.zeros(model.shape)
    for box, own, part in zip(solution.boxes, power, share, strict=True):
        total[box_index(box)] += part[:, None, None] * own
    out = [(own * total[box_index(box)]).sum((1, 2))
           / np.maximum(own.sum((1, 2)), 1e-300)
           for box, own in zip(solution.boxes, power, strict=True)]
    sigma = np.array([psf.fwhm for psf in observation.psfs])
    sigma = sigma * gaussian_fwhm_to_sigma
    return (COHERENT_AREA * 4 * np.pi * sigma ** 2
            * np.array(out).reshape(-1, len(model))
            / np.asarray(observation.noise_correlation, float) ** 2)


def spread_over_bands(variance):
    """
    Give all bands a part of what one of them leaves over.

    Parameters
    ----------
    variance : `numpy.ndarray`, (n, n_bands)
        What `model_variance` returned.

    Returns
    -------
    `numpy.ndarray`, (n, n_bands)
    """
    return np.maximum(variance, COMMON_SHARE * variance.max(
        1, initial=0, keepdims=True))


def with_model_errors(fit, variance):
    """
    Widen the errors of a fit.

    Parameters
    ----------
    fit : `~vaephot.deblend.scene_fit.SceneFit`
        Its errors are those by noise.
    variance : `numpy.ndarray`, (n, n_bands)
        What errors of the models add, in units of the variance by noise.

    Returns
    -------
    `~vaephot.deblend.scene_fit.SceneFit`
        The errors of shapes and positions are widened as the largest of
        the fluxes.
    """
    n_bands = variance.shape[1]
    n_shape = fit.covariance.shape[1] - n_bands
    scale = np.sqrt(1 + variance)
    every = np.concatenate([scale, np.repeat(
        scale.max(1, initial=1, keepdims=True), n_shape, 1)], 1)
    return replace(fit, flux_err=fit.flux_err * scale,
                   covariance=fit.covariance * every[:, :, None]
                   * every[:, None])
