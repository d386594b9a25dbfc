# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""From positions to fitted sources and their images."""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from photutils.aperture import BoundingBox

from vaephot.deblend.encode.looks import (
    N_LOOKS,
    common_window,
    first_looks,
    look_again,
    reference_fitter,
)
from vaephot.deblend.groups import Piece
from vaephot.deblend.images import (
    DRAWN,
    light_of_others,
    merge_drawn,
    redraw,
)
from vaephot.deblend.scene_fit import SceneFit
from vaephot.models.encoder import Gaussian
from vaephot.utils.labels import (
    brightest_of_parent,
    segment_radii,
    sum_by_label,
)

__all__ = ['Solution', 'accepted', 'image_without', 'reference_view',
           'settle', 'solve', 'solve_again', 'take_back']

# light of other pieces, in units of the noise, that asks for another round
FOREIGN_SIGMA = 0.1
MAX_ROUNDS = 3
# detections below this signal-to-noise ratio are no sources of their own
MIN_SNR = 4.0


@dataclass(frozen=True, kw_only=True)
class Solution:
    """
    Fitted sources with their images.

    Parameters
    ----------
    sources : `~vaephot.deblend.groups.SourceList`
        Where they were found.
    is_point : `numpy.ndarray` of bool, (n,)
        Which were fitted as point sources.
    fit : `~vaephot.deblend.scene_fit.SceneFit`
        What was found.
    prior : `~vaephot.models.encoder.Gaussian`
        Prior of all sources, positions in the image.
    pieces : list of `~vaephot.deblend.groups.Piece`
        What was fitted together.
    boxes, models, truncated
        As `~vaephot.deblend.images.draw_sources` returns them.
    model_image : `numpy.ndarray`, (n_bands, ny, nx)
        Sum of all models.
    rejected : tuple of int
        Parents that lost a candidate.
    layers : tuple of dict
        The same models on the pixel grids of other bands.
    p_source : `numpy.ndarray` or None, (n,)
        Probability of each to be a source of its own, once decided.
    foreign : callable or None
        Light between the pieces that all of them were fitted with, if
        they were fitted at once.
    owners : dict
        Parents whose pixels were given to their sources before these were
        measured, as `~vaephot.deblend.outputs.owners.find_owners` returns
        them.
    """

    sources: object
    is_point: np.ndarray
    fit: SceneFit
    prior: Gaussian
    pieces: list
    boxes: list
    models: list
    truncated: np.ndarray
    model_image: np.ndarray
    rejected: tuple = ()
    layers: tuple = ()
    p_source: np.ndarray | None = None
    foreign: object = None
    owners: dict = field(default_factory=dict)

    @property
    def drawn(self):
        """What drawing the fit returned."""
        return {name: getattr(self, name) for name in (*DRAWN, 'layers')}


class _ForeignLight:
    """Light that sources of other pieces throw on the stamp of a piece."""

    def __init__(self, fitter, drawn):
        self.fitter = fitter
        self.layers = (drawn, *drawn.get('layers', ()))

    def __call__(self, members, ix, iy, side, layer=0):
        """Light of all but some sources, (n_bands, side, side)."""
        return light_of_others(self.layers[layer], members, ix, iy, side)

    def differs(self, piece, former):
        """Whether it differs from what the fit saw, `None` for none."""
        xy = np.array([[piece.ix + piece.size / 2,
                        piece.iy + piece.size / 2]])
        noise = self.fitter.sky_rms(xy)[0, self.fitter.image_bands]
        stamp = piece.members, piece.ix, piece.iy, piece.size
        light = self(*stamp)
        if former is not None:
            light = light - former(*stamp)
        return bool((np.abs(light).max((1, 2))
                     > FOREIGN_SIGMA * noise).any())


def _foreign_light(fitter, pieces, parameters, flux):
    """Light between pieces, where a fit is to take it into account."""
    if not fitter.settings.max_steps or len(pieces) < 2:
        return None
    return _ForeignLight(fitter, fitter.draw(parameters, flux()))


def _chi2(fitter, weight, model_image, piece):
    """Chi-square of a model on the stamp of a piece."""
    data = fitter.observation.data
    _, frame = common_window(piece, BoundingBox(0, data.shape[2], 0,
                                                data.shape[1]))
    residual = data[frame] - model_image[frame]
    return float((weight[frame] * residual ** 2).sum())


