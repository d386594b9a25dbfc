# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Draw fitted sources, each on the smallest box that holds its light."""

import copy
import math
from functools import lru_cache

import numpy as np
import torch
from photutils.aperture import BoundingBox

from vaephot.deblend.groups import STAMP_SIZES
from vaephot.utils.boxes import cut_window

__all__ = ['DRAWN', 'add_up', 'clip_stamp', 'draw_scene', 'draw_sources',
           'draw_stamps', 'light_of_others', 'merge_drawn', 'on_grid',
           'redraw']

# what `draw_scene` returns
DRAWN = ('boxes', 'models', 'truncated', 'model_image')

# share of the flux of every band that a box must hold, and what it aims at
MIN_ENCLOSED = 0.99
AIM_ENCLOSED = MIN_ENCLOSED + 5e-4
# largest stamp of a single source, in pixels
MAX_DRAW_SIZE = 512
DRAW_SIZES = (*STAMP_SIZES, 320, 384, MAX_DRAW_SIZE)
DRAW_PIXELS = 200_000
# light per pixel that may fall outside of a box, in units of the noise
MAX_OUTSIDE = 0.2


@lru_cache(maxsize=len(DRAW_SIZES))
def _rings(size):
    """
    Square rings of pixels around the central one of a stamp.

    Returns
    -------
    ring : `numpy.ndarray` of int, (size * size,)
        Number of the ring that each pixel is on.
    order : `numpy.ndarray` of int, (size * size,)
        Pixels by their rings.
    starts : `numpy.ndarray` of int
        Where each ring begins among these.
    """
    distance = np.abs(np.arange(size) - size // 2)
    ring = np.maximum(distance[:, None], distance[None, :]).ravel()
    order = np.argsort(ring, kind='stable')
    return ring, order, np.searchsorted(ring[order],
                                        np.arange(size // 2 + 1))


def _half_width(images, limit):
    """
    Half-width of the centred square with enough light, or None.

    ``limit`` is the unit-flux light per pixel of each band that may fall
    outside.
    """
    size = images.shape[-1]
    ring, order, starts = _rings(size)
    n_rings = len(starts)
    enclosed = np.stack([
        np.cumsum(np.bincount(ring, image.ravel(), n_rings))
        for image in images]).min(0)
    enough = enclosed >= AIM_ENCLOSED
    if np.isfinite(limit).any():
        for image, most in zip(np.abs(images), limit, strict=True):
            top = np.maximum.reduceat(image.ravel()[order], starts)
            outside = np.maximum.accumulate(top[::-1])[::-1]
            enough &= np.append(outside[1:], outside[-1]) <= most
    widths = np.flatnonzero(enough)
    return int(widths[0]) if len(widths) else None


def _first_size(scale, core_reach, wing_reach):
    """Stamp to try first for a half-light radius and a PSF."""
    need = 2 * max(core_reach + 2 * math.ceil(scale), wing_reach)
    fits = [size for size in DRAW_SIZES if size >= need]
    return fits[0] if fits else DRAW_SIZES[-1]


def clip_stamp(ix, iy, image, shape):
    """
    Cut a stamp to the frame.

    Parameters
    ----------
    ix, iy : int
        First column and row of the stamp.
    image : `numpy.ndarray`, (n_bands, h, w)
        The stamp.
    shape : tuple of int
        ``(ny, nx)`` of the frame.

    Returns
    -------
    `~photutils.aperture.BoundingBox`, `numpy.ndarray`
        Where the stamp is inside, and its pixels there.
    """
    ny, nx = shape
    height, width = image.shape[1:]
    x0, x1 = max(ix, 0), min(ix + width, nx)
    y0, y1 = max(iy, 0), min(iy + height, ny)
    if x0 >= x1 or y0 >= y1:  # outside: the nearest pixel, without light
        x0 = min(max(ix, 0), nx - 1)
        y0 = min(max(iy, 0), ny - 1)
        return (BoundingBox(x0, x0 + 1, y0, y0 + 1),
                np.zeros((len(image), 1, 1), image.dtype))
    return (BoundingBox(x0, x1, y0, y1),
            image[:, y0 - iy:y1 - iy, x0 - ix:x1 - ix])


def on_grid(band, matrix, offset):
    """
    Renderer of a band on whose pixels parameters have to be mapped.

    Parameters
    ----------
    band : `~vaephot.models.render.BandRenderer`
        Draws on the pixels of the band.
    matrix : `torch.Tensor`, (n_groups, 2, 2)
    offset : `torch.Tensor`, (n_groups, 2)
        From positions in the stamps of the parameters to those in the
        stamps of the band.

    Returns
    -------
    `~vaephot.models.render.BandRenderer`
    """
    band = copy.copy(band)
    band.affine = (matrix, offset)
    return band


def _in_all_bands(parameters, n_bands):
    """Parameters of each band, (n, n_bands, n_parameters)."""
    if parameters.ndim == 3:
        return parameters
    return np.repeat(parameters[:, None], n_bands, 1)


class _Pen:
    """Draws unit-flux stamps of sources on one pixel grid."""

    def __init__(self, fitter, parameters, grid_map):
        self.fitter = fitter
        self.bright = None
        self.parameters = parameters
        place = parameters[:, 0, :2]
        self.place, self.matrix = place, None
        if grid_map is not None and not grid_map.is_identity:
            self.place = np.stack(grid_map(*place.T), -1)
            self.matrix = grid_map.affine(*place.T)[0]

    def scales(self, rows=np.s_[:]):
        """Half-light radii in pixels of the grid."""
        scale = np.exp(self.parameters[rows, :, 2].max(1))
        if self.matrix is None:
            return scale
        return scale * np.sqrt(np.abs(np.linalg.det(self.matrix[rows])))

    def draw(self, rows, size, corner=None):
        """Corners and stamps of sources, centred on their pixels."""
        fitter, place = self.fitter, self.place[rows]
        optics = (fitter.optics.fine if self.bright is None else
                  fitter.optics.fine_enough(self.bright[rows],
                                            self.scales(rows)))
        if corner is None:
            corner = np.rint(place).astype(int) - size // 2
        local = self.parameters[rows]
        # positions from the first band's, so that single precision will do
        start = local[:, 0, :2].copy() if self.matrix is not None else corner
        local[:, :, :2] -= start[:, None]
        values = torch.as_tensor(local, device=fitter.device,
                                 dtype=fitter.decoder.sigma.dtype)
        renderer = optics.renderer(size, [tuple(p) for p in place])
        images = []
        for i, band in enumerate(renderer.bands):
            if self.matrix is not None:
                band = on_grid(band, *(torch.as_tensor(
                    v, device=fitter.device, dtype=values.dtype)
                    for v in (self.matrix[rows], place - corner)))
            mixture = fitter.decoder.from_parameters(values[:, i])
            images.append(band.templates(mixture.to(optics.dtype),
                                         values[:, i, :2]))
        return corner, torch.stack(images, 1).cpu().double().numpy()


def draw_stamps(fitter, parameters, size, corner):
    """
    Unit-flux stamps of sources that may be very bright.

    Parameters
    ----------
    fitter : `~vaephot.deblend.scene.SceneFitter`
        Draws templates.
    parameters : `numpy.ndarray`, (n, n_parameters)
        Parameters, positions in the image.
    size : int
        Side of the stamps.
    corner : `numpy.ndarray` of int, (n, 2)
        First column and row of each.

    Returns
    -------
    `numpy.ndarray`, (n, n_bands, size, size)
    """
    pen = _Pen(fitter, _in_all_bands(parameters, fitter.n_bands), None)
    return pen.draw(np.arange(len(parameters)), size, corner)[1]


def draw_scene(fitter, parameters, flux, *, grid_map=None):
    """
    Draw the models of sources and their sum.

    Parameters
    ----------
    fitter : `~vaephot.deblend.scene.SceneFitter`
        Draws templates; its observation is the frame.
    parameters, flux, grid_map
        As for `draw_sources`.

    Returns
    -------
    dict
        ``boxes``, ``models``, ``truncated`` and their sum
        ``model_image``, ``(n_bands, ny, nx)``.
    """
    shape = fitter.observation.data.shape
    boxes, models, truncated = draw_sources(
        fitter, parameters, flux, shape[1:], grid_map=grid_map)
    return {'boxes': boxes, 'models': models, 'truncated': truncated,
            'model_image': add_up(boxes, models, shape[1:], shape[0])}


def merge_drawn(old, new, rows):
    """
    Put models on one grid together.

    Parameters
    ----------
    old, new : dict
        What `draw_scene` returned.
    rows : `numpy.ndarray` of int, (n,)
        Where each source is in ``old``; -1 for the next one of ``new``.

    Returns
    -------
    dict
        The same of these sources.
    """
    n = len(rows)
    boxes, models, truncated = [None] * n, [None] * n, np.zeros(n, bool)
    fresh = iter(range(n))
    for i, row in enumerate(rows.tolist()):
        drawn, k = (new, next(fresh)) if row < 0 else (old, row)
        boxes[i], models[i] = drawn['boxes'][k], drawn['models'][k]
        truncated[i] = drawn['truncated'][k]
    n_bands, *shape = old['model_image'].shape
    return {'boxes': boxes, 'models': models, 'truncated': truncated,
            'model_image': add_up(boxes, models, shape, n_bands)}


def redraw(fitter, fit, former, drawn, rows=None):
    """
    Draw the models of sources that are not what they were.

    Parameters
    ----------
    fitter : `~vaephot.deblend.scene.SceneFitter`
        Draws templates.
    fit : `~vaephot.deblend.scene_fit.SceneFit`
        Sources.
    former : `~vaephot.deblend.scene_fit.SceneFit`
        What was drawn before.
    drawn : dict
        The result of that.
    rows : `numpy.ndarray` of int, (n,), optional
        Where each source is in ``former``, -1 for those that are new; by
        default the sources are the same.

    Returns
    -------
    dict
        As ``fitter.draw`` returns it for all of them.
    """
    rows = np.arange(len(fit.flux)) if rows is None else np.array(rows)
    known = rows >= 0
    old = rows[known]
    same = ((fit.band_parameters[known]
             == former.band_parameters[old]).all((1, 2))
            & (fit.flux[known] == former.flux[old]).all(1))
    rows[np.flatnonzero(known)[~same]] = -1
    if (rows < 0).all():
        return fitter.draw(fit.band_parameters, fit.flux)
    some = rows < 0
    new = fitter.draw(fit.band_parameters[some], fit.flux[some])
    out = merge_drawn(drawn, new, rows)
    if 'layers' in new:
        out['layers'] = tuple(
            merge_drawn(*layers, rows) for layers in
            zip(drawn['layers'], new['layers'], strict=True))
    return out


def add_up(boxes, models, shape, n_bands):
    """
    Sum of models in their boxes.

    Parameters
    ----------
    boxes : list of `~photutils.aperture.BoundingBox`
        Inside the frame.
    models : list of `numpy.ndarray`, (n_bands, h, w)
        Models in the boxes.
    shape : tuple of int
        ``(ny, nx)`` of the frame.
    n_bands : int
        Number of bands.

    Returns
    -------
    `numpy.ndarray`, (n_bands, ny, nx)
    """
    image = np.zeros((n_bands, *shape))
    for bbox, model in zip(boxes, models, strict=True):
        image[:, bbox.iymin:bbox.iymax, bbox.ixmin:bbox.ixmax] += model
    return image


def light_of_others(drawn, members, ix, iy, side):
    """
    Light that all but some sources throw on a stamp.

    Parameters
    ----------
    drawn : dict
        What `draw_scene` returned.
    members : sequence of int
        Sources whose light does not count.
    ix, iy : int
        First column and row of the stamp.
    side : int
        Its side.

    Returns
    -------
    `numpy.ndarray`, (n_bands, side, side)
    """
    light = cut_window(drawn['model_image'], iy, ix, side, 0.0)
    for k in members:
        box = drawn['boxes'][k]
        light -= cut_window(drawn['models'][k], iy - box.iymin,
                            ix - box.ixmin, side, 0.0)
    return light


def draw_sources(fitter, parameters, flux, shape, *, grid_map=None):
    """
    Model images of fitted sources.

    Parameters
    ----------
    fitter : `~vaephot.deblend.scene.SceneFitter`
        Draws templates.
    parameters : `numpy.ndarray`, (n, n_parameters) or \
            (n, n_bands, n_parameters)
        Fitted parameters, positions in the image; those of each band or
        the same in all.
    flux : `numpy.ndarray`, (n, n_bands)
        Fitted fluxes in the bands of the fitter's observation.
    shape : tuple of int
        ``(ny, nx)`` of the image.
    grid_map : `~vaephot.utils.grids.GridMap` or None, optional
        From the pixels of the parameters to those of the image; `None` if
        they are the same.

    Returns
    -------
    boxes : list of `~photutils.aperture.BoundingBox`
        Boxes inside the frame that hold at least 99 % of the light that
        falls on it, in every band, and all light that matters next to the
        noise.
    models : list of `numpy.ndarray`, (n_bands, h, w), float32
        Models in the boxes.
    truncated : `numpy.ndarray` of bool, (n,)
        Whether the largest stamp did not hold as much.
    """
    n = len(parameters)
    parameters = _in_all_bands(parameters, flux.shape[1])
    boxes, models = [None] * n, [None] * n
    truncated = np.zeros(n, bool)
    waiting = {}
    pen = _Pen(fitter, parameters, grid_map)
    limit = np.full(flux.shape, np.inf)
    pen.bright = bright = np.abs(flux) / fitter.sky_rms(pen.place)
    np.divide(MAX_OUTSIDE, bright, out=limit, where=bright > 0)
    wings = fitter.optics.wing_reach(bright, MAX_OUTSIDE)
    for i, scale in enumerate(pen.scales().tolist()):
        size = _first_size(scale, fitter.optics.core_reach, int(wings[i]))
        waiting.setdefault(size, []).append(i)
    for size in DRAW_SIZES:
        members = waiting.pop(size, [])
        step = max(1, DRAW_PIXELS // size ** 2)
        for start in range(0, len(members), step):
            run = members[start:start + step]
            corners, images = pen.draw(run, size)
            for i, (ix, iy), image in zip(run, corners, images, strict=True):
                half = _half_width(image, limit[i])
                if half is None and size < MAX_DRAW_SIZE:
                    larger = DRAW_SIZES[DRAW_SIZES.index(size) + 1]
                    waiting.setdefault(larger, []).append(i)
                    continue
                truncated[i] = half is None and _half_width(
                    image, np.full(len(image), np.inf)) is None
                cut = 0 if half is None else max(0, size // 2 - half)
                stop = size - cut + (1 if cut else 0)
                image = image[:, cut:stop, cut:stop] * flux[i][:, None, None]
                boxes[i], models[i] = clip_stamp(
                    ix + cut, iy + cut, image.astype(np.float32), shape)
    return boxes, models, truncated
