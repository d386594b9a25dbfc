# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The pixels that sources are fitted to, and what each is worth."""

from dataclasses import dataclass

import numpy as np

__all__ = ['Pixels']


@dataclass(frozen=True, kw_only=True, eq=False)
class Pixels:
    """
    Pixels of all bands on one grid.

    Parameters
    ----------
    data : `numpy.ndarray`, (n_bands, ny, nx)
        Images.
    mask : `numpy.ndarray` of bool, (n_bands, ny, nx)
        True for bad pixels.
    variance : `numpy.ndarray`, (n_bands, ny, nx) or (n_bands, 1, 1)
        Noise of the sky, or all of it where there is no gain.
    gain : `numpy.ndarray`, (n_bands,), or None
        Electrons per data unit.
    fwhm : `numpy.ndarray`, (n_bands,)
        Widths of the PSFs in pixels.
    """

    data: np.ndarray
    mask: np.ndarray
    variance: np.ndarray
    gain: np.ndarray | None
    fwhm: np.ndarray

    @classmethod
    def of_fitter(cls, fitter):
        """Those of a `~vaephot.deblend.scene.SceneFitter`."""
        seen = fitter.observation
        return cls(data=seen.data, mask=seen.mask, variance=fitter.variance,
                   gain=seen.gain, fwhm=np.asarray(fitter.fwhm))

    def weight(self, model, rows=slice(None), columns=slice(None)):
        """Inverse variance of a window for its model (n_bands, ny, nx)."""
        variance = self.variance
        if variance.shape[-1] > 1:
            variance = variance[:, rows, columns]
        if self.gain is not None:
            gain = np.asarray(self.gain)[:, None, None]
            variance = variance + np.maximum(model, 0) / gain
        return ~self.mask[:, rows, columns] / variance

    def sky_rms(self, xy):
        """Noise of a pixel of the sky at places (n, 2), (n, n_bands)."""
        if self.variance.shape[-1] == 1:
            rms = np.sqrt(self.variance[:, 0, 0])
            return np.broadcast_to(rms, (len(xy), len(rms)))
        ny, nx = self.variance.shape[1:]
        ix, iy = (np.clip(np.rint(c).astype(int), 0, n - 1)
                  for c, n in zip(xy.T, (nx, ny), strict=True))
        return np.sqrt(self.variance[:, iy, ix].T)
