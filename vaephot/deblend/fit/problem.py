# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What the fit of a batch of groups is about: pixels, sources, priors."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from vaephot.deblend.fit.canvas import make_canvas
from vaephot.deblend.fit.passes import evaluate
from vaephot.deblend.fit.plan import Batch, Entries, Plan
from vaephot.deblend.fit.priors import prior_of_sources
from vaephot.deblend.fit.steps import HELD
from vaephot.deblend.fit.windows import SIDES

__all__ = ['FitSettings', 'Problem']

# sky around the footprints of a group, in FWHM and at least in pixels
MARGIN_FWHM, MIN_MARGIN = 2.0, 8
# least side of a region in pixels
MIN_SIDE = 32
# images of the background
N_RAMPS = {None: 0, 'constant': 1, 'plane': 3}


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """
    How far the fit goes.

    ``refine``: whether shapes are fitted to convergence, quickly (False),
    or taken as they are (``'network'``);
    ``tolerance``, ``relative_tolerance``: a group is done when a step gains
    less than the first for each source plus the second times its value in
    half the chi-square; ``loose``: factor on these while one band is fitted;
    ``max_common``, ``max_joint``: steps of both phases; ``max_restarts``:
    how often groups that are not done get a new curvature; ``curved``: first
    steps of the common phase that have a new curvature, all of them;
    ``renew``: steps before which windows and weights are renewed;
    ``background``: free background of each group and band;
    ``least_known``: share of what all bands say of the shapes that those of
    the common phase hold; ``quick_snr``: signal-to-noise ratio of a point
    from which on a quick fit of its group goes on to convergence.
    """

    refine: bool | str = True
    tolerance: float = 0.01
    relative_tolerance: float = 2e-6
    loose: float = 40.0
    max_common: int = 10
    max_common_quick: int = 6
    max_joint: int = 12
    max_restarts: int = 2
    curved: int = 4
    renew: tuple[int, ...] = (2,)
    background: str | None = None
    least_known: float = 0.95
    quick_snr: float = np.inf


