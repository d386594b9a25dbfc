# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Windows and frequencies that the light of sources needs, next to the noise.

A source is drawn on the smallest window outside of which its light is lost
in the noise, with the frequencies above which its spectrum is.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from astropy.stats import gaussian_sigma_to_fwhm

from vaephot.deblend.fit.transfer import PROFILE_STEP

__all__ = ['COARSE', 'FINE', 'MIDDLE', 'REACHES', 'SIDES', 'Precision',
           'WindowChooser']

# sides of windows [px], and largest frequencies in units of Nyquist's
SIDES = (16, 24, 32, 48, 64, 80, 96, 128, 160, 192, 256, 320, 384, 512)
REACHES = (0.35, 0.5, 0.75, 1.0, 1.4, 1.8, 2.4, 3.0, 4.0, 6.0, 8.0)
# exponents below this give slow denormal numbers
LEAST_POWER = -60.0


@dataclass(frozen=True, kw_only=True)
class Precision:
    """
    What windows and frequencies may leave out.

    ``outside``: light per pixel outside of a window, over the noise;
    ``spectral``: largest Fourier amplitude left out, over its noise;
    ``pad``: period of the transforms over the side of a window;
    ``growth``: factor by which sources may grow before windows are renewed.
    """

    outside: float
    spectral: float
    pad: float
    growth: float = 1.15


# measured on simulated blends: flux errors made by these are below a
# hundredth, a twentieth and a tenth of those by noise
FINE = Precision(outside=0.08, spectral=0.3, pad=1.25)
MIDDLE = Precision(outside=0.15, spectral=0.6, pad=1.2)
COARSE = Precision(outside=0.3, spectral=1.0, pad=1.1)


def _table(rows, device):
    """Rows of different lengths as one array, the last value repeated."""
    width = max(map(len, rows))
    return torch.as_tensor(np.stack([
        np.pad(np.asarray(row, float), (0, width - len(row)), mode='edge')
        for row in rows]), dtype=torch.float32, device=device)


class WindowChooser:
    """Choose windows for sources in the bands of an image."""

    def __init__(self, transfers, device='cpu'):
        self.wing = _table([band.wing for band in transfers], device)
        self.decline = _table([
            [*band.decline.tolist(), 0.0] for band in transfers], device)
        self.spill = _table([band.spill for band in transfers], device)
        fwhm = torch.tensor([band.fwhm for band in transfers],
                            dtype=torch.float32, device=device)
        self.core = (fwhm / gaussian_sigma_to_fwhm) ** 2
        self.half = torch.tensor(SIDES, device=device) / 2
        # frequencies beyond the samples of a PSF do not exist
        last = [next((i for i, r in enumerate(REACHES)
                      if r >= band.oversampling), len(REACHES) - 1)
                for band in transfers]
        self.last = torch.tensor(last, device=device)
        self.reach = torch.tensor(REACHES, device=device)

    def sides(self, mixture, radius, bright, band, precision):
        """
        Number in `SIDES` of each entry's window, (e,).

        ``mixture`` entries ``(e, j)`` and ``radius`` ``(e,)`` in pixels of
        the band, ``bright`` ``(e,)``: flux over the noise of a pixel.
        """
        growth = precision.growth ** 2
        wide = torch.hypot(mixture.plus, mixture.cross)
        core = self.core[band, None]
        long = growth * (mixture.mean + wide) + core
        short = growth * (mixture.mean - wide) + core
        height = mixture.weight / (2 * math.pi * (long * short).sqrt())
        power = -0.5 * self.half[:, None] ** 2 / long[:, None]
        light = (height[:, None]
                 * torch.exp(power.clamp_(min=LEAST_POWER))).sum(-1)
        far = (self.half - precision.growth * radius[:, None]).long()
        far = far.clamp(0, self.wing.shape[1] - 1)
        light = bright[:, None] * (light + self.wing[band[:, None], far])
        dark = light <= precision.outside
        dark[:, -1] = True
        return dark.to(torch.uint8).argmax(1)

    def enclosing(self, mixture, radius, band, outside):
        """Number in `SIDES` of windows that hold all but a share, (e,)."""
        wide = torch.hypot(mixture.plus, mixture.cross)
        long = mixture.mean + wide + self.core[band, None]
        power = -0.5 * self.half[:, None] ** 2 / long[:, None]
        lost = (mixture.weight[:, None]
                * torch.exp(power.clamp_(min=LEAST_POWER))).sum(-1)
        far = (self.half - radius[:, None]).long()
        far = far.clamp(0, self.spill.shape[1] - 1)
        inside = lost + self.spill[band[:, None], far] <= outside
        inside[:, -1] = True
        return inside.to(torch.uint8).argmax(1)

    def reaches(self, mixture, bright, band, side, precision):
        """Number in `REACHES` of each entry's largest frequency, (e,)."""
        wide = torch.hypot(mixture.plus, mixture.cross)
        narrow = (mixture.mean - wide) / precision.growth ** 2
        k = self.reach[:, None] * math.pi
        power = -0.5 * k ** 2 * narrow[:, None]
        shape = (mixture.weight[:, None]
                 * torch.exp(power.clamp_(min=LEAST_POWER))).sum(-1)
        number = (self.reach / PROFILE_STEP).round().long()
        number = number.clamp(max=self.decline.shape[1] - 1)
        beyond = self.decline[band][:, number]
        low = (bright[:, None] * shape * beyond
               <= precision.spectral * side[:, None])
        low[:, -1] = True
        return torch.minimum(low.to(torch.uint8).argmax(1), self.last[band])
