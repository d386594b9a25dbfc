# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Parents that were not asked for: whole in the result, yet fitted with all
their sources, so that what is asked for does not depend on it.
"""

from dataclasses import replace

import numpy as np

from vaephot.utils.labels import brightest_of_parent, sum_by_label

__all__ = ['merge_unlabelled']


def merge_unlabelled(engine, scene, labels):
    """
    Measure parents that were not asked for as one source each.

    ``labels``: parents that were asked for, `None` for all. Their sources
    stay as they were, and one source is in each other parent, fitted anew
    where there were several.
    """
    parent = scene.sources.parent
    if labels is None:
        return scene
    crowded = ~np.isin(parent, labels) & (sum_by_label(parent) > 1)
    crowded &= parent > 0
    if not crowded.any():
        return scene
    bright = (scene.fit.flux
              / engine.sky_rms(scene.fit.parameters[:, :2])).sum(1)
    keep = ~crowded | brightest_of_parent(bright, parent)
    single = engine.refit(scene, keep)
    fit = single.fit.merge(scene.fit.take(keep), ~crowded[keep])
    return replace(single, fit=fit, rejected=scene.rejected,
                   drawn=engine.draw(fit))
