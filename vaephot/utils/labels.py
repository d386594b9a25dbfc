# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Look up by label, whatever the size of the labels."""

import numpy as np
from scipy import ndimage

__all__ = ['brightest_of_parent', 'brightest_pixels', 'count_pieces',
           'segment_radii', 'sum_by_label', 'validate_labels',
           'values_of_labels']

# labels that a message names at most
MAX_NAMED = 10


def values_of_labels(segm, values, labels):
    """Values (n_labels,) of a segmentation for labels (n,); else 0."""
    labels = np.asarray(labels)
    values = np.asarray(values)
    if not len(segm.labels):
        return np.zeros(len(labels), values.dtype)
    index = np.searchsorted(segm.labels, labels)
    index = np.minimum(index, len(segm.labels) - 1)
    return np.where(segm.labels[index] == labels, values[index], 0)


def sum_by_label(labels, values=None):
    """Sum of values (n,) over those with the label of each; else number."""
    _, index = np.unique(labels, return_inverse=True)
    return np.bincount(index, values)[index] if len(labels) else np.zeros(0)


def brightest_of_parent(bright, parent):
    """Which sources (n,) are the brightest of their parents, the first."""
    order = np.lexsort((-bright, parent))
    first = np.ones(len(order), bool)
    first[1:] = parent[order][1:] != parent[order][:-1]
    out = np.zeros(len(order), bool)
    out[order[first]] = True
    return out


def brightest_pixels(image, segm, labels):
    """
    Row and column (n, 2) of the brightest pixels of segments, and the values.

    The first among equals; -inf where no pixel of the image is finite.
    """
    yx, top = np.zeros((len(labels), 2), int), np.zeros(len(labels))
    rows = segm.get_indices(labels) if len(labels) else ()
    for k, (label, row) in enumerate(zip(labels, rows, strict=True)):
        window = segm.slices[row]
        iy, ix = np.nonzero(segm.data[window] == label)
        value = image[window][iy, ix]
        value = np.where(np.isfinite(value), value, -np.inf)
        best = value.argmax()
        yx[k] = iy[best] + window[0].start, ix[best] + window[1].start
        top[k] = value[best]
    return yx, top


def segment_radii(parent, segm):
    """Radius of the share of its segment of each source (n,), else 0."""
    areas = values_of_labels(segm, segm.areas, parent)
    return np.sqrt(areas / sum_by_label(parent) / np.pi)


def validate_labels(segmentation_image, labels, names=None):
    """
    Labels to work on, each once, in their order; all for None.

    ``names`` (n + 1,) are what the labels of the segmentation stand for, if
    they stand for others: the numbers of these are returned.
    """
    if labels is None:
        return np.asarray(segmentation_image.labels, dtype=np.int64)
    labels = np.atleast_1d(labels)
    if labels.dtype.kind not in 'iuf' and labels.size:
        msg = (f'labels has dtype {labels.dtype}; give labels of the '
               'segmentation, which are integers.')
        raise TypeError(msg)
    labels = labels.ravel()
    known = segmentation_image.labels if names is None else names[1:]
    number = np.searchsorted(known, labels)
    found = (known[np.minimum(number, len(known) - 1)] == labels if len(known)
             else np.zeros(len(labels), bool))
    if not found.all():
        wrong = np.unique(labels[~found]).tolist()
        msg = (f'label{"s"[:len(wrong) - 1]} {wrong[:MAX_NAMED]} '
               f'{"are" if len(wrong) > 1 else "is"} invalid: the '
               'segmentation has no such label.')
        raise ValueError(msg)
    if names is not None:
        labels = number + 1
    _, first = np.unique(labels, return_index=True)
    return labels[np.sort(first)].astype(np.int64)


def count_pieces(segm, labels, connectivity):
    """Number of pieces that segments of some labels are in, (n,)."""
    structure = ndimage.generate_binary_structure(2, connectivity // 4)
    rows = segm.get_indices(labels) if len(labels) else ()
    return np.array([
        ndimage.label(segm.data[segm.slices[row]] == label, structure)[1]
        for label, row in zip(labels, rows, strict=True)], int)
