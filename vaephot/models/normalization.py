# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
What the encoder sees: the one place where pixels become network inputs.

Channels of a stamp of one band:

0. ``asinh(data / sky_rms)``, bad pixels 0 (invertible over all fluxes);
1. 1 for good pixels, 0 for bad ones;
2. a unit-height Gaussian at the position of the target;
3. the same at its neighbours, at most 1;
4. the data in units of the peak that a point source of the target's flux
   would have, cut at both ends: linear, so that shapes of bright sources
   are not squeezed into the end of a logarithm;
5. the model of the target so far, its peak at 1;
6. what that model leaves, in units of its misfit, cut at both ends: errors
   of a bright source are seen as well as those of a faint one.

Numbers go with it, the conditions: the logarithms of the PSF's FWHM in
pixels and of the target's signal-to-noise ratio as a point source, the
PSF's two ellipticities, how much wider its wings make it than its core, the
logarithm of the misfit, and six moments of what the model leaves.
"""

import math

import numpy as np
import torch

__all__ = ['CANONICAL_FWHM', 'N_CHANNELS', 'N_CONDITIONS', 'bin_factor',
           'bin_psf', 'encoder_inputs', 'from_asinh', 'left_moments',
           'model_misfit', 'point_peak', 'position_map', 'psf_numbers',
           'to_asinh']

N_CHANNELS = 7
N_CONDITIONS = 12
# stamps are binned until the FWHM of the PSF is at most this many pixels
CANONICAL_FWHM = 3.2
# range of the linear channel
LINEAR_RANGE = (-0.5, 3.0)
# range of the misfit, and of what the model leaves in units of it
MISFIT_RANGE = (1e-4, 1.0)
LEFT_RANGE = (-4.0, 4.0)
# range of the width of a model in pixels
WIDTH_RANGE = (0.3, 8.0)
# models with less light than this, in units of the noise, are no measure
LEAST_LIGHT = 0.3
# peak of a Gaussian of unit flux and unit FWHM
GAUSSIAN_PEAK = 4 * math.log(2) / math.pi
# 1-sigma in pixels of the blobs that mark positions
MARK_SIGMA = 1.0


def to_asinh(data, sky_rms):
    """
    Compress an image to the range a network can take in.

    Parameters
    ----------
    data : `torch.Tensor`
        Image in any unit.
    sky_rms : `torch.Tensor` or float
        1-sigma noise of the sky in the same unit.

    Returns
    -------
    `torch.Tensor`
        ``asinh(data / sky_rms)``: linear in the noise, logarithmic far
        above it.
    """
    return torch.asinh(data / sky_rms)


def from_asinh(values, sky_rms):
    """
    Undo `to_asinh`.

    Parameters
    ----------
    values : `torch.Tensor`
        What `to_asinh` returned.
    sky_rms : `torch.Tensor` or float
        The noise given to it.

    Returns
    -------
    `torch.Tensor`
    """
    return torch.sinh(values) * sky_rms


def position_map(offsets, present, size):
    """
    Mark positions on stamps.

    Parameters
    ----------
    offsets : `torch.Tensor`, (n, m, 2)
        Up to ``m`` positions per stamp, relative to its central pixel
        ``size // 2``, x before y.
    present : `torch.Tensor`, (n, m)
        1 where there is a position, 0 where not.
    size : int
        Side of the stamps.

    Returns
    -------
    `torch.Tensor`, (n, size, size)
        Sum of unit-height Gaussians, cut at 1.
    """
    grid = torch.arange(size, device=offsets.device,
                        dtype=offsets.dtype) - size // 2
    scale = 0.5 / MARK_SIGMA ** 2
    column = torch.exp(-scale * (grid - offsets[..., :1]) ** 2)
    row = torch.exp(-scale * (grid - offsets[..., 1:]) ** 2)
    column = column * present[..., None]
    return torch.einsum('nmy,nmx->nyx', row, column).clamp(max=1)


def bin_factor(fwhm):
    """
    Pixels that are summed to one so that a PSF looks as in the training.

    Parameters
    ----------
    fwhm : float or `numpy.ndarray`
        FWHM of the effective PSF in pixels.

    Returns
    -------
    `numpy.ndarray` of int
        1 up to a FWHM of `CANONICAL_FWHM`.
    """
    return np.maximum(1, np.ceil(np.asarray(fwhm) / CANONICAL_FWHM)
                      ).astype(int)


def bin_psf(image, oversampling, factor):
    """
    Effective PSF of binned pixels.

    Parameters
    ----------
    image : `numpy.ndarray`, (p, p)
        Effective PSF of the pixels, ``p`` odd, centred on ``p // 2``.
    oversampling : int
        Samples per pixel.
    factor : int
        Pixels that are summed to one, along each axis.

    Returns
    -------
    image : `numpy.ndarray`, (p, p)
        The PSF at the same samples.
    oversampling : int
        Samples per binned pixel.
    """
    if factor == 1:
        return image, oversampling
    wave = 2 * np.pi * np.fft.fftfreq(len(image)) * oversampling
    places = np.arange(factor) - (factor - 1) / 2
    comb = np.cos(wave[:, None] * places).mean(1)
    binned = np.fft.ifft2(np.fft.fft2(image) * comb[:, None] * comb).real
    return binned, oversampling * factor


def psf_numbers(image, oversampling, fwhm):
    """
    What the encoder is told about an effective PSF besides its width.

    Parameters
    ----------
    image : `numpy.ndarray`, (p, p)
        Effective PSF, centred on sample ``p // 2``.
    oversampling : int
        Samples per pixel.
    fwhm : float
        Its FWHM in pixels.

    Returns
    -------
    `numpy.ndarray`, (3,)
        Both ellipticities ``(Qxx - Qyy) / (Qxx + Qyy)`` and
        ``2 Qxy / (Qxx + Qyy)`` of the second moments under a round
        Gaussian of the same FWHM, and the logarithm of the noise-equivalent
        width over that of a Gaussian of this FWHM.
    """
    half = len(image) // 2
    y, x = (np.mgrid[:image.shape[0], :image.shape[1]] - half) / oversampling
    sigma = fwhm / math.sqrt(8 * math.log(2))
    weighted = image * np.exp(-0.5 * (x ** 2 + y ** 2) / sigma ** 2)
    q_xx, q_yy, q_xy = ((weighted * m).sum() for m in (x * x, y * y, x * y))
    unit = image / image.sum()
    noise_pixels = oversampling ** -2 / (unit ** 2).sum()
    gaussian = 4 * math.pi * sigma ** 2
    return np.array([(q_xx - q_yy) / (q_xx + q_yy),
                     2 * q_xy / (q_xx + q_yy),
                     0.5 * math.log(noise_pixels / gaussian)])


def model_misfit(data, sky_rms, good, model):
    """
    How far a model is from the data, as a share of the model.

    Parameters
    ----------
    data : `torch.Tensor`, (n, size, size)
        Stamps.
    sky_rms : `torch.Tensor`, (n, 1, 1) or (n, size, size)
        Noise of the sky.
    good : `torch.Tensor`, (n, size, size)
        1 for good pixels, 0 for bad ones.
    model : `torch.Tensor`, (n, size, size)
        Models of the targets in the unit of the data.

    Returns
    -------
    misfit : `torch.Tensor`, (n,)
        Root of the mean square of what the model leaves, over that of the
        model, both weighted with the model; cut to `MISFIT_RANGE`. The
        relative errors of its parameters are of this size or smaller.
    left : `torch.Tensor`, (n, size, size)
        What the model leaves, in units of the misfit and of the weighted
        mean of the model; 0 for bad pixels.
    """
    shape = (model / sky_rms).clamp(min=0) * good
    rest = (data - model) / sky_rms * good
    total = shape.sum((-2, -1))
    weight = shape / total.clamp(min=1e-6)[:, None, None]
    scale = torch.sqrt((weight * shape ** 2).sum((-2, -1)))
    scale = scale.clamp(min=LEAST_LIGHT)
    misfit = torch.sqrt((weight * rest ** 2).sum((-2, -1))) / scale
    misfit = torch.where(total > LEAST_LIGHT, misfit, 1.0)
    misfit = misfit.clamp(*MISFIT_RANGE)
    return misfit, rest / (misfit * scale)[:, None, None]


def left_moments(left, good, model, place):
    """
    Moments of what a model leaves, weighted with the model.

    Wrong positions, sizes and shears leave moments in proportion to their
    errors.

    Parameters
    ----------
    left : `torch.Tensor`, (n, size, size)
        What `model_misfit` returned.
    good : `torch.Tensor`, (n, size, size)
        1 for good pixels, 0 for bad ones.
    model : `torch.Tensor`, (n, size, size)
        Models of the targets.
    place : `torch.Tensor`, (n, 2)
        Their positions, relative to the central pixel.

    Returns
    -------
    width : `torch.Tensor`, (n,)
        1-sigma width of the models in pixels, along one axis.
    moments : `torch.Tensor`, (n, 6)
        Means of 1, x, y, r^2 / 2 - 1, (x^2 - y^2) / 2 and x y, with
        lengths in units of the width.
    """
    size = left.shape[-1]
    grid = torch.arange(size, device=left.device, dtype=left.dtype)
    x, y = ((grid - size // 2) - place[:, k:k + 1] for k in (0, 1))
    x, y = x[:, None, :], y[:, :, None]
    weight = model.clamp(min=0) * good
    weight = weight / weight.sum((-2, -1), keepdim=True).clamp(min=1e-20)
    square = (weight * (x ** 2 + y ** 2)).sum((-2, -1))
    width = torch.sqrt(0.5 * square).clamp(*WIDTH_RANGE)
    x, y = x / width[:, None, None], y / width[:, None, None]
    seen = weight * left.clamp(*LEFT_RANGE)
    moments = [seen, seen * x, seen * y,
               seen * (0.5 * (x ** 2 + y ** 2) - 1),
               seen * 0.5 * (x ** 2 - y ** 2), seen * x * y]
    return width, torch.stack([m.sum((-2, -1)) for m in moments], 1)


def encoder_inputs(data, sky_rms, good, target, neighbours, present, peak,
                   model, left):
    """
    Channels of the encoder for stamps of one band.

    Parameters
    ----------
    data : `torch.Tensor`, (n, size, size)
        Stamps.
    sky_rms : `torch.Tensor`, (n, 1, 1) or (n, size, size)
        Noise of the sky.
    good : `torch.Tensor`, (n, size, size)
        1 for good pixels, 0 for bad ones.
    target : `torch.Tensor`, (n, 2)
        Where the target was found, relative to the central pixel.
    neighbours : `torch.Tensor`, (n, m, 2)
        Where its neighbours were found, likewise.
    present : `torch.Tensor`, (n, m)
        1 where there is a neighbour.
    peak : `torch.Tensor`, (n,)
        Peak of a point source of the target's flux, over ``sky_rms``.
    model : `torch.Tensor`, (n, size, size)
        Models of the targets in the unit of the data.
    left : `torch.Tensor`, (n, size, size)
        What `model_misfit` returned.

    Returns
    -------
    `torch.Tensor`, (n, N_CHANNELS, size, size), float32
    """
    size = data.shape[-1]
    own = position_map(target[:, None], torch.ones_like(target[:, :1]), size)
    other = position_map(neighbours, present, size)
    noise_units = data / sky_rms
    linear = (noise_units / peak[:, None, None]).clamp(*LINEAR_RANGE)
    highest = model.abs().amax((-2, -1), keepdim=True).clamp(min=1e-30)
    channels = [to_asinh(data, sky_rms) * good, good, own, other,
                linear * good, model / highest, left.clamp(*LEFT_RANGE)]
    return torch.stack([c.to(torch.float32) for c in channels], dim=1)


def point_peak(log_fwhm, log_snr, log_width):
    """
    Peak of a point source over the noise, from the conditions.

    Parameters
    ----------
    log_fwhm, log_snr, log_width : `torch.Tensor`, (n,)
        Logarithms of the FWHM [px], of the point-source signal-to-noise
        ratio, and of the noise-equivalent width as in `psf_numbers`.

    Returns
    -------
    `torch.Tensor`, (n,)
        As for a Gaussian core; at least 1.
    """
    # noise of a point source: root of the noise-equivalent pixels
    log_noise = (log_fwhm + log_width
                 + 0.5 * math.log(math.pi / (2 * math.log(2))))
    log_peak = log_snr + log_noise - 2 * log_fwhm + math.log(GAUSSIAN_PEAK)
    return torch.exp(log_peak.clamp(min=0))