def _better_half(fitter, old, new, pieces):
    """
    Keep the pieces of a round that describe their stamps better.

    Pieces are fitted side by side, each against the other's former light;
    where that does not settle, the former fit stays.
    """
    (fit, drawn), (other, redrawn) = old, new
    weight = fitter.weight(drawn['model_image'])
    won = [piece for piece in pieces if
           _chi2(fitter, weight, redrawn['model_image'], piece)
           <= _chi2(fitter, weight, drawn['model_image'], piece)]
    if len(won) < len(pieces):
        other = fit.merge(other, [i for piece in won for i in piece.core])
        redrawn = redraw(fitter, other, fit, drawn)
    ny, nx = drawn['model_image'].shape[1:]
    everywhere = Piece(core=(), halo=(), ix=0, iy=0, size=max(ny, nx),
                       cropped=False)
    before, after = (_chi2(fitter, weight, d['model_image'], everywhere)
                     for d in (drawn, redrawn))
    return (other, redrawn) if after <= before else (fit, drawn)


def _rounds(fitter, solution):
    """Refit what other pieces shine on until it settles."""
    sources, pieces = solution.sources, solution.pieces
    fit, prior = solution.fit, solution.prior
    drawn = solution.drawn
    seen = dict.fromkeys(pieces, solution.foreign)
    for _ in range(MAX_ROUNDS - 1):
        foreign = _ForeignLight(fitter, drawn)
        again = [piece for piece in pieces
                 if foreign.differs(piece, seen[piece])]
        if not again:
            break
        seen.update(dict.fromkeys(again, foreign))
        start = Gaussian(torch.as_tensor(fit.parameters), prior.precision)
        new = fitter.fit(sources, again, start, prior, fit.snr,
                         foreign=foreign)
        rows = sorted(i for piece in again for i in piece.core)
        new = fit.merge(new, rows)
        moved = np.abs(new.flux - fit.flux)[rows]
        fit, drawn = _better_half(
            fitter, (fit, drawn),
            (new, redraw(fitter, new, fit, drawn)), again)
        if (moved < 0.05 * fit.flux_err[rows]).all():
            break
    return fit, drawn


def solve(fitter, segm, sources, is_point, *, progress=None,
          settled=True):
    """
    Fit sources from scratch.

    Parameters
    ----------
    fitter : `~vaephot.deblend.scene.SceneFitter`
        Observation, networks and settings.
    segm : `~photutils.segmentation.SegmentationImage`
        Parents.
    sources : `~vaephot.deblend.groups.SourceList`
        Positions.
    is_point : `numpy.ndarray` of bool, (n,)
        Sources that are to be fitted as point sources.
    progress : callable, optional
        Called with the number of sources just measured.
    settled : bool, optional
        Whether pieces that shine on each other are fitted again until
        that settles.

    Returns
    -------
    Solution
    """
    pieces = fitter.divide(sources, segm)
    start, prior, snr = first_looks(fitter, sources, pieces, is_point)
    if fitter.settings.quick:
        fit, drawn = fitter.measure(pieces, start, snr)
        if progress is not None:
            progress(len(sources))
        return Solution(sources=sources, is_point=is_point, fit=fit,
                        prior=prior, pieces=pieces, **drawn)
    foreign = _foreign_light(
        fitter, pieces, start.mean.numpy(),
        lambda: fitter.linear_flux(pieces, start, snr))
    fit = fitter.fit(sources, pieces, start, prior, snr, foreign=foreign,
                     progress=progress)
    solution = Solution(
        sources=sources, is_point=is_point, fit=fit, prior=prior,
        pieces=pieces, foreign=foreign,
        **fitter.draw(fit.band_parameters, fit.flux))
    return settle(fitter, solution) if settled else solution


def settle(fitter, solution):
    """
    Fit again what other pieces shine on, until it settles.

    Parameters
    ----------
    fitter : `~vaephot.deblend.scene.SceneFitter`
        Observation, networks and settings.
    solution : Solution
        Pieces fitted once.

    Returns
    -------
    Solution
    """
    if not fitter.settings.max_steps or len(solution.pieces) < 2:
        return solution
    fit, drawn = _rounds(fitter, solution)
    return replace(solution, fit=fit, foreign=None, **drawn)


