# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Pixel grids that a world coordinate system ties together.

Positions are pairs (x, y), the centre of the first pixel is 0. Close to a
point one grid follows from the other by an affine map: ``A p + t``. Flux
does not change; a covariance ``C`` in pixels becomes ``A C A^T``.
"""

import numpy as np
from astropy.wcs import WCS

__all__ = ['GridMap', 'linear_scale', 'map_labels', 'map_positions',
           'same_grid']

# pixel grids that differ by less than this many pixels are the same
SAME_GRID = 0.05
# half the step, in pixels, over which the slope of a map is taken
STEP = 0.5


def _celestial(wcs):
    return wcs.celestial if isinstance(wcs, WCS) else wcs


def map_positions(source, target, x, y):
    """
    Positions of one grid on another one.

    Parameters
    ----------
    source, target : WCS
        Coordinates of the two grids.
    x, y : array-like
        Pixels of the first.

    Returns
    -------
    x, y : `numpy.ndarray`
        Pixels of the second.
    """
    if source is target:
        return np.asarray(x, float), np.asarray(y, float)
    source, target = _celestial(source), _celestial(target)
    if _frame_name(source) == _frame_name(target):
        sky = source.pixel_to_world_values(x, y)
        found = target.world_to_pixel_values(*sky)
    else:
        found = target.world_to_pixel(source.pixel_to_world(x, y))
    return tuple(np.asarray(value, float) for value in found)


def _frame_name(wcs):
    """Name of the celestial frame of an astropy WCS, for comparison."""
    if not isinstance(wcs, WCS):
        return type(wcs)
    return tuple(kind[:4] for kind in wcs.wcs.ctype), wcs.wcs.radesys


def same_grid(first, other, shape):
    """
    Whether two grids put the corners of an image in the same place.

    Parameters
    ----------
    first, other : WCS
        Coordinates of the two grids.
    shape : tuple of int
        ``(ny, nx)`` of the image.

    Returns
    -------
    bool
    """
    if first is other:
        return True
    ny, nx = shape
    x = np.array([0, nx - 1, 0, nx - 1], float)
    y = np.array([0, 0, ny - 1, ny - 1], float)
    back = map_positions(other, first, x, y)
    return bool(np.all(np.hypot(back[0] - x, back[1] - y) < SAME_GRID))


class GridMap:
    """
    Map from the pixels of one grid to those of another.

    Parameters
    ----------
    source, target : WCS
        Coordinates of the two grids; the same object for the identity.
    """

    def __init__(self, source, target):
        self.source = source
        self.target = target
        self.is_identity = source is target

    def __call__(self, x, y):
        """
        Map positions.

        Parameters
        ----------
        x, y : array-like
            Pixels of the first grid.

        Returns
        -------
        x, y : `numpy.ndarray`
            Pixels of the second.
        """
        return map_positions(self.source, self.target, x, y)

    def affine(self, x, y):
        """
        Linear map that is close to this one around some points.

        Parameters
        ----------
        x, y : array-like, (n,)
            Pixels of the first grid.

        Returns
        -------
        matrix : `numpy.ndarray`, (n, 2, 2)
            ``matrix[i] @ p + offset[i]`` is the place of ``p``.
        offset : `numpy.ndarray`, (n, 2)
        """
        x, y = (np.atleast_1d(np.asarray(v, float)) for v in (x, y))
        if self.is_identity:
            return (np.broadcast_to(np.eye(2), (len(x), 2, 2)).copy(),
                    np.zeros((len(x), 2)))
        points = np.stack([x, y], -1)
        steps = STEP * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])
        around = points[:, None] + steps
        mapped = np.stack(self(around[..., 0], around[..., 1]), -1)
        slopes = (mapped[:, ::2] - mapped[:, 1::2]) / (2 * STEP)
        matrix = slopes.transpose(0, 2, 1)
        centre = np.stack(self(x, y), -1)
        return matrix, centre - np.einsum('nij,nj->ni', matrix, points)


def linear_scale(grid_map, shape):
    """
    Pixels of the second grid on the side of one of the first.

    Parameters
    ----------
    grid_map : GridMap
        The map.
    shape : tuple of int
        ``(ny, nx)`` of the first grid; the scale is that in its middle.

    Returns
    -------
    float
    """
    ny, nx = shape
    matrix, _ = grid_map.affine([(nx - 1) / 2], [(ny - 1) / 2])
    return float(np.sqrt(abs(np.linalg.det(matrix[0]))))


def map_labels(labels, source, target, shape):
    """
    Labels of one grid on another: each pixel takes that at its centre.

    Parameters
    ----------
    labels : `numpy.ndarray` of int, (ny, nx)
        Labels on the first grid.
    source, target : WCS
        Coordinates of the two grids.
    shape : tuple of int
        Shape of the second.

    Returns
    -------
    `numpy.ndarray` of int
        Of that shape; 0 outside of the first grid.
    """
    y, x = np.mgrid[:shape[0], :shape[1]]
    there = map_positions(target, source, x.ravel(), y.ravel())
    known = np.isfinite(there[0]) & np.isfinite(there[1])
    ix, iy = (np.rint(np.where(known, v, -1)).astype(int) for v in there)
    ny, nx = labels.shape
    inside = known & (ix >= 0) & (ix < nx) & (iy >= 0) & (iy < ny)
    out = np.zeros(len(ix), labels.dtype)
    out[inside] = labels[iy[inside], ix[inside]]
    return out.reshape(shape)
