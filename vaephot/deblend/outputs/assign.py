# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Give each pixel of a parent to one child, and label the children."""

from dataclasses import dataclass

import numpy as np
from photutils.segmentation import SegmentationImage
from scipy.ndimage import generate_binary_structure
from scipy.ndimage import label as find_components

from vaephot.exceptions import ShapeMismatchError

__all__ = ['Assignment', 'assign_pixels', 'build_segmentation']

# rank of the structuring element with that many neighbours in 2D
_RANK = {4: 1, 8: 2}
_SHIFTS = {
    4: ((-1, 0), (0, -1), (0, 1), (1, 0)),
    8: ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)),
}
NOBODY = -1


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """
    A segmentation of children and the label of each of them.

    Parameters
    ----------
    segmentation_image : `~photutils.segmentation.SegmentationImage`
        The children, with the maps of parents and children.
    child_labels : dict
        Label of each child in the order of the ``owners`` given, as an
        array for each parent of the input; one label for a parent that
        is not split. Children without pixels have labels, too, above
        those of the segmentation.
    next_label : int
        Smallest label that no child has.
    """

    segmentation_image: SegmentationImage
    child_labels: dict
    next_label: int


def _main_components(owner, dominance, connectivity):
    """Keep the brightest connected part of each child, free the rest."""
    structure = generate_binary_structure(2, _RANK[connectivity])
    out = np.full(owner.shape, NOBODY)
    for k in np.unique(owner[owner >= 0]):
        parts, n_parts = find_components(owner == k, structure=structure)
        light = np.bincount(parts.ravel(), dominance[k].ravel(),
                            n_parts + 1)
        out[parts == 1 + np.argmax(light[1:])] = k
    return out


def _grow(owner, free, dominance, connectivity):
    """Hand free pixels, ring by ring, to the strongest touching child."""
    padded = np.pad(owner, 1, constant_values=NOBODY)
    iy, ix = np.nonzero(free)
    while len(iy):
        best = np.full(len(iy), NOBODY)
        strength = np.full(len(iy), -np.inf)
        for dy, dx in _SHIFTS[connectivity]:
            near = padded[iy + 1 + dy, ix + 1 + dx]
            value = np.where(near >= 0, dominance[near, iy, ix], -np.inf)
            better = value > strength
            best[better] = near[better]
            strength[better] = value[better]
        reached = best >= 0
        if not reached.any():
            break
        padded[iy[reached] + 1, ix[reached] + 1] = best[reached]
        iy, ix = iy[~reached], ix[~reached]
    return padded[1:-1, 1:-1]


def _adopt_islands(owner, region, dominance, connectivity):
    """Give parts of a parent that touch no child to the strongest one."""
    left = region & (owner == NOBODY)
    if not left.any():
        return owner
    alive = np.unique(owner[owner >= 0])
    structure = generate_binary_structure(2, _RANK[connectivity])
    parts, n_parts = find_components(left, structure=structure)
    for i in range(1, n_parts + 1):
        light = dominance[alive][:, parts == i].sum(1)
        owner[parts == i] = alive[np.argmax(light)]
    return owner


def _settle(owner, region, dominance, connectivity):
    """Connected children that own all pixels they can reach."""
    owner = _main_components(owner, dominance, connectivity)
    return _grow(owner, region & (owner == NOBODY), dominance, connectivity)


def _drop_small(owner, region, dominance, n_pixels, connectivity):
    """Dissolve children that are too small, the smallest first."""
    while True:
        labels, areas = np.unique(owner[owner >= 0], return_counts=True)
        if len(labels) <= 1 or areas.min() >= n_pixels:
            return owner
        smallest = np.flatnonzero(areas == areas.min())
        light = [dominance[k][region].sum() for k in labels[smallest]]
        owner[owner == labels[smallest[np.argmin(light)]]] = NOBODY
        owner = _grow(owner, region & (owner == NOBODY), dominance,
                      connectivity)


def assign_pixels(dominance, region, n_pixels, *, connectivity=8):
    """
    Give each pixel of a parent to the child that dominates there.

    A child keeps the connected part that holds most of its light; other
    parts, and children with fewer than ``n_pixels`` pixels, go to the
    children they touch, to the one that dominates in each pixel.

    Parameters
    ----------
    dominance : `numpy.ndarray`, (n_children, h, w)
        How strong each child is in each pixel of the parent's cutout, for
        instance its model summed over the bands. Values that are negative
        or not finite count as 0.
    region : `numpy.ndarray` of bool, (h, w)
        The parent's pixels.
    n_pixels : int
        Least number of pixels of a child. The last child is kept however
        small it is.
    connectivity : {8, 4}, optional
        Whether pixels that share only a corner are connected; 8 as in
        `photutils.segmentation.detect_sources`.

    Returns
    -------
    `numpy.ndarray` of int, (h, w)
        Index of the child that owns each pixel, -1 outside the parent. A
        child that dominates nowhere owns nothing. Each child is connected
        if the parent is.

    Raises
    ------
    ShapeMismatchError
        If the shapes disagree or there is no child.

    Examples
    --------
    >>> import numpy as np
    >>> from vaephot.deblend.outputs.assign import assign_pixels
    >>> left = np.array([[9.0, 5.0, 1.0, 0.0]])
    >>> assign_pixels(np.stack([left, left[:, ::-1]]), left > -1, 2)
    array([[0, 0, 1, 1]])
    """
    if dominance.ndim != 3 or dominance.shape[1:] != region.shape \
            or not len(dominance):
        msg = (f'dominance has the shape {dominance.shape} but the region '
               f'{region.shape}; one image of that shape is needed for '
               'each child.')
        raise ShapeMismatchError(msg, shape=dominance.shape)
    if connectivity not in _RANK:
        msg = f'connectivity must be 4 or 8, not {connectivity!r}.'
        raise ValueError(msg)
    if len(dominance) == 1:
        return np.where(region, 0, NOBODY)
    light = np.where(np.isfinite(dominance) & (dominance > 0), dominance, 0)
    lit = region & (light.max(0) > 0)
    if not lit.any():
        return np.where(region, 0, NOBODY)
    owner = np.where(lit, light.argmax(0), NOBODY)
    owner = _settle(owner, region, light, connectivity)
    owner = _drop_small(owner, region, light, n_pixels, connectivity)
    return _adopt_islands(owner, region, light, connectivity)


