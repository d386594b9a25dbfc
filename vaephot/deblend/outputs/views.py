# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Images, models and parents of each pixel grid as plain arrays."""

from dataclasses import dataclass, replace

import numpy as np
from photutils.segmentation import SegmentationImage

from vaephot.utils.grids import linear_scale, map_labels

__all__ = ['View', 'columns_of_bands', 'make_views', 'without_background']


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """
    One pixel grid: images of its bands, models and places of all sources.

    ``data, mask, model_image`` (n_bands, ny, nx); ``variance`` of the sky,
    of that shape or (n_bands, 1, 1); ``gain`` (n_bands,) or None; ``fwhm``
    (n_bands,) in pixels; ``boxes`` and ``models`` (n_bands, h, w) of each
    source; ``xy`` (n, 2); ``parent`` (n,), 0 for sources whose parent has no
    pixel here; ``segm`` of the parents; ``rows`` (n_bands,), numbers of the
    bands among all; ``scale``, pixels on the side of a reference pixel;
    ``background`` (n_bands, ny, nx) that was taken off the data, or None.
    """

    data: np.ndarray
    mask: np.ndarray
    variance: np.ndarray
    gain: np.ndarray | None
    fwhm: np.ndarray
    boxes: list
    models: list
    model_image: np.ndarray
    xy: np.ndarray
    parent: np.ndarray
    segm: SegmentationImage
    rows: np.ndarray
    scale: float = 1.0
    wcs: object = None
    background: np.ndarray | None = None


def _view(layer, drawn, **places):
    """View of the bands of a layer with the models drawn on its grid."""
    return View(
        data=layer.data, mask=layer.mask, variance=layer.variance,
        gain=layer.gain, fwhm=np.array([psf.fwhm for psf in layer.psfs]),
        wcs=layer.wcs, boxes=drawn.boxes, models=drawn.models,
        model_image=drawn.image, **places)


def _other_view(layer, grid_map, drawn, first, rows):
    """View of a layer that is not the reference."""
    labels = map_labels(first.segm.data, grid_map.source, grid_map.target,
                        layer.data.shape[1:])
    return _view(
        layer, drawn, rows=rows, segm=SegmentationImage(labels),
        parent=np.where(np.isin(first.parent, labels), first.parent, 0),
        xy=np.stack(grid_map(*first.xy.T), -1),
        scale=linear_scale(grid_map, first.data.shape[1:]))


def make_views(observation, scene, segm):
    """Views of an observation, that of the reference grid first."""
    (layer, rows, _), *others = observation.grids
    first = _view(layer, scene.drawn[0], rows=rows, segm=segm,
                  xy=scene.fit.parameters[:, :2],
                  parent=scene.sources.parent)
    return [first, *(
        _other_view(layer, grid_map, drawn, first, rows)
        for (layer, rows, grid_map), drawn in zip(
            others, scene.drawn[1:], strict=True))]


def without_background(view, background):
    """View with a background (n_bands, ny, nx) taken off, or as it is."""
    if background is None:
        return view
    data = np.where(view.mask, view.data, view.data - background)
    return replace(view, data=data, background=background)


def columns_of_bands(views, parts):
    """Columns (n, n_bands) of all bands from those of each view."""
    out = np.empty((len(parts[0]), sum(len(view.rows) for view in views)),
                   parts[0].dtype)
    for view, part in zip(views, parts, strict=True):
        out[:, view.rows] = part
    return out
