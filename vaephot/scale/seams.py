# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Parents of a whole mosaic from those of its sections.

Each section labels its own pixels; what touches across a seam is one parent.
Parents are numbered by their first pixel, row by row, so that labels do not
depend on the sections.
"""

from dataclasses import dataclass

import numpy as np
from astropy.stats import gaussian_sigma_to_fwhm
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from vaephot.deblend.detect.stack import above_threshold
from vaephot.exceptions import VaephotError
from vaephot.scale.sections import Window, read_pieces
from vaephot.scale.tile_data import observe
from vaephot.utils.atomic import atomic_write
from vaephot.utils.fits_images import InputFileError

__all__ = ['Parents', 'join_parents', 'label_section', 'read_labels']

# parts of parents, if there are none
EMPTY = {'values': np.zeros(0, np.int64), 'first': np.zeros(0, np.int64),
         'area': np.zeros(0), 'boxes': np.zeros((0, 4), np.int64)}
# widths of a Gaussian beyond which the smoothing of the stack sees nothing
SMOOTHING_SIGMA = 3.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Parents:
    """
    Parents of a mosaic.

    Parameters
    ----------
    label : `~numpy.ndarray` of int, (n,)
        Ascending.
    box : `~numpy.ndarray` of int, (n, 4)
        ``y0, y1, x0, x1``, upper ends excluded.
    offset : `~numpy.ndarray` of int, (n_sections + 1,)
        Where the labels of each section begin in ``of_section``.
    of_section : `~numpy.ndarray` of int
        Label of each label of the sections; 0 for what is too small.
    """

    label: np.ndarray
    box: np.ndarray
    offset: np.ndarray
    of_section: np.ndarray

    @property
    def side(self):
        """Longer side of the box of each, (n,)."""
        return np.maximum(self.box[:, 1] - self.box[:, 0],
                          self.box[:, 3] - self.box[:, 2])

    def meeting(self, window):
        """Which boxes have pixels in a window, (n,)."""
        y0, y1, x0, x1 = self.box.T
        return ((y0 < window.y1) & (y1 > window.y0)
                & (x0 < window.x1) & (x1 > window.x0))

    def within(self, window):
        """Which boxes lie in a window, (n,)."""
        y0, y1, x0, x1 = self.box.T
        return ((y0 >= window.y0) & (y1 <= window.y1)
                & (x0 >= window.x0) & (x1 <= window.x1))

    def middle(self, labels):
        """Middle of the boxes of parents, x and y (n,); NaN for others."""
        row = np.searchsorted(self.label, labels)
        row = np.minimum(row, max(len(self.label) - 1, 0))
        if not len(self.label):
            return np.full((2, len(labels)), np.nan)
        box = self.box[row].astype(float)
        known = self.label[row] == labels
        return np.where(known, [(box[:, 2] + box[:, 3] - 1) / 2,
                                (box[:, 0] + box[:, 1] - 1) / 2], np.nan)

    def save(self, path):
        """Write to an ``.npz`` file."""
        with atomic_write(path, overwrite=True) as temporary:
            np.savez_compressed(temporary, **vars(self))

    @classmethod
    def load(cls, path):
        """Read what `save` wrote."""
        with np.load(path) as stored:
            return cls(**{name: stored[name] for name in stored.files})


# ------------------------------------------------------------ in a section
def _given_labels(plan, window):
    """Labels of the segmentation that was given, (ny, nx)."""
    values = read_pieces([plan.segmentation], window)[0]
    values = np.nan_to_num(values)
    labels = values.astype(np.int64)
    if (labels < 0).any() or (labels != values).any():
        msg = (f'{plan.segmentation[0].name} is no segmentation: its values '
               'must be whole numbers, 0 for the background.')
        raise InputFileError(msg, path=plan.segmentation[0].path)
    return labels


def _found_labels(plan, window):
    """Labels of what stands out in a window, by its own numbers."""
    widest = max(plan.sky.psf_fwhm) / gaussian_sigma_to_fwhm
    margin = int(np.ceil(SMOOTHING_SIGMA * widest)) + 1
    outer = window.grown(margin, plan.shape)
    bright = above_threshold(observe(plan, outer))[window.inside(outer)]
    return ndimage.label(bright, np.ones((3, 3)))[0]


def label_section(plan, number):
    """
    Label the pixels of a section, and keep that in a file.

    Returns a record.
    """
    window = plan.sections.core(number)
    values, local = np.zeros(0, np.int64), None
    if plan.segmentation is None:
        local = _found_labels(plan, window)
        values = np.arange(1, local.max() + 1)
    else:
        values, local = np.unique(_given_labels(plan, window),
                                  return_inverse=True)
        local = local.reshape(window.shape)
        if len(values) and values[0] == 0:
            values = values[1:]
        else:
            local = local + 1
    boxes = np.array([(y.start, y.stop, x.start, x.stop) for y, x in
                      ndimage.find_objects(local)], np.int64).reshape(-1, 4)
    boxes += [window.y0, window.y0, window.x0, window.x0]
    with atomic_write(_file(plan, number), overwrite=True) as temporary:
        np.savez_compressed(
            temporary, labels=local.astype(np.int32), values=values,
            boxes=boxes, first=_first_pixels(local, window, plan.shape),
            area=np.bincount(local.ravel(), minlength=len(boxes) + 1)[1:])
    return {'labels': len(values)}


def _first_pixels(local, window, shape):
    """Number of the first pixel of each label in the mosaic, row by row."""
    values, index = np.unique(local, return_index=True)
    y, x = np.divmod(index[values > 0], window.shape[1])
    return (y + window.y0) * shape[1] + x + window.x0


def _file(plan, number):
    return plan.path('work', 'labels', f'section-{number:06d}.npz')


# ----------------------------------------------------------- over sections
def _edges(labels, offset):
    """Outermost rows and columns of the labels of a section."""
    labels = np.where(labels > 0, labels + offset, 0).astype(np.int64)
    return {'top': labels[-1], 'bottom': labels[0], 'left': labels[:, 0],
            'right': labels[:, -1]}


def _touching(one, other):
    """Pairs of labels along two lines that lie side by side, (n, 2)."""
    n = len(one)
    pairs = []
    for shift in (-1, 0, 1):
        low, high = max(0, -shift), min(n, n - shift)
        pairs.append(np.stack([one[low:high],
                               other[low + shift:high + shift]], 1))
    pairs = np.concatenate(pairs)
    return pairs[(pairs > 0).all(1)]


def _pairs(edges, grid):
    """Labels of sections that touch across seams, (n, 2)."""
    n_y, n_x = grid.n_cells
    found = [np.zeros((0, 2), np.int64)]
    for number, own in enumerate(edges):
        iy, ix = divmod(number, n_x)
        if ix + 1 < n_x:
            found.append(_touching(own['right'], edges[number + 1]['left']))
        if iy + 1 < n_y:
            above = edges[number + n_x]
            found.append(_touching(own['top'], above['bottom']))
            for step, end, start in ((1, -1, 0), (-1, 0, -1)):
                if 0 <= ix + step < n_x:
                    corner = edges[number + n_x + step]['bottom']
                    found.append(_touching(own['top'][[end]],
                                           corner[[start]]))
    return np.concatenate(found)


def join_parents(plan, labelled):
    """
    `Parents` of the mosaic from the files of its sections.

    ``labelled``: numbers of those that there are; others have no parents.
    """
    columns = {name: [] for name in ('values', 'boxes', 'first', 'area')}
    edges, offset = [], [0]
    for number in range(len(plan.sections)):
        if number not in labelled:
            blank = np.zeros(plan.sections.core(number).shape, np.int64)
            edges.append(_edges(blank, 0))
            offset.append(offset[-1])
            continue
        with np.load(_file(plan, number)) as stored:
            edges.append(_edges(stored['labels'], offset[-1]))
            for name, column in columns.items():
                column.append(stored[name])
            offset.append(offset[-1] + len(stored['values']))
    merged = {name: np.concatenate(column or [EMPTY[name]])
              for name, column in columns.items()}
    n = offset[-1]
    if plan.segmentation is None:
        pairs = _pairs(edges, plan.sections) - 1
        graph = coo_array((np.ones(len(pairs), bool), pairs.T), (n, n))
        number = connected_components(graph, directed=False)[1]
        least = int(plan.settings.get('n_pixels', 5))
    else:
        number = np.unique(merged['values'], return_inverse=True)[1]
        least = 1
    return _number(merged, number, np.array(offset), least,
                   plan.segmentation is not None)


def _number(merged, number, offset, least, keep):
    """`Parents` from the parts of each, (n,), with final labels."""
    n = number.max() + 1 if len(number) else 0
    area = np.bincount(number, merged['area'], n)
    box = np.empty((n, 4), np.int64)
    box[:, ::2], box[:, 1::2] = np.iinfo(np.int64).max, 0
    for k in (0, 2):
        np.minimum.at(box[:, k], number, merged['boxes'][:, k])
        np.maximum.at(box[:, k + 1], number, merged['boxes'][:, k + 1])
    first = np.full(n, np.iinfo(np.int64).max)
    np.minimum.at(first, number, merged['first'])
    big = np.flatnonzero(area >= least)
    label = np.zeros(n, np.int64)
    if keep:
        label[number] = merged['values']
        order = big[np.argsort(label[big])]
    else:
        order = big[np.argsort(first[big])]
        label[order] = np.arange(1, len(order) + 1)
    if len(order) and label[order[-1]] > np.iinfo(np.int32).max:
        msg = (f'the largest label is {label[order[-1]]}; at most '
               f'{np.iinfo(np.int32).max} can be handled.')
        raise VaephotError(msg)
    return Parents(label=label[order], box=box[order], offset=offset,
                   of_section=label[number])


def read_labels(plan, parents, window):
    """Labels of parents in a window, (ny, nx) of int64."""
    out = np.zeros(window.shape, np.int64)
    for number in plan.sections.meeting(window):
        start, stop = parents.offset[number:number + 2]
        if start == stop:
            continue
        section = plan.sections.core(number)
        common = Window(
            y0=max(window.y0, section.y0), y1=min(window.y1, section.y1),
            x0=max(window.x0, section.x0), x1=min(window.x1, section.x1))
        with np.load(_file(plan, number)) as stored:
            local = stored['labels'][common.inside(section)]
        known = np.concatenate([[0], parents.of_section[start:stop]])
        out[common.inside(window)] = known[local]
    return out
