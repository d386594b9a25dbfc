# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Fit bands on several pixel grids at once.

Sources live on the grid of the first band, the reference: its layer is
searched, seen by the encoder and gives labels. The fit sees the pixels of
all layers as they are. For each piece, the maps of the world coordinates
are replaced by the affine ones at its centre, and each layer has a window
of its own.
"""

from functools import partial

import numpy as np

from vaephot.deblend.batches import Stamps
from vaephot.deblend.images import draw_scene, on_grid
from vaephot.deblend.inputs.read import NativeObservation
from vaephot.deblend.scene import SceneFitter
from vaephot.utils.grids import linear_scale

__all__ = ['NativeFitter', 'make_fitter']


def make_fitter(observation, vae, decoder, settings, **options):
    """
    Fitter of an observation on one grid or on several.

    Parameters
    ----------
    observation : `~vaephot.deblend.inputs.read.Observation` or \
            `~vaephot.deblend.inputs.read.NativeObservation`
        Images.
    vae, decoder, settings, **options
        As for `~vaephot.deblend.scene.SceneFitter`.

    Returns
    -------
    `~vaephot.deblend.scene.SceneFitter`
    """
    kind = (NativeFitter if isinstance(observation, NativeObservation)
            else SceneFitter)
    return kind(observation, vae, decoder, settings, **options)


class _NativeLayers:
    """
    Bands on several pixel grids, as the fit sees them.

    Parameters
    ----------
    native : `~vaephot.deblend.inputs.read.NativeObservation`
        Images.
    layers : list of `~vaephot.deblend.batches.Layer`
        Bands of each grid.
    scales : list of float
        Pixels of each grid on the side of one of the reference.
    """

    def __init__(self, native, layers, scales):
        self.native = native
        self.layers = layers
        self.scales = scales
        self.n_bands = len(native.bands)

    @property
    def single(self):
        """No other: all grids are drawn in full precision."""
        return self

    def wing_reach(self, bright):
        """How far light matters, in pixels of the reference."""
        far = [layer.wing_reach(bright[:, rows]) / scale
               for layer, rows, scale in zip(
                   self.layers, self.native.rows, self.scales, strict=True)]
        return np.ceil(np.max(far, axis=0)).astype(int)

    def are_glaring(self, bright):
        """Which sources need all frequencies in some band."""
        return np.any([layer.are_glaring(bright[:, rows])
                       for layer, rows in zip(
                           self.layers, self.native.rows, strict=True)],
                      axis=0)

    def _stamps(self, run, number):
        """Stamps of a run in a layer."""
        size, corner = run.size, run.corners.astype(float)
        scale = self.scales[number]
        reach = int(np.ceil(run.reach * scale))
        if number == 0:
            return Stamps(corners=run.corners, side=size, reach=reach,
                          scale=scale)
        middle = corner + (size - 1) / 2
        matrix, offset = self.native.maps[number].affine(*middle.T)
        side = int(np.ceil(size * np.abs(matrix).sum(2).max())) + 1
        centre = np.einsum('nij,nj->ni', matrix, middle) + offset
        corners = np.rint(centre - (side - 1) / 2).astype(int)
        # from positions in the reference stamp to those in this one
        shift = np.einsum('nij,nj->ni', matrix, corner) + offset - corners
        optics = self.layers[number].optics
        return Stamps(corners=corners, side=side, reach=reach, scale=scale,
                      place=partial(on_grid, matrix=optics.tensor(matrix),
                                    offset=optics.tensor(shift)))

    def bands(self, run, flux, foreign=None):
        """Pixels of a run in each band, in the order of all bands."""
        bands = [None] * self.n_bands
        for number, rows in enumerate(self.native.rows):
            found = self.layers[number].on_stamps(
                run, self._stamps(run, number), [flux[band] for band in rows],
                None if foreign is None else partial(foreign, layer=number))
            for band, pixels in zip(rows, found, strict=True):
                bands[band] = pixels
        return bands


class NativeFitter(SceneFitter):
    """
    Fit the sources of one observation on several pixel grids.

    Parameters
    ----------
    native : `~vaephot.deblend.inputs.read.NativeObservation`
        Images, noise, PSFs.
    vae, decoder, settings, **options
        As for `~vaephot.deblend.scene.SceneFitter`.
    """

    def __init__(self, native, vae, decoder, settings, **options):
        super().__init__(native.reference, vae, decoder, settings, **options)
        self.native = native
        self.fitters = [SceneFitter(layer, vae, decoder, settings, **options)
                        for layer in native.layers]
        self.n_bands = len(native.bands)
        shape = native.reference.data.shape[1:]
        self.scales = [linear_scale(grid_map, shape)
                       for grid_map in native.maps]
        self.fwhm = self._merge([fitter.fwhm / scale for fitter, scale in zip(
            self.fitters, self.scales, strict=True)])
        self.point_error = self._merge([fitter.point_error
                                        for fitter in self.fitters])
        self.batches = self._batches_of(_NativeLayers(
            native, [fitter.layer for fitter in self.fitters], self.scales))

    def without_waves(self):
        """
        The same for concentric galaxies.

        Returns
        -------
        NativeFitter
        """
        other = super().without_waves()
        other.fitters = tuple(fitter.without_waves()
                              for fitter in self.fitters)
        return other

    @property
    def image_bands(self):
        """Numbers of the bands of the reference layer."""
        return self.native.rows[0]

    def _merge(self, parts):
        """Values of all layers, band last, in the order of the bands."""
        out = np.empty((*np.shape(parts[0])[:-1], self.n_bands))
        for rows, part in zip(self.native.rows, parts, strict=True):
            out[..., rows] = part
        return out

    def sky_rms(self, xy):
        """
        Noise of a pixel of the sky, of the grid of each band.

        Parameters
        ----------
        xy : `numpy.ndarray`, (n, 2)
            Positions in the reference image.

        Returns
        -------
        `numpy.ndarray`, (n, n_bands)
        """
        return self._merge([
            fitter.sky_rms(np.stack(grid_map(*np.asarray(xy).T), -1))
            for fitter, grid_map in zip(self.fitters, self.native.maps,
                                        strict=True)])

    def linear_scene(self, pieces, shapes, snr=None, rows=None):
        """
        Fluxes and models of sources of given shapes.

        Parameters
        ----------
        pieces, shapes, snr, rows
            As for `~vaephot.deblend.scene.SceneFitter.linear_scene`.

        Returns
        -------
        flux, drawn
            As there, on the reference grid.
        """
        rows = np.arange(len(shapes.mean)) if rows is None else rows
        flux = self.linear_flux(pieces, shapes, snr)[rows]
        columns = self.image_bands
        return flux, self.fitters[0].draw(shapes.mean.numpy()[rows],
                                          flux[:, columns])

    def draw(self, parameters, flux):
        """
        Draw the models of sources and their sum.

        Parameters
        ----------
        parameters, flux
            As for `~vaephot.deblend.scene.SceneFitter.draw`.

        Returns
        -------
        dict
            As there, on the reference grid; ``layers`` holds the same of
            the others.
        """
        own = parameters.ndim == 3
        first, *others = [
            draw_scene(fitter, parameters[:, rows] if own else parameters,
                       flux[:, rows], grid_map=grid_map)
            for fitter, rows, grid_map in zip(
                self.fitters, self.native.rows, self.native.maps,
                strict=True)]
        return {**first, 'layers': tuple(others)}
