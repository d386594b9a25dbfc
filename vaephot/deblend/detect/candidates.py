# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Which sources are to be fitted: found, or given by the caller."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from vaephot.deblend.detect.peaks import (
    candidates_from_finder,
    candidates_from_positions,
    find_candidates,
)
from vaephot.deblend.detect.residual_peaks import find_left_over
from vaephot.deblend.detect.stack import detection_image
from vaephot.deblend.detect.stars import (
    find_stars,
    recognize_stars,
    star_light,
)
from vaephot.deblend.groups import SourceList
from vaephot.deblend.settings import PeakFinder
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
    sources : `~vaephot.deblend.groups.SourceList`
        Their positions.
    is_point : `numpy.ndarray` of bool, (n,)
        Which are point sources, by the caller's word or because they are
        bright stars.
    given : bool
        Whether the caller gave them: none is dropped then.
    labels : `numpy.ndarray` of int or None
        Parents that are asked for; `None`: all.
    """

    sources: SourceList
    is_point: np.ndarray
    given: bool
    labels: np.ndarray | None = None

    def take(self, rows):
        """
        Some of the sources.

        Parameters
        ----------
        rows : `numpy.ndarray` of int or bool
            Which of them.

        Returns
        -------
        Chosen
        """
        return replace(self, sources=self.sources.take(rows),
                       is_point=np.asarray(self.is_point)[rows])


def _is_own(finder):
    """Whether the search is ours, and not one of the caller's."""
    return finder is None or isinstance(finder, PeakFinder)


def _found(deblender, image, mask, segm, labels):
    """Candidates of the peak search or of the caller's finder."""
    if not _is_own(deblender.finder):
        return candidates_from_finder(deblender.finder, image, mask, segm,
                                      labels)
    # thresholds are spaced from the noise upwards
    return find_candidates(
        np.maximum(image, LOWEST_LEVEL), segm, labels=labels,
        n_pixels=deblender.n_pixels, n_levels=deblender.n_levels,
        mode=deblender.mode, connectivity=deblender.connectivity,
        noise=1.0)


def _stars(deblender, fitter, segm, image, labels):
    """Bright point sources, or None where they are not looked for."""
    finder = deblender.finder
    if (fitter is None or not _is_own(finder) or not len(labels)
            or not (finder is None or finder.find_stars)):
        return None
    stars = find_stars(fitter, segm, image, labels)
    return stars if len(stars) else None


def _starlit(observation, light, segm, stars, labels):
    """Parents of stars, and those that hold little but their light."""
    scale = 1 / np.sqrt(observation.variance.mean((1, 2)))
    good = ~observation.mask
    shares = [ndimage.sum_labels(np.einsum(
        'byx,b->yx', np.where(good, image, 0), scale), segm.data, labels)
        for image in (light, observation.data)]
    lit = shares[0] > MAX_STARLIGHT * shares[1]
    return labels[lit | np.isin(labels, stars.parent)]


def _around_stars(deblender, fitter, segm, image, labels):
    """
    Bright stars, and what they leave over where their light is.

    Returns
    -------
    columns : list of tuple
        x, y, parent and whether they are stars.
    starlit : `numpy.ndarray` of int
        Parents that need no further search.
    """
    stars = _stars(deblender, fitter, segm, image, labels)
    if stars is None:
        return [], labels[:0]
    light = star_light(fitter, stars)
    starlit = _starlit(fitter.observation, light, segm, stars, labels)
    beside = find_left_over(
        fitter, segm, light, np.column_stack([stars.x, stars.y]), starlit,
        per_parent=MAX_BESIDE_STAR, least=MIN_BESIDE_STAR)
    return [(stars.x, stars.y, stars.parent, True),
            (beside.x, beside.y, beside.parent, False)], starlit


def _search(deblender, observation, segm, fitter):
    """
    Candidates of all parents, by parent; none where only stars shine.

    Parents that nobody asks for shine on the others all the same, so what
    is wanted plays no part.
    """
    image = detection_image(observation)
    mask = observation.mask.all(0)
    image = np.where(mask, np.nan, image)
    wanted = np.asarray(segm.labels, int)
    wanted = wanted[:0] if deblender.contrast == 1 else wanted
    columns, starlit = _around_stars(deblender, fitter, segm, image, wanted)
    peaked = np.setdiff1d(wanted, starlit)
    if len(peaked):
        found = _found(deblender, image, mask, segm, peaked)
        columns.append((found.x, found.y, found.label, False))
    rest = np.setdiff1d(segm.labels, np.concatenate(
        [starlit, *(parent for _, _, parent, _ in columns)]))
    y, x = brightest_pixels(image, segm, rest)[0].T.astype(float)
    columns.append((x, y, rest, False))
    x, y, parent = (np.concatenate(c) for c in list(zip(
        *columns, strict=True))[:3])
    is_star = np.concatenate([np.full(len(c[0]), c[3]) for c in columns])
    order = np.argsort(parent, kind='stable')
    return x[order], y[order], parent[order], is_star[order]


def _add_stars(fitter, given, x, y, is_point, sigma):
    """Mark bright stars among positions of which nothing else is said."""
    rows = np.flatnonzero(np.ma.getmaskarray(given.point_source))
    if not len(rows):
        return
    image = detection_image(fitter.observation)
    image = np.where(fitter.observation.mask.all(0), np.nan, image)
    places = np.column_stack([x, y])[rows]
    xy, found = recognize_stars(fitter, image, places)
    is_point[rows[found]] = True
    free = found & ~np.asarray(given.fixed, bool)[rows]
    x[rows[free]], y[rows[free]] = xy[free].T
    sigma[rows[free]] = STAR_SIGMA


def choose_sources(deblender, observation, segm, positions, labels, *,
                   fitter=None):
    """
    Choose the sources to be fitted.

    Parameters
    ----------
    deblender : `~vaephot.deblend.deblender.VAEDeblender`
        Settings of the search.
    observation : `~vaephot.deblend.inputs.read.Observation`
        Images.
    segm : `~photutils.segmentation.SegmentationImage`
        Parents.
    positions : table or array_like or None
        The caller's positions.
    labels : `numpy.ndarray` of int or None
        Parents that are asked for; `None`: all. The sources of the others
        are chosen as well.
    fitter : `~vaephot.deblend.scene.SceneFitter`, optional
        Fits bright stars before the search; `None`: peaks only.

    Returns
    -------
    Chosen
    """
    if positions is None:
        x, y, parent, is_point = _search(deblender, observation, segm,
                                         fitter)
        sigma = np.where(is_point, STAR_SIGMA, POSITION_SIGMA)
    else:
        given = candidates_from_positions(positions, segm)
        x, y, parent = given.x, given.y, given.label
        is_point = np.array(given.point_source.filled(False), bool)
        sigma = np.where(given.fixed, FIXED_SIGMA, POSITION_SIGMA)
        if fitter is not None:
            _add_stars(fitter, given, x, y, is_point, sigma)
    parent = np.asarray(parent, int)
    sources = SourceList(x=x, y=y, parent=parent, position_sigma=sigma,
                         radius=segment_radii(parent, segm))
    return Chosen(sources=sources, is_point=is_point,
                  given=positions is not None, labels=labels)
