# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Label the children of parents and the sources."""

from dataclasses import dataclass

import numpy as np
from photutils.segmentation import SegmentationImage

from vaephot.deblend.outputs.assign import members_of_parents
from vaephot.exceptions import ShapeMismatchError

__all__ = ['Assignment', 'build_segmentation', 'label_sources']


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

    ``owners`` maps the label of each parent that was deblended to the pair of
    the image of `~vaephot.deblend.outputs.assign.assign_pixels` over its
    slices and the number of children. A parent with a single child that owns
    pixels is not split and not in the maps. With ``relabel`` labels become
    consecutive from 1, parents that are not split first; else those keep their
    labels, and the children are numbered from the largest label of the input
    on. The dtype is that of the input unless the labels need a larger one.
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


def label_sources(segm, parent, owners, *, relabel=True):
    """
    Segmentation of the children and the label of each source, (n,).

    ``owners`` as for `build_segmentation`. Sources without pixels have
    labels above those of the segmentation.
    """
    made = build_segmentation(segm, owners, relabel=relabel)
    labels = np.zeros(len(parent), int)
    for label, members in members_of_parents(parent).items():
        labels[members] = made.child_labels[label]
    loose = np.flatnonzero(labels == 0)
    labels[loose] = made.next_label + np.arange(len(loose))
    return made.segmentation_image, labels
