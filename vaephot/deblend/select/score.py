# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Score the sources of a scene: their probability to be sources."""

from dataclasses import replace

import numpy as np

from vaephot.deblend.select.features import measure_evidence
from vaephot.deblend.select.host_test import find_pairs, host_gains
from vaephot.deblend.select.probability import (
    source_probability,
    with_rivals,
)
from vaephot.deblend.select.star_artefacts import unconfirmed

__all__ = ['Scorer', 'with_probability']

# probability of what only one band shows beside a bright star, at most
UNCONFIRMED = 0.05
# probability from which on a source is no part of another
SURE = 0.97


def _probability(engine, scene):
    """Probability of all sources of a scene, hosts not tested, (n,)."""
    seen = scene.in_bands(engine.image_bands)
    value = source_probability(measure_evidence(engine.pixels, seen))
    return np.where(unconfirmed(engine.pixels, seen),
                    np.minimum(value, UNCONFIRMED), value)


def with_probability(engine, scene):
    """A scene with the probabilities of its sources."""
    return replace(scene, p_source=_probability(engine, scene))


class Scorer:
    """
    Probabilities that know of the asymmetry of hosts.

    What a source gains over that of its host is measured once as long as
    the sources of its parent stay the same.
    """

    def __init__(self, engine):
        self.engine = engine
        self._known = {}
        self._last = None, None

    def upper_bound(self, scene):
        """Probabilities if each source wins against its host, (n,)."""
        pairs = find_pairs(self.engine, scene)
        gain = np.full(len(scene), np.nan)
        gain[pairs.rows] = np.inf
        return with_rivals(_probability(self.engine, scene), gain)

    def __call__(self, scene):
        """Probabilities of all sources of a scene, (n,)."""
        if self._last[0] is scene:
            return self._last[1]
        pairs = find_pairs(self.engine, scene)
        before = _probability(self.engine, scene)
        pairs = pairs.take(before[pairs.rows] < SURE)
        x, y, parent = (getattr(scene.sources, name)
                        for name in ('x', 'y', 'parent'))
        keys = [(x[k], y[k], x[parent == parent[k]].tobytes())
                for k in pairs.rows]
        new = np.array([key not in self._known for key in keys], bool)
        gains = host_gains(self.engine, scene, pairs.take(new))
        self._known.update(zip([k for k, n in zip(keys, new, strict=True)
                                if n], gains.tolist(), strict=True))
        gain = np.full(len(x), np.nan)
        gain[pairs.rows] = [self._known[key] for key in keys]
        self._last = scene, with_rivals(before, gain)
        return self._last[1]
