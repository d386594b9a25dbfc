# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Fit bands on several pixel grids at once.

Sources live on the grid of the first band, the reference: its layer is
searched, seen by the encoder and gives labels. The fit sees the pixels of
all layers as they are. For each piece, the maps of the world coordinates
are replaced by the affine ones at its centre, and each layer has a window
of its own.
"""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from photutils.segmentation import SegmentationImage

from vaephot.deblend.batches import Stamps
from vaephot.deblend.images import draw_scene, on_grid
from vaephot.deblend.inputs.observation import NativeObservation
from vaephot.deblend.outputs.errors import model_variance, spread_over_bands
from vaephot.deblend.outputs.measure import (
    Goodness,
    Share,
    blendedness,
    goodness,
    residual_share,
    unseen,
)
from vaephot.deblend.outputs.outliers import Misfit, misfit
from vaephot.deblend.scene import SceneFitter
from vaephot.utils.grids import linear_scale, map_labels

__all__ = ['LayerView', 'NativeFitter', 'blendedness_of', 'goodness_of',
           'layer_views', 'make_fitter', 'misfits_of', 'model_variance_of',
           'share_of', 'total_misfit', 'unseen_in']


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


@dataclass(frozen=True, kw_only=True)
class LayerView:
    """
    What there is to measure on one pixel grid.

    Parameters
    ----------
    observation : `~vaephot.deblend.inputs.read.Observation`
        Images of its bands.
    solution : `~vaephot.deblend.pipeline.Solution`
        Models on this grid; positions in its pixels.
    segm : `~photutils.segmentation.SegmentationImage`
        Parents on this grid.
    rows : `numpy.ndarray` of int
        Numbers of its bands among all.
    scale : float
        Pixels on the side of one of the reference.
    """

    observation: object
    solution: object
    segm: SegmentationImage
    rows: np.ndarray
    scale: float = 1.0


def _view(fitter, solution, segm, number):
    """View of a layer that is not the reference."""
    native = fitter.native
    layer, grid_map = native.layers[number], native.maps[number]
    rows, shape = native.rows[number], layer.data.shape[1:]
    labels = map_labels(segm.data, grid_map.source, grid_map.target, shape)
    fit, sources = solution.fit, solution.sources
    parameters = fit.parameters.copy()
    parameters[:, :2] = np.stack(grid_map(*fit.parameters[:, :2].T), -1)
    # parents without a pixel on this grid own nothing there
    parent = np.where(np.isin(sources.parent, labels), sources.parent, 0)
    x, y = grid_map(sources.x, sources.y)
    return LayerView(
        observation=layer, segm=SegmentationImage(labels), rows=rows,
        scale=fitter.scales[number], solution=replace(
            solution, **solution.layers[number - 1],
            sources=replace(sources, x=x, y=y, parent=parent),
            fit=replace(fit, parameters=parameters, flux=fit.flux[:, rows],
                        flux_err=fit.flux_err[:, rows])))


def layer_views(fitter, solution, segm):
    """
    Each pixel grid with its models.

    Parameters
    ----------
    fitter : `~vaephot.deblend.scene.SceneFitter`
        What fitted the sources.
    solution : `~vaephot.deblend.pipeline.Solution`
        Fitted sources.
    segm : `~photutils.segmentation.SegmentationImage`
        Parents on the reference grid.

    Returns
    -------
    list of LayerView
        The reference first; the only one if all bands share it.
    """
    if not isinstance(fitter, NativeFitter):
        return [LayerView(observation=fitter.observation, solution=solution,
                          segm=segm, rows=np.arange(fitter.n_bands))]
    rows = fitter.image_bands
    fit = replace(solution.fit, flux=solution.fit.flux[:, rows],
                  flux_err=solution.fit.flux_err[:, rows])
    first = LayerView(observation=fitter.observation, segm=segm, rows=rows,
                      solution=replace(solution, fit=fit))
    return [first, *(_view(fitter, solution, segm, number)
                     for number in range(1, len(fitter.fitters)))]


def _columns(views, parts):
    """Columns of all bands from those of the layers."""
    out = np.empty((len(parts[0]), sum(len(view.rows) for view in views)),
                   parts[0].dtype)
    for view, part in zip(views, parts, strict=True):
        out[:, view.rows] = part
    return out


def _by_grid(measure, views):
    """What is measured on each grid, sorted by what it is."""
    parts = [measure(view.solution, view.observation) for view in views]
    return list(zip(*parts, strict=True))


def blendedness_of(views):
    """
    Share of a source's light that falls where others shine.

    Parameters
    ----------
    views : list of LayerView
        Each pixel grid.

    Returns
    -------
    `numpy.ndarray`, (n, n_bands)
        See `~vaephot.deblend.outputs.measure.blendedness`.
    """
    return _columns(views, [blendedness(view.solution) for view in views])


def share_of(views):
    """
    What the residuals add to the fluxes, in all bands.

    Parameters
    ----------
    views : list of LayerView
        What `layer_views` returned.

    Returns
    -------
    `~vaephot.deblend.outputs.measure.Share`
    """
    return Share(*[_columns(views, parts)
                   for parts in _by_grid(residual_share, views)])


def model_variance_of(views, misfits):
    """
    Variance that errors of the models add to fluxes, in all bands.

    Parameters
    ----------
    views : list of LayerView
        Each pixel grid.
    misfits : list of `~vaephot.deblend.outputs.outliers.Misfit`
        What `misfits_of` returned.

    Returns
    -------
    `numpy.ndarray`, (n, n_bands)
        See `~vaephot.deblend.outputs.errors.model_variance`.
    """
    return spread_over_bands(_columns(views, [
        model_variance(view.solution, view.observation, left)
        for view, left in zip(views, misfits, strict=True)]))


def unseen_in(views, radius):
    """
    Bands in which a source has no good pixel of its own.

    Parameters
    ----------
    views : list of LayerView
        Each pixel grid.
    radius : `numpy.ndarray`, (n,)
        Radius of the sources in pixels of the reference.

    Returns
    -------
    `numpy.ndarray` of bool, (n, n_bands)
        See `~vaephot.deblend.outputs.measure.unseen`.
    """
    return _columns(views, [
        unseen(view.solution, view.observation, view.segm,
               radius * view.scale) for view in views])


def misfits_of(views):
    """
    Sum up what the models leave over, on each grid by itself.

    Parameters
    ----------
    views : list of LayerView
        Each pixel grid.

    Returns
    -------
    list of `~vaephot.deblend.outputs.outliers.Misfit`
        Of each band.
    """
    return [misfit(view.solution, view.observation) for view in views]


def total_misfit(misfits):
    """
    Sum up what the models leave over, in all bands.

    Parameters
    ----------
    misfits : list of `~vaephot.deblend.outputs.outliers.Misfit`
        What `misfits_of` returned.

    Returns
    -------
    `~vaephot.deblend.outputs.outliers.Misfit`
    """
    return Misfit(*map(sum, zip(*[left.total() for left in misfits],
                                strict=True)))


def goodness_of(views):
    """
    Reduced chi-square of sources over their boxes, all bands.

    Parameters
    ----------
    views : list of LayerView
        Each pixel grid.

    Returns
    -------
    `~vaephot.deblend.outputs.measure.Goodness`
    """
    reduced, counts = _by_grid(goodness, views)
    if len(views) == 1:
        return Goodness(reduced[0], counts[0])
    total = sum(np.where(count > 0, chi2, 0) * count
                for chi2, count in zip(reduced, counts, strict=True))
    count = sum(counts)
    whole = np.full(len(count), np.nan)
    np.divide(total, count, out=whole, where=count > 0)
    return Goodness(whole, count)
