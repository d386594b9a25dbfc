# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The learned prior of sources, which depends on their brightness."""

import torch

from vaephot.models.encoder import Gaussian
from vaephot.models.normalization import bin_factor

__all__ = ['prior_of_sources']


def prior_of_sources(prior, xy, position_sigma, fwhm, snr):
    """
    Prior of sources by the band that shows them best.

    Parameters
    ----------
    prior : `~vaephot.models.prior.Prior`
        The network.
    xy : `torch.Tensor`, (n, 2)
        Where the sources were found.
    position_sigma : `torch.Tensor`, (n,)
        1-sigma of that in pixels.
    fwhm : `numpy.ndarray`, (n_bands,)
        Widths of the PSFs in pixels.
    snr : `torch.Tensor`, (n, n_bands)
        Point-source signal-to-noise ratios.

    Returns
    -------
    `~vaephot.models.encoder.Gaussian`
        Each entry ``(n, n_parameters)``, positions in the image.
    """
    def like(values):
        return torch.as_tensor(values, dtype=xy.dtype, device=xy.device)
    factor, width = like(bin_factor(fwhm)), like(fwhm)
    best = (snr / width).argmax(1)
    factor, width = factor[best], width[best]
    bright = snr.gather(1, best[:, None])[:, 0]
    found = prior(xy / factor[:, None], torch.log(width / factor),
                  torch.log(bright.clamp(min=1.0)), position_sigma / factor)
    mean, precision = found.mean.clone(), found.precision.clone()
    mean[:, :2] = xy
    mean[:, 2] += torch.log(factor)
    precision[:, :2] /= factor[:, None] ** 2
    return Gaussian(mean, precision)