def reference_view(fitter, solution):
    """
    A solution in the bands on the pixel grid of the parents.

    Parameters
    ----------
    fitter : `~vaephot.deblend.scene.SceneFitter`
        Of bands on one grid or several.
    solution : Solution
        What it fitted.

    Returns
    -------
    fitter, solution
        Those of the reference grid alone.
    """
    first = reference_fitter(fitter)
    if first is fitter:
        return fitter, solution
    rows, fit = fitter.image_bands, solution.fit
    fit = replace(fit, flux=fit.flux[:, rows], flux_err=fit.flux_err[:, rows])
    return first, replace(solution, fit=fit)


def accepted(solution, contrast, noise, *, min_snr=MIN_SNR):
    """
    Which sources stand on their own.

    Parameters
    ----------
    solution : Solution
        Fitted candidates.
    contrast : float
        Least share of its parent's flux, point sources left out, in the
        signal-to-noise weighted sum of the bands.
    noise : `numpy.ndarray`, (n, n_bands)
        Noise of a pixel of the sky at each.
    min_snr : float, optional
        Least signal-to-noise ratio of all bands together.

    Returns
    -------
    `numpy.ndarray` of bool, (n,)
        The brightest of each parent is always accepted.
    """
    fit, parent = solution.fit, solution.sources.parent
    bright = (fit.flux / noise).sum(1)
    positive = np.maximum(bright, 0)
    # a bright star would leave its parent's galaxies no share at all
    counted = np.where(solution.is_point, 0, positive)
    share = positive / np.maximum(sum_by_label(parent, counted), 1e-300)
    error = np.maximum(fit.flux_err, 1e-300)
    snr = np.sqrt((np.maximum(fit.flux / error, 0) ** 2).sum(1))
    keep = (share >= contrast) & (snr >= min_snr)
    return keep | brightest_of_parent(bright, parent)


def _touched(solution, keep):
    """Places where a source that goes had light."""
    shape = solution.model_image.shape[1:]
    touched = np.zeros(shape, bool)
    for k in np.flatnonzero(~keep):
        box = solution.boxes[k]
        touched[box.iymin:box.iymax, box.ixmin:box.ixmax] = True
    return touched


def _changed(fitter, solution, keep, pieces):
    """
    Pieces that have other members now.

    Where shapes are fitted, also those that lose foreign light.
    """
    number = np.cumsum(keep) - 1
    before = {(tuple(number[list(p.members)]), p.ix, p.iy, p.size)
              for p in solution.pieces if keep[list(p.members)].all()}
    touched = _touched(solution, keep | (not fitter.settings.max_steps))

    def same(piece):
        window = touched[max(piece.iy, 0):piece.iy + piece.size,
                         max(piece.ix, 0):piece.ix + piece.size]
        return ((piece.members, piece.ix, piece.iy, piece.size) in before
                and not window.any())
    return [piece for piece in pieces if not same(piece)]


def _join(sources, added, segm):
    """Sources and new ones, with the shares of their segments renewed."""
    if added is None or not len(added):
        return sources
    joined = sources.join(added)
    touched = np.isin(joined.parent, added.parent)
    radius = segment_radii(joined.parent, segm)
    return replace(joined, radius=np.where(touched, radius, joined.radius))


def _extended(fit, n_new):
    """Arrays of a fit with empty rows for new sources."""
    return fit.join(fit.blank(n_new))


def image_without(solution, rows):
    """
    Model image without some of the sources.

    Parameters
    ----------
    solution : Solution
        Sources with their models.
    rows : sequence of int
        Those that are left out.

    Returns
    -------
    `numpy.ndarray`, (n_bands, ny, nx)
    """
    image = solution.model_image.copy()
    for k in rows:
        box = solution.boxes[k]
        image[:, box.iymin:box.iymax, box.ixmin:box.ixmax] -= (
            solution.models[k])
    return image


def _looked_at(fitter, pieces, n_old):
    """Pieces whose sources the encoder has to see again."""
    settings = fitter.settings
    if not settings.max_steps and not settings.quick:
        return pieces
    return [piece for piece in pieces if max(piece.members) >= n_old]


