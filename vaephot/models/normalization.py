# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
What the encoder sees: the one place where pixels become network inputs.

Channels of a stamp of one band:

0. ``asinh(data / sky_rms)``, bad pixels 0 (invertible over all fluxes);
1. 1 for good pixels, 0 for bad ones;
2. a unit-height Gaussian at the position of the target;
3. the same at its neighbours, at most 1.

Two numbers go with it: the logarithms of the PSF's FWHM in pixels and of
the target's signal-to-noise ratio as a point source.
"""

import torch

__all__ = ['N_CHANNELS', 'encoder_inputs', 'from_asinh', 'position_map',
           'to_asinh']

N_CHANNELS = 4
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


def encoder_inputs(data, sky_rms, good, target, neighbours, present):
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

    Returns
    -------
    `torch.Tensor`, (n, N_CHANNELS, size, size), float32
    """
    size = data.shape[-1]
    own = position_map(target[:, None], torch.ones_like(target[:, :1]), size)
    other = position_map(neighbours, present, size)
    channels = [to_asinh(data, sky_rms) * good, good, own, other]
    return torch.stack([c.to(torch.float32) for c in channels], dim=1)
