# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Fluxes and errors where models do not describe the data.

The covariance of the fit counts the noise alone. Where a galaxy has knots or
arms that its model has not, what is left over is alike over several pixels,
and sources that overlap trade light.
"""

import numpy as np
from astropy.stats import gaussian_fwhm_to_sigma

from vaephot.utils.boxes import overlap

__all__ = ['model_variance', 'residual_flux', 'spread_over_bands',
           'widen_errors']

# excess of the chi-square that noise may make, in units of its 1-sigma error
NOISE_SIGMA = 2.0
# area over which errors of models are alike, in units of that of the PSF as
# noise sees it, 4 pi sigma^2; set to simulated blends of galaxies with knots,
# arms and bars, and of real ones
COHERENT_AREA = 0.75
# what a band has at least of the largest value of all: shapes are common
COMMON_SHARE = 0.05
# light that the model of a source leaves over counts with half its weight
# where the excess of the chi-square is this many of its 1-sigma errors
MISFIT_SIGMA = 3.0
# part of that light that stays as an error
MISFIT_ERROR = 0.5


def residual_flux(sums):
    r"""
    Flux that the models miss and its variance, both (n, n_bands).

    The share of a source in the residual counts with the weight
    :math:`z^2 / (z^2 + 9)`, with :math:`z` the excess of the chi-square in
    units of its 1-sigma error: where the models describe the data the
    residual is noise. ``sums`` is a
    `~vaephot.deblend.fit.goodness.SourceSums`.
    """
    square = np.divide(
        np.maximum(sums.excess, 0) ** 2, sums.excess_variance,
        out=np.zeros_like(sums.excess), where=sums.excess_variance > 0)
    weight = square / (square + MISFIT_SIGMA ** 2)
    flux = weight * sums.left
    return flux, (weight ** 2 * sums.left_variance
                  + (MISFIT_ERROR * flux) ** 2)


def _relative_misfit(sums):
    """Share of the squared signal that each model leaves, (n, n_bands)."""
    excess = sums.excess - NOISE_SIGMA * np.sqrt(sums.excess_variance)
    return np.divide(np.maximum(excess, 0), sums.power,
                     out=np.zeros_like(sums.power), where=sums.power > 0)


def _meeting(boxes, rows):
    """Map each box to those of some rows that it meets."""
    x0, x1, y0, y1 = np.array([
        (box.ixmin, box.ixmax, box.iymin, box.iymax)
        for box in boxes]).reshape(-1, 4).T
    meets = {}
    for j in rows.tolist():
        for k in np.flatnonzero((x0 < x1[j]) & (x1 > x0[j])
                                & (y0 < y1[j]) & (y1 > y0[j])).tolist():
            meets.setdefault(k, []).append(j)
    return meets


def _spoilt(box, others):
    """Sum of images (n_bands, h, w) of other boxes in a box."""
    shape = (len(others[0][1]), *box.shape)
    out = np.zeros(shape, np.float32)
    for other, image in others:
        x = overlap(box.ixmin, box.ixmax, other.ixmin, other.ixmax)
        y = overlap(box.iymin, box.iymax, other.iymin, other.iymax)
        out[:, y.start - box.iymin:y.stop - box.iymin,
            x.start - box.ixmin:x.stop - box.ixmin] += image[
                :, y.start - other.iymin:y.stop - other.iymin,
                x.start - other.ixmin:x.stop - other.ixmin]
    return out


def model_variance(boxes, models, residual, sums, fwhm):
    r"""
    Variance that errors of models add to that by noise, (n, n_bands).

    A model :math:`m_j` leaves over the share

    .. math::

        \epsilon_j^2 = \max(X_j - 2 \sqrt{V_j}, 0) / P_j

    of its squared signal, with the excess :math:`X_j` of the chi-square,
    its variance :math:`V_j` by noise and the squared signal-to-noise ratio
    :math:`P_j`. A pixel has the variance :math:`\sum_j \epsilon_j^2 m_j^2`
    from that, and the flux of source :math:`i`, a mean over pixels with the
    weights :math:`w_i = m_i^2 / \sigma^2`,

    .. math::

        v_i = \kappa \, \frac{\sum w_i \sum_j \epsilon_j^2 m_j^2 / \sigma^2}
        {\sum w_i}

    in units of its variance by noise; :math:`\kappa` is the number of pixels
    over which errors of models are alike. ``residual`` and ``sums`` are those
    of `~vaephot.deblend.fit.goodness`, ``fwhm`` (n_bands,) that of the
    PSFs in pixels.
    """
    share = _relative_misfit(sums)
    out, spoilt = np.zeros(share.shape), {}
    for j in np.flatnonzero(share.any(1)).tolist():
        part = share[j].astype(np.float32)[:, None, None]
        spoilt[j] = boxes[j], part * residual.in_units(models[j]) ** 2
    for k, rows in _meeting(boxes, np.array(list(spoilt), int)).items():
        own = (residual.in_units(models[k])
               * residual.cut(boxes[k]).root ** 2)
        out[k] = (own * own * _spoilt(
            boxes[k], [spoilt[j] for j in rows])).sum((1, 2))
    out /= np.maximum(sums.power, 1e-300)
    sigma = np.asarray(fwhm) * gaussian_fwhm_to_sigma
    return COHERENT_AREA * 4 * np.pi * sigma ** 2 * out


def spread_over_bands(variance):
    """Give all bands a part of what one leaves over, (n, n_bands)."""
    return np.maximum(variance, COMMON_SHARE * variance.max(
        1, initial=0, keepdims=True))


def widen_errors(flux_err, covariance, variance):
    """
    Errors and covariance (n, m, m) with the variance of the models.

    ``variance`` (n, n_bands) in units of that by noise; the errors of shapes
    and positions are widened as the largest of the fluxes.
    """
    n_shape = covariance.shape[1] - variance.shape[1]
    scale = np.sqrt(1 + variance)
    every = np.concatenate([scale, np.repeat(
        scale.max(1, initial=1, keepdims=True), n_shape, 1)], 1)
    return (flux_err * scale,
            covariance * every[:, :, None] * every[:, None])
