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
    run_numbers,
)
from vaephot.models.vae import StampBatch

__all__ = ['BlendSettings', 'BlendSampler', 'TrainingBatch']

# most frequencies kept in training renders, in units of the pixels' Nyquist
MAX_REACH = 2
# half-light radius that stars count as, in FWHM of the PSF
STAR_SIZE = 0.1
# error of the told brightness at a signal-to-noise ratio of one
SNR_ERROR = 4.0
# 1-sigma errors of flux and position [px] of a rough subtraction; faint
# neighbours get more of them: this share of the target's flux, as long as it
# is less than that share of their own
LEFT_FLUX, LEFT_SHIFT = 0.04, 0.08
LEFT_TARGET, LEFT_MAX = 0.02, 0.6


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
    leftover : tuple of float
        Range of how imperfectly, over the errors of a rough subtraction:
        `LEFT_FLUX` of the flux and `LEFT_SHIFT` pixels. Neighbours that
        are fainter than the target have part of its light.
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
    leftover: tuple[float, float] = (0.1, 1.0)
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
    n_latent)``; ``flux`` and ``is_galaxy`` ``(n,)``; ``point_error``
    ``(n,)``, the 1-sigma flux error of a point source; ``log_snr_error``
    ``(n,)``, the 1-sigma error of the told brightness; ``alone`` ``(n,
    size, size)``, the stamps without the neighbours that are told, as they
    are once these were measured; ``renderer`` draws with the PSFs of the
    batch. The stamps have no guess yet.
    """

    stamps: StampBatch
    alone: torch.Tensor
    target: torch.Tensor
    weight: torch.Tensor
    floor: torch.Tensor
    flux: torch.Tensor
    truth: torch.Tensor
    is_galaxy: torch.Tensor
    point_error: torch.Tensor
    log_snr_error: torch.Tensor
    renderer: Renderer
    n_psfs: int


class _Scene(NamedTuple):
    """Noise-free parts of stamps, before noise."""

    target: torch.Tensor
    neighbours: torch.Tensor
    residual: torch.Tensor
    cleaned: torch.Tensor
    truth: torch.Tensor
    offsets: torch.Tensor
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


class _Galaxies:
    """The galaxies of all shards in one table, on one device."""

    def __init__(self, shards, truth, device):
        number = [len(shard.image) for shard in shards]
        side = [shard.image.shape[-1] for shard in shards]
        pixels = [n * own ** 2 for n, own in zip(number, side, strict=True)]
        self.pixels = torch.empty(sum(pixels), device=device)
        start = np.concatenate([[0], np.cumsum(pixels)])
        for shard, low, high in zip(shards, start, start[1:], strict=False):
            self.pixels[low:high] = shard.image.flatten().to(device)
        first = np.concatenate([[0], np.cumsum(number)])
        self.start, self.side = (torch.as_tensor(v, device=device)
                                 for v in (start[:-1], side))
        self.truth = torch.cat(truth).to(device)
        self.snr = torch.cat([shard.snr for shard in shards]).to(device)
        # padded with what no wanted brightness comes after
        self.order = torch.full((len(shards), max(number)), torch.inf)
        for row, shard in zip(self.order, shards, strict=True):
            row[:len(shard.snr)] = -shard.snr
        self.order = self.order.to(device)
        self.first, self.number = (torch.as_tensor(v, device=device)
                                   for v in (first[:-1], number))
        self.middle, self.psf_fwhm, self.point_error = (
            torch.as_tensor(v, dtype=torch.float32, device=device)
            for v in ([(shard.image.shape[-1] - 1) / 2 for shard in shards],
                      [shard.psf_fwhm for shard in shards],
                      [shard.point_error for shard in shards]))
        self.psf_shape = torch.as_tensor(
            np.array([shard.psf_shape for shard in shards]),
            dtype=torch.float32, device=device)

    def windows(self, shard, rows, corner, size):
        """Cut ``size`` windows out of images, zero beyond their edges."""
        side = self.side[shard][:, None]
        step = torch.arange(size, device=rows.device)
        x, y = corner[:, :1] + step, corner[:, 1:] + step
        inside = (((y >= 0) & (y < side))[:, :, None]
                  & ((x >= 0) & (x < side))[:, None, :])
        image = self.start[shard] + (rows - self.first[shard]) * (
            self.side[shard] ** 2)
        line = image[:, None] + side * torch.minimum(y.clamp(min=0),
                                                     side - 1)
        column = torch.minimum(x.clamp(min=0), side - 1)
        return self.pixels[line[:, :, None] + column[:, None, :]] * inside


class _Draw:
    """Random numbers of a batch, on its device."""

    def __init__(self, seed, device):
        self.generator = torch.Generator(device).manual_seed(seed)
        self._where = {'generator': self.generator, 'device': device}

    def uniform(self, limits, *shape):
        """Uniform numbers."""
        low, high = limits
        return low + (high - low) * torch.rand(*shape, **self._where)

    def normal(self, *shape):
        """Normal numbers."""
        return torch.randn(*shape, **self._where)

    def integers(self, low, high, *shape):
        """Whole numbers below ``high``."""
        return torch.randint(low, high, shape, **self._where)

    def happens(self, share, *shape):
        """Bools that are True with a probability."""
        return torch.rand(*shape, **self._where) < share


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
        Where the galaxies lie and the batches are drawn. Each device has
        random numbers of its own.
    """

    def __init__(self, shards, size, seed, *, settings=None, blended=True,
                 latents=None, template_error=0.02, device='cpu'):
        truth = [shard.truth for shard in shards]
        if latents is not None:
            truth = [torch.cat(pair, 1) for pair
                     in zip(truth, latents, strict=True)]
        self._galaxies = _Galaxies(shards, truth, device)
        self.size = size
        self.settings = BlendSettings() if settings is None else settings
        self.blended = blended
        self.template_error = template_error
        self.device = device
        self.rng = np.random.default_rng(seed)
        n_grid = padded_size(size)
        transfers = [_transfer(shard, n_grid) for shard in shards]
        self._reach = np.array([t.oversampling for t in transfers])
        # shards of few galaxies are not seen as often as the others
        self._share = np.sqrt([len(shard.image) for shard in shards])
        self._transfers = [t.values.to(device) for t in transfers]

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
        renderer = Renderer(self.size, [Transfer(
            values=torch.cat([self._transfers[i] for i in chosen]),
            oversampling=int(self._reach[chosen[0]]))])
        random = _Draw(int(self.rng.integers(2 ** 63)), self.device)
        run = run_numbers(n_stamps, n_psfs, self.device)
        shard = torch.as_tensor(chosen, device=self.device)[run]
        scene = self._scene(random, shard, run, renderer)
        return self._observed(random, shard, scene)._replace(
            renderer=renderer, n_psfs=n_psfs)

    def _choose(self, n_psfs):
        """Shards whose PSFs reach equally far in frequency."""
        first = self.rng.choice(len(self._reach),
                                p=self._share / self._share.sum())
        alike = np.flatnonzero(self._reach == self._reach[first])
        share = self._share[alike] / self._share[alike].sum()
        return self.rng.choice(alike, n_psfs, p=share,
                               replace=n_psfs > len(alike))

    def _stars(self, renderer, xy, run):
        """Point sources at positions in the stamp."""
        size = torch.full((len(xy), 1), 1e-4, device=xy.device)
        point = Mixture(torch.ones_like(size), size, 0 * size, 0 * size)
        return renderer.templates(point, xy, run)[:, 0]

    def _place(self, shard, run, renderer, rows, wanted, is_star):
        """Draw sources near wanted places (in pixels of the stamp)."""
        galaxies = self._galaxies
        own = galaxies.middle[shard][:, None] + galaxies.truth[rows, :2]
        corner = torch.round(own - wanted).long()
        xy = own - corner
        image = galaxies.windows(shard, rows, corner, self.size)
        stars = torch.nonzero(is_star)[:, 0]
        if len(stars):
            image[stars] = self._stars(renderer, xy[stars], run[stars])
        return image, xy

    def _neighbour_rows(self, random, shard, rows, exists):
        """Galaxies of the wanted magnitude difference to the targets."""
        galaxies = self._galaxies
        step = random.uniform(self.settings.magnitude_difference,
                              *exists.shape)
        wanted = galaxies.snr[rows][:, None] * 10 ** (-0.4 * step)
        rank = torch.searchsorted(galaxies.order[shard], -wanted)
        rank = rank + random.integers(-5, 6, *exists.shape)
        last = galaxies.number[shard][:, None] - 1
        rank = torch.minimum(rank.clamp(min=0), last)
        return galaxies.first[shard][:, None] + rank, wanted

    def _scene(self, random, shard, run, renderer):
        """Targets and neighbours without noise."""
        galaxies, settings, n = self._galaxies, self.settings, len(shard)
        share = random.uniform((0, 1), n)
        rows = galaxies.first[shard] + torch.minimum(
            (share * galaxies.number[shard]).long(),
            galaxies.number[shard] - 1)
        is_star = random.happens(settings.star_share, n)
        centre = self.size // 2 + random.uniform((-0.5, 0.5), n, 2)
        target, xy = self._place(shard, run, renderer, rows, centre, is_star)
        snr = galaxies.snr[rows] * 10 ** (0.15 * random.normal(n))
        flux = snr * galaxies.point_error[shard]
        target = target * flux[:, None, None]
        star = torch.zeros_like(galaxies.truth[rows])
        star[:, 2] = torch.log(STAR_SIZE * galaxies.psf_fwhm[shard])
        truth = torch.where(is_star[:, None], star, galaxies.truth[rows])
        truth[:, :2] = xy - self.size // 2
        empty = torch.zeros_like(target)
        count = settings.max_neighbours
        scene = _Scene(target, empty, empty, empty, truth,
                       truth.new_zeros(n, count, 2),
                       truth.new_zeros(n, count), snr, ~is_star)
        if not self.blended:
            return scene
        return self._add_neighbours(random, shard, run, renderer, rows, scene)

    def _add_neighbours(self, random, shard, run, renderer, rows, scene):
        """Add neighbours, some of them half gone, some of them untold."""
        settings, galaxies = self.settings, self._galaxies
        n, count = scene.present.shape
        number = random.integers(0, count + 1, n, 1)
        exists = torch.arange(count, device=number.device) < number
        unit = (0.6 * galaxies.psf_fwhm[shard]
                + torch.exp(galaxies.truth[rows, 2]))
        radius = random.uniform(settings.separation, n, count)
        radius = (radius * unit[:, None]).clamp(max=0.6 * self.size)
        angle = random.uniform((0, 2 * np.pi), n, count)
        own = scene.truth[:, None, :2] + self.size // 2
        wanted = own + torch.stack([radius * torch.cos(angle),
                                    radius * torch.sin(angle)], -1)
        which, snr = self._neighbour_rows(random, shard, rows, exists)
        is_star = random.happens(settings.star_share, n, count)
        image, places = self._place(
            shard.repeat_interleave(count), run.repeat_interleave(count),
            renderer, which.flatten(), wanted.flatten(0, 1),
            is_star.flatten())
        ratio = scene.snr[:, None] / snr
        flux = snr * galaxies.point_error[shard][:, None] * exists
        image = image.unflatten(0, (n, count)) * flux[..., None, None]
        gone = random.happens(settings.subtracted_share, n, count)
        told = exists & ~gone & ~random.happens(settings.missed_share, n,
                                                count)
        rest = self._leftover(random, image, ratio)
        left, cleaned = (torch.where(out[..., None, None], rest, image)
                         for out in (gone, gone | told))
        return scene._replace(
            neighbours=image.sum(1), residual=left.sum(1),
            cleaned=cleaned.sum(1),
            offsets=places.unflatten(0, (n, count)) - self.size // 2,
            present=told.float())

    def _leftover(self, random, image, ratio):
        """What an imperfect subtraction of sources leaves behind."""
        shape = (*image.shape[:2], 1, 1)
        low, high = self.settings.leftover
        rough = torch.exp(random.uniform((np.log(low), np.log(high)),
                                         *shape))
        wrong = (LEFT_FLUX + LEFT_TARGET * ratio[..., None, None]).clamp(
            max=LEFT_MAX)
        scale = wrong * rough * random.normal(*shape)
        moved = LEFT_SHIFT * rough * random.normal(*shape)
        return scale * image + moved * (image - image.roll(1, -1))

    def _noise(self, random, variance):
        """Noise of a variance map, and its factor for large sums."""
        noise = random.normal(*variance.shape)
        factor = torch.ones_like(variance[:, 0, 0])
        bad = random.happens(self.settings.correlated_share, len(variance))
        rows = torch.nonzero(bad)[:, 0]
        if len(rows):
            width = random.uniform((0.3, 1.2), len(rows), 1, 1)
            wave = 2 * np.pi * torch.fft.fftfreq(self.size,
                                                 device=width.device)
            square = wave[:, None] ** 2 + wave[None, :self.size // 2 + 1] ** 2
            full = wave[:, None] ** 2 + wave[None, :] ** 2
            taper = torch.exp(-0.5 * square * width ** 2)
            power = torch.exp(-full * width ** 2)
            factor[rows] = power.mean((-2, -1)) ** -0.5
            smooth = torch.fft.irfft2(torch.fft.rfft2(noise[rows]) * taper,
                                      s=noise.shape[-2:])
            noise[rows] = smooth * factor[rows][:, None, None]
        return noise * torch.sqrt(variance), factor

    def _good(self, random, image):
        """1 for good pixels: bad columns, bad pixels, saturated cores."""
        n, size = len(image), self.size
        masked = random.happens(self.settings.masked_share, n)
        kind = torch.where(masked, random.integers(0, 3, n), 3)
        column = torch.arange(size, device=kind.device) == random.integers(
            0, size, n, 1)
        pixels = random.happens(0.03, n, size, size)
        core = image > 0.3 * image.amax((-2, -1), keepdim=True)
        kind = kind[:, None, None]
        bad = (((kind == 0) & column[:, None, :]) | ((kind == 1) & pixels)
               | ((kind == 2) & core))
        return (~bad).to(image.dtype)

    def _observed(self, random, shard, scene):
        """Stamps of scenes with noise and bad pixels."""
        settings, n = self.settings, len(shard)
        galaxies = self._galaxies
        poisson = 10 ** random.uniform(settings.log10_poisson, n, 1, 1)
        light = scene.target + scene.neighbours
        variance = 1 + poisson * light.clamp(min=0)
        noise, factor = self._noise(random, variance)
        noise = noise + settings.background * random.normal(n, 1, 1)
        # saturated cores are those of neighbours, never the target's own
        good = self._good(random, scene.residual + noise)
        told = (scene.truth[:, :2]
                + settings.position_error * random.normal(n, 2))
        offsets = scene.offsets + settings.position_error * random.normal(
            *scene.offsets.shape)
        log_snr = torch.log(scene.snr.clamp(min=1.0))
        width = (SNR_ERROR * torch.exp(-log_snr / 2)).clamp(
            *settings.log_snr_error)
        log_snr = log_snr + width * random.normal(n)
        point_error = galaxies.point_error[shard]
        data = scene.target + scene.residual + noise
        stamps = StampBatch(
            data, torch.ones_like(data[:, :1, :1]), good, told, offsets,
            scene.present, torch.log(galaxies.psf_fwhm[shard]), log_snr,
            galaxies.psf_shape[shard], torch.zeros_like(scene.truth),
            torch.zeros_like(data))
        forgiven = (self.template_error * scene.target) ** 2
        weight = good / (variance * factor[:, None, None] ** 2 + forgiven)
        floor = 0.5 * (weight * noise ** 2).sum((-2, -1))
        return TrainingBatch(
            stamps, scene.target + scene.cleaned + noise,
            scene.target + noise, weight, floor,
            scene.snr * point_error, scene.truth, scene.is_galaxy,
            point_error, width, renderer=None, n_psfs=1)
