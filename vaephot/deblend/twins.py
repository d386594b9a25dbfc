# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Borders between sources that look alike.

The network's shapes of two equal galaxies differ by its own scatter, and
where the pixels of a parent go would depend on that. Children that are as
bright, as large and as round as each other, within that scatter, compete
with one profile, so that the border is half-way between them.
"""

import numpy as np
from scipy.sparse.csgraph import connected_components

__all__ = ['even_out']

# how much the network's fluxes, sizes and ellipticities scatter: largest
# ratio of fluxes, difference of ln(size) and ellipticity of twins
MAX_RATIO = 1.3
MAX_LOG_SIZE = 0.3
MAX_ELLIPTICITY = 0.45


def _twins(bright, parameters):
    """Which pairs of sources look alike, (n, n)."""
    brightness = np.log(np.maximum(bright, 1e-300))
    round_ = np.hypot(parameters[:, 3], parameters[:, 4]) < MAX_ELLIPTICITY
    close = (abs(brightness[:, None] - brightness) < np.log(MAX_RATIO))
    close &= abs(parameters[:, None, 2] - parameters[:, 2]) < MAX_LOG_SIZE
    close &= round_[:, None] & round_ & (bright > 0)
    return close & ~np.eye(len(bright), dtype=bool)


def even_out(dominance, xy, bright, parameters):
    """
    Give children that look alike the same profile.

    Parameters
    ----------
    dominance : `numpy.ndarray`, (n, h, w)
        How strong each child is in each pixel.
    xy : `numpy.ndarray`, (n, 2)
        Where they were found, in pixels of the cutout.
    bright : `numpy.ndarray`, (n,)
        How bright they are.
    parameters : `numpy.ndarray`, (n, n_parameters)
        Fitted shapes.

    Returns
    -------
    `numpy.ndarray`, (n, h, w)
        Children with a twin have the mean radial profile of all their
        twins about their places; the others are as they were.
    """
    alike = _twins(bright, parameters)
    if not alike.any():
        return dominance
    yy, xx = np.mgrid[:dominance.shape[1], :dominance.shape[2]]
    radius = np.hypot(xx - xy[:, 0, None, None], yy - xy[:, 1, None, None])
    n_bins = int(radius.max()) + 2
    index = np.rint(radius).astype(int)
    count, total = (np.stack([np.bincount(
        index[k].ravel(), weights, n_bins) for k, weights in enumerate(
            values)]) for values in (
                np.ones_like(dominance).reshape(len(xy), -1),
                dominance.reshape(len(xy), -1)))
    out = dominance.copy()
    _, family = connected_components(alike, directed=False)
    for k in np.flatnonzero(alike.any(1)):
        group = np.flatnonzero(family == family[k])
        mean = (total[group].sum(0)
                / np.maximum(count[group].sum(0), 1))
        profile = np.minimum.accumulate(mean)
        # strictly falling, or distance would not decide
        profile = profile + 1e-9 * profile[0] * np.arange(n_bins, 0, -1)
        out[k] = np.interp(radius[k], np.arange(n_bins), profile)
    return out