@dataclass(frozen=True, kw_only=True)
class Problem:
    """
    A batch of groups with all that its fit needs.

    ``spans`` ``(n_groups, 4)``: first and last x and y of the footprints;
    ``xy``, ``position_sigma`` ``(n_groups, n_places, ...)``: where sources
    were found; ``light``: of sources outside of the groups, called with a
    band, the members of a group, first column and row and the shape of a
    region, or `None`.
    """

    batch: Batch
    spans: np.ndarray
    xy: torch.Tensor
    position_sigma: torch.Tensor
    planes: list
    bands: object
    decoder: object
    prior: object
    settings: FitSettings
    fwhm: np.ndarray
    light: object = None

    @property
    def device(self):
        """Where the fit runs."""
        return self.xy.device

    def take(self, rows):
        """The same of some groups."""
        numbers = rows.cpu().numpy()
        return replace(self, batch=self.batch.take(numbers),
                       spans=self.spans[numbers], xy=self.xy[rows],
                       position_sigma=self.position_sigma[rows])

    @property
    def size(self):
        """Shorter side of each group's footprints with sky, (g,)."""
        span = self.spans
        margin = 2 * max(MIN_MARGIN, MARGIN_FWHM * self.fwhm.min())
        side = np.maximum(span[:, 1] - span[:, 0],
                          span[:, 3] - span[:, 2]) + margin
        return torch.as_tensor(side, device=self.device)

    # ----------------------------------------------------------------- noise
    def noise(self, xy):
        """Noise of a pixel of the sky at sources, (g, b, k)."""
        places = self._in_bands(xy).cpu().numpy()
        out = np.stack([plane.rms(*places[:, b].reshape(-1, 2).T).reshape(
            places.shape[0], -1) for b, plane in enumerate(self.planes)], 1)
        return torch.as_tensor(out, dtype=torch.float64, device=self.device)

    def noise_at_centres(self):
        """Noise of a pixel of the sky at the middle of groups, (g, b)."""
        span = torch.as_tensor(self.spans, device=self.device)
        centre = torch.stack([span[:, :2].mean(1), span[:, 2:].mean(1)], 1)
        return self.noise(centre[:, None])[..., 0].cpu().numpy()

    def _in_bands(self, xy):
        """Positions (g, k, 2) in the pixels of the bands, (g, b, k, 2)."""
        return torch.stack([
            xy if found is None else
            xy @ found[0].transpose(1, 2) + found[1][:, None]
            for found in self.batch.maps], 1)

    def point_snr(self, flux, noise):
        """Flux (g, b, k) over the error of a point source."""
        error = torch.as_tensor(self.bands.point_error, device=self.device)
        return flux / (noise * error[:, None])

    def prior_of(self, flux, noise, local):
        """
        Prior of sources by their fluxes (g, b, k), (g, k, p) each.

        Parameters that are not free stay where they are in ``local``.
        """
        g, _, k = flux.shape
        snr = self.point_snr(flux, noise).transpose(1, 2).flatten(0, 1)
        found = prior_of_sources(
            self.prior, self.xy.flatten(0, 1), self.position_sigma.flatten(),
            self.fwhm, snr)
        n = local.shape[-1]
        mean, precision = (v[:, :n].view(g, k, n) for v in found)
        free = self.batch.free
        return (torch.where(free, mean, local),
                torch.where(free, precision, HELD))

    # ---------------------------------------------------------------- canvas
    def regions(self):
        """
        Corner, and size in binned pixels, of the groups' regions.

        They hold the footprints with some sky around, as far as there are
        good pixels. Those of several sources are square: windows fit into
        the shorter side, and must reach from one source to another.
        """
        low, high = self.footprints()
        several = (self.batch.members >= 0).sum(1) > 1
        side = np.maximum((high - low).max(2) * several[:, None], MIN_SIDE)
        middle, half = (low + high) / 2, side[..., None] / 2
        low, high = (np.minimum(low, middle - half),
                     np.maximum(high, middle + half))
        bins = self.bands.binning.cpu().numpy()[:, None]
        low, high = np.floor(low).astype(int), np.ceil(high).astype(int)
        for g, b in np.ndindex(low.shape[:2]):
            low[g, b], high[g, b] = self.planes[b].seen(low[g, b], high[g, b])
        size = high - low
        longest = size.max(2) * several[:, None]
        least = np.maximum(longest, SIDES[0])[..., None]
        return low, -(-np.maximum(size, least) // bins)

    def footprints(self):
        """Least and largest (x, y) of the footprints, (g, b, 2) each."""
        x0, x1, y0, y1 = self.spans.T
        corners = torch.as_tensor(
            np.array([[x0, y0], [x1, y0], [x0, y1], [x1, y1]]).transpose(
                2, 0, 1), device=self.device)
        there = self._in_bands(corners).cpu().numpy()
        margin = np.maximum(MIN_MARGIN, MARGIN_FWHM * self.bands.fwhm)
        return (there.min(2) - margin[:, None],
                there.max(2) + margin[:, None])

    def canvas(self, used):
        """Pixels of the bands ``used`` (g, b) that sources need."""
        corner, size = self.regions()
        size = size * used.cpu().numpy()[..., None]
        return make_canvas(self.planes, corner, size,
                           light=self.light and self._others,
                           ramps=N_RAMPS[self.settings.background],
                           device=self.device)

    def _others(self, g, b, *region):
        """Light of sources outside of a group in a region of a band."""
        members = self.batch.members[g]
        return self.light(b, members[members >= 0], *region)

    @staticmethod
    def _bright(entries, flux, noise):
        """Fluxes over the noise of a pixel of entries, (e,)."""
        return entries.of((flux / noise).abs()).float()

    # ---------------------------------------------------------------- passes
    def plan(self, canvas, used, local, flux, noise, precision):
        """Windows on a canvas for parameters (g, b, k, p), fluxes."""
        entries = Entries(self.batch, used)
        shapes = entries.shapes(local, self.decoder, steep=False)
        return Plan(entries, canvas, self.bands, shapes,
                    entries.radius(local),
                    self._bright(entries, flux, noise), precision)

    def evaluate(self, plan, local, **how):
        """Chi-square and what else is asked for, at parameters."""
        return evaluate(plan, local, self.decoder, **how)
