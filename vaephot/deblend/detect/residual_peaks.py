# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Compact light that the fitted models leave over: what may be a source that
the search for peaks did not see.

The residual is matched-filtered with Gaussians of the width of the PSF and
wider. The noise of the result is that of the sky and of the models' photons,
plus a share of the models' light under the filter: no model is perfect, and
what it misses scales with its light.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import maximum_filter

from vaephot.deblend.detect.stack import filter_matrix, gaussian_line

__all__ = ['ResidualPeaks', 'find_residual_peaks']

# widths of the filters: that of the PSF, and with galaxies of these FWHM
# added in quadrature, in units of the FWHM of the sharpest band
GALAXY_FWHM = (0.0, 1.5, 3.0)
# share of the models' light that may be wrong under a filter
MISFIT = 0.015
# least signal-to-noise ratio of a peak
MIN_SIGNIFICANCE = 3.5
# least distance from a known source, in FWHM of the sharpest band and at
# least in pixels: closer ones are errors of the model of that source
MIN_DISTANCE_FWHM = 0.9
MIN_DISTANCE = 1.5
# least distance between new places of one parent, in the same unit
APART_FWHM = 4.0
# a band counts at least this much of the best one at a place
MIN_BAND_SHARE = 0.1


@dataclass(frozen=True, kw_only=True, eq=False)
class ResidualPeaks:
    """
    Peaks of the residual.

    Parameters
    ----------
    x, y : `~numpy.ndarray` of float64, (n,)
        Positions in pixels.
    parent : `~numpy.ndarray` of int, (n,)
        Label of the segment of each.
    significance : `~numpy.ndarray` of float64, (n,)
        Signal-to-noise ratio, misfit counted.
    """

    x: np.ndarray
    y: np.ndarray
    parent: np.ndarray
    significance: np.ndarray

    def __len__(self):
        return len(self.x)


def _grown(slices, width, shape):
    """Slices of rows and columns, wider by some pixels within a frame."""
    return tuple(slice(max(s.start - width, 0), min(s.stop + width, n))
                 for s, n in zip(slices, shape, strict=True))


def _filtered(images, fwhm, outer, inner):
    """Signal-to-noise ratio of a band for a filter, and of the model."""
    line = gaussian_line(fwhm)
    down, across = (filter_matrix(line, *ranges)
                    for ranges in zip(outer, inner, strict=True))
    signal, light = down @ (images[:2] @ across.T)
    power = down ** 2 @ (images[2] @ across.T ** 2)
    variance = power + (MISFIT * light) ** 2
    noise = np.sqrt(np.where(power > 0, variance, 1))
    return np.where(power > 0, (signal, light) / noise, 0)


def _significance(images, fwhm, galaxy, outer, inner):
    """
    Stack of all bands for one width of galaxies, (ny, nx).

    ``images`` are of shape (n_bands, 3, ny, nx): the residual and the model
    times the weight, and the weight.
    """
    signals, lights = np.stack([
        _filtered(band, np.hypot(width, galaxy), outer, inner)
        for band, width in zip(images, fwhm, strict=True)], 1)
    shares = np.maximum(lights, 0)
    best = shares.max(0)
    shares = np.where(best > 0, np.maximum(shares, MIN_BAND_SHARE * best), 1)
    return (signals * shares).sum(0) / np.sqrt((shares ** 2).sum(0))


def _without_sky(residual, use):
    """Take off the median of the pixels of use, where a fit frees it."""
    for image, some in zip(residual, use, strict=True):
        if some.any():
            image -= np.median(image[some])


def _largest_significance(pixels, segm, model_image, free_sky, outer, inner):
    """Largest significance over the widths of galaxies, inside (ny, nx)."""
    box = (slice(None), *outer)
    model = model_image[box]
    weight = pixels.weight(model, *outer)
    residual = pixels.data[box] - model
    if free_sky:
        _without_sky(residual, (weight > 0) & (segm.data[outer] == 0))
    images = np.stack([weight * residual, weight * model, weight], 1)
    return np.max([_significance(images, pixels.fwhm,
                                 width * pixels.fwhm.min(), outer, inner)
                   for width in GALAXY_FWHM], axis=0)


def _allowed(pixels, segm, known, label, window):
    """Good pixels of a parent away from the known sources, (ny, nx)."""
    rows, columns = window
    nearest = max(MIN_DISTANCE, MIN_DISTANCE_FWHM * pixels.fwhm.min())
    allowed = segm.data[window] == label
    allowed &= ~pixels.mask[:, rows, columns].all(0)
    x, y = known.T
    near = ((x > columns.start - nearest) & (x < columns.stop + nearest)
            & (y > rows.start - nearest) & (y < rows.stop + nearest))
    yy, xx = np.ogrid[rows, columns]
    for x, y in known[near]:
        allowed &= (xx - x) ** 2 + (yy - y) ** 2 >= nearest ** 2
    return allowed


def _highest(image, allowed, size):
    """Local maxima in allowed pixels, the highest first: rows, columns."""
    top = (image == maximum_filter(image, size)) & allowed
    iy, ix = np.nonzero(top)
    order = np.argsort(-image[iy, ix], kind='stable')
    return iy[order], ix[order]


def _apart(x, y, least, limit):
    """First of places (n,) that keep a distance from those before them."""
    kept = []
    for i in range(len(x)):
        if all((x[i] - x[k]) ** 2 + (y[i] - y[k]) ** 2 >= least ** 2
               for k in kept):
            kept.append(i)
        if len(kept) == limit:
            break
    return kept


def _peaks_of_parent(image, allowed, fwhm, limit):
    """Peaks of the significance (ny, nx) of a parent: rows (x, y, value)."""
    iy, ix = _highest(image, allowed, _maximum_size(fwhm))
    kept = _apart(ix, iy, APART_FWHM * fwhm, limit)
    return [(ix[i], iy[i], image[iy[i], ix[i]]) for i in kept]


def _maximum_size(fwhm):
    """Side of the square that a peak is the highest pixel of."""
    return max(3, 2 * int(round(fwhm / 2)) + 1)


def find_residual_peaks(pixels, segm, model_image, known, labels, *,
                        per_parent=1, least=MIN_SIGNIFICANCE,
                        free_sky=False):
    """
    Significant compact light that a model (n_bands, ny, nx) leaves over.

    Parents of some labels are searched, away from known places (n, 2), for
    ``per_parent`` peaks several FWHM apart that have at least a
    signal-to-noise ratio, misfit counted. With ``free_sky`` the median of
    the sky around a parent is taken off first.
    """
    fwhm, shape = pixels.fwhm.min(), segm.shape
    margin = int(np.ceil(2 * np.hypot(pixels.fwhm.max(),
                                      max(GALAXY_FWHM) * fwhm)))
    found = []
    wanted = np.flatnonzero(np.isin(segm.labels, labels))
    for label, slices in ((int(segm.labels[i]), segm.slices[i])
                          for i in wanted):
        outer = _grown(slices, margin, shape)
        inner = _grown(slices, _maximum_size(fwhm) // 2, shape)
        allowed = _allowed(pixels, segm, known, label, inner)
        if not allowed.any():
            continue
        image = _largest_significance(pixels, segm, model_image, free_sky,
                                      outer, inner)
        found += [(x + inner[1].start, y + inner[0].start, label, value)
                  for x, y, value in _peaks_of_parent(
                      image, allowed & (image >= least), fwhm, per_parent)]
    columns = np.array(found, float).reshape(-1, 4).T
    return ResidualPeaks(x=columns[0], y=columns[1],
                         parent=columns[2].astype(int),
                         significance=columns[3])
