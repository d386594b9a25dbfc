# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Teach the decoder what isolated galaxies are, free of noise and PSF.

The galaxies of a store are known without noise: a bulge and a disk of
known radii and axis ratios, or one Sersic law. As sums of Gaussians they
and the decoder's templates have closed scalar products, so the first
autoencoder can begin with an evidence lower bound that needs no pixels:
a small network turns the shape of a galaxy into a posterior of its latent,
the decoder turns that into a template, and the squared distance of the two
under a Gaussian PSF, at a random signal-to-noise ratio, is the
reconstruction loss. The same small network tells afterwards which latent
each galaxy of the store has; the encoders learn from that.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import nnls
from scipy.special import gammainc, gammaincinv
from torch import nn

from vaephot.models.encoder import Gaussian
from vaephot.models.losses import kl_divergence

__all__ = ['Shapes', 'ShapeEncoder', 'latents_of', 'sersic_weights',
           'teach_family']

# Sersic indices of the tables, as the store draws them
INDEX_GRID = np.arange(0.5, 4.01, 0.25)
BULGE_INDEX, DISK_INDEX = 4.0, 1.0
# bulges and single Sersic laws end here, in their half-light radii
TRUNCATION = 6.0
# Gaussians that the truth is made of, in half-light radii
TRUTH_SIGMA = np.geomspace(0.012, 5.0, 22)
# signal-to-noise ratios and PSF widths (in half-light radii) that are taught
SNR_RANGE = (20.0, 2000.0)
BLUR_RANGE = (0.1, 0.8)
# reconstruction losses grow as a logarithm beyond this
FAILED_NATS = 30.0
# where latents are read off: a galaxy that is seen well
READ_SNR, READ_BLUR = 1000.0, 0.3
WIDTH, N_BATCH, RATE = 96, 256, 4e-3
SHARES_RADIUS_LIMIT = 2.0


class Shapes(NamedTuple):
    """
    Shapes of galaxies, each ``(n,)``.

    ``bulge_fraction``; ``disk_radius``, ``bulge_radius`` in half-light
    radii of the whole; ``disk_axis_ratio``, ``bulge_axis_ratio``;
    ``sersic_index``, 0 for a bulge and a disk; ``eta``: length of the
    flux-weighted conformal shear. Real galaxies have NaN for all that no
    formula drew.
    """

    bulge_fraction: torch.Tensor
    disk_radius: torch.Tensor
    bulge_radius: torch.Tensor
    disk_axis_ratio: torch.Tensor
    bulge_axis_ratio: torch.Tensor
    sersic_index: torch.Tensor
    eta: torch.Tensor

    def take(self, rows):
        """
        Some of the galaxies.

        Parameters
        ----------
        rows : `torch.Tensor`
            Which.

        Returns
        -------
        Shapes
        """
        return Shapes(*[column[rows] for column in self])

    def known(self):
        """
        Which galaxies were drawn from a formula.

        Returns
        -------
        `torch.Tensor` of bool, (n,)
        """
        return torch.isfinite(torch.stack(list(self))).all(0)

    def features(self):
        """
        Numbers that describe a shape to a network.

        Returns
        -------
        `torch.Tensor`, (n, 6)
        """
        single = (self.sersic_index > 0).to(self.eta.dtype)
        limit = SHARES_RADIUS_LIMIT
        ratio = torch.log(self.bulge_radius / self.disk_radius)
        ratio = ratio.clamp(-limit, limit) * (1 - single)
        return torch.stack([
            4 * self.bulge_fraction * (1 - single) - 1, 3 * (ratio + 0.5),
            -2 * torch.log(self.disk_axis_ratio) - 1,
            -3 * torch.log(self.bulge_axis_ratio) - 0.5,
            self.sersic_index - 1, 4 * torch.log(self.disk_radius)], 1)


