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

from vaephot.deblend.detect.stack import convolve_line, gaussian_line

__all__ = ['LeftOver', 'find_left_over']

# widths of the filters: that of the PSF, and with galaxies of these FWHM
# added in quadrature, in units of the FWHM of the sharpest band
GALAXY_FWHM = (0.0, 1.5, 3.0)
# share of the models' light that may be wrong under a filter
MISFIT = 0.03
# least signal-to-noise ratio of what is left over
MIN_LEFT_OVER = 4.0
# least distance from a known source, in FWHM of the sharpest band and at
# least in pixels: closer ones are errors of the model of that source
MIN_DISTANCE_FWHM = 0.9
MIN_DISTANCE = 1.5
# least distance between new places of one parent, in the same unit
APART_FWHM = 4.0
# a band counts at least this much of the best one at a place
MIN_BAND_SHARE = 0.1


@dataclass(frozen=True, kw_only=True, eq=False)
class LeftOver:
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


def _filtered(residual, weight, model, fwhm):
    """Signal-to-noise ratio of a band for a filter, and of the model."""
    line = gaussian_line(fwhm)
    power = convolve_line(weight, line ** 2)
    light = convolve_line(weight * model, line)
    variance = power + (MISFIT * light) ** 2
    noise = np.sqrt(np.where(power > 0, variance, 1))
    signal = convolve_line(weight * residual, line) / noise
    return tuple(np.where(power > 0, image, 0)
                 for image in (signal, light / noise))


def _significance(residual, weight, model, fwhm, galaxy):
    """Stack of all bands for one width of galaxies."""
    signals, shares = [], []
    for i, width in enumerate(fwhm):
        signal, light = _filtered(residual[i], weight[i], model[i],
                                  np.hypot(width, galaxy))
        signals.append(signal)
        shares.append(np.maximum(light, 0))
    signals, shares = np.array(signals), np.array(shares)
    best = shares.max(0)
    shares = np.where(best > 0, np.maximum(shares, MIN_BAND_SHARE * best), 1)
    return (signals * shares).sum(0) / np.sqrt((shares ** 2).sum(0))


def _windows(segm, labels, margin):
    """Slices around parents, and where they lie in those."""
    ny, nx = segm.shape
    for label, (sy, sx) in zip(segm.labels, segm.slices, strict=True):
        if label not in labels:
            continue
        window = np.s_[max(sy.start - margin, 0):min(sy.stop + margin, ny),
                       max(sx.start - margin, 0):min(sx.stop + margin, nx)]
        yield int(label), window


def _without_sky(residual, good, sky):
    """Take off the median of good sky pixels, where a fit would free it."""
    out = residual.copy()
    for image, use in zip(out, good & sky, strict=True):
        if use.any():
            image -= np.median(image[use])
    return out


def _best_significance(fitter, segm, weight, model_image, window):
    """Largest significance over the widths of galaxies, in a window."""
    box = (slice(None), *window)
    model = model_image[box]
    residual = fitter.observation.data[box] - model
    if fitter.settings.background is not None:
        residual = _without_sky(residual, weight[box] > 0,
                                segm.data[window] == 0)
    return np.max([_significance(residual, weight[box], model, fitter.fwhm,
                                 width * fitter.fwhm.min())
                   for width in GALAXY_FWHM], axis=0)


def _allowed(fitter, segm, known, label, window):
    """Good pixels of a parent away from the known sources."""
    rows, columns = window
    nearest = max(MIN_DISTANCE, MIN_DISTANCE_FWHM * fitter.fwhm.min())
    bad = fitter.observation.mask[:, rows, columns].all(0)
    allowed = (segm.data[window] == label) & ~bad
    x, y = known.T
    near = ((x > columns.start - nearest) & (x < columns.stop + nearest)
            & (y > rows.start - nearest) & (y < rows.stop + nearest))
    yy, xx = np.mgrid[rows, columns]
    for x, y in known[near]:
        allowed &= (xx - x) ** 2 + (yy - y) ** 2 >= nearest ** 2
    return allowed


def _peaks(image, allowed, size):
    """Local maxima of an image in allowed pixels, the highest first."""
    top = (image == maximum_filter(image, size)) & allowed
    iy, ix = np.nonzero(top)
    order = np.argsort(-image[iy, ix], kind='stable')
    return iy[order], ix[order]


def _apart(x, y, least, limit):
    """First of places that keep a distance from those before them."""
    kept = []
    for i in range(len(x)):
        if all((x[i] - x[k]) ** 2 + (y[i] - y[k]) ** 2 >= least ** 2
               for k in kept):
            kept.append(i)
        if len(kept) == limit:
            break
    return kept


def find_left_over(fitter, segm, model_image, known, labels, *,
                   per_parent=1, least=MIN_LEFT_OVER):
    """
    Find significant compact light that the models leave over.

    Parameters
    ----------
    fitter : `~vaephot.deblend.scene.SceneFitter`
        Data and noise.
    segm : `~photutils.segmentation.SegmentationImage`
        Parents.
    model_image : `numpy.ndarray`, (n_bands, ny, nx)
        Light of the known sources.
    known : `numpy.ndarray`, (n, 2)
        Their positions.
    labels : sequence of int
        Parents to search.
    per_parent : int, optional
        Most places in one parent; they are several FWHM apart.
    least : float, optional
        Least signal-to-noise ratio, misfit counted.

    Returns
    -------
    LeftOver
        Inside their parents and away from the known sources.
    """
    fwhm = fitter.fwhm.min()
    weight = fitter.weight(model_image)
    margin = int(np.ceil(2 * np.hypot(fitter.fwhm.max(),
                                      max(GALAXY_FWHM) * fwhm)))
    size = max(3, 2 * int(round(fwhm / 2)) + 1)
    found = []
    for label, window in _windows(segm, {int(v) for v in labels}, margin):
        image = _best_significance(fitter, segm, weight, model_image, window)
        allowed = _allowed(fitter, segm, known, label, window)
        iy, ix = _peaks(image, allowed & (image >= least), size)
        for i in _apart(ix, iy, APART_FWHM * fwhm, per_parent):
            found.append((ix[i] + window[1].start, iy[i] + window[0].start,
                          label, image[iy[i], ix[i]]))
    columns = np.array(found, float).reshape(-1, 4).T
    return LeftOver(x=columns[0], y=columns[1],
                    parent=columns[2].astype(int), significance=columns[3])
