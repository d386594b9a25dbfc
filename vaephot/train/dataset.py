# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Make training stamps on the fly: blend, mask and add noise.

Noise-free isolated galaxies of a store are shifted, scaled and added, so a
galaxy is never seen twice with the same neighbours or the same noise. All
images are in units of the sky noise of a pixel.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from vaephot.models.decoder import Mixture
from vaephot.models.render import (
    Renderer,
    Transfer,
    make_transfer,
    padded_size,
)
from vaephot.models.vae import StampBatch

__all__ = ['BlendSettings', 'BlendSampler', 'TrainingBatch']

# most frequencies kept in training renders, in units of the pixels' Nyquist
MAX_REACH = 2
# half-light radius that stars count as, in FWHM of the PSF
STAR_SIZE = 0.1
# error of the told brightness at a signal-to-noise ratio of one
SNR_ERROR = 4.0


@dataclass(frozen=True, kw_only=True)
class BlendSettings:
    """
    Distribution of the training stamps.

    Parameters
    ----------
    max_neighbours : int
        Neighbours of a target, 0 to this many.
    separation : tuple of float
        Range of the distance to a neighbour, in units of 0.6 FWHM plus
        the target's half-light radius.
    magnitude_difference : tuple of float
        Range of neighbour minus target.
    position_error : float
        1-sigma of the told positions, in pixels.
    log_snr_error : tuple of float
        Least and largest 1-sigma of the logarithm of the told brightness.
        Between them it is `SNR_ERROR` over the root of the brightness: a
        first look at a faint source may be far off.
    star_share : float
        Share of targets and of neighbours that are point sources.
    subtracted_share : float
        Share of neighbours already subtracted, imperfectly.
    missed_share : float
        Share of neighbours that the network is not told about.
    correlated_share : float
        Share of stamps whose noise is correlated.
    masked_share : float
        Share of stamps with bad pixels.
    background : float
        1-sigma of the residual background in units of the sky noise.
    log10_poisson : tuple of float
        Range of the logarithm of the source variance per unit of signal.
    """

    max_neighbours: int = 4
    separation: tuple[float, float] = (0.4, 4.5)
    magnitude_difference: tuple[float, float] = (-4.0, 2.0)
    position_error: float = 0.25
    log_snr_error: tuple[float, float] = (0.12, 0.5)
    star_share: float = 0.1
    subtracted_share: float = 0.45
    missed_share: float = 0.1
    correlated_share: float = 0.2
    masked_share: float = 0.2
    background: float = 0.05
    log10_poisson: tuple[float, float] = (-3.0, -0.7)


class TrainingBatch(NamedTuple):
    """
    Stamps, what their templates are compared with, and the truth.

    ``target`` and ``weight`` ``(n, size, size)``; ``floor`` ``(n,)``, the
    reconstruction loss of the true template; ``truth`` ``(n, 5 +
    n_latent)``; ``flux`` and ``is_galaxy`` ``(n,)``; ``renderer`` draws
    with the PSFs of the batch.
    """

    stamps: StampBatch
    target: torch.Tensor
    weight: torch.Tensor
    floor: torch.Tensor
    flux: torch.Tensor
    truth: torch.Tensor
    is_galaxy: torch.Tensor
    renderer: Renderer
    n_psfs: int


class _Scene(NamedTuple):
    """Noise-free parts of a run of stamps, before noise."""

    target: torch.Tensor
    neighbours: torch.Tensor
    residual: torch.Tensor
    truth: torch.Tensor
    offsets: torch.Tensor
    told: torch.Tensor
    present: torch.Tensor
    snr: torch.Tensor
    is_galaxy: torch.Tensor


def _transfer(shard, n_grid):
    """Transfer function of a shard, no further than training needs."""
    options = {'dtype': torch.float32}
    transfer = make_transfer([shard.psf], shard.oversampling, n_grid,
                             **options)
    if transfer.oversampling > MAX_REACH:
        transfer = make_transfer([shard.psf], shard.oversampling, n_grid,
                                 reach=MAX_REACH, **options)
    return transfer