def _fitting_dtype(dtype, largest):
    """Return the dtype itself, or the next of its kind that fits."""
    if largest <= np.iinfo(dtype).max:
        return dtype
    return next(np.dtype(f'{dtype.kind}{size}') for size in (1, 2, 4, 8)
                if largest <= np.iinfo(f'{dtype.kind}{size}').max)


def _number(labels, present, relabel):
    """
    Choose new labels for unsplit parents and for children.

    ``present`` holds, for each split parent, which children own pixels.
    """
    unsplit = [label for label in labels if label not in present]
    start = 1 if relabel else max(labels) + 1
    if relabel:
        new = {label: i for i, label in enumerate(unsplit, start)}
        start += len(unsplit)
    else:
        new = {label: label for label in unsplit}
    children = {}
    for label, owning in present.items():
        children[label] = np.zeros(len(owning), int)
        children[label][owning] = start + np.arange(owning.sum())
        start += owning.sum()
    return new, children, int(start)


def _collect_labels(owners, labels, new, children, start):
    """Labels of all children, those without pixels last."""
    out = {}
    for label in labels:
        values = children.get(label)
        if values is None:
            owner = owners.get(label)
            n_children = 1 if owner is None else max(1, owner[1])
            values = np.zeros(n_children, int)
            values[0 if owner is None else owner[2]] = new[label]
        out[label] = values
    for values in out.values():
        empty = np.flatnonzero(values == 0)
        values[empty] = start + np.arange(len(empty))
        start += len(empty)
    return out, start


def _survey(owners):
    """Owner image, number of children and first surviving child."""
    out = {}
    for label, (owner, n_children) in owners.items():
        counts = np.bincount(owner[owner >= 0], minlength=n_children)
        out[int(label)] = (owner, n_children, int(np.argmax(counts)),
                           counts > 0)
    return out


def _mark_children(segm):
    """Set the flag of photutils 3.1 that children have there."""
    if hasattr(segm, '_flags_map'):
        from photutils.segmentation.flags import SEGMENTATION_FLAGS

        segm._flags_map = dict.fromkeys(
            segm.deblended_labels.tolist(), SEGMENTATION_FLAGS.DEBLENDED)


def build_segmentation(segmentation_image, owners, *, relabel=True):
    """
    Label children in a copy of the segmentation of their parents.

    Parameters
    ----------
    segmentation_image : `~photutils.segmentation.SegmentationImage`
        The parents; left as it is.
    owners : dict
        For each parent that was deblended, its label mapped to the pair of
        the image of `assign_pixels` over the slices of that label and the
        number of children.
    relabel : bool, optional
        Whether labels become consecutive from 1, parents that are not
        split first. If False those keep their labels, and the children
        are numbered from the largest label of the input on.

    Returns
    -------
    `Assignment`
        Segmentation and labels. A parent with a single child that owns
        pixels is not split and not in the maps. The dtype is that of the
        input unless the labels need a larger one.

    Raises
    ------
    ShapeMismatchError
        If the image of a parent does not have the shape of its slices.

    Examples
    --------
    >>> import numpy as np
    >>> from photutils.segmentation import SegmentationImage
    >>> from vaephot.deblend.outputs.assign import build_segmentation
    >>> segm = SegmentationImage(np.array([[4, 4, 0, 9]]))
    >>> made = build_segmentation(segm, {4: (np.array([[0, 1]]), 2)})
    >>> made.segmentation_image.data
    array([[2, 3, 0, 1]])
    >>> made.child_labels[4]
    array([2, 3])
    """
    segm = segmentation_image
    labels = [int(label) for label in segm.labels]
    if not labels:
        return Assignment(segmentation_image=segm.copy(), child_labels={},
                          next_label=1)
    known = _survey(owners)
    present = {label: known[label][3] for label in labels
               if label in known and known[label][3].sum() > 1}
    new, children, start = _number(labels, present, relabel)
    data = np.zeros(segm.shape, _fitting_dtype(segm.data.dtype, start - 1))
    for label, window in zip(labels, segm.slices, strict=True):
        region = segm.data[window] == label
        if label not in present:
            data[window][region] = new[label]
            continue
        owner = known[label][0]
        if owner.shape != region.shape:
            msg = (f'the owners of parent {label} have the shape '
                   f'{owner.shape}, its slices {region.shape}.')
            raise ShapeMismatchError(msg, label=label, shape=owner.shape)
        data[window][region] = children[label][owner[region]]
    out = SegmentationImage(data)
    out._deblend_label_map = {
        label: values[values > 0].astype(data.dtype)
        for label, values in children.items()}
    _mark_children(out)
    child_labels, start = _collect_labels(known, labels, new, children,
                                          start)
    return Assignment(segmentation_image=out, child_labels=child_labels,
                      next_label=start)
