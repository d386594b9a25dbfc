# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Look up by label, whatever the size of the labels."""

import numpy as np
from scipy import ndimage

__all__ = ['brightest_of_parent', 'brightest_pixels', 'count_pieces',
           'segment_radii', 'sum_by_label', 'validate_labels',
           'values_of_labels']


def values_of_labels(segm, values, labels):
    """
    Values of some labels of a segmentation.

    Parameters
    ----------
    segm : `~photutils.segmentation.SegmentationImage`
        Segmentation.
    values : array_like, (n_labels,)
        One value for each of its labels, in their order.
    labels : `numpy.ndarray` of int, (n,)
        Labels asked for.

    Returns
    -------
    `numpy.ndarray`, (n,)
        Their values; 0 for labels that are not in the segmentation.
    """
    labels = np.asarray(labels)
    values = np.asarray(values)
    if not len(segm.labels):
        return np.zeros(len(labels), values.dtype)
    index = np.searchsorted(segm.labels, labels)
    index = np.minimum(index, len(segm.labels) - 1)
    return np.where(segm.labels[index] == labels, values[index], 0)


def sum_by_label(labels, values=None):
    """
    Sum of values over the entries that share a label.

    Parameters
    ----------
    labels : `numpy.ndarray` of int, (n,)
        Labels.
    values : `numpy.ndarray`, (n,), optional
        Values; by default 1, so that entries are counted.

    Returns
    -------
    `numpy.ndarray`, (n,)
        For each entry the sum over those with its label.
    """
    _, index = np.unique(labels, return_inverse=True)
    return np.bincount(index, values)[index] if len(labels) else np.zeros(0)


def brightest_of_parent(bright, parent):
    """
    Which sources are the brightest of their parents.

    Parameters
    ----------
    bright : `numpy.ndarray`, (n,)
        Brightness of each source.
    parent : `numpy.ndarray` of int, (n,)
        Label of the parent of each.

    Returns
    -------
    `numpy.ndarray` of bool, (n,)
        One for each parent; the first among equals.
    """
    order = np.lexsort((-bright, parent))
    first = np.ones(len(order), bool)
    first[1:] = parent[order][1:] != parent[order][:-1]
    out = np.zeros(len(order), bool)
    out[order[first]] = True
    return out


def brightest_pixels(image, segm, labels):
    """
    Brightest pixel of each of some segments.

    Parameters
    ----------
    image : `numpy.ndarray`, (ny, nx)
        Image; pixels that are not finite are the last to be taken.
    segm : `~photutils.segmentation.SegmentationImage`
        Segmentation.
    labels : `numpy.ndarray` of int, (n,)
        Labels of it.

    Returns
    -------
    yx : `numpy.ndarray` of int, (n, 2)
        Row and column of the first among equals.
    value : `numpy.ndarray`, (n,)
        Value there, -inf where there is no finite one.
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
    """
    Radius of the share of its segment that each source has.

    Parameters
    ----------
    parent : `numpy.ndarray` of int, (n,)
        Label of the segment of each source.
    segm : `~photutils.segmentation.SegmentationImage`
        Segmentation.

    Returns
    -------
    `numpy.ndarray`, (n,)
        In pixels; 0 outside of all segments.
    """
    areas = values_of_labels(segm, segm.areas, parent)
    return np.sqrt(areas / sum_by_label(parent) / np.pi)


def validate_labels(segmentation_image, labels):
    """
    Return the labels to work on, each once.

    Parameters
    ----------
    segmentation_image : `~photutils.segmentation.SegmentationImage`
        Segments.
    labels : int or array_like of int or None
        `None`: all labels of the segmentation.

    Returns
    -------
    `~numpy.ndarray` of int64
        In the order given, without repetitions.

    Raises
    ------
    ValueError
        If a label is not in the segmentation.
    """
    if labels is None:
        return np.asarray(segmentation_image.labels, dtype=np.int64)
    labels = np.atleast_1d(labels)
    segmentation_image.check_labels(labels)
    _, first = np.unique(labels, return_index=True)
    return labels[np.sort(first)].astype(np.int64)


def count_pieces(segm, labels, connectivity):
    """
    Number of pieces that each of some segments is in.

    Parameters
    ----------
    segm : `~photutils.segmentation.SegmentationImage`
        Segmentation.
    labels : `numpy.ndarray` of int, (n,)
        Labels of it.
    connectivity : {8, 4}
        Which pixels are neighbours.

    Returns
    -------
    `numpy.ndarray` of int, (n,)
    """
    structure = ndimage.generate_binary_structure(2, connectivity // 4)
    rows = segm.get_indices(labels) if len(labels) else ()
    return np.array([
        ndimage.label(segm.data[segm.slices[row]] == label, structure)[1]
        for label, row in zip(labels, rows, strict=True)], int)