def _renewed_start(fitter, solution, keep, sources, pieces, fit, prior,
                   is_point):
    """
    Start and prior where sources were added.

    The encoder looks again at all sources of the pieces with new ones: a
    galaxy that was two is not half of what was fitted to both. Where no
    fit follows, it also looks at those that lost a neighbour.
    """
    n_old = len(prior.mean)
    defaults = fitter.default_shapes(sources)
    mean = torch.cat([torch.as_tensor(fit.parameters[:n_old]),
                      defaults.mean[n_old:]])
    precision = torch.cat([prior.precision, defaults.precision[n_old:]])
    start = Gaussian(mean, precision)
    prior = Gaussian(torch.cat([prior.mean, defaults.mean[n_old:]]),
                     precision.clone())
    again = _looked_at(fitter, pieces, n_old)
    rows = np.unique([i for p in again for i in p.core]).astype(int)
    snr = fit.snr.copy()
    if not len(rows):
        return start, prior, snr
    old = np.flatnonzero(keep)
    others = image_without(solution, np.concatenate(
        [np.flatnonzero(~keep), old[rows[rows < n_old]]]))
    rest = fitter.observation.data - others
    subset, points = sources.take(rows), is_point[rows]
    for _ in range(N_LOOKS):
        shapes, looked, snr[rows], _ = look_again(
            fitter, subset, again, points, start, snr, rest, rows=rows)
        for column, value in zip((*start, *prior), (*shapes, *looked),
                                 strict=True):
            column[rows] = value
    return start, prior, snr


def solve_again(fitter, segm, solution, keep, *, added=None, progress=None,
                settled=True):
    """
    Fit again without some of the sources, or with more of them.

    Parameters
    ----------
    fitter, segm, progress, settled
        As for `solve`.
    solution : Solution
        What was fitted before.
    keep : `numpy.ndarray` of bool, (n,)
        Sources that stay.
    added : `~vaephot.deblend.groups.SourceList` or None, optional
        Sources that are new; they follow the others.

    Returns
    -------
    Solution
        Groups that lost or got nobody are taken over as they are.
    """
    n_new = 0 if added is None else len(added)
    sources = _join(solution.sources.take(keep), added, segm)
    prior = Gaussian(*[column[torch.as_tensor(keep)]
                       for column in solution.prior])
    fit = _extended(solution.fit.take(keep), n_new)
    is_point = np.concatenate([solution.is_point[keep],
                               np.zeros(n_new, bool)])
    pieces = fitter.divide(sources, segm)
    changed = _changed(fitter, solution, keep, pieces)
    start, prior, snr = _renewed_start(fitter, solution, keep, sources,
                                       changed, fit, prior, is_point)
    places = np.concatenate([np.flatnonzero(keep), np.full(n_new, -1)])
    rows = [i for piece in changed for i in piece.core]
    if fitter.settings.quick:
        new, drawn = fitter.measure(changed, start, snr)
        fit = fit.merge(new, rows)
        places[rows] = -1
        drawn = merge_drawn(solution.drawn, drawn, places)
    else:
        foreign = _foreign_light(fitter, pieces, fit.band_parameters,
                                 lambda: fit.flux)
        new = fitter.fit(sources, changed, start, prior, snr,
                         foreign=foreign, progress=progress)
        fit = fit.merge(new, rows)
        drawn = redraw(fitter, fit, solution.fit, solution.drawn, places)
    lost = np.union1d(solution.rejected, solution.sources.parent[~keep])
    again = Solution(
        sources=sources, is_point=is_point, fit=fit, prior=prior,
        pieces=pieces, rejected=tuple(lost.astype(int).tolist()),
        **drawn)
    return settle(fitter, again) if settled else again


def take_back(new, old, keep):
    """
    Return to a former fit where none of the sources added since stays.

    Parameters
    ----------
    new : Solution
        Fit with sources added at the end.
    old : Solution
        Fit without them.
    keep : `numpy.ndarray` of bool, (n,)
        Sources of ``new`` that stay.

    Returns
    -------
    Solution
        ``new``, with the parameters of ``old`` in pieces all of whose
        added sources go: the start of `solve_again`, not a fit.
    """
    n = len(old.sources)
    rows = [i for piece in new.pieces
            for i in piece.members
            if max(piece.members) >= n and not keep[
                [k for k in piece.members if k >= n]].any()]
    rows = np.unique([i for i in rows if i < n]).astype(int)
    fit = new.fit.merge(_extended(old.fit, len(keep) - n), rows)
    prior = Gaussian(*[column.clone() for column in new.prior])
    for column, former in zip(prior, old.prior, strict=True):
        column[rows] = former[rows]
    return replace(new, fit=fit, prior=prior)
