# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Which candidates are sources: more are added where a fit leaves light over,
and those without enough evidence are dropped.
"""

from dataclasses import dataclass, replace

import numpy as np

from vaephot.deblend.detect.pixels import Pixels
from vaephot.deblend.detect.residual_peaks import find_residual_peaks
from vaephot.deblend.encode.looks import reference_fitter
from vaephot.deblend.groups import SourceList
from vaephot.deblend.pipeline import (
    MIN_SNR,
    accepted,
    settle,
    solve_again,
    take_back,
)
from vaephot.deblend.select.features import chi2_gain
from vaephot.deblend.select.score import Judge, with_probability
from vaephot.deblend.settings import PeakFinder
from vaephot.utils.labels import brightest_of_parent

__all__ = ['decide', 'drop_doubtful', 'least_alone', 'search',
           'with_good_pixels']

# prior 1-sigma of the positions of what is left over, in pixels
LEFT_OVER_SIGMA = 1.0
# least gain in chi-square of a source that is added
MIN_GAIN = 25.0
# places of a parent that are tried in turn, and the least signal-to-noise
# ratio of all but the first
MAX_TRIES = 3
MIN_RETRY = 6.0
# how often sources are dropped
MAX_REJECTIONS = 4
# sources closer than this, in FWHM of the sharpest band, are one
MERGE_FWHM = 0.5
# least probability of a source that is alone in its segment, in units of that
# of a child: detections of the caller's are believed more than ours
ALONE_SHARE = 0.6
# and of a child whose shape is not fitted: what is dropped moves what is left
# to a place between the two, which costs more true sources than false ones
UNREFINED_SHARE = 0.6
# of doubtful sources this close, in the same unit, one goes at a time
NEAR_FWHM = 8.0


def _brightness(solution, fitter):
    """Flux of each source over the noise, summed over the bands."""
    noise = fitter.sky_rms(solution.fit.parameters[:, :2])
    return (solution.fit.flux / noise).sum(1)


def _left_over_sources(found, rows):
    """Some of the places that were left over as sources to be fitted."""
    n = len(rows)
    return SourceList(x=found.x[rows], y=found.y[rows],
                      parent=found.parent[rows],
                      position_sigma=np.full(n, LEFT_OVER_SIGMA),
                      radius=np.zeros(n))


def _impossible(fitter, solution):
    """Sources that are dark, or at the place of a brighter one."""
    return _dark(solution) | _coincident(fitter, solution)


def _drop_impossible(fitter, segm, solution):
    """
    Drop what cannot be a source, before more is added.

    Two candidates in one galaxy may come to lie on each other, one with
    the negative of the other's light; what they throw on others would spoil
    these.
    """
    for _ in range(MAX_REJECTIONS):
        first = brightest_of_parent(_brightness(solution, fitter),
                                    solution.sources.parent)
        drop = _impossible(fitter, solution) & ~first
        if not drop.any():
            break
        solution = solve_again(fitter, segm, solution, ~drop, settled=False)
    return solution


def _add_sources(fitter, segm, solution, added):
    """
    Add sources, and keep those that pay.

    Returns
    -------
    solution
        With the sources that stay.
    pays : `numpy.ndarray` of bool, (n_added,)
        Which do.
    """
    n = len(solution.sources)
    old = np.ones(n, bool)
    new = solve_again(fitter, segm, solution, old, added=added,
                      settled=False)
    pays = chi2_gain(fitter, solution, new, n) >= MIN_GAIN
    pays &= ~_impossible(fitter, new)[n:]
    if not pays.any():
        return solution, pays
    keep = np.concatenate([old, pays])
    if not keep.all():
        new = solve_again(fitter, segm, take_back(new, solution, keep), keep,
                          settled=False)
    return new, pays


def _add_left_over(fitter, segm, solution, labels):
    """
    Add what the fit leaves over, where that pays.

    The largest residual need not be where a source is: one model in the
    middle of two galaxies leaves light over on all sides. Where the first
    place does not pay although much is left over, the next ones are tried.

    Returns
    -------
    solution
        With the new sources.
    labels : `numpy.ndarray` of int
        Parents that got some: the ones to look at again.
    """
    found = find_residual_peaks(
        Pixels.of_fitter(reference_fitter(fitter)), segm,
        solution.model_image, solution.fit.parameters[:, :2], labels,
        per_parent=MAX_TRIES,
        free_sky=fitter.settings.background is not None)
    rank = np.arange(len(found)) - np.searchsorted(found.parent, found.parent)
    worth = (rank == 0) | (found.significance >= MIN_RETRY)
    done = []
    for attempt in range(MAX_TRIES):
        rows = np.flatnonzero((rank == attempt) & worth
                              & ~np.isin(found.parent, done))
        if not len(rows):
            break
        solution, pays = _add_sources(fitter, segm, solution,
                                      _left_over_sources(found, rows))
        done.extend(found.parent[rows[pays]].tolist())
    return solution, np.array(sorted(done), int)


def _dark(solution):
    """Sources that are bright in no band."""
    return (solution.fit.flux <= 0).all(1)


def _coincident(fitter, solution):
    """Sources at the place of a brighter one of the same parent."""
    xy, parent = solution.fit.parameters[:, :2], solution.sources.parent
    bright = _brightness(solution, fitter)
    limit = MERGE_FWHM * fitter.fwhm.min()
    out = np.zeros(len(xy), bool)
    order = np.lexsort((-bright, parent))
    start = 0
    for stop in [*(np.flatnonzero(np.diff(parent[order])) + 1), len(order)]:
        rows = order[start:stop]
        start = stop
        if len(rows) < 2:
            continue
        near = np.hypot(*(xy[rows][:, None] - xy[rows]).T) < limit
        for i in range(1, len(rows)):
            out[rows[i]] = (near[i, :i] & ~out[rows[:i]]).any()
    return out


def _one_at_a_time(xy, parent, score, doubtful, reach):
    """The least likely of doubtful sources that are close to each other."""
    chosen = []
    rows = np.flatnonzero(doubtful)
    for i in rows[np.argsort(score[rows], kind='stable')]:
        if all(parent[i] != parent[k]
               or np.hypot(*(xy[i] - xy[k])) >= reach for k in chosen):
            chosen.append(i)
    out = np.zeros(len(xy), bool)
    out[chosen] = True
    return out


def _rejected(fitter, solution, p_source, settings, contrast, frozen):
    """Sources that go in this round; never the brightest of a parent."""
    xy, parent = solution.fit.parameters[:, :2], solution.sources.parent
    impossible = _impossible(fitter, solution)
    small = ~accepted(solution, contrast, fitter.sky_rms(xy),
                      min_snr=settings.min_snr)
    share = 1.0 if fitter.settings.max_steps else UNREFINED_SHARE
    doubtful = small | (p_source < share * settings.min_probability)
    first = brightest_of_parent(_brightness(solution, fitter), parent)
    free = ~first & ~frozen
    # what stays anyway must not keep others
    return (impossible & free) | _one_at_a_time(
        xy, parent, p_source, doubtful & ~impossible & free,
        NEAR_FWHM * fitter.fwhm.min())


@dataclass(frozen=True)
class _Settings:
    """How much evidence is asked for."""

    min_probability: float
    n_rounds: int
    min_snr: float


def _settings(finder):
    """Settings of our search, or none but a limit for that of others."""
    if finder is None or isinstance(finder, PeakFinder):
        own = PeakFinder() if finder is None else finder
        return _Settings(own.min_probability, own.n_rounds, 0.0)
    return _Settings(0.0, 0, MIN_SNR)


def least_alone(finder):
    """
    Least probability of a source that is alone in its segment.

    Parameters
    ----------
    finder : callable or None
        Search for peaks; those of others are believed all they find.

    Returns
    -------
    float
    """
    return ALONE_SHARE * _settings(finder).min_probability


def _wanted(segm, deblender):
    """Parents that may be split, whether they are asked for or not."""
    labels = np.asarray(segm.labels, int)
    if deblender.contrast == 1:
        return labels[:0]
    return labels[segm.areas >= 2 * deblender.n_pixels]


def with_good_pixels(fitter, segm, labels):
    """
    Parents of which anything can be told.

    Parameters
    ----------
    fitter : `~vaephot.deblend.scene.SceneFitter`
        Masks.
    segm : `~photutils.segmentation.SegmentationImage`
        Parents.
    labels : `numpy.ndarray` of int
        Some of them.

    Returns
    -------
    `numpy.ndarray` of int
        Those with a good pixel.
    """
    good = ~reference_fitter(fitter).observation.mask.all(0)
    return labels[np.isin(labels, segm.data[good])]


def search(fitter, segm, solution, deblender):
    """
    Add what is left over until nothing is.

    Parameters
    ----------
    fitter, segm, solution, deblender
        As for `decide`.

    Returns
    -------
    `~vaephot.deblend.pipeline.Solution`
        All that may be a source.
    """
    settings = _settings(deblender.finder)
    labels = _wanted(segm, deblender)
    # shapes that are not fitted leave too much over to search it
    for _ in range(settings.n_rounds if deblender.refine else 0):
        if not len(labels):
            break
        solution = _drop_impossible(fitter, segm, solution)
        solution, labels = _add_left_over(fitter, segm, solution, labels)
    return solution


def _doubtful(fitter, solution, deblender, wanted, p_source):
    """Sources of parents that may be split that go by probabilities."""
    return _rejected(fitter, solution, p_source, _settings(deblender.finder),
                     deblender.contrast,
                     ~np.isin(solution.sources.parent, wanted))


def _drop(fitter, segm, solution, deblender, wanted, judge):
    """Drop sources without evidence, close ones one at a time."""
    # without fitted shapes nothing is known of structure
    steps = (judge.hopeful, judge) if fitter.settings.max_steps else (judge,)
    for probability in steps:
        for _ in range(MAX_REJECTIONS):
            drop = _doubtful(fitter, solution, deblender, wanted,
                             probability(solution))
            if not drop.any():
                break
            solution = solve_again(fitter, segm, solution, ~drop,
                                   settled=False)
    return solution


def drop_doubtful(fitter, segm, solution, deblender):
    """
    Drop sources without evidence until none is.

    What is left has to explain the light of those that go, and may grow over
    another source that is dropped for that later; so parents that lost
    sources are searched once more.

    Parameters
    ----------
    fitter, segm, deblender
        As for `decide`.
    solution : `~vaephot.deblend.pipeline.Solution`
        As `search` returns it.

    Returns
    -------
    `~vaephot.deblend.pipeline.Solution`
        With the probabilities ``p_source``, and at least one source of
        each parent that had any.
    """
    judge = Judge(fitter)
    wanted = with_good_pixels(fitter, segm, _wanted(segm, deblender))
    solution = _drop(fitter, segm, solution, deblender, wanted, judge)
    if _settings(deblender.finder).n_rounds and deblender.refine:
        solution, labels = _add_left_over(fitter, segm, solution,
                                          np.array(solution.rejected, int))
        if len(labels):
            solution = _drop(fitter, segm, solution, deblender, wanted,
                             judge)
    # the light of other pieces may take a source below the limit
    for _ in range(MAX_REJECTIONS):
        solution = settle(fitter, solution)
        p_source = judge(solution)
        drop = _doubtful(fitter, solution, deblender, wanted, p_source)
        if not drop.any():
            break
        solution = solve_again(fitter, segm, solution, ~drop, settled=False)
    else:
        p_source = judge(solution)
    return replace(solution, p_source=p_source)


def decide(fitter, segm, solution, chosen, deblender):
    """
    Add sources that are left over, drop those without evidence.

    Parameters
    ----------
    fitter : `~vaephot.deblend.scene.SceneFitter`
        Observation, networks and settings.
    segm : `~photutils.segmentation.SegmentationImage`
        Parents.
    solution : `~vaephot.deblend.pipeline.Solution`
        Fit of the candidates.
    chosen : `~vaephot.deblend.detect.candidates.Chosen`
        The candidates: those that the caller gave all stay.
    deblender : `~vaephot.deblend.deblender.VAEDeblender`
        Settings.

    Returns
    -------
    `~vaephot.deblend.pipeline.Solution`
        With the probabilities ``p_source``, and at least one source of
        each parent that had any.
    """
    if chosen.given:
        return with_probability(fitter, solution)
    solution = search(fitter, segm, solution, deblender)
    return drop_doubtful(fitter, segm, solution, deblender)
