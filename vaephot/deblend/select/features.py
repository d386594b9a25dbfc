# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
What speaks for each fitted source being one of its own, and a point.

`measure_features` turns a scene into a few numbers per source that depend on
no unit, pixel scale or number of bands. The classifier in the weights makes
probabilities of them.
"""

import numpy as np

from vaephot.deblend.select.point_test import point_cost
from vaephot.deblend.select.surroundings import (
    colour_odds,
    elliptical_distance,
    find_hosts,
    surroundings,
)
from vaephot.utils.boxes import overlap

__all__ = ['FEATURES', 'compare', 'core_state', 'measure_features']

# columns of `measure_features`, all of order one
FEATURES = (
    'log_drop', 'log_snr', 'log_second', 'log_here', 'log_central', 'on_host',
    'log_size', 'log_width', 'log_axis_ratio', 'log_distance', 'around',
    'mirrored', 'colour', 'gain', 'compared', 'starlight', 'point',
    'point_share', 'log_left', 'edge', 'first')
# values beyond these powers of ten tell nothing more
LOG_LIMITS = (-4.0, 6.0)
# light of others at the brightest pixel of a source that is on its own, and
# the light of a star that does not matter, as powers of ten
LOG_ALONE, LOG_DARK = -3.0, -1.0
# wings of PSFs fall as the third power (Moffat 1969, beta = 1.5): a star of
# flux F in noise sigma reaches as far as FWHM (F / (sigma FWHM))^(1/3) times
# this
STAR_REACH = 2.0


def _log(values, low=LOG_LIMITS[0], high=LOG_LIMITS[1]):
    """Logarithm to the base of 10 within limits."""
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


def _weights(pixels, solution, rows):
    """Inverse variance (n_bands, h, w) in the boxes of some, by row."""
    frames = {int(k): _frame(solution.boxes[k]) for k in rows}
    return {k: pixels.weight(solution.model_image[frame], *frame[1:])
            for k, frame in frames.items()}


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


def _drop_costs(solution, weights, groups):
    """
    Chi-square that sources of groups save, the fluxes of others adapted.

    Shapes and positions of the others stay as they are; only bands in
    which the source is bright count.
    """
    cost = np.zeros(len(solution.sources))
    for group in groups:
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


def _central_share(solution, weights, rows):
    """Share of some sources in the light at their brightest pixels, (m,)."""
    share = np.zeros(len(rows))
    for i, k in enumerate(rows):
        box, model = solution.boxes[k], solution.models[k]
        root = np.sqrt(weights[k])
        stack = np.einsum('byx,byx->yx', root, model)
        top = np.unravel_index(np.argmax(stack), stack.shape)
        behind = (root[:, *top] * solution.model_image[
            :, box.iymin + top[0], box.ixmin + top[1]]).sum()
        share[i] = stack[top] / behind if behind > 0 else 0
    return np.clip(share, 0, 1)


def _axis_ratio(parameters):
    """Minor to major axis of the intrinsic ellipse."""
    return np.exp(-np.hypot(parameters[:, 3], parameters[:, 4]))


def _beside(pixels, solution, host, rows):
    """Features that compare some sources with their hosts, 0 without one."""
    fit, some = solution.fit, rows
    log_size, log_distance, colour = np.zeros((3, len(host)))
    rows = rows[host[rows] >= 0]
    log_radius = fit.parameters[:, 2] / np.log(10)
    log_size[rows] = np.clip(log_radius[rows] - log_radius[host[rows]],
                             -1.5, 1.0)
    apart = [elliptical_distance(*(fit.parameters[k, :2]
                                   - fit.parameters[host[k], :2]),
                                 fit.parameters[host[k]]) for k in rows]
    log_distance[rows] = np.clip(
        _log(np.array(apart)) - log_radius[host[rows]], -1.0, 1.5)
    colour[rows] = np.nan_to_num(colour_odds(
        fit.flux[rows], fit.flux_err[rows], fit.flux[host[rows]]))
    here, around, mirrored = surroundings(pixels, solution, host, rows)
    columns = {'log_size': log_size, 'log_distance': log_distance,
               'colour': colour, 'log_here': _log(here),
               'mirrored': mirrored,
               'around': np.sqrt(np.clip(_log(around), 0, None))}
    return {name: column[some] for name, column in columns.items()}


def _snr(fit, rows):
    """Signal to noise of some sources in the bands, (m, n_bands)."""
    error = np.maximum(fit.flux_err[rows], 1e-300)
    return np.maximum(fit.flux[rows] / error, 0)


def _signal(fit, rows):
    """Logarithms of the S/N of all bands and of the second best, two (m,)."""
    snr = _snr(fit, rows)
    ordered = np.sort(snr, 1)
    second = ordered[:, -min(2, snr.shape[1])]
    return {'log_snr': _log(np.sqrt((snr ** 2).sum(1)), -1),
            'log_second': _log(second, -1)}


def _starlight(pixels, solution):
    """Reach of the light of stars over the distance from them, (n,)."""
    fit, stars = solution.fit, np.flatnonzero(solution.is_point)
    out = np.full(len(solution), LOG_DARK)
    if not len(stars):
        return out
    xy = fit.parameters[:, :2]
    noise = pixels.sky_rms(xy[stars])
    bright = np.maximum(fit.flux[stars] / noise, 0) / pixels.fwhm
    reach = (STAR_REACH * np.cbrt(bright) * pixels.fwhm).max(1)
    apart = np.hypot(*(xy[:, None] - xy[stars]).transpose(2, 0, 1))
    value = _log(reach / np.maximum(apart, 1e-3), LOG_DARK, 1.0)
    # a star is not in its own light
    value[stars, np.arange(len(stars))] = LOG_DARK
    return value.max(1)


def core_state(pixels, solution, rows):
    """Misfit and share of bad pixels within a FWHM of some, two (m,)."""
    left, bad = np.zeros((2, len(rows)))
    reach = max(float(pixels.fwhm.min()), 1.0)
    ny, nx = pixels.data.shape[1:]
    for k, (x, y) in enumerate(solution.fit.parameters[rows, :2]):
        rows = overlap(int(y - reach), int(y + reach) + 2, 0, ny)
        columns = overlap(int(x - reach), int(x + reach) + 2, 0, nx)
        box = (slice(None), rows, columns)
        yy, xx = np.ogrid[rows, columns]
        inside = (xx - x) ** 2 + (yy - y) ** 2 <= reach ** 2
        model = solution.model_image[box]
        weight = pixels.weight(model, rows, columns) * inside
        square = (weight * (pixels.data[box] - model) ** 2).sum((1, 2))
        good = np.count_nonzero(weight, (1, 2))
        left[k] = np.sqrt((square / np.maximum(good, 1)).max(initial=0))
        bad[k] = 1 - good.sum() / (len(good) * np.pi * reach ** 2)
    return {'log_left': _log(left, -1, 2), 'edge': np.clip(bad, 0, 1)}


def _against_point(engine, solution, fit, rows):
    """What a point in the place of some sources would lose, two (m,)."""
    cost = np.maximum(point_cost(engine, solution, rows), 0.1)
    power = np.maximum((_snr(fit, rows) ** 2).sum(1), 1e-2)
    return {'point': _log(cost, -1, 4), 'point_share': _log(cost / power,
                                                            -6, 0)}


def compare(features, rows, gain):
    """Features (n, f) with what some rows gain over their hosts, (m,)."""
    out = features.copy()
    out[rows, FEATURES.index('gain')] = (
        np.sign(gain) * np.log10(1 + np.abs(gain)))
    out[rows, FEATURES.index('compared')] = 1.0
    return out


def measure_features(engine, scene, rows=None):
    """
    What speaks for each source, (n, n_features), columns as in `FEATURES`.

    Or for some sources only, ``rows`` (m,).

    ``log_drop``
        Chi-square that the source saves.
    ``log_snr``, ``log_second``
        Signal to noise of all bands together, and in the second best one.
    ``log_here``
        Signal to noise of its peak on the model of its host, the galaxy that
        it may be a part of.
    ``log_central``
        Its share of the light at its brightest pixel.
    ``on_host``
        How much of the light there is that of others, from 1, all of it, to
        0, a thousandth, as a logarithm: knots lie on the light of their
        galaxy.
    ``log_size``, ``log_distance``
        Radius and distance in units of the radius of the host: knots are
        small, and inside.
    ``log_width``, ``log_axis_ratio``
        Radius in units of the PSF's: residual background is large; of the
        intrinsic ellipse: pieces of arms and spikes are long.
    ``around``
        Residuals in a ring around its host, the root of their logarithm:
        arms and knots come in numbers, a neighbour stands alone.
    ``mirrored``
        Likeness of what the host leaves over here and at the place
        opposite: bars, arms and wrong profiles have two equal sides.
    ``colour``
        Odds of having the colours of another galaxy than the host.
    ``gain``, ``compared``
        Chi-square gained over a host alone with free asymmetry, and whether
        that was measured (`compare` fills them in).
    ``starlight``
        Reach of the nearest bright star over the distance from it: spikes
        and ghosts.
    ``point``, ``point_share``
        Chi-square that a point in its place would lose, and that over its
        squared signal to noise: PSFs are never right to better than a
        per cent or so.
    ``log_left``
        Misfit of its core, of the worst band: a hot pixel is no source.
    ``edge``
        Share of its core that is bad or outside of the image.
    ``first``
        Whether it is the brightest of its parent.
    """
    pixels, solution = engine.pixels, scene.in_bands(engine.image_bands)
    fit = solution.fit
    rows = np.arange(len(solution)) if rows is None else rows
    if not len(rows):
        return np.zeros((0, len(FEATURES)))
    groups = [group for group in solution.groups
              if np.isin(group.core, rows).any()]
    weights = _weights(pixels, solution, {
        k for group in groups for k in group.members})
    host = find_hosts(pixels, solution)
    share = _central_share(solution, weights, rows)
    others = np.maximum(1 - share, 10.0 ** LOG_ALONE)
    columns = {
        **_beside(pixels, solution, host, rows),
        **_signal(scene.fit, rows), **core_state(pixels, solution, rows),
        'log_drop': _log(_drop_costs(solution, weights, groups)[rows], -1),
        'log_central': _log(share, -2),
        'on_host': 1 - np.log10(others) / LOG_ALONE,
        'log_width': np.clip((fit.parameters[rows, 2] - np.log(
            pixels.fwhm.min() / 2)) / np.log(10), -2, 2),
        'log_axis_ratio': _log(_axis_ratio(fit.parameters[rows]), -1.5),
        'starlight': _starlight(pixels, solution)[rows],
        **_against_point(engine, solution, scene.fit, rows),
        'gain': np.zeros(len(rows)), 'compared': np.zeros(len(rows)),
        'first': (host[rows] < 0) * 1.0}
    return np.column_stack([columns[name] for name in FEATURES])
