# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
What speaks for each fitted source being one of its own.

`measure_evidence` turns a solution into a few numbers per source; see
`vaephot.deblend.select.loop` for what becomes of them.
"""

import numpy as np

from vaephot.deblend.detect.stack import filter_matrix, gaussian_line
from vaephot.utils.boxes import overlap

__all__ = ['FEATURES', 'chi2_gain', 'find_hosts', 'measure_evidence']

# names of the columns of `measure_evidence`, all of order one
FEATURES = ('log_drop', 'log_snr', 'log_here', 'log_central', 'on_host',
            'log_size', 'log_axis_ratio', 'around', 'mirrored', 'colour',
            'first')
# values beyond these powers of ten tell nothing more
LOG_LIMITS = (-4.0, 6.0)
# beyond this power of ten, what is left over says that the noise is far below
# the errors of models, and nothing of the source
MAX_LOG_AROUND = 1.0
# range of radii in units of those of the host, as powers of ten
LOG_SIZES = (-1.5, 0.0)
# share of others in the light at the brightest pixel of a source that it is on
# its own with, as a power of ten
LOG_ALONE = -3.0
# scatter of the flux ratios between parts of one galaxy and between
# galaxies, and where their logarithmic odds are cut
SAME_SCATTER, OTHER_SCATTER = 0.1, 0.4
MAX_ODDS = 8.0
# half width of a ring around a galaxy, in units of its radius and at least
# in FWHM; its largest radius and its fewest pixels
RING_WIDTH, MIN_RING_FWHM = 0.25, 1.0
MAX_RING, MIN_RING_PIXELS = 64, 6
# pixels of sky around a group that its chi-square is summed over
SKY = 8


def _log(values):
    """Logarithm to the base of 10 within limits."""
    low, high = LOG_LIMITS
    values = np.maximum(np.nan_to_num(values, nan=0.0), 10.0 ** low)
    return np.clip(np.log10(values), low, high)


def _window(outer, inner):
    """Index of the overlap of two boxes in each of them, or None."""
    y = overlap(outer.iymin, outer.iymax, inner.iymin, inner.iymax)
    x = overlap(outer.ixmin, outer.ixmax, inner.ixmin, inner.ixmax)
    if y.stop <= y.start or x.stop <= x.start:
        return None

    def index(box):
        return np.s_[:, y.start - box.iymin:y.stop - box.iymin,
                     x.start - box.ixmin:x.stop - box.ixmin]
    return index(outer), index(inner)


def _frame(box):
    return np.s_[:, box.iymin:box.iymax, box.ixmin:box.ixmax]


def _weights(pixels, solution):
    """Inverse variance in the box of each source, (n_bands, ny, nx) each."""
    frames = [_frame(box) for box in solution.boxes]
    return [pixels.weight(solution.model_image[frame], *frame[1:])
            for frame in frames]


def _products(solution, weights, members):
    """Weighted products of the models of a group, (n_bands, n, n)."""
    n, n_bands = len(members), len(solution.model_image)
    out = np.zeros((n_bands, n, n))
    for a in range(n):
        box = solution.boxes[members[a]]
        weighted = solution.models[members[a]] * weights[members[a]]
        for b in range(a, n):
            windows = _window(box, solution.boxes[members[b]])
            if windows is None:
                continue
            one, two = windows
            out[:, a, b] = out[:, b, a] = np.einsum(
                'byx,byx->b', weighted[one], solution.models[members[b]][two])
    return out


def _drop_costs(solution, weights):
    """
    Chi-square that each source saves, the fluxes of the others adapted.

    Shapes and positions of the others stay as they are; only bands in
    which the source is bright count.
    """
    cost = np.zeros(len(solution.sources))
    for group in solution.groups:
        members = list(group.members)
        products = _products(solution, weights, members)
        scale = np.sqrt(np.maximum(
            np.diagonal(products, axis1=1, axis2=2), 1e-300))
        bright = solution.fit.flux[members].T > 0
        value = (bright * scale ** 2 / _freedom(products, scale)).sum(0)
        core = list(group.core)
        cost[core] = value[:len(core)]
    return cost


def _freedom(products, scale):
    """How much the others take over of each source, (n_bands, n)."""
    if scale.shape[1] == 1:
        return np.ones(scale.shape)
    unit = products / (scale[:, :, None] * scale[:, None, :])
    inverse = np.linalg.pinv(unit, rcond=1e-9, hermitian=True)
    return np.maximum(np.diagonal(inverse, axis1=1, axis2=2), 1.0)


def _central_share(solution, weights):
    """Share of each source in the light at its brightest pixel."""
    share = np.zeros(len(solution.sources))
    for k, (box, model) in enumerate(zip(solution.boxes, solution.models,
                                         strict=True)):
        root = np.sqrt(weights[k])
        stack = np.einsum('byx,byx->yx', root, model)
        top = np.unravel_index(np.argmax(stack), stack.shape)
        behind = (root[:, *top] * solution.model_image[
            :, box.iymin + top[0], box.ixmin + top[1]]).sum()
        share[k] = stack[top] / behind if behind > 0 else 0
    return np.clip(share, 0, 1)


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


def _axis_ratio(parameters):
    """Minor to major axis of the intrinsic ellipse."""
    return np.exp(-np.hypot(parameters[:, 3], parameters[:, 4]))


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


def _elliptical_distance(dx, dy, parameters):
    """Distance from a source along its ellipses, in circular pixels."""
    eta = np.hypot(parameters[3], parameters[4])
    angle = 0.5 * np.arctan2(parameters[4], parameters[3])
    cos, sin = np.cos(angle), np.sin(angle)
    return np.hypot((dx * cos + dy * sin) * np.exp(-eta / 2),
                    (dy * cos - dx * sin) * np.exp(eta / 2))


def _colour_odds(flux, error, host_flux):
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
    radius = _elliptical_distance(xx - parameters[0], yy - parameters[1],
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
    distance = _elliptical_distance(*(parameters[k, :2] - center[:2]),
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


def _surroundings(pixels, solution, host):
    """
    How each source compares with what is left over around its host.

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
    for k in np.flatnonzero(host >= 0):
        here[k], mirrored[k] = _mirrored(pixels, solution, k, host[k], line)
        around[k] = _around(pixels, solution, k, host[k], line)
    return here, around, mirrored


