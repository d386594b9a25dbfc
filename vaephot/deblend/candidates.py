# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Which sources are to be fitted: found, or given by the caller."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from vaephot.deblend.detect import detection_image
from vaephot.deblend.groups import SourceList
from vaephot.deblend.labels import sum_by_label, values_of_labels
from vaephot.deblend.peaks import (
    candidates_from_finder,
    candidates_from_positions,
    find_candidates,
)

__all__ = ['Chosen', 'choose_sources']

# least threshold of the search for peaks, in units of the noise
LOWEST_LEVEL = 1.0
# prior 1-sigma of positions that must not move, in pixels
FIXED_SIGMA = 1e-4
# and of those that may
POSITION_SIGMA = 0.5


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """
    Sources to be fitted.

    Parameters
    ----------
    sources : `~vaephot.deblend.groups.SourceList`
        Their positions.
    is_point : `numpy.ndarray` of bool, (n,)
        Which are point sources by the caller's word.
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


def _radii(parent, segm):
    """Radius of each source's share of its segment, in pixels."""
    areas = values_of_labels(segm, segm.areas, parent)
    return np.sqrt(areas / sum_by_label(parent) / np.pi)


def _brightest(image, segm, labels):
    """Brightest good pixel of each segment."""
    if not len(labels):
        return np.zeros(0), np.zeros(0)
    clean = np.where(np.isfinite(image), image, -np.inf)
    places = ndimage.maximum_position(clean, segm.data, labels)
    y, x = np.array(places, float).reshape(-1, 2).T
    return x, y


def _found(deblender, image, mask, segm, labels):
    """Candidates of the peak search or of the caller's finder."""
    if deblender.finder is not None:
        return candidates_from_finder(deblender.finder, image, mask, segm,
                                      labels)
    # thresholds are spaced from the noise upwards
    return find_candidates(
        np.maximum(image, LOWEST_LEVEL), segm, labels=labels,
        n_pixels=deblender.n_pixels, n_levels=deblender.n_levels,
        mode=deblender.mode, connectivity=deblender.connectivity,
        noise=1.0)


def _search(deblender, observation, segm, labels):
    """Candidates of all parents, at least one each, by parent."""
    image = detection_image(observation)
    mask = observation.mask.all(0)
    image = np.where(mask, np.nan, image)
    wanted = segm.labels if labels is None else labels
    wanted = [] if deblender.contrast == 1 else wanted
    x, y, parent = np.zeros(0), np.zeros(0), np.zeros(0, int)
    if len(wanted):
        found = _found(deblender, image, mask, segm, wanted)
        x, y, parent = found.x, found.y, found.label
    rest = np.setdiff1d(segm.labels, parent)
    x_rest, y_rest = _brightest(image, segm, rest)
    x, y = np.concatenate([x, x_rest]), np.concatenate([y, y_rest])
    parent = np.concatenate([parent, rest]).astype(int)
    order = np.argsort(parent, kind='stable')
    return x[order], y[order], parent[order]


def choose_sources(deblender, observation, segm, positions, labels):
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

    Returns
    -------
    Chosen
    """
    if positions is None:
        x, y, parent = _search(deblender, observation, segm, labels)
        sigma = np.full(len(x), POSITION_SIGMA)
        is_point = np.zeros(len(x), bool)
    else:
        given = candidates_from_positions(positions, segm)
        x, y, parent = given.x, given.y, given.label
        sigma = np.where(given.fixed, FIXED_SIGMA, POSITION_SIGMA)
        is_point = np.asarray(given.point_source.filled(False), bool)
    parent = np.asarray(parent, int)
    sources = SourceList(x=x, y=y, parent=parent, position_sigma=sigma,
                         radius=_radii(parent, segm))
    return Chosen(sources=sources, is_point=is_point,
                  given=positions is not None, labels=labels)
