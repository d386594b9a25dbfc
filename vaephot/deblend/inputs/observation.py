# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Images of one field as plain arrays, which everything else works on.

Bands may lie on pixel grids of their own. Those that share one are a
*layer*, an `Observation` by itself; the layer of the first band is the
reference, to which segmentation, positions and shapes belong. A map of the
world coordinates leads from its pixels to those of each other layer. Data
are never resampled.
"""

from dataclasses import dataclass

import numpy as np
from astropy import units as u

from vaephot.deblend.inputs.noise_level import NoiseLevel, join_levels
from vaephot.deblend.inputs.psf import BandPSF
from vaephot.utils.grids import GridMap

__all__ = ['NativeObservation', 'Observation']


@dataclass(frozen=True, kw_only=True, eq=False)
class Observation:
    """
    Images of one field in one or several bands, on one pixel grid.

    Parameters
    ----------
    data : `~numpy.ndarray` of float64, (n_bands, ny, nx)
        Images; masked pixels are 0.
    variance : `~numpy.ndarray` of float64, (n_bands, ny, nx) or \
            (n_bands, 1, 1)
        Square of the 1-sigma error, positive everywhere.
    mask : `~numpy.ndarray` of bool, (n_bands, ny, nx)
        True for bad pixels: masked by the user, data or error not finite,
        error not positive.
    gain : `~numpy.ndarray` of float64, (n_bands,), or None
        Electrons per data unit; `None`: the variance is the total.
    noise_correlation : `~numpy.ndarray` of float64, (n_bands,)
        Noise of a large sum over that of independent pixels.
    psfs : tuple of `~vaephot.deblend.inputs.psf.BandPSF`
        Effective PSFs.
    bands : tuple of str
        Names of the bands.
    unit : `~astropy.units.UnitBase` or None
        Unit of the data.
    zeropoint : `~numpy.ndarray` of float64, (n_bands,), or None
        AB magnitude of one data unit.
    wcs : object or None
        World coordinate system of the pixels.
    is_2d : bool
        Whether the user gave a 2D image.
    error_estimated, psf_estimated : bool
        Whether they were not given.
    smoothing : `~numpy.ndarray` of float64, (n_bands,), optional
        FWHM in pixels of the Gaussian that each image was smoothed with
        before, where the error was estimated; 0 for none, infinite for an
        image without noise.
    noise : `~vaephot.deblend.inputs.noise_level.NoiseLevel` or None
        What the sky of the images says of their noise; `None` if it was not
        measured.
    saturated : `~numpy.ndarray` of bool, (n_bands, ny, nx), or None
        Masked pixels that are saturated; `None` if no band has any.
    scale : float
        Power of 2 that data, errors and the inverse of the gain were
        multiplied with so that single precision holds them; 1 unless their
        noise is very small or large.
    stack_weights : `~numpy.ndarray` or None, (n_bands,)
        Weights of the bands in the stack that sources are detected on;
        `None`: by their signal in these images.
    """

    data: np.ndarray
    variance: np.ndarray
    mask: np.ndarray
    gain: np.ndarray | None
    noise_correlation: np.ndarray
    psfs: tuple[BandPSF, ...]
    bands: tuple[str, ...]
    unit: u.UnitBase | None
    zeropoint: np.ndarray | None
    wcs: object | None
    is_2d: bool
    error_estimated: bool
    psf_estimated: bool
    smoothing: np.ndarray
    noise: NoiseLevel | None = None
    saturated: np.ndarray | None = None
    scale: float = 1.0
    stack_weights: np.ndarray | None = None

    @property
    def reference(self):
        """The observation on the grid of the first band: itself."""
        return self

    @property
    def grids(self):
        """Observation, numbers of its bands and map of each pixel grid."""
        return [(self, np.arange(len(self.bands)), None)]


@dataclass(frozen=True, kw_only=True, eq=False)
class NativeObservation:
    """
    Images of one field in bands on several pixel grids.

    Parameters
    ----------
    layers : tuple of Observation
        Bands by grid; the first layer holds the first band.
    rows : tuple of `~numpy.ndarray` of int
        Numbers of the bands of each layer among all.
    maps : tuple of `~vaephot.utils.grids.GridMap`
        From the pixels of the first layer to those of each.
    bands : tuple of str
        Names of all bands, in the order of the caller.
    """

    layers: tuple[Observation, ...]
    rows: tuple[np.ndarray, ...]
    maps: tuple[GridMap, ...]
    bands: tuple[str, ...]

    is_2d = False

    @property
    def reference(self):
        """The observation on the grid of the first band."""
        return self.layers[0]

    @property
    def grids(self):
        """Observation, numbers of its bands and map of each pixel grid."""
        return [(layer, rows, None if grid_map.is_identity else grid_map)
                for layer, rows, grid_map in zip(
                    self.layers, self.rows, self.maps, strict=True)]

    @property
    def unit(self):
        """Unit of the data."""
        return self.reference.unit

    @property
    def scale(self):
        """Power of 2 that all bands were multiplied with."""
        return self.reference.scale

    @property
    def noise(self):
        """Noise levels of all bands, in the order of the caller."""
        return join_levels([layer.noise for layer in self.layers], self.rows)

    @property
    def zeropoint(self):
        """AB magnitudes of one data unit, (n_bands,), or None."""
        if self.reference.zeropoint is None:
            return None
        out = np.zeros(len(self.bands))
        for layer, rows in zip(self.layers, self.rows, strict=True):
            out[rows] = layer.zeropoint
        return out

    def by_band(self, frames):
        """
        Images of the layers by the names of the bands.

        Parameters
        ----------
        frames : sequence of `~numpy.ndarray`
            One ``(n_bands, ...)`` for each layer.

        Returns
        -------
        dict
            In the order of the bands.
        """
        found = {band: image for layer, stack in zip(
            self.layers, frames, strict=True)
            for band, image in zip(layer.bands, stack, strict=True)}
        return {band: found[band] for band in self.bands}
