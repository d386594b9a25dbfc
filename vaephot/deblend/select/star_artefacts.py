# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
What bright stars do to their surroundings, and what may pass for a source.

Spikes, ghosts and trails of bright stars go on beyond the image of the PSF,
and lie elsewhere in each band; galaxies lie at the same place in all, and none
is as thin as a spike. The segment of a star is searched, with its model taken
away, on many pixels, some of which noise makes bright.
"""

from math import comb

import numpy as np
from astropy.stats import gaussian_fwhm_to_sigma
from scipy.stats import chi2

from vaephot.utils.labels import sum_by_label

__all__ = ['unconfirmed']

# distance to which a star of flux F matters, in units of
# FWHM * (F / (noise * FWHM^2))^(1/3): wings of PSFs fall as the third power
REACH = 2.0
# stars that matter less far than this, in FWHM, have no such artefacts
LEAST_REACH = 20.0
# signal to noise of all bands but the best together that confirms a source
LEAST_OTHERS = 1.5
# axis ratio of the thinnest disks, seen edge-on
THINNEST = 0.15
# places in the light of a star that noise may make look like sources
MAX_CHANCE = 0.05


def _reach(pixels, solution):
    """How far the artefacts of each star reach, 0 for others."""
    noise = pixels.sky_rms(solution.fit.parameters[:, :2])
    bright = np.maximum(solution.fit.flux / noise, 0) / pixels.fwhm ** 2
    reach = REACH * np.cbrt(bright)
    return np.where(solution.is_point & (reach.max(1) > LEAST_REACH),
                    (reach * pixels.fwhm).max(1), 0)


def _one_band(snr):
    """Which sources no band but one sees; none if there is one only."""
    n_bands = snr.shape[1]
    if n_bands < 2:
        return np.zeros(len(snr), bool)
    others = (snr.sum(1) - snr.max(1)) / np.sqrt(n_bands - 1)
    return others < LEAST_OTHERS


def _thin(parameters):
    """Which sources are thinner than a galaxy can be."""
    return np.hypot(parameters[:, 3], parameters[:, 4]) > -np.log(THINNEST)


def _places(pixels, solution, stars):
    """How many independent places the light of each of some stars covers."""
    area = np.zeros(len(stars))
    noise = pixels.sky_rms(solution.fit.parameters[stars, :2])
    for i, k in enumerate(stars):
        bright = solution.models[k] > noise[i][:, None, None]
        area[i] = bright.any(0).sum()
    sigma = pixels.fwhm.min() * gaussian_fwhm_to_sigma
    return area / (4 * np.pi * sigma ** 2)


def _chance(snr):
    """Probability that noise makes fluxes, none negative, so bright."""
    n_bands = snr.shape[1]
    total = (np.maximum(snr, 0) ** 2).sum(1)
    return sum(comb(n_bands, k) * chi2.sf(total, k)
               for k in range(1, n_bands + 1)) / 2 ** n_bands


def _places_of_parents(pixels, solution, stars):
    """Places in the light of the stars in the segment of each source."""
    places = np.zeros(len(solution.sources.parent))
    places[stars] = _places(pixels, solution, stars)
    return sum_by_label(solution.sources.parent, places)


def unconfirmed(pixels, solution):
    """
    Find what a bright star may have made.

    Parameters
    ----------
    pixels : `~vaephot.deblend.detect.pixels.Pixels`
        Noise and widths of the PSFs.
    solution : `~vaephot.deblend.scene.Scene`
        Fitted sources.

    Returns
    -------
    `numpy.ndarray` of bool, (n,)
        Sources near a star: those that are thinner than any disk; in its
        segment, those that are no brighter than noise on as many places may
        be; elsewhere, those that one of several bands sees alone.
    """
    fit = solution.fit
    reach = _reach(pixels, solution)
    stars = np.flatnonzero(reach)
    if not len(stars):
        return np.zeros(len(fit.flux), bool)
    xy = fit.parameters[:, :2]
    apart = np.hypot(*(xy[:, None] - xy[stars]).transpose(2, 0, 1))
    near = ~solution.is_point & (apart < reach[stars]).any(1)
    snr = np.nan_to_num(fit.flux / np.maximum(fit.flux_err, 1e-300))
    places = _places_of_parents(pixels, solution, stars)
    return near & (_thin(fit.parameters) | np.where(
        places > 0, places * _chance(snr) > MAX_CHANCE, _one_band(snr)))
