# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Divide the data among sources in proportion to their models.

Inside a parent only its own children share the light, so that over the
parent's unmasked pixels their images sum to the data. Boxes are
`~photutils.aperture.BoundingBox` objects inside the frame.
"""

import numpy as np
from photutils.aperture import BoundingBox
from scipy.ndimage import find_objects

from vaephot.deblend.outputs.assign import members_of_parents
from vaephot.exceptions import ShapeMismatchError, StampError

__all__ = ['pad_to_bbox', 'required_bboxes', 'share_data']

# total model below which there is no light to share by: smallest normal
# number of the models' single precision
NO_LIGHT = float(np.finfo(np.float32).tiny)


def _window(bbox):
    return (slice(bbox.iymin, bbox.iymax), slice(bbox.ixmin, bbox.ixmax))


def _check_inside(bbox, shape):
    """Raise for a box that is empty or leaves the frame."""
    ny, nx = shape
    if not (0 <= bbox.ixmin < bbox.ixmax <= nx
            and 0 <= bbox.iymin < bbox.iymax <= ny):
        msg = (f'the box {bbox} does not lie inside the frame of {ny} x '
               f'{nx} pixels; clip it to the frame first.')
        raise StampError(msg, bbox=bbox, shape=shape)


def _check_sources(sources, parent_of, shape):
    """Raise unless boxes, models and parents belong together."""
    if len(parent_of) != len(sources):
        msg = (f'{len(sources)} sources but {len(parent_of)} parents; give '
               'the label of one parent (or 0) for each source.')
        raise ShapeMismatchError(msg, n_sources=len(sources),
                                 n_parents=len(parent_of))
    for bbox, model in sources:
        _check_inside(bbox, shape[1:])
        if model.shape != (shape[0], *bbox.shape):
            msg = (f'a model has the shape {model.shape}, but its box and '
                   f'the bands ask for {(shape[0], *bbox.shape)}.')
            raise ShapeMismatchError(msg, shape=model.shape)


def _parent_windows(segm_data):
    """Map the label of each segment to its smallest window."""
    return {i + 1: window for i, window in enumerate(find_objects(segm_data))
            if window is not None}


def model_centroid(bbox, model):
    """Flux-weighted position (x, y) of a model, or the middle of its box."""
    light = np.where(model > 0, model, 0).sum(0, dtype=float)
    total = light.sum()
    height, width = light.shape
    if not total > NO_LIGHT:
        return bbox.ixmin + (width - 1) / 2, bbox.iymin + (height - 1) / 2
    return (bbox.ixmin + light.sum(0) @ np.arange(width) / total,
            bbox.iymin + light.sum(1) @ np.arange(height) / total)


def _nearest(iy, ix, members, centroids, bboxes=None):
    """
    Child nearest to each pixel, as an index into ``members``.

    With boxes, only children whose box holds the pixel count; -1 if none.
    """
    best = np.full(len(iy), -1)
    distance = np.full(len(iy), np.inf)
    for i, k in enumerate(members):
        x, y = centroids[k]
        squared = (ix - x) ** 2 + (iy - y) ** 2
        if bboxes is not None:
            box = bboxes[k]
            held = ((ix >= box.ixmin) & (ix < box.ixmax)
                    & (iy >= box.iymin) & (iy < box.iymax))
            squared = np.where(held, squared, np.inf)
        closer = squared < distance
        best[closer] = i
        distance[closer] = squared[closer]
    return best


def _holds(box, window):
    """Whether a box holds a window, a pair of slices."""
    rows, columns = window
    return (box.iymin <= rows.start and rows.stop <= box.iymax
            and box.ixmin <= columns.start and columns.stop <= box.ixmax)


def _uncovered(segm_data, label, window, boxes):
    """Frame indices of a parent's pixels that lie in no box."""
    left = segm_data[window] == label
    y0, x0 = window[0].start, window[1].start
    for box in boxes:
        left[max(box.iymin - y0, 0):max(box.iymax - y0, 0),
             max(box.ixmin - x0, 0):max(box.ixmax - x0, 0)] = False
    iy, ix = np.nonzero(left)
    return iy + y0, ix + x0


def required_bboxes(bboxes, segm_data, parent_of, centroids):
    """
    Boxes grown so that each pixel of a parent lies in a child's box.

    ``parent_of`` (n,), 0 for none, ``centroids`` (n, 2). Pixels of a parent
    outside the boxes of all its children go to the nearest child, whose box
    grows to hold them; other boxes stay.
    """
    out = list(bboxes)
    for bbox in out:
        _check_inside(bbox, segm_data.shape)
    windows = _parent_windows(segm_data)
    children = members_of_parents(np.asarray(parent_of, int))
    for label, members in children.items():
        if label not in windows or any(
                _holds(out[k], windows[label]) for k in members):
            continue
        iy, ix = _uncovered(segm_data, label, windows[label],
                            [out[k] for k in members])
        owner = _nearest(iy, ix, members, centroids)
        for i in np.unique(owner):
            mine = owner == i
            grown = BoundingBox(int(ix[mine].min()), int(ix[mine].max()) + 1,
                                int(iy[mine].min()), int(iy[mine].max()) + 1)
            out[members[i]] = out[members[i]].union(grown)
    return out


