# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Fit sources as points that are rather points than galaxies."""

from dataclasses import replace

import numpy as np

from vaephot.deblend.select.features import core_state
from vaephot.deblend.select.point_test import point_fluxes

__all__ = ['fit_points']

# a point with this probability is fitted as one; below the lesser one there
# is no doubt worth an error
LIKELY, DOUBTED = 0.5, 0.02
# share of a core that may be hidden; the rasters of small circles differ by it
MAX_HIDDEN = 0.3


def _with_doubt(fit, doubt):
    """A fit with errors (n, n_bands) added in quadrature to its own."""
    covariance = fit.covariance.copy()
    bands = np.arange(doubt.shape[1])
    covariance[:, bands, bands] += doubt ** 2
    return replace(fit, flux_err=np.hypot(fit.flux_err, doubt),
                   covariance=covariance)


def _is_seen(engine, scene):
    """Sources (n,) whose core is seen: half of one looks like a point."""
    state = core_state(engine.pixels, scene.in_bands(engine.image_bands),
                       np.arange(len(scene)))
    return state['edge'] < MAX_HIDDEN


def fit_points(engine, scene):
    """
    Fit likely points as such; their errors get the doubt.

    Two models with probabilities p and 1 - p, whose fluxes differ by d,
    scatter by d sqrt(p (1 - p)) about their mean. Sources of which it is
    known what they are stay as they are.
    """
    p = scene.p_point
    free = ~(scene.is_point | scene.sources.is_known)
    free &= _is_seen(engine, scene)
    likely, doubted = free & (p > LIKELY), free & (p > DOUBTED)
    if not doubted.any():
        return scene
    before, rows = scene.fit.flux, engine.image_bands
    other = before.copy()
    other[np.ix_(doubted, rows)] = point_fluxes(
        engine, scene, np.flatnonzero(doubted))
    after = engine.as_points(scene, likely) if likely.any() else scene
    if after is not scene:
        other[likely] = after.fit.flux[likely]
    doubt = np.abs(other - before) * np.sqrt(p * (1 - p))[:, None]
    return replace(after, fit=_with_doubt(
        after.fit, np.where(doubted[:, None], doubt, 0)))
