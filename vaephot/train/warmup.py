# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Begin with a decoder that knows Sersic profiles.

Before it sees a galaxy the decoder is taught a family that is close to
them: the first latent runs along the Sersic index, the second tilts the
ellipticity from the centre outwards, the third and fourth make the core
brighter and the edge sharper. Training then changes all of it; the start
only spares it the search for the first meaning of each latent.
"""

import numpy as np
import torch
from scipy.optimize import nnls
from scipy.special import gammaincinv
from torch.nn import functional

from vaephot.models.decoder import MAX_SHEAR_FACTOR

__all__ = ['sersic_index', 'sersic_weights', 'teach_sersic']

# Sersic index of z_1: exp(MEAN + SCATTER z_1), kept within the limits
INDEX_MEAN, INDEX_SCATTER = 0.35, 0.5
INDEX_LIMITS = (0.5, 5.0)
# bulges are drawn to this many half-light radii
TRUNCATION = 8.0
# how much z_2 changes the shear's slope, z_3 the core, z_4 the edge
SHEAR_SLOPE, CORE, EDGE = 0.5, 0.5, 0.4
N_STEPS, N_BATCH, RATE = 800, 512, 3e-3
# smallest share of the flux of a Gaussian that is taught
MIN_WEIGHT = 1e-4


def sersic_index(latent):
    """
    Sersic index that a latent starts with.

    Parameters
    ----------
    latent : `numpy.ndarray`
        First latent.

    Returns
    -------
    `numpy.ndarray`
    """
    index = np.exp(INDEX_MEAN + INDEX_SCATTER * np.asarray(latent))
    return np.clip(index, *INDEX_LIMITS)


def sersic_weights(index, sigma):
    """
    Weights of round Gaussians that add up to a Sersic profile.

    Parameters
    ----------
    index : float
        Sersic index (Sersic 1963; the constant of the half-light radius
        as in Graham & Driver 2005, eq. 4).
    sigma : `numpy.ndarray`, (j,)
        Widths in half-light radii.

    Returns
    -------
    `numpy.ndarray`, (j,)
        Not negative, adding up to one: a least-squares fit to the flux
        per logarithmic radius, as multi-Gaussian expansions are made
        (Cappellari 2002).
    """
    radius = np.geomspace(0.3 * sigma.min(), TRUNCATION, 300)
    scale = gammaincinv(2 * index, 0.5)
    profile = np.exp(-scale * (radius ** (1 / index) - 1)) * radius ** 2
    columns = np.exp(-0.5 * (radius[:, None] / sigma) ** 2) * (
        radius[:, None] / sigma) ** 2
    weight, _ = nnls(columns, profile)
    return weight / weight.sum()


def _lessons(sigma, latents):
    """Log-weights and shear responses of latents."""
    grid = np.linspace(-3, 3, 61)
    table = np.array([sersic_weights(n, sigma) for n in sersic_index(grid)])
    table = np.log(np.maximum(table, MIN_WEIGHT))
    z = latents.numpy()
    logits = np.array([np.interp(z[:, 0], grid, column)
                       for column in table.T]).T
    ratio = np.log(sigma)
    if z.shape[1] > 2:
        logits = logits + CORE * z[:, 2:3] * np.exp(-0.5 * (
            (ratio + 2) / 0.8) ** 2)
    if z.shape[1] > 3:
        logits = logits - EDGE * z[:, 3:4] * np.clip(ratio, 0, None)
    response = np.full_like(logits, np.log(1 / (MAX_SHEAR_FACTOR - 1)))
    if z.shape[1] > 1:
        response = response + SHEAR_SLOPE * z[:, 1:2] * ratio
    return tuple(torch.as_tensor(a, dtype=torch.float32)
                 for a in (logits, response))


def teach_sersic(decoder, seed):
    """
    Teach a new decoder the family that training starts from.

    Parameters
    ----------
    decoder : `~vaephot.models.decoder.Decoder`
        Changed in place.
    seed : int
        Seed of the latents that are drawn.

    Returns
    -------
    float
        Mean squared error of the last batch, of log-weights (weighted by
        the flux) and shear responses.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(decoder.network.parameters(), lr=RATE)
    sigma = decoder.sigma.numpy()
    latents = 1.5 * torch.randn(8 * N_BATCH, decoder.config.n_latent,
                                generator=generator)
    logits, response = _lessons(sigma, latents)
    wanted = torch.log_softmax(logits, -1)
    importance = wanted.exp().sqrt()
    for step in range(N_STEPS):
        rows = torch.arange(N_BATCH) + (step % 8) * N_BATCH
        out, shear = decoder.network(latents[rows]).chunk(2, -1)
        found = torch.log_softmax(out, -1)
        loss = ((importance[rows] * (found - wanted[rows])) ** 2).sum(
            -1).mean() + functional.mse_loss(shear, response[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(loss.detach())
