# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Learn the waves that the structure of galaxies is made of.

Noise-free galaxies are fitted with the concentric profile that the decoder
knows and all rings of all orders at once. The waves of an order are the
principal components of its rings, in the metric of the light that they move
in an image; cosines and sines count alike, for galaxies have no preferred
direction. The scatter of an amplitude among the galaxies becomes one, so that
its prior is a standard normal, as that of the latent.
"""

import math
from dataclasses import replace

import numpy as np
import torch
from scipy.linalg import eigh

from vaephot.exceptions import TrainingError
from vaephot.models.asymmetry import wave_columns
from vaephot.models.decoder import Decoder
from vaephot.models.render import Renderer, make_transfer, padded_size

__all__ = ['fit_galaxies', 'learn_structure', 'principal_waves']

# rings' amplitudes scatter by this in the fits
RING_SIGMA = 0.15
# relative noise of a galaxy's image in the fits
NOISE = 5e-3
N_STEPS = 25
# galaxies that are learned from: half-light radii in FWHM
LEAST_RADIUS = 0.6
MAX_SHARDS, GALAXIES_PER_SHARD = 24, 40
# width of the PSF in the metric of rings, in half-light radii
METRIC_BLUR = 0.4
# a galaxy's structure counts at most as this times the median one
MAX_POWER = 20.0
LIMIT_SIZE, LIMIT_SHEAR, LIMIT_LATENT = 4.0, 2.5, 5.0


def _full_decoder(decoder, orders):
    """The concentric decoder with all rings of some orders."""
    config = replace(decoder.config, structure_orders=tuple(
        np.repeat(orders, len(decoder.config.structure_sigma)).tolist()))
    full = Decoder(config)
    known = {name: tensor for name, tensor in decoder.state_dict().items()
             if not name.startswith('structure.')}
    full.load_state_dict(known, strict=False)
    n_rings = len(config.structure_sigma)
    full.structure.radial.copy_(torch.eye(n_rings).repeat(len(orders), 1))
    return full.double().requires_grad_(False)


def _limited(parameters, n_concentric):
    """Parameters that can be drawn."""
    out = parameters.clone()
    out[:, 2].clamp_(-LIMIT_SIZE, LIMIT_SIZE)
    out[:, 3:5].clamp_(-LIMIT_SHEAR, LIMIT_SHEAR)
    out[:, 5:n_concentric].clamp_(-LIMIT_LATENT, LIMIT_LATENT)
    return out


def fit_galaxies(decoder, renderer, images, start, precision,
                 n_steps=N_STEPS):
    """
    Fit isolated noise-free galaxies, each by itself.

    Parameters
    ----------
    decoder : `~vaephot.models.decoder.Decoder`
        In double precision.
    renderer : `~vaephot.models.render.Renderer`
        Of one band.
    images : `torch.Tensor`, (n, size, size)
        Galaxies.
    start : `torch.Tensor`, (n, n_parameters)
        Parameters to start from, positions in the stamp.
    precision : `torch.Tensor`, (n_parameters,)
        Of the prior, whose mean is zero.
    n_steps : int, optional
        Steps (Levenberg 1944, Marquardt 1963).

    Returns
    -------
    parameters : `torch.Tensor`, (n, n_parameters)
        The best that were found.
    flux : `torch.Tensor`, (n,)
        Best fluxes.
    left : `torch.Tensor`, (n,)
        Squared residual over squared image.
    """
    data = images.flatten(1).double()
    power = (data ** 2).sum(1)
    weight = 1 / (NOISE ** 2 * power)

    def cost(values):
        template = renderer.templates(decoder.from_parameters(values),
                                      values[:, :2])[:, 0].flatten(1)
        flux = ((template * data).sum(1) / (template ** 2).sum(1))
        chi2 = weight * ((data - flux[:, None] * template) ** 2).sum(1)
        return chi2 + (values ** 2 * precision).sum(1), flux, chi2
    values = start.clone()
    best, flux, chi2 = cost(values)
    damping = torch.full_like(best, 1e-3)
    for _ in range(n_steps):
        columns = renderer.gradients(*decoder.jacobian(values),
                                     values[:, :2])[:, :, 0].flatten(2)
        columns[:, 1:] *= flux[:, None, None]
        matrix = weight[:, None, None] * (columns @ columns.transpose(1, 2))
        residual = data - flux[:, None] * columns[:, 0]
        slope = weight[:, None] * (columns @ residual[..., None])[..., 0]
        matrix[:, 1:, 1:] += torch.diag(precision)
        slope[:, 1:] -= values * precision
        held = torch.diagonal(matrix, dim1=1, dim2=2) * damping[:, None]
        step = torch.linalg.solve(matrix + torch.diag_embed(held + 1e-12),
                                  slope[..., None])[:, 1:, 0]
        moved = _limited(values + step.clamp(-1, 1),
                         decoder.config.n_concentric)
        found = cost(moved)
        better = found[0] < best
        values = torch.where(better[:, None], moved, values)
        best, flux, chi2 = (torch.where(better, new, old) for new, old
                            in zip(found, (best, flux, chi2), strict=True))
        damping = torch.where(better, 0.3 * damping, 5 * damping).clamp(
            1e-9, 1e6)
    return values, flux, chi2 * NOISE ** 2


def _rings_of_shard(decoder, shard, n_rings):
    """Amplitudes of all rings of the resolved galaxies of a shard."""
    resolved = torch.exp(shard.truth[:, 2]) > LEAST_RADIUS * shard.psf_fwhm
    rows = torch.nonzero(resolved)[:, 0]
    if not len(rows):
        n_orders = len(decoder.config.structure_orders) // n_rings
        return np.zeros((0, n_orders, n_rings, 2))
    rows = rows[torch.linspace(0, len(rows) - 1, GALAXIES_PER_SHARD).long()
                .unique()]
    size, config = shard.image.shape[-1], decoder.config
    renderer = Renderer(size, [make_transfer(
        [shard.psf], shard.oversampling, padded_size(size))])
    start = torch.zeros(len(rows), config.n_parameters, dtype=torch.float64)
    start[:, :5] = shard.truth[rows, :5]
    start[:, :2] += (size - 1) / 2
    precision = torch.full((config.n_parameters,), RING_SIGMA ** -2,
                           dtype=torch.float64)
    precision[:3], precision[3:config.n_concentric] = 0, 1
    values, _, _ = fit_galaxies(decoder, renderer, shard.image[rows], start,
                                precision)
    columns = wave_columns(config.structure_orders)
    rings = np.zeros((len(rows), len(columns), 2))
    for i, own in enumerate(columns):
        rings[:, i, :len(own)] = values[:, [
            config.n_concentric + k for k in own]]
    return rings.reshape(len(rows), -1, n_rings, 2)


def _metric(order, sigma):
    """Products of the rings of an order, behind a PSF."""
    wide = sigma[:, None] ** 2 + sigma ** 2 + 2 * METRIC_BLUR ** 2
    if not order:
        return sigma[:, None] ** 2 * sigma ** 2 * (2 / wide) ** 3
    height = sigma ** order / (order / math.e) ** (order / 2)
    return (height[:, None] * height * math.factorial(order)
            * (2 / wide) ** (order + 1))


def principal_waves(rings, orders, sigma):
    """
    Principal components of rings.

    Parameters
    ----------
    rings : `numpy.ndarray`, (n, n_orders, n_rings, 2)
        Amplitudes of rings in galaxies, of cosines and sines; order 0 has
        no sines.
    orders : sequence of int
        Angular orders.
    sigma : `numpy.ndarray`, (n_rings,)
        Widths of the rings in half-light radii.

    Returns
    -------
    power : `numpy.ndarray`, (n_orders, n_rings)
        Mean square of the light that each component moves, falling.
    waves : `numpy.ndarray`, (n_orders, n_rings, n_rings)
        Rings of each, for an amplitude of one standard deviation.
    """
    metric = np.stack([_metric(order, sigma) for order in orders])
    total = np.einsum('noip,oij,nojp->n', rings, metric, rings)
    share = np.minimum(1, MAX_POWER * np.median(total)
                       / np.maximum(total, 1e-300))
    power, waves = [], []
    for i in range(len(orders)):
        own = rings[:, i] * np.sqrt(share)[:, None, None]
        moment = (np.einsum('nip,njp->ij', own, own)
                  / ((2 if orders[i] else 1) * len(rings)))
        # components of the moment in the metric: M G v = lambda v
        inner = metric[i] @ moment @ metric[i]
        value, vector = eigh(inner, metric[i] + 1e-9 * np.trace(metric[i])
                             * np.eye(len(sigma)))
        value = np.maximum(value[::-1], 0)
        power.append(value)
        waves.append((vector[:, ::-1] * np.sqrt(value)).T)
    return np.array(power), np.array(waves)


def learn_structure(decoder, shards):
    """
    Teach a decoder the waves of galaxies.

    Parameters
    ----------
    decoder : `~vaephot.models.decoder.Decoder`
        Its concentric profile is used; waves that are dark are learned,
        others stay as they are.
    shards : list of `~vaephot.train.store.GalaxyShard`
        Noise-free galaxies.

    Returns
    -------
    dict
        ``'power'``: mean square of the light that each wave moves, to be
        compared with each other; ``'n_galaxies'``.

    Raises
    ------
    TrainingError
        If no galaxy is resolved.
    """
    config = decoder.config
    orders = sorted(set(config.structure_orders))
    full = _full_decoder(decoder, orders)
    n_rings = len(config.structure_sigma)
    some = np.unique(np.linspace(0, len(shards) - 1, MAX_SHARDS).astype(int))
    rings = np.concatenate([_rings_of_shard(full, shards[i], n_rings)
                            for i in some])
    if not len(rings):
        msg = (f'no galaxy of the store has a half-light radius above '
               f'{LEAST_RADIUS} FWHM, so that its structure could be '
               f'learned; draw larger ones or leave structure_orders empty')
        raise TrainingError(msg)
    power, waves = principal_waves(rings, orders,
                                   np.array(config.structure_sigma))
    seen, kept = dict.fromkeys(orders, 0), []
    for row, order in enumerate(config.structure_orders):
        i = orders.index(order)
        if not decoder.structure.radial[row].any():
            decoder.structure.radial[row] = torch.as_tensor(
                waves[i, seen[order]])
        kept.append(float(power[i, seen[order]]))
        seen[order] += 1
    return {'power': kept, 'n_galaxies': len(rings)}
