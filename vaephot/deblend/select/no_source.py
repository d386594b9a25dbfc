# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Segments without a source.

A fluctuation of noise, or one on the outskirts of a bright galaxy, may be a
segment as well. What was fitted to it stays, so that what the others look
like, and how pixels are divided, does not depend on it.
"""

import numpy as np

from vaephot.deblend.select.loop import least_alone, with_good_pixels
from vaephot.utils.labels import sum_by_label

__all__ = ['find_empty']


def find_empty(fitter, segm, solution, chosen, deblender):
    """
    Find what is alone in its segment and hardly a source.

    Parameters
    ----------
    fitter : `~vaephot.deblend.scene.SceneFitter`
        What fitted the sources.
    segm : `~photutils.segmentation.SegmentationImage`
        Parents.
    solution : `~vaephot.deblend.pipeline.Solution`
        Sources with their probabilities.
    chosen : `~vaephot.deblend.detect.candidates.Chosen`
        What was asked for.
    deblender : `~vaephot.deblend.deblender.VAEDeblender`
        Settings.

    Returns
    -------
    `numpy.ndarray` of bool, (n,)
        Never given positions, nor sources of parents that were not asked
        for or have no good pixel.
    """
    parent = solution.sources.parent
    if chosen.given:
        return np.zeros(len(parent), bool)
    asked = with_good_pixels(fitter, segm, np.asarray(
        segm.labels if chosen.labels is None else chosen.labels, int))
    return ((solution.p_source < least_alone(deblender.finder))
            & (sum_by_label(parent) == 1) & np.isin(parent, asked))
