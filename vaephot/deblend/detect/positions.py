# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Sources at positions that a user or a user's finder gives."""

from dataclasses import dataclass

import numpy as np

from vaephot.deblend.detect.peaks import Candidates
from vaephot.exceptions import ShapeMismatchError

__all__ = ['Positions', 'candidates_from_finder', 'candidates_from_positions']

# names of position columns, after those that photutils' finders and
# photometry use
X_NAMES = ('x_centroid', 'xcentroid', 'x_peak', 'x', 'x_0', 'x_init',
           'x_fit')


@dataclass(frozen=True, kw_only=True, eq=False)
class Positions(Candidates):
    """
    Sources at positions that were given.

    Parameters
    ----------
    x, y : `~numpy.ndarray` of float64, (n,)
        Positions in pixels.
    label : `~numpy.ndarray` of int64, (n,)
        Label of the segment under each; 0 outside every segment.
    fixed : `~numpy.ndarray` of bool, (n,)
        Whether the position must not move.
    point_source : `~numpy.ma.MaskedArray` of bool, (n,)
        True for a star, False for a galaxy; masked where not said.
    """

    fixed: np.ndarray
    point_source: np.ma.MaskedArray


def candidates_from_finder(finder, image, mask, segmentation_image, labels):
    """
    Detections of a finder of photutils' protocol inside parents.

    It is called as ``finder(image, mask=mask)`` and returns a table of
    positions or None; anything else is an error. A parent may have none.
    """
    table = finder(image, mask=mask)
    if table is None:
        table = np.zeros((0, 2))
    elif not hasattr(table, 'colnames'):
        msg = (f'finder returned {type(table).__name__}; it must return a '
               'table with the columns x_centroid and y_centroid, or None.')
        raise TypeError(msg)
    x, y = _read_xy(table, 'the table of the finder')
    label = _labels_at(segmentation_image, x, y)
    wanted = label > 0
    if labels is not None:
        wanted &= np.isin(label, labels)
    return Candidates(x=x[wanted], y=y[wanted], label=label[wanted])


def candidates_from_positions(positions, segmentation_image):
    """
    Positions of a table or (x, y) pairs (n, 2) as sources, in that order.

    A table may have columns ``fixed`` and ``point_source``. What is not
    finite, or has other columns or another shape, is an error.
    """
    x, y = _read_xy(positions, 'positions')
    wrong = np.flatnonzero(~(np.isfinite(x) & np.isfinite(y)))
    if wrong.size:
        i = int(wrong[0])
        msg = (f'positions has ({x[i]}, {y[i]}) in row {i} and '
               f'{wrong.size} rows in all that are not finite; remove them.')
        raise ValueError(msg)
    fixed = _read_flags(positions, 'fixed', x.size).filled(False)
    point_source = _read_flags(positions, 'point_source', x.size)
    return Positions(x=x, y=y, fixed=fixed, point_source=point_source,
                     label=_labels_at(segmentation_image, x, y))


def _read_xy(given, what):
    """Positions from a table or an array of pairs."""
    names = getattr(given, 'colnames', None)
    if names is None:
        array = np.asarray(given, dtype=float)
        if array.size == 0:
            array = array.reshape(0, 2)
        if array.ndim != 2 or array.shape[1] != 2:
            msg = (f'{what} has shape {array.shape}; give (x, y) pairs of '
                   'shape (n, 2), or a table.')
            raise ShapeMismatchError(msg, shape=array.shape)
        return array[:, 0].copy(), array[:, 1].copy()
    for x_name in X_NAMES:
        y_name = 'y' + x_name[1:]
        if x_name in names and y_name in names:
            return tuple(_plain_column(given[name], name)
                         for name in (x_name, y_name))
    msg = (f'{what} has the columns {", ".join(names)}; x_centroid and '
           'y_centroid (pixels) are needed.')
    raise ValueError(msg)


def _plain_column(column, name):
    """Column of pixels as float64; masked entries are NaN."""
    unit = getattr(column, 'unit', None)
    if unit is not None and str(unit) not in ('pix', 'pixel', ''):
        msg = f'column {name!r} has the unit {unit}; positions are in pixels.'
        raise ValueError(msg)
    if hasattr(column, 'filled'):
        column = np.ma.filled(np.ma.asarray(column, dtype=float), np.nan)
    return np.array(getattr(column, 'value', column), dtype=float)


def _read_flags(given, name, size):
    """Optional column of True, False or nothing, as a masked array."""
    if name not in getattr(given, 'colnames', ()):
        return np.ma.masked_all(size, dtype=bool)
    column = np.ma.asarray(given[name])
    missing = np.ma.getmaskarray(column).copy()
    values = np.zeros(size, dtype=bool)
    for i, value in enumerate(column.data):
        if missing[i] or value is None or value != value:
            missing[i] = True
        elif value in (0, 1):
            values[i] = bool(value)
        else:
            msg = (f'column {name!r} has {value!r} in row {i}; give True, '
                   'False, or a masked entry.')
            raise ValueError(msg)
    return np.ma.array(values, mask=missing)


def _labels_at(segmentation_image, x, y):
    """Label of the segment under each position, 0 where there is none."""
    data = np.asarray(getattr(segmentation_image, 'data',
                              segmentation_image))
    ny, nx = data.shape
    with np.errstate(invalid='ignore'):
        inside = (x >= -0.5) & (x < nx - 0.5) & (y >= -0.5) & (y < ny - 0.5)
    label = np.zeros(x.size, dtype=np.int64)
    ix, iy = (np.floor(v[inside] + 0.5).astype(int) for v in (x, y))
    label[inside] = data[iy, ix]
    return label
