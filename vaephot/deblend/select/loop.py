# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Which candidates are sources: more are added where a fit leaves light over,
and those without enough evidence are dropped.
"""

from dataclasses import replace

import numpy as np

from vaephot.deblend.detect.residual_peaks import find_residual_peaks
from vaephot.deblend.scene import Sources
from vaephot.deblend.select.gain import chi2_gain
from vaephot.utils.labels import brightest_of_parent, sum_by_label

__all__ = ['drop_doubtful', 'drop_impossible', 'search_residual',
           'select_sources', 'with_good_pixels']

# prior 1-sigma of the positions of residual peaks, in pixels
RESIDUAL_SIGMA = 1.0
# least gain in chi-square of a source that is added
MIN_GAIN = 14.0
# places of a parent that are tried in turn, and the least signal-to-noise
# ratio of all but the first
MAX_TRIES = 3
MIN_RETRY = 6.0
# how often sources are dropped
MAX_REJECTIONS = 4
# sources closer than this, in FWHM of the sharpest band, are one
MERGE_FWHM = 0.5
# of doubtful sources this close, in the same unit, one goes at a time
NEAR_FWHM = 8.0


# ------------------------------------------------------ what cannot be one
def _brightness(engine, scene):
    """Flux of each source over the noise, summed over the bands, (n,)."""
    noise = engine.sky_rms(scene.fit.parameters[:, :2])
    return (scene.fit.flux / noise).sum(1)


def _impossible(engine, scene):
    """Sources that are dark, or at the place of a brighter one, (n,)."""
    dark = (scene.fit.flux <= 0).all(1)
    return dark | _coincident(engine, scene)


def _coincident(engine, scene):
    """Sources at the place of a brighter one of the same parent, (n,)."""
    xy, parent = scene.fit.parameters[:, :2], scene.sources.parent
    bright = _brightness(engine, scene)
    limit = MERGE_FWHM * engine.fwhm.min()
    out = np.zeros(len(xy), bool)
    order = np.lexsort((-bright, parent))
    cuts = np.flatnonzero(np.diff(parent[order])) + 1
    for rows in np.split(order, cuts):
        if len(rows) < 2:
            continue
        near = np.hypot(*(xy[rows][:, None] - xy[rows]).T) < limit
        for i in range(1, len(rows)):
            out[rows[i]] = (near[i, :i] & ~out[rows[:i]]).any()
    return out


def drop_impossible(engine, scene):
    """
    Drop what cannot be a source, before more is added.

    Two candidates in one galaxy may come to lie on each other, one with
    the negative of the other's light; what they throw on others would spoil
    these.
    """
    for _ in range(MAX_REJECTIONS):
        first = brightest_of_parent(_brightness(engine, scene),
                                    scene.sources.parent)
        drop = _impossible(engine, scene) & ~first
        if not drop.any():
            break
        scene = engine.refit(scene, ~drop)
    return scene


# ---------------------------------------------------------------- add
def _new_sources(found, rows):
    """Some of the residual peaks as sources to be fitted."""
    n = len(rows)
    return Sources(x=found.x[rows], y=found.y[rows],
                   parent=found.parent[rows],
                   position_sigma=np.full(n, RESIDUAL_SIGMA),
                   radius=np.zeros(n), is_point=np.zeros(n, bool),
                   is_known=np.zeros(n, bool))


def _without_added(new, old, keep):
    """
    A scene with the former shapes in groups all of whose new sources go.

    ``keep`` ``(n,)`` of the sources of ``new``, those of ``old`` first.
    """
    n = len(old)
    rows = [k for group in new.groups for k in group.members
            if max(group.members) >= n and not keep[
                [i for i in group.members if i >= n]].any()]
    rows = np.unique([k for k in rows if k < n]).astype(int)
    former = old.fit.join(old.fit.blank(len(keep) - n))
    return replace(new, fit=new.fit.merge(former, rows))


def _add_sources(engine, scene, added):
    """The scene with the new sources that pay, and which do, (n_added,)."""
    n = len(scene)
    old = np.ones(n, bool)
    new = engine.refit(scene, old, added=added)
    pays = chi2_gain(engine.pixels, scene, new, n) >= MIN_GAIN
    pays &= ~_impossible(engine, new)[n:]
    if not pays.any():
        return scene, pays
    keep = np.concatenate([old, pays])
    if not keep.all():
        new = engine.refit(_without_added(new, scene, keep), keep)
        new = replace(new, rejected=scene.rejected)
    return new, pays


def _add_residual_peaks(engine, scene, labels):
    """
    Add residual peaks of some parents where that pays.

    The largest residual need not be where a source is: one model in the
    middle of two galaxies leaves light over on all sides. Where the first
    place does not pay although much is left over, the next ones are tried.
    Returns the scene, and the parents that got some.
    """
    found = find_residual_peaks(
        engine.pixels, engine.parents, scene.model_image,
        scene.fit.parameters[:, :2], labels, per_parent=MAX_TRIES,
        free_sky=engine.settings.background is not None)
    rank = np.arange(len(found)) - np.searchsorted(found.parent,
                                                   found.parent)
    worth = (rank == 0) | (found.significance >= MIN_RETRY)
    done = []
    for attempt in range(MAX_TRIES):
        rows = np.flatnonzero((rank == attempt) & worth
                              & ~np.isin(found.parent, done))
        if not len(rows):
            break
        scene, pays = _add_sources(engine, scene, _new_sources(found, rows))
        done.extend(found.parent[rows[pays]].tolist())
    return scene, np.array(sorted(done), int)


def search_residual(engine, scene, search):
    """Add residual peaks until nothing is left over."""
    labels = _may_split(engine, search)
    for _ in range(search.n_rounds):
        if not len(labels):
            break
        scene = drop_impossible(engine, scene)
        scene, labels = _add_residual_peaks(engine, scene, labels)
    return scene


# --------------------------------------------------------------- drop
def _accepted(engine, scene, search):
    """
    Which sources have flux enough, (n,).

    The least share of their parent's flux, point sources left out, in the
    bands' signal-to-noise weighted sum, and the least signal to noise.
    """
    fit, parent = scene.fit, scene.sources.parent
    bright = _brightness(engine, scene)
    positive = np.maximum(bright, 0)
    # a bright star would leave its parent's galaxies no share at all
    counted = np.where(scene.is_point, 0, positive)
    total = sum_by_label(parent, counted)
    share = np.divide(positive, total, out=np.sign(positive), where=total > 0)
    error = np.maximum(fit.flux_err, 1e-300)
    snr = np.sqrt((np.maximum(fit.flux / error, 0) ** 2).sum(1))
    keep = (share >= search.contrast) & (snr >= search.min_snr)
    return keep | brightest_of_parent(bright, parent)


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


def _rejected(engine, scene, search, p_source, labels):
    """Sources that go in this round; never the brightest of a parent."""
    xy, parent = scene.fit.parameters[:, :2], scene.sources.parent
    impossible = _impossible(engine, scene)
    doubtful = (~_accepted(engine, scene, search)
                | (p_source < search.min_probability))
    free = ~brightest_of_parent(_brightness(engine, scene), parent)
    free &= np.isin(parent, labels)
    # what stays anyway must not keep others
    return (impossible & free) | _one_at_a_time(
        xy, parent, p_source, doubtful & ~impossible & free,
        NEAR_FWHM * engine.fwhm.min())


def _may_split(engine, search):
    """Parents that may be split, whether they are asked for or not."""
    labels = np.asarray(engine.parents.labels, int)
    if search.contrast == 1:
        return labels[:0]
    return labels[engine.parents.areas >= 2 * search.n_pixels]


def with_good_pixels(engine, labels):
    """Those of some parents that have a good pixel."""
    good = ~engine.pixels.mask.all(0)
    return labels[np.isin(labels, engine.parents.data[good])]


def _drop(engine, scene, search, labels, scorer):
    """Drop sources without evidence, close ones one at a time."""
    for probability in (scorer.hope, lambda some: scorer(some)[:, 0]):
        for _ in range(MAX_REJECTIONS):
            drop = _rejected(engine, scene, search, probability(scene),
                             labels)
            if not drop.any():
                break
            scene = engine.refit(scene, ~drop)
    return scene


def drop_doubtful(engine, scene, search, scorer):
    """
    Drop sources without evidence until none is; the scene gets its scores.

    What is left has to explain the light of those that go, and may grow
    over another source that is dropped for that later; so parents that lost
    sources are searched once more. At least one source of each parent that
    had any stays.
    """
    labels = with_good_pixels(engine, _may_split(engine, search))
    scene = _drop(engine, scene, search, labels, scorer)
    if search.n_rounds:
        scene, again = _add_residual_peaks(engine, scene,
                                           np.array(scene.rejected, int))
        if len(again):
            scene = _drop(engine, scene, search, labels, scorer)
    # the light of other groups may take a source below the limit
    for _ in range(MAX_REJECTIONS):
        scene = engine.settle(scene)
        drop = _rejected(engine, scene, search, scorer(scene)[:, 0], labels)
        if not drop.any():
            break
        scene = engine.refit(scene, ~drop)
    return replace(scene, scores=scorer(scene))


def select_sources(engine, scene, search, scorer):
    """
    Add sources that are left over, drop those without evidence.

    Parameters
    ----------
    engine : `~vaephot.deblend.fit.engine.Engine`
        What fitted the candidates.
    scene : `~vaephot.deblend.scene.Scene`
        Their fit.
    search : `~vaephot.deblend.settings.SearchSettings`
        How much evidence is asked for.
    scorer : `~vaephot.deblend.select.score.Scorer`
        What the evidence is.

    Returns
    -------
    `~vaephot.deblend.scene.Scene`
        With its scores, and at least one source of each parent that had
        any.
    """
    return drop_doubtful(engine, search_residual(engine, scene, search),
                         search, scorer)
