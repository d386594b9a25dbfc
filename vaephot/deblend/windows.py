# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Windows in the stamps of a band that hold the light of sources.

A faint source beside a bright one is not drawn on all pixels of their
stamp, but on as many as its light matters on, next to the noise.
"""

import math

import torch

__all__ = ['Windows', 'grid_length']

# sides of windows; larger sources are drawn on the whole stamp
SIDES = (24, 32, 40, 48, 64, 80, 96, 128, 160)
# a window is worth its trouble if it is smaller than this share of a stamp
MAX_SHARE = 0.8
# light per pixel that may fall outside of a window, in units of the noise
MAX_OUTSIDE = 0.02
# radii at which the light is looked at, in pixels
RADII = (5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 20, 22, 24, 27, 30,
         34, 38, 42, 46, 52, 60, 68, 76)
# room for a source to move and to grow before its window has to follow
ROOM = 2
GROWTH = 1.3
# distance of sources from the edges of a stamp
MIN_DISTANCE = 8


def grid_length(side):
    """
    Length of the Fourier grid on which a window is drawn.

    Parameters
    ----------
    side : int
        Side of the window in pixels.

    Returns
    -------
    int
        So long that light within half a side of a source is not folded
        back into a window at the edge of a stamp.
    """
    return 8 * math.ceil((1.5 * side - MIN_DISTANCE) / 8)


class Windows:
    """
    Windows of the sources of a batch in one band.

    Parameters
    ----------
    size : int
        Side of the stamps in pixels of the band.
    make : callable
        Called with a side, returns the
        `~vaephot.models.render.BandRenderer` of such windows.
    wing : `torch.Tensor`, (m,)
        Largest pixel of the PSF beyond each distance in pixels.
    sigma : float
        Width of the core of the PSF in pixels.
    flux : `torch.Tensor`, (n_groups, n_sources)
        What is known about the fluxes of the sources.
    scale : float, optional
        Pixels of the band on the side of one of the parameters.
    """

    def __init__(self, size, make, wing, sigma, flux, *, scale=1.0):
        self.size = size
        self.sides = torch.tensor(
            [side for side in SIDES if side <= MAX_SHARE * size] + [size],
            device=flux.device)
        self.flux = flux
        self.scale = scale
        self.sigma = sigma
        self._make = make
        self._renderers = {}
        radii = torch.tensor(RADII, dtype=flux.dtype, device=flux.device)
        self._radii = radii[2 * radii <= self.sides[-1]]
        self._wing = wing.to(flux)

    def __len__(self):
        return len(self.sides)

    def renderer(self, number):
        """
        Renderer of the windows of one size.

        Parameters
        ----------
        number : int
            Which of ``sides``; not the last, which is the stamp.

        Returns
        -------
        `~vaephot.models.render.BandRenderer`
        """
        if number not in self._renderers:
            self._renderers[number] = self._make(int(self.sides[number]))
        return self._renderers[number]

    def _reach(self, mixture, radius, bright):
        """Distance beyond which the light of sources is lost in noise."""
        wide = (mixture.plus ** 2 + mixture.cross ** 2).sqrt()
        core = self.sigma ** 2
        long, short = (self.scale ** 2 * part + core for part in (
            mixture.mean + wide, mixture.mean - wide))
        squared = self._radii[:, None] ** 2
        height = mixture.weight / (2 * math.pi * (long * short).sqrt())
        light = (height[:, None] * torch.exp(
            -0.5 * squared / long[:, None])).sum(-1)
        far = (self._radii - self.scale * radius[:, None]).clamp(
            0, len(self._wing) - 1).long()
        light = bright[:, None] * (light + self._wing[far])
        dark = light <= MAX_OUTSIDE
        first = torch.argmax(dark.to(torch.uint8), 1)
        return torch.where(dark.any(1), self._radii[first], torch.inf)

    def choose(self, mixture, radius, bright, places):
        """
        Windows for sources, with room to grow.

        Parameters
        ----------
        mixture : `~vaephot.models.decoder.Mixture`
            Gaussians of the sources, each entry ``(n, j)``.
        radius : `torch.Tensor`, (n,)
            Their half-light radii in pixels of the parameters.
        bright : `torch.Tensor`, (n,)
            Their fluxes in units of the noise of a pixel.
        places : `torch.Tensor`, (n, 2)
            Where they are in the stamps of the band.

        Returns
        -------
        number : `torch.Tensor` of int, (n,)
            Which of ``sides``.
        corner : `torch.Tensor` of int, (n, 2)
            First column and row, inside the stamp.
        """
        larger = type(mixture)(mixture.weight, *[
            GROWTH ** 2 * part for part in mixture[1:4]])
        reach = self._reach(larger, GROWTH * radius, GROWTH * bright)
        number = torch.searchsorted(self.sides, 2 * (reach + ROOM) + 1)
        number = number.clamp(max=len(self) - 1)
        side = self.sides[number][:, None]
        corner = torch.round(places).long() - side // 2
        return number, torch.minimum(corner, self.size - side).clamp(min=0)

    def outgrown(self, mixture, radius, bright, places, number, corner):
        """
        Which sources have outgrown their windows.

        Parameters
        ----------
        mixture, radius, bright, places
            As for `choose`.
        number, corner
            What `choose` returned.

        Returns
        -------
        `torch.Tensor` of bool, (n,)
        """
        reach = self._reach(mixture, radius, bright)[:, None]
        end = corner + self.sides[number][:, None]
        low = (places - reach < corner - 0.5) & (corner > 0)
        high = (places + reach > end - 0.5) & (end < self.size)
        return (low | high).any(1)
