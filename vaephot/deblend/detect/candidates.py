# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Which sources are to be fitted: found, or given by the caller."""

from dataclasses import dataclass, replace

import numpy as np

from vaephot.deblend.detect.peaks import find_candidates
from vaephot.deblend.detect.positions import (
    candidates_from_finder,
    candidates_from_positions,
)
from vaephot.deblend.detect.residual_peaks import find_residual_peaks
from vaephot.deblend.detect.stack import detection_image
from vaephot.deblend.detect.stars import find_stars, recognize_stars
from vaephot.deblend.scene import Sources
from vaephot.utils.labels import brightest_pixels, segment_radii

__all__ = ['Chosen', 'choose_sources']

# least threshold of the search for peaks, in units of the noise
LOWEST_LEVEL = 1.0
# prior 1-sigma of positions that must not move, in pixels
FIXED_SIGMA = 1e-4
# and of those that may
POSITION_SIGMA = 0.5
# and of bright stars, which are fitted before
STAR_SIGMA = 0.1
# share of a parent's light from which it is that of bright stars
MAX_STARLIGHT = 0.5
# places beside bright stars in one parent, and their least signal-to-noise
# ratio
MAX_BESIDE_STAR = 12
MIN_BESIDE_STAR = 5.0


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """
    Sources to be fitted.

    Parameters
    ----------
    sources : `~vaephot.deblend.scene.Sources`
        Where they are; points by the caller's word or because they are
        bright stars.
    given : bool
        Whether the caller gave them: none is dropped then.
    labels : `numpy.ndarray` of int or None
        Parents that are asked for; `None`: all.
    """

    sources: Sources
    given: bool
    labels: np.ndarray | None = None

    def take(self, rows):
        """Some of the sources, by their numbers or a mask (n,)."""
        return replace(self, sources=self.sources.take(rows))


def _peaks(settings, image, mask, segm, labels):
    """Candidates of the peak search or of the caller's finder."""
    if not settings.is_own:
        return candidates_from_finder(settings.finder, image.astype(float),
                                      mask, segm, labels)
    # thresholds are spaced from the noise upwards
    return find_candidates(
        image, segm, labels=labels, n_pixels=settings.n_pixels,
        n_levels=settings.n_levels, mode=settings.mode,
        connectivity=settings.connectivity, noise=1.0, floor=LOWEST_LEVEL)


def _starlit(pixels, light, segm, stars):
    """Parents of stars, and those that hold little but their light."""
    iy, ix = np.nonzero(segm.data)
    index = np.searchsorted(segm.labels, segm.data[iy, ix])
    sums = np.zeros((2, len(segm.labels)))
    for variance, mask, *images in zip(pixels.variance, pixels.mask,
                                       light, pixels.data, strict=True):
        use = ~mask[iy, ix] / np.sqrt(variance.mean())
        sums += [np.bincount(index, use * image[iy, ix], len(segm.labels))
                 for image in images]
    lit = sums[0] > MAX_STARLIGHT * sums[1]
    return np.asarray(segm.labels)[lit | np.isin(segm.labels, stars.parent)]


def _around_stars(points, segm, image, labels):
    """
    Bright stars, and what they leave over where their light is.

    Returns
    -------
    columns : list of tuple
        x, y, parent and whether they are stars.
    starlit : `numpy.ndarray` of int
        Parents that need no further search.
    """
    stars = find_stars(points, segm, image, labels)
    if not len(stars):
        return [], labels[:0]
    light = points.draw_image(stars.xy, stars.flux)
    starlit = np.intersect1d(_starlit(points.pixels, light, segm, stars),
                             labels)
    beside = find_residual_peaks(
        points.pixels, segm, light, stars.xy, starlit,
        per_parent=MAX_BESIDE_STAR, least=MIN_BESIDE_STAR,
        free_sky=points.free_sky)
    return [(stars.x, stars.y, stars.parent, True),
            (beside.x, beside.y, beside.parent, False)], starlit


def _masked_stack(observation):
    """Stack of the bands, NaN where all are bad, and where that is."""
    image, mask = detection_image(observation), observation.mask.all(0)
    image[mask] = np.nan
    return image, mask


def _search(settings, observation, segm, points):
    """
    Candidates of all parents, by parent; none where only stars shine.

    Parents that nobody asks for shine on the others all the same, so what
    is wanted plays no part.
    """
    image, mask = _masked_stack(observation)
    everyone = np.asarray(segm.labels, int)
    wanted = everyone[:0] if settings.contrast == 1 else everyone
    columns, starlit = [], wanted[:0]
    if points is not None and len(wanted) and settings.find_stars:
        columns, starlit = _around_stars(points, segm, image, wanted)
    peaked = np.setdiff1d(wanted, starlit)
    if len(peaked):
        found = _peaks(settings, image, mask, segm, peaked)
        columns.append((found.x, found.y, found.label, False))
    rest = np.setdiff1d(everyone, np.concatenate(
        [starlit, *(parent for _, _, parent, _ in columns)]))
    y, x = brightest_pixels(image, segm, rest)[0].T.astype(float)
    columns.append((x, y, rest, False))
    return _by_parent(columns)


def _by_parent(columns):
    """x, y, parent and is_star (n,) of candidates, sorted by parent."""
    x, y, parent = (np.concatenate([c[i] for c in columns])
                    for i in range(3))
    is_star = np.concatenate([np.full(len(c[0]), c[3]) for c in columns])
    order = np.argsort(parent, kind='stable')
    return x[order], y[order], parent[order], is_star[order]


def _add_stars(observation, points, given, x, y, is_point, sigma):
    """Mark bright stars among positions of which nothing else is said."""
    rows = np.flatnonzero(np.ma.getmaskarray(given.point_source))
    if not len(rows):
        return
    xy, found = recognize_stars(points, _masked_stack(observation)[0],
                                np.column_stack([x, y])[rows])
    is_point[rows[found]] = True
    free = found & ~np.asarray(given.fixed, bool)[rows]
    x[rows[free]], y[rows[free]] = xy[free].T
    sigma[rows[free]] = STAR_SIGMA


def choose_sources(settings, observation, segm, positions, labels, *,
                   points=None):
    """
    Choose the sources to be fitted, as `Chosen`.

    ``settings`` are the `~vaephot.deblend.settings.SearchSettings`. Given
    positions are taken as they are. The sources of all parents are chosen,
    whichever ``labels`` are asked for. Bright stars are fitted first where
    ``points`` says how.
    """
    if positions is None:
        x, y, parent, is_point = _search(settings, observation, segm, points)
        is_known = is_point.copy()
        sigma = np.where(is_point, STAR_SIGMA, POSITION_SIGMA)
    else:
        given = candidates_from_positions(positions, segm)
        x, y, parent = given.x, given.y, given.label
        is_point = np.array(given.point_source.filled(False), bool)
        is_known = ~np.ma.getmaskarray(given.point_source)
        sigma = np.where(given.fixed, FIXED_SIGMA, POSITION_SIGMA)
        if points is not None:
            _add_stars(observation, points, given, x, y, is_point, sigma)
    parent = np.asarray(parent, int)
    sources = Sources(x=x, y=y, parent=parent, position_sigma=sigma,
                      radius=segment_radii(parent, segm), is_point=is_point,
                      is_known=is_known)
    return Chosen(sources=sources, given=positions is not None,
                  labels=labels)
