# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Compare two galaxies with one that has structure.

A lopsided galaxy, or one with a bar or arms, leaves light over from a
concentric model, where a second source fits. Where its host alone, with
structure, describes the same pixels as well, there is no need for it.
"""

from dataclasses import dataclass

import numpy as np
import torch

from vaephot.deblend.groups import STAMP_SIZES, Piece
from vaephot.deblend.images import light_of_others
from vaephot.deblend.select.features import find_hosts
from vaephot.deblend.waves import radii_within
from vaephot.models.encoder import Gaussian
from vaephot.utils.boxes import cut_window
from vaephot.utils.rows import Rows

__all__ = ['Rivalry', 'rivalry', 'structure_gains']

# half-light radii of a host within which a source may be its structure
REACH = 3.0
# signal-to-noise ratio of a host as a point source, in some band, from which
# on structure can be seen
LEAST_SNR = 20.0
# half of the side of stamps, in half-light radii of the host
HALF_SIDE = 4.0


@dataclass(frozen=True, kw_only=True)
class Rivalry(Rows):
    """
    Sources that may be structure of others.

    Parameters
    ----------
    rows : `numpy.ndarray` of int, (m,)
        The sources.
    hosts : `numpy.ndarray` of int, (m,)
        What each may be a part of.
    """

    rows: np.ndarray
    hosts: np.ndarray


def rivalry(fitter, solution):
    """
    Find the sources that may be structure of others.

    Parameters
    ----------
    fitter : `~vaephot.deblend.scene.SceneFitter`
        Noise and networks.
    solution : `~vaephot.deblend.pipeline.Solution`
        Concentric sources.

    Returns
    -------
    Rivalry
        Galaxies in a brighter galaxy of the same parent that is bright
        enough for structure; none where no shapes are fitted.
    """
    host, fit = find_hosts(fitter, solution), solution.fit
    fitted = fitter.settings.max_steps and fitter.vae.config.n_structure
    rows = np.flatnonzero((host >= 0) & ~solution.is_point & bool(fitted))
    bright = (fit.snr[host[rows]].max(1) > LEAST_SNR)
    rows = rows[bright & ~solution.is_point[host[rows]]]
    distance = radii_within(fit.parameters[host[rows]],
                            fit.parameters[rows, None, :2])[:, 0]
    rows = rows[distance < REACH]
    return Rivalry(rows=rows, hosts=host[rows])


def _stamp(solution, row, host):
    """Stamp of a host that is fitted without one of its sources."""
    x, y, log_radius = solution.fit.parameters[host, :3]
    apart = np.hypot(*(solution.fit.parameters[row, :2] - (x, y)))
    half = max(HALF_SIDE * np.exp(log_radius), 2 * apart)
    size = next((s for s in STAMP_SIZES if s >= 2 * half), STAMP_SIZES[-1])
    ix, iy = (int(np.rint(v)) - size // 2 for v in (x, y))
    return Piece(core=(int(host),), halo=(), ix=ix, iy=iy, size=size,
                 cropped=False)


def _rounds(pairs):
    """Pairs of rows, each host only once in a round."""
    left = list(zip(pairs.rows.tolist(), pairs.hosts.tolist(), strict=True))
    while left:
        chosen = {host: row for row, host in reversed(left)}
        yield [(row, host) for host, row in chosen.items()]
        left = [(row, host) for row, host in left if chosen[host] != row]


def _cost(prior, parameters, rows):
    """Squared distance of sources from their prior, in its units."""
    mean, precision = (column[rows].numpy() for column in prior)
    return float((precision * (parameters[rows] - mean) ** 2).sum())


def _refitted(fitter, solution, some, pieces):
    """Models of hosts, each without a source of its, and their fit."""
    row_of = {host: row for row, host in some}

    def rest(members, ix, iy, side, layer=0):
        """Light of all but a host and the source in question."""
        host = members[0]
        return light_of_others(solution.drawn, (host, row_of[host]), ix, iy,
                               side)
    fit, hosts = solution.fit, list(row_of)
    free = np.zeros(len(fit.snr), bool)
    free[hosts] = True
    start = Gaussian(torch.as_tensor(fit.parameters.copy()),
                     solution.prior.precision)
    found = fitter.fit(solution.sources, pieces, start, solution.prior,
                       fit.snr, foreign=rest, structured=free)
    drawn = fitter.draw(found.band_parameters[hosts], found.flux[hosts])
    images = []
    for piece, box, model in zip(pieces, drawn['boxes'], drawn['models'],
                                 strict=True):
        image = rest(piece.core, piece.ix, piece.iy, piece.size)
        images.append(image + cut_window(
            model, piece.iy - box.iymin, piece.ix - box.ixmin, piece.size,
            0.0))
    return found.parameters, images


def structure_gains(fitter, solution, pairs):
    """
    What sources gain over structure of their hosts.

    Each host is fitted again with structure, without the source in
    question, all others as they are.

    Parameters
    ----------
    fitter : `~vaephot.deblend.scene.SceneFitter`
        Data, noise and networks.
    solution : `~vaephot.deblend.pipeline.Solution`
        Concentric sources.
    pairs : Rivalry
        Some sources and their hosts.

    Returns
    -------
    `numpy.ndarray`, (m,)
        Chi-square and squared distance from the prior of the host with
        structure, less those of the host and the source: negative where
        there is no need for the source.
    """
    if not len(pairs.rows):
        return np.zeros(0)
    gains, before = {}, solution.fit.parameters
    weight = fitter.weight(solution.model_image)
    for some in _rounds(pairs):
        pieces = [_stamp(solution, row, host) for row, host in some]
        after, images = _refitted(fitter, solution, some, pieces)
        for (row, host), piece, image in zip(some, pieces, images,
                                             strict=True):
            window = piece.iy, piece.ix, piece.size, 0.0
            data, former, inverse = (
                cut_window(frame, *window) for frame in (
                    fitter.observation.data, solution.model_image, weight))
            gains[row] = float((inverse * (
                (data - image) ** 2 - (data - former) ** 2)).sum()) + (
                _cost(solution.prior, after, [host])
                - _cost(solution.prior, before, [host, row]))
    return np.array([gains[row] for row in pairs.rows.tolist()])
