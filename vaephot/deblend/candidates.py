# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Which sources are to be fitted: found, or given by the caller."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from vaephot.deblend.detect import detection_image
from vaephot.deblend.finder import PeakFinder
from vaephot.deblend.groups import SourceList
from vaephot.deblend.labels import segment_radii, sum_by_label
from vaephot.deblend.peaks import (
    candidates_from_finder,
    candidates_from_positions,
    find_candidates,
)
from vaephot.deblend.residual import find_left_over
from vaephot.deblend.stars import find_stars, star_light

__all__ = ['Chosen', 'choose_sources']

# least threshold of the search for peaks, in units of the noise
LOWEST_LEVEL = 1.0
# prior 1-sigma of positions that must not move, in pixels
FIXED_SIGMA = 1e-4
# and of those that may
POSITION_SIGMA = 0.5
# and of bright stars, which are fitted before
STAR_SIGMA = 0.1
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
        Parents that may be split; `None`: all.
    """

    sources: SourceList
    is_point: np.ndarray
    given: bool
    labels: np.ndarray | None = None

    @property
    def has_blends(self):
        """Whether any parent has more than one candidate."""
        parent = self.sources.parent
        return bool((sum_by_label(parent[parent > 0]) > 1).any())


def _brightest(image, segm, labels):
    """Brightest good pixel of each segment."""
    if not len(labels):
        return np.zeros(0), np.zeros(0)
    clean = np.where(np.isfinite(image), image, -np.inf)
    places = ndimage.maximum_position(clean, segm.data, labels)
    y, x = np.array(places, float).reshape(-1, 2).T
    return x, y


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


def _beside_stars(fitter, segm, stars, labels):
    """Places that bright stars leave over in their parents."""
    xy = np.column_stack([stars.x, stars.y])
    large = labels[np.isin(labels, stars.parent)]
    return find_left_over(fitter, segm, star_light(fitter, stars), xy, large,
                          per_parent=MAX_BESIDE_STAR,
                          least=MIN_BESIDE_STAR)


def _search(deblender, observation, segm, labels, fitter):
    """Candidates of all parents, at least one each, by parent."""
    image = detection_image(observation)
    mask = observation.mask.all(0)
    image = np.where(mask, np.nan, image)
    wanted = np.asarray(segm.labels if labels is None else labels, int)
    wanted = wanted[:0] if deblender.contrast == 1 else wanted
    columns = [(np.zeros(0), np.zeros(0), np.zeros(0, int), False)]
    stars = _stars(deblender, fitter, segm, image, wanted)
    peaked = wanted
    if stars is not None:
        columns.append((stars.x, stars.y, stars.parent, True))
        beside = _beside_stars(fitter, segm, stars, wanted)
        columns.append((beside.x, beside.y, beside.parent, False))
        peaked = wanted[~np.isin(wanted, stars.parent)]
    if len(peaked):
        found = _found(deblender, image, mask, segm, peaked)
        columns.append((found.x, found.y, found.label, False))
    rest = np.setdiff1d(segm.labels, np.concatenate(
        [parent for _, _, parent, _ in columns]))
    columns.append((*_brightest(image, segm, rest), rest, False))
    x, y, parent = (np.concatenate(c) for c in list(zip(
        *columns, strict=True))[:3])
    is_star = np.concatenate([np.full(len(c[0]), c[3]) for c in columns])
    order = np.argsort(parent, kind='stable')
    return x[order], y[order], parent[order], is_star[order]


def choose_sources(deblender, observation, segm, positions, labels, *,
                   fitter=None):
    """
    Choose the sources to be fitted.

    Parameters
    ----------
    deblender : `~vaephot.deblend.deblender.VAEDeblender`
        Settings of the search.
    observation : `~vaephot.deblend.inputs.Observation`
        Images.
    segm : `~photutils.segmentation.SegmentationImage`
        Parents.
    positions : table or array_like or None
        The caller's positions.
    labels : `numpy.ndarray` of int or None
        Parents that may be split; `None`: all.
    fitter : `~vaephot.deblend.scene.SceneFitter`, optional
        Fits bright stars before the search; `None`: peaks only.

    Returns
    -------
    Chosen
    """
    if positions is None:
        x, y, parent, is_point = _search(deblender, observation, segm,
                                         labels, fitter)
        sigma = np.where(is_point, STAR_SIGMA, POSITION_SIGMA)
    else:
        given = candidates_from_positions(positions, segm)
        x, y, parent = given.x, given.y, given.label
        sigma = np.where(given.fixed, FIXED_SIGMA, POSITION_SIGMA)
        is_point = np.asarray(given.point_source.filled(False), bool)
    parent = np.asarray(parent, int)
    sources = SourceList(x=x, y=y, parent=parent, position_sigma=sigma,
                         radius=segment_radii(parent, segm))
    return Chosen(sources=sources, is_point=is_point,
                  given=positions is not None, labels=labels)
