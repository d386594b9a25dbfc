# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Give each pixel of a parent to one of its children."""

import numpy as np
from scipy.ndimage import generate_binary_structure
from scipy.ndimage import label as find_components

from vaephot.exceptions import ShapeMismatchError
from vaephot.utils.boxes import overlap

__all__ = ['assign_pixels', 'find_owners', 'members_of_parents']

# rank of the structuring element with that many neighbours in 2D
_RANK = {4: 1, 8: 2}
_SHIFTS = {
    4: ((-1, 0), (0, -1), (0, 1), (1, 0)),
    8: ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)),
}
NOBODY = -1


def _main_components(owner, dominance, connectivity):
    """Keep the brightest connected part of each child, free the rest."""
    structure = generate_binary_structure(2, _RANK[connectivity])
    out = np.full(owner.shape, NOBODY)
    for k in np.unique(owner[owner >= 0]):
        parts, n_parts = find_components(owner == k, structure=structure)
        light = np.bincount(parts.ravel(), dominance[k].ravel(),
                            n_parts + 1)
        out[parts == 1 + np.argmax(light[1:])] = k
    return out


def _grow(owner, free, dominance, connectivity):
    """Hand free pixels, ring by ring, to the strongest touching child."""
    padded = np.pad(owner, 1, constant_values=NOBODY)
    iy, ix = np.nonzero(free)
    while len(iy):
        best = np.full(len(iy), NOBODY)
        strength = np.full(len(iy), -np.inf)
        for dy, dx in _SHIFTS[connectivity]:
            near = padded[iy + 1 + dy, ix + 1 + dx]
            value = np.where(near >= 0, dominance[near, iy, ix], -np.inf)
            better = value > strength
            best[better] = near[better]
            strength[better] = value[better]
        reached = best >= 0
        if not reached.any():
            break
        padded[iy[reached] + 1, ix[reached] + 1] = best[reached]
        iy, ix = iy[~reached], ix[~reached]
    return padded[1:-1, 1:-1]


def _adopt_islands(owner, region, dominance, connectivity):
    """Give parts of a parent that touch no child to the strongest one."""
    left = region & (owner == NOBODY)
    if not left.any():
        return owner
    alive = np.unique(owner[owner >= 0])
    structure = generate_binary_structure(2, _RANK[connectivity])
    parts, n_parts = find_components(left, structure=structure)
    for i in range(1, n_parts + 1):
        light = dominance[alive][:, parts == i].sum(1)
        owner[parts == i] = alive[np.argmax(light)]
    return owner


def _settle(owner, region, dominance, connectivity):
    """Connected children that own all pixels they can reach."""
    owner = _main_components(owner, dominance, connectivity)
    return _grow(owner, region & (owner == NOBODY), dominance, connectivity)


def _drop_small(owner, region, dominance, n_pixels, connectivity):
    """Dissolve children that are too small, the smallest first."""
    while True:
        labels, areas = np.unique(owner[owner >= 0], return_counts=True)
        if len(labels) <= 1 or areas.min() >= n_pixels:
            return owner
        smallest = np.flatnonzero(areas == areas.min())
        light = [dominance[k][region].sum() for k in labels[smallest]]
        owner[owner == labels[smallest[np.argmin(light)]]] = NOBODY
        owner = _grow(owner, region & (owner == NOBODY), dominance,
                      connectivity)


def assign_pixels(dominance, region, n_pixels, *, connectivity=8):
    """
    Index of the child that owns each pixel of a parent's cutout, (h, w).

    ``dominance`` (n_children, h, w): how strong each child is, for instance
    its model summed over the bands; negative and non-finite values count as 0.
    ``region`` (h, w): the parent's pixels. A child keeps the connected part
    that holds most of its light; other parts, and children with fewer than
    ``n_pixels`` pixels, go to the children they touch, to the one that
    dominates in each pixel. The last child is kept however small it is, one
    that dominates nowhere owns nothing; -1 outside the parent.
    """
    if dominance.ndim != 3 or dominance.shape[1:] != region.shape \
            or not len(dominance):
        msg = (f'dominance has the shape {dominance.shape} but the region '
               f'{region.shape}; one image of that shape is needed for '
               'each child.')
        raise ShapeMismatchError(msg, shape=dominance.shape)
    if connectivity not in _RANK:
        msg = f'connectivity must be 4 or 8, not {connectivity!r}.'
        raise ValueError(msg)
    if len(dominance) == 1:
        return np.where(region, 0, NOBODY)
    light = np.where(np.isfinite(dominance) & (dominance > 0), dominance, 0)
    lit = region & (light.max(0) > 0)
    if not lit.any():
        return np.where(region, 0, NOBODY)
    owner = np.where(lit, light.argmax(0), NOBODY)
    owner = _settle(owner, region, light, connectivity)
    owner = _drop_small(owner, region, light, n_pixels, connectivity)
    return _adopt_islands(owner, region, light, connectivity)


def members_of_parents(parent):
    """Label of each parent but 0 to the rows of its sources."""
    order = np.argsort(parent, kind='stable')
    cuts = np.flatnonzero(np.diff(parent[order])) + 1
    return {int(parent[rows[0]]): rows for rows in np.split(order, cuts)
            if len(rows) and parent[rows[0]] > 0}


def _dominance(boxes, models, sky_rms, slices):
    """Models over the noise, summed over bands, on a parent's cutout."""
    rows, columns = slices
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    out = np.zeros((len(boxes), *shape))
    for image, box, model, rms in zip(out, boxes, models, sky_rms,
                                      strict=True):
        y = overlap(rows.start, rows.stop, box.iymin, box.iymax)
        x = overlap(columns.start, columns.stop, box.ixmin, box.ixmax)
        part = model[:, y.start - box.iymin:y.stop - box.iymin,
                     x.start - box.ixmin:x.stop - box.ixmin]
        image[y.start - rows.start:y.stop - rows.start,
              x.start - columns.start:x.stop - columns.start] = np.einsum(
                  'byx,b->yx', part, 1 / rms)
    return out


def find_owners(segm, parent, boxes, models, sky_rms, n_pixels, *,
                connectivity=8):
    """
    Give the pixels of parents to the sources that dominate them.

    ``parent`` (n,), ``boxes`` and ``models`` (n_bands, h, w) of each source,
    ``sky_rms`` (n, n_bands). Maps the label of each parent with several
    sources to the pair of an image over its slices, the number of the source
    among those of the parent that owns each pixel or -1, and how many there
    are.
    """
    owners = {}
    for label, members in members_of_parents(parent).items():
        if len(members) == 1:
            continue
        slices = segm.slices[segm.get_index(label)]
        strength = _dominance([boxes[k] for k in members],
                              [models[k] for k in members],
                              sky_rms[members], slices)
        owners[label] = (assign_pixels(
            strength, segm.data[slices] == label, n_pixels,
            connectivity=connectivity), len(members))
    return owners