def _windows(images, start_x, start_y, size):
    """Cut ``size`` windows out of images, zero beyond their edges."""
    side = images.shape[-1]
    step = torch.arange(size)
    rows, columns = start_y[:, None] + step, start_x[:, None] + step
    inside = (((rows >= 0) & (rows < side))[:, :, None]
              & ((columns >= 0) & (columns < side))[:, None, :])
    index = torch.arange(len(images))[:, None, None]
    cut = images[index, rows.clamp(0, side - 1)[:, :, None],
                 columns.clamp(0, side - 1)[:, None, :]]
    return cut * inside


class BlendSampler:
    """
    Endless stream of training stamps.

    Parameters
    ----------
    shards : list of `~vaephot.train.store.GalaxyShard`
        Galaxies to blend.
    size : int
        Side of the stamps in pixels.
    seed : int or `numpy.random.SeedSequence`
        Seed of the stream.
    settings : BlendSettings, optional
        Distribution of the stamps.
    blended : bool
        Whether targets have neighbours.
    latents : list of `torch.Tensor`, optional
        Latents of the galaxies of each shard; they are added to the truth.
    template_error : float
        Share of the target's model added to its noise in the weights.
    device : str or `torch.device`
        Where the batches are put; they are drawn on the CPU.
    """

    def __init__(self, shards, size, seed, *, settings=None, blended=True,
                 latents=None, template_error=0.02, device='cpu'):
        self.shards = list(shards)
        self._truth = [shard.truth for shard in self.shards]
        if latents is not None:
            self._truth = [torch.cat(pair, 1) for pair
                           in zip(self._truth, latents, strict=True)]
        self.size = size
        self.settings = BlendSettings() if settings is None else settings
        self.blended = blended
        self.template_error = template_error
        self.device = device
        self.rng = np.random.default_rng(seed)
        n_grid = padded_size(size)
        self._transfers = [_transfer(shard, n_grid) for shard in self.shards]

    def draw(self, n_stamps, n_psfs):
        """
        Make a batch.

        Parameters
        ----------
        n_stamps : int
            Stamps; a multiple of ``n_psfs``.
        n_psfs : int
            PSFs among which they are shared equally.

        Returns
        -------
        TrainingBatch
        """
        chosen = self._choose(n_psfs)
        parts = [self._draw_run(i, n_stamps // n_psfs) for i in chosen]
        stamps, *arrays = zip(*parts, strict=True)
        transfer = Transfer(
            values=self._join([self._transfers[i].values for i in chosen]),
            oversampling=self._transfers[chosen[0]].oversampling)
        return TrainingBatch(
            StampBatch(*map(self._join, zip(*stamps, strict=True))),
            *map(self._join, arrays),
            renderer=Renderer(self.size, [transfer]), n_psfs=n_psfs)

    def _join(self, tensors):
        """One tensor of all runs, where the batch is wanted."""
        return torch.cat(tensors).to(self.device)

    def _choose(self, n_psfs):
        """Shards whose PSFs reach equally far in frequency."""
        first = self.rng.integers(len(self.shards))
        reach = self._transfers[first].oversampling
        alike = [i for i, transfer in enumerate(self._transfers)
                 if transfer.oversampling == reach]
        return self.rng.choice(alike, n_psfs, replace=n_psfs > len(alike))

    def _uniform(self, limits, shape):
        """Uniform numbers as a float32 tensor."""
        return torch.as_tensor(self.rng.uniform(*limits, shape),
                               dtype=torch.float32)

    def _normal(self, sigma, shape):
        """Normal numbers as a float32 tensor."""
        return torch.as_tensor(sigma * self.rng.standard_normal(shape),
                               dtype=torch.float32)

    def _happens(self, share, shape):
        """Tensor of bools that are True with a probability."""
        return torch.as_tensor(self.rng.random(shape) < share)

    def _stars(self, transfer, xy):
        """Point sources at positions in the stamp."""
        size = torch.full((len(xy), 1), 1e-4)
        point = Mixture(torch.ones_like(size), size, 0 * size, 0 * size)
        return Renderer(self.size, [transfer]).templates(point, xy)[:, 0]

    def _place(self, shard, transfer, index, wanted, is_star):
        """Draw sources near wanted places (in pixels of the stamp)."""
        middle = (shard.image.shape[-1] - 1) / 2
        own = middle + shard.truth[index, :2]
        start = torch.round(own - wanted).long()
        xy = own - start
        image = _windows(shard.image[index], start[:, 0], start[:, 1],
                         self.size)
        if is_star.any():
            image[is_star] = self._stars(transfer, xy[is_star])
        return image, xy

    def _neighbour_index(self, shard, index, shape):
        """Galaxies of the wanted magnitude difference to the targets."""
        step = self._uniform(self.settings.magnitude_difference, shape)
        wanted = shard.snr[index][:, None] * 10 ** (-0.4 * step)
        rank = torch.searchsorted(-shard.snr, -wanted)
        rank = rank + torch.as_tensor(self.rng.integers(-5, 6, shape))
        return rank.clamp(0, len(shard.snr) - 1), wanted

    def _scene(self, number, n_stamps):
        """Targets and neighbours without noise."""
        shard, transfer = self.shards[number], self._transfers[number]
        settings = self.settings
        index = torch.as_tensor(self.rng.integers(len(shard.image),
                                                  size=n_stamps))
        is_star = self._happens(settings.star_share, n_stamps)
        centre = self.size // 2 + self._uniform((-0.5, 0.5), (n_stamps, 2))
        target, xy = self._place(shard, transfer, index, centre, is_star)
        snr = shard.snr[index] * 10 ** self._normal(0.15, n_stamps)
        target = target * (snr * shard.point_error)[:, None, None]
        truth = self._truth[number][index].clone()
        truth[:, :2] = xy - self.size // 2
        truth[is_star, 2:] = 0
        truth[is_star, 2] = float(np.log(STAR_SIZE * shard.psf_fwhm))
        empty = torch.zeros_like(target)
        count = settings.max_neighbours
        scene = _Scene(target, empty, empty, truth,
                       torch.zeros(n_stamps, count, 2), truth[:, :2],
                       torch.zeros(n_stamps, count), snr, ~is_star)
        if not self.blended:
            return scene
        return self._add_neighbours(shard, transfer, index, xy, scene)

    def _add_neighbours(self, shard, transfer, index, xy, scene):
        """Add neighbours, some of them half gone, some of them untold."""
        settings = self.settings
        n_stamps, count = scene.present.shape
        number = torch.as_tensor(self.rng.integers(0, count + 1, n_stamps))
        exists = torch.arange(count) < number[:, None]
        unit = 0.6 * shard.psf_fwhm + torch.exp(shard.truth[index, 2])
        radius = self._uniform(settings.separation, exists.shape)
        radius = (radius * unit[:, None]).clamp(max=0.6 * self.size)
        angle = self._uniform((0, 2 * np.pi), exists.shape)
        wanted = xy[:, None] + torch.stack(
            [radius * torch.cos(angle), radius * torch.sin(angle)], -1)
        which, snr = self._neighbour_index(shard, index, exists.shape)
        is_star = self._happens(settings.star_share, exists.shape)
        image, places = self._place(shard, transfer, which.flatten(),
                                    wanted.flatten(0, 1), is_star.flatten())
        flux = (snr * shard.point_error * exists).flatten()
        image = (image * flux[:, None, None]).unflatten(0, exists.shape)
        gone = self._happens(settings.subtracted_share, exists.shape)
        told = exists & ~gone & ~self._happens(settings.missed_share,
                                               exists.shape)
        left = torch.where(gone[..., None, None], self._leftover(image),
                           image)
        return scene._replace(
            neighbours=image.sum(1), residual=left.sum(1),
            offsets=places.unflatten(0, exists.shape) - self.size // 2,
            present=told.float())

    def _leftover(self, image):
        """What an imperfect subtraction of sources leaves behind."""
        shape = (*image.shape[:2], 1, 1)
        scale, moved = self._normal(0.04, shape), self._normal(0.08, shape)
        return scale * image + moved * (image - image.roll(1, -1))

    def _noise(self, variance):
        """Noise of a variance map, and its factor for large sums."""
        n_stamps = len(variance)
        noise = self._normal(1.0, variance.shape)
        factor = torch.ones(n_stamps)
        bad = self._happens(self.settings.correlated_share, n_stamps)
        if bad.any():
            width = self._uniform((0.3, 1.2), int(bad.sum()))
            wave = 2 * np.pi * torch.fft.fftfreq(self.size)
            square = wave[:, None] ** 2 + wave[None, :self.size // 2 + 1] ** 2
            full = wave[:, None] ** 2 + wave[None, :] ** 2
            taper = torch.exp(-0.5 * square * width[:, None, None] ** 2)
            power = torch.exp(-full * width[:, None, None] ** 2)
            factor[bad] = power.mean((-2, -1)) ** -0.5
            smooth = torch.fft.irfft2(torch.fft.rfft2(noise[bad]) * taper,
                                      s=noise.shape[-2:])
            noise[bad] = smooth * factor[bad][:, None, None]
        return noise * torch.sqrt(variance), factor

    def _good(self, image):
        """1 for good pixels: bad columns, bad pixels, saturated cores."""
        n_stamps = len(image)
        good = torch.ones_like(image)
        for i in np.flatnonzero(self.rng.random(n_stamps)
                                < self.settings.masked_share):
            kind = self.rng.integers(3)
            if kind == 0:
                good[i, :, self.rng.integers(self.size)] = 0
            elif kind == 1:
                good[i][self._happens(0.03, image[i].shape)] = 0
            else:
                good[i][image[i] > 0.3 * image[i].max()] = 0
        return good

    def _draw_run(self, number, n_stamps):
        """Stamps of one PSF."""
        shard = self.shards[number]
        scene = self._scene(number, n_stamps)
        poisson = 10 ** self._uniform(self.settings.log10_poisson,
                                      (n_stamps, 1, 1))
        light = scene.target + scene.neighbours
        variance = 1 + poisson * light.clamp(min=0)
        noise, factor = self._noise(variance)
        noise = noise + self._normal(self.settings.background,
                                     (n_stamps, 1, 1))
        # saturated cores are those of neighbours, never the target's own
        good = self._good(scene.residual + noise)
        told = scene.truth[:, :2] + self._normal(
            self.settings.position_error, (n_stamps, 2))
        offsets = scene.offsets + self._normal(
            self.settings.position_error, scene.offsets.shape)
        log_snr = torch.log(scene.snr.clamp(min=1.0))
        width = (SNR_ERROR * torch.exp(-log_snr / 2)).clamp(
            *self.settings.log_snr_error)
        log_snr = log_snr + width * self._normal(1.0, n_stamps)
        log_fwhm = torch.full((n_stamps,), float(np.log(shard.psf_fwhm)))
        psf_shape = torch.as_tensor(shard.psf_shape, dtype=torch.float32
                                    ).expand(n_stamps, -1)
        stamps = StampBatch(scene.target + scene.residual + noise,
                            torch.ones(n_stamps, 1, 1), good, told, offsets,
                            scene.present, log_fwhm, log_snr, psf_shape)
        forgiven = (self.template_error * scene.target) ** 2
        weight = good / (variance * factor[:, None, None] ** 2 + forgiven)
        floor = 0.5 * (weight * noise ** 2).sum((-2, -1))
        return (stamps, scene.target + noise, weight, floor,
                scene.snr * shard.point_error, scene.truth, scene.is_galaxy)
