# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Segmentations with labels so large that none can be looked up by its number.

They are deblended with the labels 1, 2, ..., and what comes out names the
parents as they were.
"""

from dataclasses import replace

import numpy as np
from photutils.segmentation import SegmentationImage

from vaephot.results.subsets import segmentation_with_maps

__all__ = ['restore_labels', 'restore_result', 'shorten_labels']

# photutils and scipy keep a place for each number up to the largest label
MAX_LABEL = 10_000_000


def shorten_labels(data):
    """
    Segmentation with short labels, and what these stand for, (n + 1,).

    ``data`` (ny, nx) are integers; (None, None) if their labels are short.
    """
    if not data.size or data.max() <= MAX_LABEL or data.min() < 0:
        return None, None
    names, index = np.unique(data, return_inverse=True)
    if names[0] != 0:
        names, index = np.insert(names, 0, 0), index + 1
    return SegmentationImage(index.reshape(data.shape)), names.astype(
        names.dtype.newbyteorder('='))


def _own_labels(labels, names, relabel):
    """Labels of children: new ones, or those of the parents that stay."""
    if relabel:
        return labels
    labels, n = np.asarray(labels), len(names) - 1
    extra = np.maximum(labels - n, 0)
    if int(names[-1]) + int(extra.max(initial=0)) > np.iinfo(names.dtype).max:
        msg = (f'the largest label is {names[-1]}; there is no room for those '
               f'of children in {names.dtype}. Set relabel=True.')
        raise ValueError(msg)
    return np.where(labels > n, names[-1] + extra.astype(names.dtype),
                    names[np.minimum(labels, n)])


def restore_labels(children, names, relabel):
    """Segmentation of children that names its parents as they were."""
    if names is None:
        return children
    maps = {int(names[parent]): _own_labels(own, names, relabel).tolist()
            for parent, own in children.parent_to_deblended_labels.items()}
    out = segmentation_with_maps(
        _own_labels(children.data, names, relabel), maps)
    out.info = {key: names[value] if key.endswith('_labels') else value
                for key, value in getattr(children, 'info', {}).items()}
    return out


def restore_result(result, names, relabel):
    """Result that names its parents as they were."""
    if names is None:
        return result

    def own(label):
        return int(_own_labels(np.array([label]), names, relabel)[0])
    table = result.table.copy()
    table['parent_label'] = names[np.asarray(table['parent_label'])]
    table['label'] = _own_labels(np.asarray(table['label']), names, relabel)
    return replace(
        result, table=table, segmentation_image=restore_labels(
            result.segmentation_image, names, relabel),
        sources=[replace(source, label=own(source.label),
                         parent_label=int(names[source.parent_label]))
                 for source in result],
        groups=[replace(group, labels=tuple(map(own, group.labels)))
                for group in result.groups])
