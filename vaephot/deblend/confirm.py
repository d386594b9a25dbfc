# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Detections beside bright stars that only one band shows.

Spikes, ghosts and trails of bright stars go on beyond the image of the PSF,
and lie elsewhere in each band; galaxies lie at the same place in all.
"""

import numpy as np

from vaephot.deblend.labels import sum_by_label

__all__ = ['unconfirmed']

# distance to which a star of flux F matters, in units of
# FWHM * (F / (noise * FWHM^2))^(1/3): wings of PSFs fall as the third power
REACH = 2.0
# stars that matter less far than this, in FWHM, have no such artefacts
LEAST_REACH = 20.0
# signal to noise of all bands but the best together that confirms a source
LEAST_OTHERS = 1.5


def _reach(fitter, solution):
    """How far the artefacts of each star reach, 0 for others."""
    noise = fitter.sky_rms(solution.fit.parameters[:, :2])
    bright = np.maximum(solution.fit.flux / noise, 0) / fitter.fwhm ** 2
    reach = REACH * np.cbrt(bright)
    return np.where(solution.is_point & (reach.max(1) > LEAST_REACH),
                    (reach * fitter.fwhm).max(1), 0)


def unconfirmed(fitter, solution):
    """
    Find what is alone, beside a bright star, and seen in one band only.

    Parameters
    ----------
    fitter : `~vaephot.deblend.scene.SceneFitter`
        Noise and widths of the PSFs.
    solution : `~vaephot.deblend.pipeline.Solution`
        Fitted sources.

    Returns
    -------
    `numpy.ndarray` of bool, (n,)
        Nothing where there are no other bands.
    """
    fit, parent = solution.fit, solution.sources.parent
    n, n_bands = fit.flux.shape
    reach = _reach(fitter, solution)
    stars = np.flatnonzero(reach)
    if n_bands < 2 or not len(stars):
        return np.zeros(n, bool)
    xy = fit.parameters[:, :2]
    apart = np.hypot(*(xy[:, None] - xy[stars]).transpose(2, 0, 1))
    snr = np.nan_to_num(fit.flux / np.maximum(fit.flux_err, 1e-300))
    others = (snr.sum(1) - snr.max(1)) / np.sqrt(n_bands - 1)
    return ((sum_by_label(parent) == 1) & ~solution.is_point
            & (apart < reach[stars]).any(1) & (others < LEAST_OTHERS))