def sersic_weights(index, sigma, *, truncated=True):
    """
    Weights of round Gaussians that add up to a Sersic profile.

    Parameters
    ----------
    index : float
        Sersic index (Sersic 1963; the constant of the half-light radius
        as in Graham & Driver 2005, eq. 4).
    sigma : `numpy.ndarray`, (j,)
        Widths in half-light radii.
    truncated : bool
        Whether the profile ends at `TRUNCATION` half-light radii.

    Returns
    -------
    `numpy.ndarray`, (j,)
        Not negative, adding up to one: a least-squares fit to the flux
        per logarithmic radius, as multi-Gaussian expansions are made
        (Cappellari 2002).
    """
    radius = np.geomspace(0.4 * sigma.min(), 2.5 * sigma.max(), 700)
    scale = gammaincinv(2 * index, 0.5)
    shrink = _truncated_scale(index) if truncated else 1.0
    profile = radius ** 2 * np.exp(
        -scale * ((shrink * radius) ** (1 / index) - 1))
    if truncated:
        profile[radius > TRUNCATION] = 0
    ratio = (radius[:, None] / sigma) ** 2
    weight, _ = nnls(np.exp(-0.5 * ratio) * ratio, profile / profile.max())
    return weight / weight.sum()


def _truncated_scale(index):
    """Half-light radius of a truncated law over the untruncated one."""
    scale, ratio = gammaincinv(2 * index, 0.5), 1.0
    for _ in range(60):
        total = gammainc(2 * index, scale * (TRUNCATION * ratio)
                         ** (1 / index))
        ratio = (gammaincinv(2 * index, 0.5 * total) / scale) ** index
    return ratio


class _Ellipses(NamedTuple):
    """Aligned concentric Gaussians: flux and variances, each (n, j)."""

    weight: torch.Tensor
    major: torch.Tensor
    minor: torch.Tensor


class _Truth:
    """Galaxies as sums of Gaussians."""

    def __init__(self):
        self.tables = torch.as_tensor(np.array([
            sersic_weights(n, TRUTH_SIGMA, truncated=n != DISK_INDEX)
            for n in INDEX_GRID]), dtype=torch.float32)
        self.variance = torch.as_tensor(TRUTH_SIGMA ** 2,
                                        dtype=torch.float32)

    def _component(self, index, flux, radius, axis_ratio):
        row = torch.round((index - INDEX_GRID[0])
                          / (INDEX_GRID[1] - INDEX_GRID[0])).long()
        row = row.clamp(0, len(self.tables) - 1)
        variance = (radius ** 2)[:, None] * self.variance
        return (flux[:, None] * self.tables[row],
                variance / axis_ratio[:, None],
                variance * axis_ratio[:, None])

    def __call__(self, shapes):
        """Ellipses of shapes, in units of their half-light radius."""
        single = shapes.sersic_index > 0
        share = torch.where(single, 0, shapes.bulge_fraction)
        index = torch.where(single, shapes.sersic_index, DISK_INDEX)
        bulge = self._component(torch.full_like(share, BULGE_INDEX), share,
                                shapes.bulge_radius, shapes.bulge_axis_ratio)
        disk = self._component(index, 1 - share, shapes.disk_radius,
                               shapes.disk_axis_ratio)
        return _Ellipses(*[torch.cat(pair, 1)
                           for pair in zip(bulge, disk, strict=True)])


def _product(first, second, blur):
    """Scalar product of images seen through a Gaussian PSF, (n,)."""
    wide = 2 * (blur ** 2)[:, None, None]
    major = first.major[:, :, None] + second.major[:, None] + wide
    minor = first.minor[:, :, None] + second.minor[:, None] + wide
    weight = first.weight[:, :, None] * second.weight[:, None]
    return (weight * torch.rsqrt(major * minor)).sum((1, 2)) / (2 * math.pi)


class ShapeEncoder(nn.Module):
    """
    Posterior of the latent of a known shape.

    Parameters
    ----------
    n_latent : int
        Dimensions of the latent.
    """

    def __init__(self, n_latent):
        super().__init__()
        self.network = nn.Sequential(
            nn.Linear(8, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH),
            nn.SiLU(), nn.Linear(WIDTH, 2 * n_latent))

    def forward(self, shapes, log_snr, log_blur):
        """
        Posterior of the latents.

        Parameters
        ----------
        shapes : Shapes
            Shapes.
        log_snr, log_blur : `torch.Tensor`, (n,)
            Logarithms of the signal-to-noise ratio and of the PSF's
            1-sigma width in half-light radii.

        Returns
        -------
        `~vaephot.models.encoder.Gaussian`
        """
        numbers = torch.stack([(log_snr - 5) / 1.5, log_blur + 1], 1)
        out = self.network(torch.cat([shapes.features(), numbers], 1))
        mean, log_precision = out.chunk(2, 1)
        return Gaussian(mean, torch.exp(log_precision.clamp(-2, 12)))