def _beside(pixels, solution, host):
    """Features that compare sources with their hosts, 0 without one."""
    fit = solution.fit
    log_size, colour = np.zeros((2, len(host)))
    rows = np.flatnonzero(host >= 0)
    log_radius = fit.parameters[:, 2] / np.log(10)
    log_size[rows] = np.clip(log_radius[rows] - log_radius[host[rows]],
                             *LOG_SIZES)
    colour[rows] = _colour_odds(fit.flux[rows], fit.flux_err[rows],
                                fit.flux[host[rows]])
    here, around, mirrored = _surroundings(pixels, solution, host)
    return {'log_size': log_size, 'colour': colour, 'log_here': _log(here),
            'mirrored': mirrored,
            'around': np.clip(_log(around), 0, MAX_LOG_AROUND)}


def measure_evidence(pixels, solution):
    """
    What speaks for each source, columns as in `FEATURES`.

    ``log_drop`` and ``log_snr``
        Chi-square that the source saves, and its signal to noise.
    ``log_here``
        Signal to noise of its peak on the model of its host, the galaxy that
        it may be a part of.
    ``log_central``
        Its share of the light at its brightest pixel.
    ``on_host``
        How much of the light there is that of others, from 1, all of it, to
        0, a thousandth, as a logarithm: knots lie on the light of their
        galaxy.
    ``log_size``
        Radius in units of that of the host, at most 1: knots are small.
        Times ``on_host``, as are ``around``, ``mirrored`` and ``colour``.
    ``log_axis_ratio``
        Of its intrinsic ellipse: pieces of arms and edges are long.
    ``around``
        Residuals in a ring around its host, the root of their logarithm:
        arms and knots come in numbers, a neighbour stands alone.
    ``mirrored``
        Likeness of what the host leaves over here and at the place
        opposite: bars, arms and wrong profiles have two equal sides.
    ``colour``
        Odds of having the colours of another galaxy than the host.
    ``first``
        Whether it is the brightest of its parent.
    """
    fit, parent = solution.fit, solution.sources.parent
    n = len(parent)
    if not n:
        return np.zeros((0, len(FEATURES)))
    weights = _weights(pixels, solution)
    error = np.maximum(fit.flux_err, 1e-300)
    snr = np.sqrt((np.maximum(fit.flux / error, 0) ** 2).sum(1))
    host = find_hosts(pixels, solution)
    share = _central_share(solution, weights)
    others = np.maximum(1 - share, 10.0 ** LOG_ALONE)
    columns = {
        **_beside(pixels, solution, host),
        'log_drop': _log(_drop_costs(solution, weights)),
        'log_snr': _log(snr), 'log_central': _log(share),
        'on_host': 1 - np.log10(others) / LOG_ALONE,
        'log_axis_ratio': _log(_axis_ratio(fit.parameters)),
        'first': (host < 0) * 1.0}
    for name in ('log_size', 'around', 'mirrored', 'colour'):
        columns[name] = columns[name] * columns['on_host']
    columns['around'] = np.sqrt(columns['around'])
    return np.column_stack([columns[name] for name in FEATURES])


def chi2_gain(pixels, before, after, n_old):
    """
    What sources that were added gain in chi-square, (n_new,).

    The first ``n_old`` sources of ``after`` were in ``before``. The gain of
    each pixel of a piece goes to the nearest new source.
    """
    data = pixels.data
    xy = after.fit.parameters[:, :2]
    gain = np.zeros(len(xy) - n_old)
    for group in after.groups:
        new = np.array([i for i in group.core if i >= n_old], int)
        if not len(new):
            continue
        x0, x1, y0, y1 = np.rint(group.span).astype(int)
        rows = overlap(y0 - SKY, y1 + SKY, 0, data.shape[1])
        columns = overlap(x0 - SKY, x1 + SKY, 0, data.shape[2])
        box = (slice(None), rows, columns)
        weight = pixels.weight(after.model_image[box], rows, columns)
        square = [weight * (data[box] - s.model_image[box]) ** 2
                  for s in (before, after)]
        saved = (square[0] - square[1]).sum(0)
        y, x = np.ogrid[rows, columns]
        distance = [(x - xy[i, 0]) ** 2 + (y - xy[i, 1]) ** 2 for i in new]
        nearest = np.argmin(distance, axis=0)
        gain[new - n_old] = np.bincount(nearest.ravel(), saved.ravel(),
                                        len(new))
    return gain
