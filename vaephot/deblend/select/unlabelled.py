# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Parents that were not asked for: whole in the result, yet fitted with all
their sources, so that what is asked for does not depend on it.
"""

from dataclasses import replace

import numpy as np

from vaephot.deblend.images import redraw
from vaephot.deblend.pipeline import solve_again
from vaephot.utils.labels import brightest_of_parent, sum_by_label

__all__ = ['pass_through']


def pass_through(fitter, segm, solution, labels):
    """
    Measure parents that were not asked for as one source each.

    Parameters
    ----------
    fitter : `~vaephot.deblend.scene.SceneFitter`
        What fitted the sources.
    segm : `~photutils.segmentation.SegmentationImage`
        Parents.
    solution : `~vaephot.deblend.pipeline.Solution`
        Sources of all parents.
    labels : `numpy.ndarray` of int or None
        Parents that were asked for; `None`: all.

    Returns
    -------
    `~vaephot.deblend.pipeline.Solution`
        Sources of the parents asked for as they were, and one source in
        each other parent, fitted anew where there were several.
    """
    parent = solution.sources.parent
    if labels is None:
        return solution
    crowded = ~np.isin(parent, labels) & (sum_by_label(parent) > 1)
    crowded &= parent > 0
    if not crowded.any():
        return solution
    bright = (solution.fit.flux
              / fitter.sky_rms(solution.fit.parameters[:, :2])).sum(1)
    keep = ~crowded | brightest_of_parent(bright, parent)
    single = solve_again(fitter, segm, solution, keep)
    fit = single.fit.merge(solution.fit.take(keep), ~crowded[keep])
    return replace(
        single, fit=fit, rejected=solution.rejected,
        p_source=(None if solution.p_source is None
                  else solution.p_source[keep]),
        **redraw(fitter, fit, single.fit, single.drawn))