def pad_to_bbox(image, bbox, new_bbox):
    """Pad an image (..., h, w) with zeros from its box to a larger one."""
    if bbox == new_bbox:
        return image
    if bbox.union(new_bbox) != new_bbox:
        msg = f'the box {new_bbox} does not hold the box {bbox}.'
        raise StampError(msg, bbox=bbox, new_bbox=new_bbox)
    out = np.zeros((*image.shape[:-2], *new_bbox.shape), image.dtype)
    y, x = bbox.iymin - new_bbox.iymin, bbox.ixmin - new_bbox.ixmin
    out[..., y:y + bbox.shape[0], x:x + bbox.shape[1]] = image
    return out


def _blocked(segm_data, bbox, label):
    """Pixels of a box that belong to another parent than a source."""
    labels = segm_data[_window(bbox)]
    return (labels != label) & (labels != 0)


def _light(model, blocked):
    """What counts of a model: positive, in no other parent's pixels."""
    light = np.fmax(model, 0)
    if blocked.any():
        light[:, blocked] = 0
    return light


def _total_light(sources, segm_data, parent_of, n_bands):
    """Sum of the models that share each pixel."""
    kind = np.result_type(np.float32, *{model.dtype for _, model in sources})
    total = np.zeros((n_bands, *segm_data.shape), kind)
    for (bbox, model), label in zip(sources, parent_of, strict=True):
        total[:, *_window(bbox)] += _light(
            model, _blocked(segm_data, bbox, label))
    return total


def _heirs(total, segm_data, parent_of, bboxes, centroids):
    """
    Who gets the data of pixels without light, by source.

    Returns for each source, if any, the frame indices ``(iy, ix)``.
    """
    iy, ix = np.nonzero((total <= NO_LIGHT).any(0) & (segm_data > 0))
    children, heirs = members_of_parents(parent_of), {}
    for label, rows in members_of_parents(segm_data[iy, ix]).items():
        if label not in children:
            continue
        y, x, members = iy[rows], ix[rows], children[label]
        best = _nearest(y, x, members, centroids, bboxes)
        if best.min() < 0:
            msg = (f'{np.sum(best < 0)} pixels of parent {label} lie in the '
                   'box of none of its children; grow the boxes with '
                   'required_bboxes first.')
            raise StampError(msg, parent_label=label)
        for i in np.unique(best).tolist():
            heirs[members[i]] = y[best == i], x[best == i]
    return heirs


def _share(data, mask, total, model, blocked, heir):
    """Share of one source, (n_bands, h, w), from images of its box."""
    bad = mask | ~np.isfinite(data)
    data, dark = np.where(bad, 0, data), total <= NO_LIGHT
    image = data * (_light(model, blocked) / np.where(dark, 1, total))
    if dark.any():
        image[dark] = 0
    if heir is not None:
        image[:, *heir] += (data * dark)[:, *heir]
    if bad.any():
        hold = bad & ~blocked
        image[hold] = np.where(np.isfinite(model), model, 0)[hold]
    return image.astype(model.dtype)


def share_data(data, mask, sources, segm_data, parent_of, *,
               centroids=None):
    """
    Divide the data among sources in proportion to their models.

    ``data`` and ``mask`` (n_bands, ny, nx); ``sources`` pairs of box and model
    (n_bands, h, w); ``parent_of`` (n,), 0 for none; ``centroids`` (n, 2), by
    default those of the models. Returns the image (n_bands, h, w) of each
    source, of the dtype of its model.

    A pixel of a parent is divided among that parent's children only, a pixel
    of the background among all sources that reach it; in another parent's
    pixels a source gets nothing. Models count from 0 upwards: a source of
    negative flux has no share. Where no child's model has light, the nearest
    child whose box holds the pixel gets the data (see `required_bboxes`).
    Masked and non-finite pixels hold the model.
    """
    if mask.shape != data.shape or segm_data.shape != data.shape[1:]:
        msg = (f'data {data.shape}, mask {mask.shape} and segmentation '
               f'{segm_data.shape} do not belong together.')
        raise ShapeMismatchError(msg, shape=data.shape)
    parent_of = np.asarray(parent_of, int)
    _check_sources(sources, parent_of, data.shape)
    if centroids is None:
        centroids = [model_centroid(*source) for source in sources]
    total = _total_light(sources, segm_data, parent_of, len(data))
    heirs = _heirs(total, segm_data, parent_of, [s[0] for s in sources],
                   centroids)
    images = []
    for k, (bbox, model) in enumerate(sources):
        cut, heir = (slice(None), *_window(bbox)), heirs.get(k)
        if heir is not None:
            heir = heir[0] - bbox.iymin, heir[1] - bbox.ixmin
        images.append(_share(data[cut], mask[cut], total[cut], model,
                             _blocked(segm_data, bbox, parent_of[k]), heir))
    return images
