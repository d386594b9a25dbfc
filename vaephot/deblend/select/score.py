# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""How likely each source of a fit is one of its own, all evidence counted."""

from dataclasses import replace

import numpy as np

from vaephot.deblend.pipeline import reference_view
from vaephot.deblend.select.features import measure_evidence
from vaephot.deblend.select.host_test import rivalry, structure_gains
from vaephot.deblend.select.probability import source_probability, with_rivals
from vaephot.deblend.select.star_artefacts import unconfirmed

__all__ = ['SURE', 'Judge', 'with_probability']

# gain over structure that a source is hoped to have before that is known
HOPE = np.inf
# probability of what only one band shows beside a bright star, at most
UNCONFIRMED = 0.05
# probability from which on a source is no structure
SURE = 0.97


def _probability(fitter, solution):
    """Probability of all sources of a fit."""
    known = reference_view(fitter, solution)
    value = source_probability(measure_evidence(*known))
    return np.where(unconfirmed(*known), np.minimum(value, UNCONFIRMED),
                    value)


def with_probability(fitter, solution):
    """
    A solution with the probabilities of its sources.

    Parameters
    ----------
    fitter : `~vaephot.deblend.scene.SceneFitter`
        Data and noise.
    solution : `~vaephot.deblend.pipeline.Solution`
        Fitted sources.

    Returns
    -------
    `~vaephot.deblend.pipeline.Solution`
        With ``p_source``.
    """
    return replace(solution, p_source=_probability(fitter, solution))


class Judge:
    """
    Probabilities that know of structure.

    What a source gains over structure of its host is measured once as long
    as the sources of its parent stay the same.

    Parameters
    ----------
    fitter : `~vaephot.deblend.scene.SceneFitter`
        Data, noise and networks.
    """

    def __init__(self, fitter):
        self.fitter = fitter
        self._known = {}
        self._last = None, None

    def _pairs(self, solution):
        """Sources that may be structure, on the grid of the parents."""
        first, seen = reference_view(self.fitter, solution)
        return first, seen, rivalry(first, seen)

    def hopeful(self, solution):
        """
        Probabilities if all gain over structure what sources do.

        Parameters
        ----------
        solution : `~vaephot.deblend.pipeline.Solution`
            Fitted sources.

        Returns
        -------
        `numpy.ndarray`, (n,)
        """
        _, _, pairs = self._pairs(solution)
        gain = np.full(len(solution.sources), np.nan)
        gain[pairs.rows] = HOPE
        return with_rivals(_probability(self.fitter, solution), gain)

    def __call__(self, solution):
        """
        Probabilities of all sources of a solution.

        Parameters
        ----------
        solution : `~vaephot.deblend.pipeline.Solution`
            Fitted sources.

        Returns
        -------
        `numpy.ndarray`, (n,)
        """
        if self._last[0] is solution:
            return self._last[1]
        first, seen, pairs = self._pairs(solution)
        before = _probability(self.fitter, solution)
        pairs = pairs.take(before[pairs.rows] < SURE)
        x, y, parent = (getattr(solution.sources, name)
                        for name in ('x', 'y', 'parent'))
        keys = [(x[k], y[k], x[parent == parent[k]].tobytes())
                for k in pairs.rows]
        new = np.array([key not in self._known for key in keys], bool)
        gains = structure_gains(first, seen, pairs.take(new))
        self._known.update(zip([k for k, n in zip(keys, new, strict=True)
                                if n], gains.tolist(), strict=True))
        gain = np.full(len(x), np.nan)
        gain[pairs.rows] = [self._known[key] for key in keys]
        self._last = solution, with_rivals(before, gain)
        return self._last[1]
