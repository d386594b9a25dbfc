# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Which source owns each pixel of the parents with several of them."""

import numpy as np

from vaephot.deblend.outputs.assign import assign_pixels
from vaephot.utils.boxes import overlap

__all__ = ['find_owners', 'members_of_parents']


def members_of_parents(parent):
    """
    Sources of each parent.

    Parameters
    ----------
    parent : `numpy.ndarray` of int, (n,)
        Parents of sources, 0 for those outside of all.

    Returns
    -------
    dict
        Label of each parent to the rows of its sources.
    """
    order = np.argsort(parent, kind='stable')
    cuts = np.flatnonzero(np.diff(parent[order])) + 1
    return {int(parent[rows[0]]): rows for rows in np.split(order, cuts)
            if len(rows) and parent[rows[0]] > 0}


def _dominance(solution, members, slices, sky_rms):
    """Models over the noise, summed over bands, on a parent's cutout."""
    rows, columns = slices
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    out = np.zeros((len(members), *shape))
    for image, k in zip(out, members, strict=True):
        bbox, model = solution.boxes[k], solution.models[k]
        stack = np.einsum('byx,b->yx', model, 1 / sky_rms[k])
        y = overlap(rows.start, rows.stop, bbox.iymin, bbox.iymax)
        x = overlap(columns.start, columns.stop, bbox.ixmin, bbox.ixmax)
        image[y.start - rows.start:y.stop - rows.start,
              x.start - columns.start:x.stop - columns.start] = stack[
                  y.start - bbox.iymin:y.stop - bbox.iymin,
                  x.start - bbox.ixmin:x.stop - bbox.ixmin]
    return out


def find_owners(deblender, segm, solution, sky_rms):
    """
    Give the pixels of parents to the sources that dominate them.

    Parameters
    ----------
    deblender : `~vaephot.deblend.deblender.VAEDeblender`
        Settings of the children.
    segm : `~photutils.segmentation.SegmentationImage`
        Parents.
    solution : `~vaephot.deblend.pipeline.Solution`
        Sources with their models.
    sky_rms : `numpy.ndarray`, (n, n_bands)
        Noise of a pixel of the sky at each.

    Returns
    -------
    dict
        Label of each parent with several sources to the pair of an image
        over its slices, the number of the source among those of the parent
        that owns each pixel or -1, and how many there are.
    """
    owners = {}
    for label, members in members_of_parents(solution.sources.parent).items():
        if len(members) == 1:
            continue
        slices = segm.slices[segm.get_index(label)]
        strength = _dominance(solution, members, slices, sky_rms)
        owners[label] = (assign_pixels(
            strength, segm.data[slices] == label, deblender.n_pixels,
            connectivity=deblender.connectivity), len(members))
    return owners
