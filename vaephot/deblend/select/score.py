# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Score the sources of a scene: their probabilities."""

import numpy as np

from vaephot.deblend.select.features import FEATURES, compare, measure_features
from vaephot.deblend.select.host_test import find_pairs, host_gains

__all__ = ['Scorer']

# only sources that are doubtful without it are compared with their hosts
DOUBTFUL = 0.05, 0.97
# a point in place of a source that is wider than the PSF loses chi-square:
# five sigma of it, and more than a PSF that is 10 % too narrow would make
RESOLVED_COST, RESOLVED_SHARE = 25.0, 0.02
# probability of what is ruled out, at most
RULED_OUT = 0.01


class Scorer:
    """
    Probabilities of the sources of scenes.

    What a source gains over the asymmetry of its host is measured where the
    other features leave doubt, and once as long as the sources of its parent
    stay the same.

    Parameters
    ----------
    engine : `~vaephot.deblend.fit.engine.Engine`
        Images and fit.
    classifier : `~vaephot.models.classifier.SourceClassifier`
        What makes probabilities of features.
    """

    def __init__(self, engine, classifier):
        self.engine, self.classifier = engine, classifier
        self._known, self._measures = {}, {}
        self._last = None, None

    def hope(self, scene):
        """
        Probabilities to be a source without comparisons, (n,).

        1 where a comparison is due: it may turn out well.
        """
        value = self.first_look(scene)[:, 0]
        value[self._doubtful(scene, value).rows] = 1.0
        return value

    def first_look(self, scene):
        """Probabilities without comparisons with hosts, (n, 2)."""
        return self._probabilities(self._measured(scene))

    def __call__(self, scene):
        """Probabilities to be a source, and of these to be a point, (n, 2)."""
        if self._last[0] is not scene:
            features = self.features(scene)
            self._last = scene, self._probabilities(features)
        return self._last[1]

    def _probabilities(self, features):
        """Probabilities (n, 2) of features; what is resolved is no point."""
        scores = self.classifier.probabilities(features).copy()
        cost, share = (features[:, FEATURES.index(name)]
                       for name in ('point', 'point_share'))
        resolved = ((cost > np.log10(RESOLVED_COST))
                    & (share > np.log10(RESOLVED_SHARE)))
        scores[resolved, 1] = np.minimum(scores[resolved, 1], RULED_OUT)
        return scores

    def features(self, scene):
        """Features (n, n_features), comparisons with hosts included."""
        features = self._measured(scene)
        pairs = self._doubtful(
            scene, self.classifier.probabilities(features)[:, 0])
        return compare(features, pairs.rows, self._gains(scene, pairs))

    def _measured(self, scene):
        """Features without comparisons; of unchanged groups as before."""
        fit, keys = scene.fit, [None] * len(scene)
        for group in scene.groups:
            some = list(group.members)
            state = fit.parameters[some].tobytes() + fit.flux[some].tobytes()
            for k in group.core:
                keys[k] = fit.parameters[k].tobytes(), state
        new = [k for k, key in enumerate(keys) if key not in self._measures]
        found = measure_features(self.engine, scene, np.array(new, int))
        self._measures.update(zip([keys[k] for k in new], found, strict=True))
        return np.array([self._measures[key] for key in keys]).reshape(
            len(keys), len(FEATURES))

    def _doubtful(self, scene, probability):
        """Pairs of hosts and sources that are to be compared."""
        pairs = find_pairs(self.engine, scene)
        low, high = DOUBTFUL
        value = probability[pairs.rows]
        return pairs.take((value > low) & (value < high))

    def _gains(self, scene, pairs):
        """What sources gain over their hosts, (m,)."""
        x, y, parent = (getattr(scene.sources, name)
                        for name in ('x', 'y', 'parent'))
        keys = [(x[k], y[k], x[parent == parent[k]].tobytes())
                for k in pairs.rows]
        new = np.array([key not in self._known for key in keys], bool)
        gains = host_gains(self.engine, scene, pairs.take(new))
        self._known.update(zip([k for k, n in zip(keys, new, strict=True)
                                if n], gains.tolist(), strict=True))
        return np.array([self._known[key] for key in keys])
