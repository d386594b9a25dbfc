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

from vaephot.deblend.band_fit import BandBatch, GroupBatch
from vaephot.deblend.images import draw_scene, on_grid
from vaephot.deblend.inputs import NativeObservation
from vaephot.deblend.measure import (
    Goodness,
    Share,
    blendedness,
    goodness,
    residual_share,
    unseen,
)
from vaephot.deblend.oddity import Misfit, misfit
from vaephot.deblend.scene import SceneFitter
from vaephot.stamps import cut_window
from vaephot.utils._grids import linear_scale, map_labels

__all__ = ['LayerView', 'NativeFitter', 'blendedness_of', 'goodness_of',
           'layer_views', 'make_fitter', 'misfit_of', 'share_of',
           'unseen_in']


def make_fitter(observation, vae, decoder, settings, **options):
    """
    Fitter of an observation on one grid or on several.

    Parameters
    ----------
    observation : `~vaephot.deblend.inputs.Observation` or \
            `~vaephot.deblend.inputs.NativeObservation`
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


@dataclass(frozen=True)
class _Window:
    """Where the stamp of a piece lies in a layer."""

    ix: int
    iy: int
    matrix: np.ndarray
    offset: np.ndarray


class NativeFitter(SceneFitter):
    """
    Fit the sources of one observation on several pixel grids.

    Parameters
    ----------
    native : `~vaephot.deblend.inputs.NativeObservation`
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
        gains = [layer.gain for layer in native.layers]
        self.gain = None if gains[0] is None else self._merge(gains)

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

    # ---------------------------------------------------------- windows
    def _windows(self, run, number):
        """Side and places of the stamps of a run in a layer."""
        size, grid_map = run[0].size, self.native.maps[number]
        corner = np.array([(piece.ix, piece.iy) for piece in run], float)
        middle = corner + (size - 1) / 2
        matrix, offset = grid_map.affine(*middle.T)
        if number == 0:
            places = corner.astype(int)
            side = size
        else:
            extent = np.abs(matrix).sum(2).max()
            side = int(np.ceil(size * extent)) + 1
            centre = np.einsum('nij,nj->ni', matrix, middle) + offset
            places = np.rint(centre - (side - 1) / 2).astype(int)
        # from positions in the reference stamp to those in this one
        shift = (np.einsum('nij,nj->ni', matrix, corner) + offset - places)
        return side, [_Window(int(x), int(y), m, t) for (x, y), m, t in zip(
            places, matrix, shift, strict=True)]

    def _cut(self, run, arrays, fill):
        """Stamps of arrays of all layers, (n, n_bands, side, side) each."""
        stacks = []
        for number, array in enumerate(arrays):
            side, windows = self._windows(run, number)
            if array.shape[-1] == 1:
                stacks.append(np.broadcast_to(
                    array[None], (len(run), len(array), side, side)))
                continue
            stacks.append(np.stack([cut_window(array, w.iy, w.ix, side, fill)
                                    for w in windows]))
        return stacks

    def _pixels(self, run, foreign=None):
        """Data of pieces, less the light of sources of other pieces."""
        data = self._cut(run, [layer.data for layer in self.native.layers],
                         0.0)
        if foreign is not None:
            drawn = [foreign.drawn, *foreign.drawn['layers']]
            data = [stack - self._foreign(run, number, layer)
                    for number, (stack, layer) in enumerate(
                        zip(data, drawn, strict=True))]
        return data

    def _foreign(self, run, number, drawn):
        """Light of sources of other pieces on the stamps of a layer."""
        side, windows = self._windows(run, number)
        stamps = []
        for piece, w in zip(run, windows, strict=True):
            stamp = cut_window(drawn['model_image'], w.iy, w.ix, side, 0.0)
            for k in piece.members:
                box, model = drawn['boxes'][k], drawn['models'][k]
                stamp -= cut_window(model, w.iy - box.iymin,
                                    w.ix - box.ixmin, side, 0.0)
            stamps.append(stamp)
        return np.stack(stamps)

    def _wing_reach(self, bright):
        """How far the light of sources matters, in pixels of the reference."""
        far = [fitter.optics.wing_reach(bright[:, rows]) / scale
               for fitter, rows, scale in zip(
                   self.fitters, self.native.rows, self.scales, strict=True)]
        return np.ceil(np.max(far, axis=0)).astype(int)

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
            As there, drawn on the reference grid.
        """
        rows = np.arange(len(shapes.mean)) if rows is None else rows
        flux = self.linear_flux(pieces, shapes, snr)[rows]
        columns = self.image_bands
        drawn = self.fitters[0].draw(shapes.mean.numpy()[rows],
                                     flux[:, columns])
        return flux, (drawn['boxes'], drawn['models'], drawn['model_image'])

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

    def batch(self, run, places, reach, data, prior, snr=None, *,
              optics=None):
        """
        Pixels and prior of pieces, ready for the fit.

        Parameters
        ----------
        run, places, reach, prior, snr
            As for `~vaephot.deblend.scene.SceneFitter.batch`.
        data : list of `numpy.ndarray`, (n_pieces, n_bands, side, side)
            Pixels of each piece in each layer.
        optics : optional
            Not used: each grid draws for itself.

        Returns
        -------
        `~vaephot.deblend.band_fit.GroupBatch`
        """
        mask = self._cut(run, [layer.mask for layer in self.native.layers],
                         True)
        variance = self._cut(run, [f.variance for f in self.fitters], 1.0)
        flux = self._expected_flux(run, places, prior, snr)
        bands = [None] * self.n_bands
        for number, rows in enumerate(self.native.rows):
            drawn = self._drawn_on(
                run, number, int(np.ceil(reach * self.scales[number])),
                [flux[band] for band in rows])
            for i, band in enumerate(rows):
                bands[band] = BandBatch(
                    self.optics.tensor(data[number][:, i]),
                    self.optics.tensor(variance[number][:, i]),
                    self.optics.tensor(~mask[number][:, i]),
                    None if self.gain is None else self.gain[band],
                    *drawn[i])
        active = np.zeros((len(run), places))
        for i, piece in enumerate(run):
            active[i, :len(piece.members)] = 1
        return GroupBatch(tuple(bands), self._small(active),
                          self._gather(run, places, prior),
                          self.vae.prior.band_precision().double())

    def _drawn_on(self, run, number, reach, flux):
        """Renderer and windows of each band of a layer, for pieces."""
        side, windows = self._windows(run, number)
        centres = [(w.ix + side / 2, w.iy + side / 2) for w in windows]
        fitter = self.fitters[number]
        bands = fitter.optics.renderer(side, centres, reach).bands
        place = None
        if number:
            matrix, offset = (self._small(np.stack([getattr(w, name)
                                                    for w in windows]))
                              for name in ('matrix', 'offset'))
            place = partial(on_grid, matrix=matrix, offset=offset)
            bands = [place(band) for band in bands]
        return [(band, fitter.optics.windows(i, centres, side, flux[i],
                                      self.scales[number], place))
                for i, band in enumerate(bands)]


@dataclass(frozen=True, kw_only=True)
class LayerView:
    """
    What there is to measure on one pixel grid.

    Parameters
    ----------
    observation : `~vaephot.deblend.inputs.Observation`
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
        See `~vaephot.deblend.measure.blendedness`.
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
    `~vaephot.deblend.measure.Share`
    """
    parts = [residual_share(v.solution, v.observation) for v in views]
    return Share(*[_columns(views, list(column))
                   for column in zip(*parts, strict=True)])


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
        See `~vaephot.deblend.measure.unseen`.
    """
    return _columns(views, [
        unseen(view.solution, view.observation, view.segm,
               radius * view.scale) for view in views])


def misfit_of(views):
    """
    Sum up what the models leave over, in all bands.

    Parameters
    ----------
    views : list of LayerView
        Each pixel grid.

    Returns
    -------
    `~vaephot.deblend.oddity.Misfit`
    """
    parts = [misfit(view.solution, view.observation) for view in views]
    return Misfit(*[sum(column) for column in zip(*parts, strict=True)])


def goodness_of(views):
    """
    Reduced chi-square of sources over their boxes, all bands.

    Parameters
    ----------
    views : list of LayerView
        Each pixel grid.

    Returns
    -------
    `~vaephot.deblend.measure.Goodness`
    """
    parts = [goodness(view.solution, view.observation) for view in views]
    if len(parts) == 1:
        return parts[0]
    count = sum(part.n_pixels for part in parts)
    total = sum(np.where(part.n_pixels > 0, part.reduced_chi2, 0)
                * part.n_pixels for part in parts)
    reduced = np.full(len(count), np.nan)
    np.divide(total, count, out=reduced, where=count > 0)
    return Goodness(reduced, count)