def relative_residual(decoder, truth, shapes, latent, blur):
    """
    Squared distance of templates from galaxies.

    Parameters
    ----------
    decoder : `~vaephot.models.decoder.Decoder`
        Makes the templates.
    truth : callable
        Turns shapes into ellipses.
    shapes : Shapes
        Galaxies.
    latent : `torch.Tensor`, (n, n_latent)
        Their latents.
    blur : `torch.Tensor`, (n,)
        1-sigma width of the PSF in half-light radii.

    Returns
    -------
    `torch.Tensor`, (n,)
        Integral of the squared difference over that of the galaxy's
        squared image.
    """
    eta = torch.stack([shapes.eta, 0 * shapes.eta], 1)
    mixture = decoder(torch.zeros_like(shapes.eta), eta, latent)
    model = _Ellipses(mixture.weight, mixture.mean + mixture.plus,
                      mixture.mean - mixture.plus)
    galaxy = truth(shapes)
    total = _product(galaxy, galaxy, blur)
    return (1 - 2 * _product(model, galaxy, blur) / total
            + _product(model, model, blur) / total)


def teach_family(decoder, shapes, seed, n_steps, *, frozen=False):
    """
    Train the decoder on noise-free shapes.

    Parameters
    ----------
    decoder : `~vaephot.models.decoder.Decoder`
        Changed in place.
    shapes : Shapes
        Galaxies of the training.
    seed : int
        Seed of everything random.
    n_steps : int
        Steps of 256 galaxies.
    frozen : bool, optional
        Whether the decoder stays as it is, and only its latents are
        looked for.

    Returns
    -------
    encoder : ShapeEncoder
        Tells the latent of a shape.
    losses : list of float
        Mean loss of each step in nats.
    """
    generator = torch.Generator().manual_seed(seed)
    shapes = shapes.take(shapes.known())
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = ShapeEncoder(decoder.config.n_latent)
    truth, losses = _Truth(), []
    learners = (encoder,) if frozen else (decoder, encoder)
    optimizer = torch.optim.Adam([p for network in learners
                                  for p in network.parameters()], lr=RATE)
    for step in range(n_steps):
        phase = 0.5 * (1 + math.cos(math.pi * step / n_steps)) + 0.005
        for group in optimizer.param_groups:
            group['lr'] = RATE * phase * min(1, (step + 1) / 50)
        loss = _family_loss(decoder, encoder, truth, shapes, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return encoder.requires_grad_(False), losses


def _family_loss(decoder, encoder, truth, shapes, generator):
    """Minus the evidence lower bound of a random batch."""
    rows = torch.randint(len(shapes.eta), (N_BATCH,), generator=generator)
    some = shapes.take(rows)

    def between(low, high):
        share = torch.rand(N_BATCH, generator=generator)
        return math.log(low) + share * math.log(high / low)
    log_snr, log_blur = between(*SNR_RANGE), between(*BLUR_RANGE)
    posterior = encoder(some, log_snr, log_blur)
    noise = torch.randn(posterior.mean.shape, generator=generator)
    latent = posterior.mean + noise * torch.rsqrt(posterior.precision)
    residual = relative_residual(decoder, truth, some, latent,
                                 torch.exp(log_blur))
    nats = 0.5 * torch.exp(2 * log_snr) * residual.clamp(min=0)
    standard = Gaussian(torch.zeros_like(latent), torch.ones_like(latent))
    kl = kl_divergence(posterior, standard).sum(1)
    return (FAILED_NATS * torch.log1p(nats / FAILED_NATS) + kl).mean()


def latents_of(encoder, shapes):
    """
    Latents of well-seen galaxies.

    Parameters
    ----------
    encoder : ShapeEncoder
        What `teach_family` returned.
    shapes : Shapes
        Galaxies.

    Returns
    -------
    `torch.Tensor`, (n, n_latent)
        Posterior means; NaN for real galaxies.
    """
    ones = torch.ones_like(shapes.eta)
    with torch.no_grad():
        return encoder(shapes, math.log(READ_SNR) * ones,
                       math.log(READ_BLUR) * ones).mean
