# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Amortised start: the second autoencoder looks at every source at once.

Each source gets a stamp per band, cut around it; large sources are binned
down so that they fill the stamp as the galaxies of the training did. The
evidence of the bands is pooled with the prior to a posterior of position,
size, shear and latent.
"""

from typing import NamedTuple

import numpy as np
import torch

from vaephot.models.encoder import Evidence, Gaussian, combine
from vaephot.models.vae import StampBatch
from vaephot.stamps import cut_window

__all__ = ['EncoderStamps', 'bin_factors', 'cut_stamps', 'pool_posterior']

# neighbours that are marked on a stamp
MAX_MARKED = 8
# a segment of this radius [px] fills the stamp of the encoder
FULL_RADIUS = 18.0
# widest PSF [px] of the training
MAX_FWHM = 8.0


class EncoderStamps(NamedTuple):
    """
    Stamps of all sources in all bands, binned.

    ``data``, ``good`` ``(n, n_bands, size, size)``; ``sky_rms``
    ``(n, n_bands)``; ``target`` ``(n, 2)`` and ``neighbours``
    ``(n, m, 2)``, relative to the central pixel, in binned pixels;
    ``present`` ``(n, m)``; ``corner`` ``(n, 2)``: position of the central
    binned pixel's centre in the image.
    """

    data: np.ndarray
    good: np.ndarray
    sky_rms: np.ndarray
    target: np.ndarray
    neighbours: np.ndarray
    present: np.ndarray
    corner: np.ndarray


def bin_factors(radius, fwhm):
    """
    Pixels that are summed to one of the encoder.

    Parameters
    ----------
    radius : `numpy.ndarray`, (n,)
        Radius of the sources' segments in pixels.
    fwhm : float
        Width of the narrowest PSF in pixels.

    Returns
    -------
    `numpy.ndarray` of int, (n,)
        At least 1.
    """
    needed = np.maximum(radius / FULL_RADIUS, fwhm / MAX_FWHM)
    return np.maximum(1, np.ceil(needed)).astype(int)


def _sky(variance, iy, ix, side, typical):
    """Median variance of the part of a window that is in the image."""
    window = variance[:, max(iy, 0):max(iy + side, 0),
                      max(ix, 0):max(ix + side, 0)]
    if not window.size:
        return typical
    return np.median(window.reshape(len(variance), -1)[:, ::7], axis=1)


def _binned(data, good, variance, factor):
    """Sum pixels; the sum counts as good if most of it is."""
    side = data.shape[-1] // factor
    blocks = (len(data), side, factor, side, factor)
    good = good.reshape(blocks)
    share = good.mean((2, 4))
    total = (data.reshape(blocks) * good).sum((2, 4))
    keep = share > 0.5
    total = np.where(keep, total / np.maximum(share, 0.5), 0)
    return total, keep, np.sqrt(variance) * factor


def _neighbour_marks(x, y, index, scale, corner, reach):
    """Positions of the nearest other sources on a stamp."""
    distance = np.maximum(np.abs(x - x[index]), np.abs(y - y[index]))
    near = np.flatnonzero(distance < reach)
    near = near[near != index]
    order = np.argsort(np.hypot(x[near] - x[index], y[near] - y[index]),
                       kind='stable')
    near = near[order][:MAX_MARKED]
    marks = np.zeros((MAX_MARKED, 2))
    present = np.zeros(MAX_MARKED)
    marks[:len(near), 0] = (x[near] - corner[0]) / scale
    marks[:len(near), 1] = (y[near] - corner[1]) / scale
    present[:len(near)] = 1
    return marks, present


def cut_stamps(data, variance, mask, x, y, factors, size, *, which=None):
    """
    Cut and bin the encoder's stamps.

    Parameters
    ----------
    data, mask : `numpy.ndarray`, (n_bands, ny, nx)
        Image, and True for bad pixels.
    variance : `numpy.ndarray`, (n_bands, ny, nx) or (n_bands, 1, 1)
        Variance of the sky.
    x, y : `numpy.ndarray`, (n,)
        Positions of all sources.
    factors : `numpy.ndarray` of int, (n,)
        What `bin_factors` returned.
    size : int
        Side of the stamps.
    which : sequence of int, optional
        Sources to cut; by default all.

    Returns
    -------
    EncoderStamps
    """
    which = range(len(x)) if which is None else which
    columns = [[] for _ in EncoderStamps._fields]
    constant = variance.shape[-2:] == (1, 1)
    typical = np.median(variance.reshape(len(data), -1)[:, ::31], axis=1)
    for i in which:
        factor = int(factors[i])
        side = size * factor
        ix = round(x[i] - (factor - 1) / 2) - factor * (size // 2)
        iy = round(y[i] - (factor - 1) / 2) - factor * (size // 2)
        corner = np.array([ix, iy]) + factor * (size // 2) + (factor - 1) / 2
        sky = typical if constant else _sky(variance, iy, ix, side, typical)
        good = ~cut_window(mask, iy, ix, side, True)
        stamp, keep, rms = _binned(cut_window(data, iy, ix, side, 0.0), good,
                                   sky, factor)
        marks, present = _neighbour_marks(x, y, i, factor, corner, side / 2)
        own = (np.array([x[i], y[i]]) - corner) / factor
        for column, value in zip(
                columns, (stamp, keep, rms, own, marks, present, corner),
                strict=True):
            column.append(value)
    return EncoderStamps(*[np.array(column) for column in columns])


def _flat(values, n_bands):
    """Repeat a per-source tensor for each band."""
    return values.repeat_interleave(n_bands, 0)


def pool_posterior(vae, stamps, fwhm, snr, position_sigma, factors, *,
                   device, reference):
    """
    Posterior of sources from the evidence of all bands.

    Parameters
    ----------
    vae : `~vaephot.models.vae.VAE`
        The second autoencoder.
    stamps : EncoderStamps
        Stamps of the sources.
    fwhm : `numpy.ndarray`, (n_bands,)
        Widths of the PSFs in pixels of the image.
    snr : `numpy.ndarray`, (n, n_bands)
        Point-source signal-to-noise ratios.
    position_sigma : `numpy.ndarray`, (n,)
        Prior 1-sigma of the positions in pixels of the image.
    factors : `numpy.ndarray` of int, (n,)
        Binning of the stamps.
    device : str
        Where the network runs.
    reference : `numpy.ndarray` of int, (n,)
        Band whose brightness and PSF the prior goes by.

    Returns
    -------
    posterior, prior : `~vaephot.models.encoder.Gaussian`
        Each entry ``(n, n_parameters)``, float64, on the CPU; positions
        and sizes in pixels of the image.
    """
    def tensor(values):
        return torch.as_tensor(np.ascontiguousarray(values),
                               dtype=torch.float32, device=device)
    n, n_bands = snr.shape
    log_fwhm = np.log(fwhm[None, :] / factors[:, None])
    log_snr = np.log(np.maximum(snr, 1.0))
    target = tensor(stamps.target)
    batch = StampBatch(
        tensor(stamps.data).flatten(0, 1),
        tensor(stamps.sky_rms).reshape(-1, 1, 1),
        tensor(stamps.good).flatten(0, 1), _flat(target, n_bands),
        _flat(tensor(stamps.neighbours), n_bands),
        _flat(tensor(stamps.present), n_bands),
        tensor(log_fwhm).flatten(), tensor(log_snr).flatten())
    row = np.arange(n)
    with torch.no_grad():
        evidence = vae.evidence(batch)
        prior = vae.prior(target.double(),
                          tensor(log_fwhm[row, reference]).double(),
                          tensor(log_snr[row, reference]).double(),
                          tensor(position_sigma / factors).double())
    evidence = Evidence(*[e.double().unflatten(0, (n, n_bands))
                          for e in evidence])
    posterior = combine(prior, evidence, axis=1)
    return tuple(_to_image(g, stamps.corner, factors)
                 for g in (posterior, prior))


def _to_image(gaussian, corner, factors):
    """From binned pixels about the stamp's centre to the image."""
    mean, precision = gaussian.mean.cpu(), gaussian.precision.cpu()
    factor = torch.as_tensor(factors, dtype=mean.dtype)[:, None]
    mean, precision = mean.clone(), precision.clone()
    mean[:, :2] = mean[:, :2] * factor + torch.as_tensor(corner)
    mean[:, 2] += torch.log(factor[:, 0])
    precision[:, :2] /= factor ** 2
    return Gaussian(mean, precision)
