# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Compare a galaxy and a source in it with the galaxy alone, asymmetric.

A lopsided galaxy, or one with a bar or arms, leaves light over from a
concentric model, where a second source fits. Where its host alone, with
free asymmetry, describes the same pixels as well, there is no need for it.
"""

from dataclasses import dataclass

import numpy as np

from vaephot.deblend.fit.asymmetry import radii_within
from vaephot.deblend.fit.groups import Group
from vaephot.deblend.select.surroundings import find_hosts
from vaephot.utils.boxes import overlap
from vaephot.utils.rows import Rows

__all__ = ['HostPairs', 'find_pairs', 'host_gains']

# half-light radii of a host within which a source may be a part of it
REACH = 3.0
# signal-to-noise ratio of a host as a point source, in some band, from which
# on asymmetry can be seen
LEAST_SNR = 20.0
# half of the side of windows, in half-light radii of the host
HALF_SIDE = 4.0


@dataclass(frozen=True, kw_only=True)
class HostPairs(Rows):
    """Sources ``rows`` (m,), and ``hosts`` (m,) they may be parts of."""

    rows: np.ndarray
    hosts: np.ndarray


def find_pairs(engine, scene):
    """
    Sources that may be parts of others, as `HostPairs`.

    Galaxies in a brighter galaxy of the same parent that is bright enough
    for its asymmetry to be seen.
    """
    host, fit = find_hosts(engine.pixels, scene.in_bands(
        engine.image_bands)), scene.fit
    rows = np.flatnonzero((host >= 0) & ~scene.is_point
                          & bool(engine.config.n_structure))
    bright = fit.snr[host[rows]].max(1) > LEAST_SNR
    rows = rows[bright & ~scene.is_point[host[rows]]]
    distance = radii_within(fit.parameters[host[rows]],
                            fit.parameters[rows, None, :2])[:, 0]
    rows = rows[distance < REACH]
    return HostPairs(rows=rows, hosts=host[rows])


def _window(scene, row, host):
    """Group of a host alone, on the pixels that it is compared on."""
    x, y, log_radius = scene.fit.parameters[host, :3]
    apart = np.hypot(*(scene.fit.parameters[row, :2] - (x, y)))
    half = float(max(HALF_SIDE * np.exp(log_radius), 2 * apart))
    return Group(core=(int(host),), halo=(),
                 span=(x - half, x + half + 1, y - half, y + half + 1))


def _rounds(pairs):
    """Pairs of rows, each host only once in a round."""
    left = list(zip(pairs.rows.tolist(), pairs.hosts.tolist(), strict=True))
    while left:
        chosen = {host: row for row, host in reversed(left)}
        yield [(row, host) for host, row in chosen.items()]
        left = [(row, host) for row, host in left if chosen[host] != row]


def _prior_cost(fit, parameters, rows):
    """Squared distance of sources from their prior, in its units."""
    apart = parameters[rows] - fit.prior_mean[rows]
    free = fit.prior_precision[rows] < 1e6
    return float((free * fit.prior_precision[rows] * apart ** 2).sum())


def _saved(engine, scene, group, row, drawn):
    """Chi-square of a host without a source, less that of both."""
    pixels, host = engine.pixels, group.core[0]
    x0, x1, y0, y1 = np.rint(group.span).astype(int)
    rows = overlap(y0, y1, 0, pixels.data.shape[1])
    columns = overlap(x0, x1, 0, pixels.data.shape[2])
    box = (slice(None), rows, columns)
    shape = rows.stop - rows.start, columns.stop - columns.start
    before = scene.model_image[box]
    after = np.stack([
        scene.drawn[0].others(band, (host, row), columns.start, rows.start,
                              shape) for band in range(len(pixels.data))])
    for band, image in enumerate(after):
        image += drawn.image[band, rows, columns]
    weight = pixels.weight(before, rows, columns)
    data = pixels.data[box]
    return float((weight * ((data - after) ** 2 - (data - before) ** 2)).sum())


def host_gains(engine, scene, pairs):
    """
    What sources gain over asymmetry of their hosts, (m,).

    Each host is fitted again with asymmetry, without the source in
    question, all others as they are: chi-square and squared distance from
    the prior of the host, less those of the host and the source. Negative
    where there is no need for the source.
    """
    gains = {}
    for some in _rounds(pairs):
        groups = [_window(scene, row, host) for row, host in some]
        fit = engine.fit_alone(scene, groups,
                               {host: row for row, host in some})
        for (row, host), group in zip(some, groups, strict=True):
            drawn = engine.draw(fit, [host])[0]
            gains[row] = _saved(engine, scene, group, row, drawn) + (
                _prior_cost(fit, fit.parameters, [host])
                - _prior_cost(scene.fit, scene.fit.parameters, [host, row]))
    return np.array([gains[row] for row in pairs.rows.tolist()])
