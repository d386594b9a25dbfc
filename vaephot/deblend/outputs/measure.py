# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""From fitted parameters to what the table says of a source."""

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage

from vaephot.utils.labels import values_of_labels

__all__ = ['Goodness', 'Share', 'Shapes', 'blendedness', 'box_index',
           'centroids_of', 'describe', 'goodness', 'noise_variance',
           'residual_share', 'shapes_of', 'unseen']

# sources whose reduced chi-square exceeds 1 by this many of its 1-sigma
# errors, and by this much in itself, are poorly fitted
POOR_SIGMA = 5.0
POOR_EXCESS = 0.3
# light that the model of a source leaves over is counted where the model is
# brighter than this, in units of the noise of the sky, and with half its
# weight where the chi-square there is this many of its 1-sigma errors too
# large
SHARE_LEVEL = 0.2
MISFIT_SIGMA = 3.0
# part of that light that stays as an error
MISFIT_ERROR = 0.5


class Shapes(NamedTuple):
    """
    Intrinsic shapes, each ``(n,)``.

    ``half_light_radius`` in pixels, ``axis_ratio`` of the flux-weighted
    isophotes, ``orientation`` in radians from the x towards the y axis.
    """

    half_light_radius: np.ndarray
    axis_ratio: np.ndarray
    orientation: np.ndarray


class Goodness(NamedTuple):
    """Reduced chi-square and its number of pixels, each ``(n,)``."""

    reduced_chi2: np.ndarray
    n_pixels: np.ndarray


class Share(NamedTuple):
    """
    What the residual adds to fluxes, each ``(n, n_bands)``.

    ``flux`` to be added, and ``variance`` of that.
    """

    flux: np.ndarray
    variance: np.ndarray


def _tensor(parameters, decoder):
    """Parameters as a decoder takes them."""
    return torch.as_tensor(parameters, dtype=decoder.sigma.dtype,
                           device=decoder.sigma.device)


def shapes_of(parameters, decoder):
    """
    Intrinsic shapes of sources.

    Parameters
    ----------
    parameters : `numpy.ndarray`, (n, n_parameters)
        Fitted parameters.
    decoder : `~vaephot.models.decoder.Decoder`
        Decoder of the fit.

    Returns
    -------
    Shapes
    """
    values = _tensor(parameters, decoder)
    weight, _, factor = decoder.profile(
        values[:, 5:decoder.config.n_concentric])
    mean = (weight * factor).sum(-1).cpu().double().numpy()
    eta1, eta2 = parameters[:, 3], parameters[:, 4]
    return Shapes(np.exp(parameters[:, 2]),
                  np.exp(-mean * np.hypot(eta1, eta2)),
                  0.5 * np.arctan2(eta2, eta1))


def centroids_of(parameters, decoder):
    """
    Centres of the light of sources.

    Parameters
    ----------
    parameters : `numpy.ndarray`, (n, n_parameters)
        Fitted parameters.
    decoder : `~vaephot.models.decoder.Decoder`
        Decoder of the fit.

    Returns
    -------
    `numpy.ndarray`, (n, 2)
        In pixels of the image; lopsided galaxies are not where their
        concentric part is.
    """
    values = _tensor(parameters, decoder)
    return decoder.centroids(values).cpu().double().numpy()


def box_index(bbox):
    """
    Index of a box in images.

    Parameters
    ----------
    bbox : `~photutils.aperture.BoundingBox`
        Box in the frame.

    Returns
    -------
    tuple
        For arrays (n_bands, ny, nx).
    """
    return np.s_[:, bbox.iymin:bbox.iymax, bbox.ixmin:bbox.ixmax]


