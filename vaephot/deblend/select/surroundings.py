# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Sources and their hosts: the galaxies that they may be parts of.

A neighbour stands alone on a smooth host; arms and knots come in numbers,
and bars and the residuals of a wrong profile on both sides.
"""

import numpy as np

from vaephot.deblend.detect.stack import filter_matrix, gaussian_line
from vaephot.utils.boxes import overlap

__all__ = ['colour_odds', 'elliptical_distance', 'find_hosts',
           'surroundings']

# scatter of the flux ratios between parts of one galaxy and between
# galaxies, and where their logarithmic odds are cut
SAME_SCATTER, OTHER_SCATTER = 0.1, 0.4
MAX_ODDS = 8.0
# half width of a ring around a galaxy, in units of its radius and at least
# in FWHM; its largest radius and its fewest pixels
RING_WIDTH, MIN_RING_FWHM = 0.25, 1.0
MAX_RING, MIN_RING_PIXELS = 64, 6


def _nearest_brighter(xy, parent, bright):
    """Index of the nearest brighter source of the same parent, or -1."""
    index = np.full(len(xy), -1)
    order = np.argsort(parent, kind='stable')
    cuts = np.flatnonzero(np.diff(parent[order])) + 1
    for rows in np.split(order, cuts):
        if len(rows) < 2:
            continue
        distance = np.hypot(*(xy[rows][:, None] - xy[rows]).T)
        larger = bright[rows][None, :] > bright[rows][:, None]
        distance = np.where(larger, distance.T, np.inf)
        best = distance.argmin(1)
        some = np.isfinite(distance[np.arange(len(rows)), best])
        index[rows[some]] = rows[best[some]]
    return index


def find_hosts(pixels, solution):
    """
    Number of the source that each one may be a part of, (n,).

    The brighter source of the same parent that has most light at its place,
    or the nearest brighter one where none has any; -1 for the brightest of
    a parent.
    """
    xy, parent = solution.fit.parameters[:, :2], solution.sources.parent
    if not len(parent):
        return np.zeros(0, int)
    noise = pixels.sky_rms(xy)
    bright = np.maximum(solution.fit.flux / noise, 0).sum(1)
    host = _nearest_brighter(xy, parent, bright)
    order = np.argsort(parent, kind='stable')
    cuts = np.flatnonzero(np.diff(parent[order])) + 1
    for rows in np.split(order, cuts):
        if len(rows) < 2:
            continue
        light = np.zeros((len(rows), len(rows)))
        for i, k in enumerate(rows):
            box, model = solution.boxes[k], solution.models[k]
            x, y = np.rint(xy[rows]).astype(int).T
            inside = ((x >= box.ixmin) & (x < box.ixmax) & (y >= box.iymin)
                      & (y < box.iymax) & (bright[rows] < bright[k]))
            values = model[:, y[inside] - box.iymin, x[inside] - box.ixmin]
            light[inside, i] = (values.T / noise[rows[inside]]).sum(1)
        best = light.argmax(1)
        some = light.max(1) > 0
        host[rows[some]] = rows[best[some]]
    return host


def elliptical_distance(dx, dy, parameters):
    """Distance from a source along its ellipses, in circular pixels."""
    eta = np.hypot(parameters[3], parameters[4])
    angle = 0.5 * np.arctan2(parameters[4], parameters[3])
    cos, sin = np.cos(angle), np.sin(angle)
    return np.hypot((dx * cos + dy * sin) * np.exp(-eta / 2),
                    (dy * cos - dx * sin) * np.exp(eta / 2))


def colour_odds(flux, error, host_flux):
    """
    Logarithmic odds of having the colours of another galaxy, (n,).

    Knots, arms and what a model misses have about the colours of their
    galaxy. With noisy fluxes, and in one band, the odds are even. All are
    (n, n_bands).
    """
    largest = np.maximum(host_flux.max(1, keepdims=True), 1e-300)
    host = np.maximum(host_flux, 1e-3 * largest)
    error = np.maximum(error, 1e-300)

    def log_probability(scatter):
        amplitude = np.zeros((len(flux), 1))
        for _ in range(3):
            variance = error ** 2 + (scatter * amplitude * host) ** 2
            norm = (host ** 2 / variance).sum(1)
            amplitude = np.maximum((flux * host / variance).sum(1) / norm,
                                   0.0)[:, None]
        chi2 = ((flux - amplitude * host) ** 2 / variance).sum(1)
        return -0.5 * (chi2 + np.log(variance).sum(1) + np.log(norm))
    odds = log_probability(OTHER_SCATTER) - log_probability(SAME_SCATTER)
    return np.clip(odds, -MAX_ODDS, MAX_ODDS) / 2


def _spectrum(flux):
    """Weights of the bands of a source, positive."""
    flux = np.maximum(flux, 0)
    return flux / max(flux.max(), 1e-300) + 1e-6


def _signal_to_noise(signal, power):
    """Of filtered sums, 0 where no pixel is good."""
    noise = np.sqrt(power)
    return np.divide(signal, noise, out=np.zeros_like(signal),
                     where=noise > 0)


def _stacked(weight, residual, spectrum):
    """
    Residual and inverse variance of all bands together, (ny, nx) each.

    They are added as a source of some spectrum (n_bands,) needs it.
    """
    return (np.einsum('b,byx,byx->yx', spectrum, weight, residual),
            np.einsum('b,byx->yx', spectrum ** 2, weight))


def _left_around(pixels, solution, spectrum, places, line):
    """Signal to noise of the residual at pixels (rows, columns) filtered."""
    half, shape = len(line) // 2, pixels.data.shape[1:]
    inner = [slice(c.min(), c.max() + 1) for c in places]
    outer = [overlap(s.start - half, s.stop + half, 0, n)
             for s, n in zip(inner, shape, strict=True)]
    box = (slice(None), *outer)
    model = solution.model_image[box]
    signal, power = _stacked(pixels.weight(model, *outer),
                             pixels.data[box] - model, spectrum)
    down, across = (filter_matrix(line, *ranges)
                    for ranges in zip(outer, inner, strict=True))
    at = tuple(c - s.start for c, s in zip(places, inner, strict=True))
    return _signal_to_noise((down @ signal @ across.T)[at],
                            (down ** 2 @ power @ across.T ** 2)[at])


def _model_in(solution, k, rows, columns):
    """Model of a source in a window of the frame, (n_bands, ny, nx)."""
    box, model = solution.boxes[k], solution.models[k]
    out = np.zeros((len(model), rows.stop - rows.start,
                    columns.stop - columns.start))
    y = overlap(rows.start, rows.stop, box.iymin, box.iymax)
    x = overlap(columns.start, columns.stop, box.ixmin, box.ixmax)
    out[:, y.start - rows.start:y.stop - rows.start,
        x.start - columns.start:x.stop - columns.start] = model[
            :, y.start - box.iymin:y.stop - box.iymin,
            x.start - box.ixmin:x.stop - box.ixmin]
    return out


def _peak(pixels, solution, host, xy, spectrum, line):
    """Signal to noise at a place of what one source alone leaves over."""
    start = np.rint(xy[::-1]).astype(int) - len(line) // 2
    window = [overlap(i, i + len(line), 0, n) for i, n in zip(
        start, pixels.data.shape[1:], strict=True)]
    box = (slice(None), *window)
    signal, power = _stacked(
        pixels.weight(solution.model_image[box], *window),
        pixels.data[box] - _model_in(solution, host, *window), spectrum)
    rows, columns = (line[s.start - i:s.stop - i]
                     for s, i in zip(window, start, strict=True))
    return float(_signal_to_noise(
        np.array(rows @ signal @ columns),
        np.array(rows ** 2 @ power @ columns ** 2)))


def _ring(shape, parameters, distance, fwhm):
    """Pixels of an elliptical ring around a source: rows, columns."""
    width = max(RING_WIDTH * distance, MIN_RING_FWHM * fwhm)
    reach = np.exp(0.5 * np.hypot(parameters[3], parameters[4]))
    reach = int(min((distance + width) * reach, MAX_RING)) + 1
    x, y = np.rint(parameters[:2]).astype(int)
    rows = overlap(y - reach, y + reach + 1, 0, shape[0])
    columns = overlap(x - reach, x + reach + 1, 0, shape[1])
    yy, xx = np.ogrid[rows, columns]
    radius = elliptical_distance(xx - parameters[0], yy - parameters[1],
                                  parameters)
    iy, ix = np.nonzero(np.abs(radius - distance) < width)
    return iy + rows.start, ix + columns.start


def _apart(yy, xx, places, distance):
    """Pixels that keep a distance from all of some places."""
    use = np.ones(len(yy), bool)
    for x, y in places:
        use &= np.hypot(xx - x, yy - y) > distance
    return yy[use], xx[use]


def _mirrored(pixels, solution, k, host, line):
    """
    What a host alone leaves over at a source and at the place opposite.

    Signal to noise at the source, at least 1; the lesser one of both in
    units of the larger one, from 0 to 1.
    """
    xy, center = solution.fit.parameters[[k, host], :2]
    spectrum = _spectrum(solution.fit.flux[k])
    here, opposite = (_peak(pixels, solution, host, place, spectrum, line)
                      for place in (xy, 2 * center - xy))
    low, high = sorted((here, opposite))
    return max(here, 1.0), np.clip(low / max(high, 1.0), 0, 1)


def _around(pixels, solution, k, host, line):
    """Root mean square of the residual in a ring around a host, or 1."""
    parent, parameters = solution.sources.parent, solution.fit.parameters
    fwhm, center = pixels.fwhm.min(), parameters[host]
    distance = elliptical_distance(*(parameters[k, :2] - center[:2]),
                                    center)
    others = parent == parent[k]
    others[host] = False
    places = _apart(*_ring(pixels.data.shape[1:], center, distance, fwhm),
                    parameters[others, :2], fwhm)
    if len(places[0]) < MIN_RING_PIXELS:
        return 1.0
    left = _left_around(pixels, solution, _spectrum(solution.fit.flux[k]),
                        places, line)
    return np.sqrt(np.mean(left ** 2))


def surroundings(pixels, solution, host, rows):
    """
    How some sources compare with what is left over around their hosts.

    A neighbour stands alone on a smooth host; arms and knots come in
    numbers, and bars and the residuals of a wrong profile on both sides.

    Returns
    -------
    here : `numpy.ndarray`, (n,)
        Signal to noise of what the host alone leaves over here, for a filter
        of the width of the PSF; at least 1.
    around : `numpy.ndarray`, (n,)
        Root mean square of the residual of all in a ring around the host, in
        units of the noise, for the same filter.
    mirrored : `numpy.ndarray`, (n,)
        What the host alone leaves over here and at the place opposite, the
        lesser one in units of the larger one, from 0 to 1.
    """
    line = gaussian_line(pixels.fwhm.min())
    here, around = np.ones((2, len(host)))
    mirrored = np.zeros(len(host))
    for k in rows[host[rows] >= 0]:
        here[k], mirrored[k] = _mirrored(pixels, solution, k, host[k], line)
        around[k] = _around(pixels, solution, k, host[k], line)
    return here, around, mirrored
