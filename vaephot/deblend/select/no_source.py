# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Segments without a source.

A fluctuation of noise, or one on the outskirts of a bright galaxy, may be a
segment as well. What was fitted to it stays, so that what the others look
like, and how pixels are divided, does not depend on it.
"""

import numpy as np

from vaephot.deblend.select.loop import with_good_pixels
from vaephot.utils.labels import sum_by_label

__all__ = ['find_empty']


def find_empty(engine, scene, chosen, search):
    """
    Sources alone in their segment that are hardly sources, (n,).

    Never positions that were given, nor sources of parents that were not
    asked for or have no good pixel.
    """
    parent = scene.sources.parent
    if chosen.given:
        return np.zeros(len(parent), bool)
    labels = (engine.parents.labels if chosen.labels is None
              else chosen.labels)
    asked = with_good_pixels(engine, np.asarray(labels, int))
    return ((scene.p_source < search.min_probability)
            & (sum_by_label(parent) == 1) & np.isin(parent, asked))