def blendedness(solution):
    """
    Share of a source's light that falls where others shine.

    ``1 - sum(m^2) / sum(m * sum of all models)``, with ``m`` the model of
    the source, over its box.

    Parameters
    ----------
    solution : `~vaephot.deblend.pipeline.Solution`
        Fitted sources.

    Returns
    -------
    `numpy.ndarray`, (n, n_bands)
        0 for a source alone.
    """
    rows = []
    for bbox, model in zip(solution.boxes, solution.models, strict=True):
        model = model.astype(float)
        own = (model ** 2).sum((1, 2))
        both = (model * solution.model_image[box_index(bbox)]).sum((1, 2))
        rows.append(1 - own / np.where(both == 0, 1, both) if own.any()
                    else np.zeros(len(own)))
    return np.array(rows).reshape(-1, len(solution.model_image))


def noise_variance(solution, observation):
    """
    Variance of the sky and of the photons of the model.

    Parameters
    ----------
    solution : `~vaephot.deblend.pipeline.Solution`
        Fitted sources.
    observation : `~vaephot.deblend.inputs.read.Observation`
        Noise; the Poisson noise of the model is added where the gain is
        known.

    Returns
    -------
    `numpy.ndarray`
        As (n_bands, ny, nx), or (n_bands, 1, 1) if it is the same
        everywhere.
    """
    variance = observation.variance
    if observation.gain is not None:
        gain = np.asarray(observation.gain)[:, None, None]
        variance = variance + np.maximum(solution.model_image, 0) / gain
    return variance


def residual_share(solution, observation):
    """
    Light that belongs to a source and is not in its model.

    Real galaxies have structure that no model has. Each pixel's residual
    is shared among the sources as their models share its light; the sum
    over a source's pixels is the flux that its model misses. Where the
    model describes the data within the noise that sum is noise, so it
    counts with the weight ``z^2 / (z^2 + 9)``, with ``z`` the excess of
    the chi-square over these pixels in units of its 1-sigma error.

    Parameters
    ----------
    solution : `~vaephot.deblend.pipeline.Solution`
        Fitted sources.
    observation : `~vaephot.deblend.inputs.read.Observation`
        Data and noise.

    Returns
    -------
    Share
        The variance is that of the noise plus the square of
        `MISFIT_ERROR` times the flux: how much light still lies where
        the model does not reach is not known.
    """
    model, good = solution.model_image, ~observation.mask
    variance = np.broadcast_to(noise_variance(solution, observation),
                               model.shape)
    residual = np.where(good, observation.data - model, 0)
    correlation = np.asarray(observation.noise_correlation, float)[:, None]
    rows = []
    for bbox, own in zip(solution.boxes, solution.models, strict=True):
        box = box_index(bbox)
        total = np.maximum(model[box], 1e-300)
        sky = observation.variance
        sky = sky if sky.shape[-1] == 1 else sky[box]
        region = good[box] & (own > SHARE_LEVEL * np.sqrt(sky))
        share = np.where(region, np.clip(own / total, 0, 1), 0)
        noise, left = variance[box], residual[box]
        chi2 = np.where(region, left ** 2 / noise, 0).sum((1, 2))
        rows.append([(left * share).sum((1, 2)),
                     (noise * share ** 2).sum((1, 2)), chi2,
                     region.sum((1, 2))])
    flux, power, chi2, count = np.array(rows).reshape(
        -1, 4, len(model)).transpose(1, 0, 2)
    excess = (chi2 - count) / np.sqrt(2 * np.maximum(count, 1))
    excess = np.maximum(excess / correlation[:, 0] ** 2, 0) ** 2
    weight = excess / (excess + MISFIT_SIGMA ** 2)
    flux = weight * flux
    return Share(flux, weight ** 2 * power * correlation[:, 0] ** 2
                 + (MISFIT_ERROR * flux) ** 2)


def goodness(solution, observation):
    """
    Reduced chi-square of sources over their boxes, all bands.

    Parameters
    ----------
    solution : `~vaephot.deblend.pipeline.Solution`
        Fitted sources.
    observation : `~vaephot.deblend.inputs.read.Observation`
        Data and noise; the Poisson noise of the model is added where the
        gain is known.

    Returns
    -------
    Goodness
        NaN and 0 where no pixel is good.
    """
    model = solution.model_image
    variance = noise_variance(solution, observation)
    square = (observation.data - model) ** 2 / variance
    square = np.where(observation.mask, 0, square)
    good = ~observation.mask
    total, count = [], []
    for bbox in solution.boxes:
        total.append(square[box_index(bbox)].sum())
        count.append(good[box_index(bbox)].sum())
    count = np.array(count, int)
    reduced = np.full(len(count), np.nan)
    np.divide(total, count, out=reduced, where=count > 0)
    return Goodness(reduced, count)


def _around(array, xy, radius):
    """Pixels of a (ny, nx) array about each position, one by one."""
    ny, nx = array.shape
    for (x, y), r in zip(xy, radius, strict=True):
        x0, x1 = max(math.floor(x - r), 0), min(math.ceil(x + r) + 1, nx)
        y0, y1 = max(math.floor(y - r), 0), min(math.ceil(y + r) + 1, ny)
        yield array[y0:max(y1, y0), x0:max(x1, x0)]


def _any_around(array, xy, radius):
    """Whether any pixel about each position is set."""
    return np.array([bool(pixels.any()) for pixels
                     in _around(array, xy, radius)], bool)


def unseen(solution, observation, segm, radius):
    """
    Bands in which a source has no good pixel of its own.

    Its own pixels are those of its parent, or those around it if it has
    none.

    Parameters
    ----------
    solution : `~vaephot.deblend.pipeline.Solution`
        Fitted sources.
    observation : `~vaephot.deblend.inputs.read.Observation`
        Masks.
    segm : `~photutils.segmentation.SegmentationImage`
        Parents.
    radius : `numpy.ndarray`, (n,)
        Radius of the sources in pixels.

    Returns
    -------
    `numpy.ndarray` of bool, (n, n_bands)
    """
    parent = solution.sources.parent
    xy = np.column_stack([solution.sources.x, solution.sources.y])
    loose = parent == 0
    columns = []
    for mask in observation.mask:
        count = ndimage.sum_labels(~mask, segm.data, segm.labels)
        seen = values_of_labels(segm, count, parent) > 0
        seen[loose] = _any_around(~mask, xy[loose], radius[loose])
        columns.append(~seen)
    return np.column_stack(columns)


def describe(solution, observation, radius, quality):
    """
    Conditions of sources that a flag should tell.

    Parameters
    ----------
    solution : `~vaephot.deblend.pipeline.Solution`
        Fitted sources.
    observation : `~vaephot.deblend.inputs.read.Observation`
        Data and noise.
    radius : `numpy.ndarray`, (n,)
        Radius of the sources in pixels.
    quality : Goodness
        What `goodness` returned.

    Returns
    -------
    dict
        Name of a flag to a boolean array ``(n,)``.
    """
    fit = solution.fit
    x, y = fit.parameters[:, :2].T
    ny, nx = observation.data.shape[1:]
    bad = observation.mask.any(0)
    excess = quality.reduced_chi2 - 1
    limit = POOR_SIGMA * np.sqrt(2 / np.maximum(quality.n_pixels, 1))
    everywhere = np.ones(len(x), bool)
    return {
        'edge': ((x < radius - 0.5) | (y < radius - 0.5)
                 | (x > nx - 0.5 - radius) | (y > ny - 0.5 - radius)),
        'masked_pixels': _any_around(bad, fit.parameters[:, :2], radius),
        'saturated': _any_around(bad, fit.parameters[:, :2], 0 * radius),
        'psf_estimated': everywhere & observation.psf_estimated,
        'error_estimated': everywhere & observation.error_estimated,
        'not_converged': ~fit.converged,
        'poor_fit': (excess > limit) & (excess > POOR_EXCESS),
        'larger_than_stamp': fit.cropped | solution.truncated,
        'no_data': ~np.isfinite(fit.flux).any(1),
        'rejected_neighbour': np.isin(solution.sources.parent,
                                      solution.rejected),
    }
