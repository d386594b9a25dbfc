# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Stamps of good galaxies and of odd ones, for ``odd_sources.py``."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from photutils.aperture import BoundingBox

from vaephot.simulate.image_noise import add_noise, saturate
from vaephot.simulate.instrument import (
    Instrument,
    draw_galaxy_source,
    draw_source,
    draw_star_source,
)
from vaephot.simulate.survey import ZEROPOINT
from vaephot.simulate.transforms import Component

__all__ = ['KINDS', 'OddStamps', 'draw_stamps']

SURVEY = 'euclid-wide'
STAMP_SIZE = 96
# AB magnitude in VIS of all of the light, and of saturated stars
MAG_RANGE = (20.0, 24.5)
SATURATED_RANGE = (15.5, 17.5)
# 1-sigma scatter of the position that is told, arcsec in x and in y
POSITION_SIGMA = 0.02
# distance of the two of a pair, arcsec, and their difference in magnitude
PAIR_DISTANCE = (0.3, 0.8)
PAIR_CONTRAST = 0.3
# radius [arcsec], opening angle [deg] and width [arcsec] of an arc
ARC_RADIUS = (0.6, 1.5)
ARC_ANGLE = (60.0, 150.0)
ARC_WIDTH = (0.03, 0.10)
# length of the track of a cosmic ray in pixels; its distance from a galaxy
# that it hits, arcsec, and its light over that of the galaxy
HIT_LENGTH = (0.5, 6.0)
HIT_DISTANCE = 0.3
HIT_LIGHT = (0.1, 1.0)
# blobs along arcs and streaks, and sigma of a streak in arcsec
N_BLOBS = 400
STREAK_WIDTH = 0.05


@dataclass(frozen=True, kw_only=True)
class OddStamps:
    """
    Stamps of one kind, each to be told as one galaxy.

    Parameters
    ----------
    image : `~numpy.ndarray`, (n, n_bands, S, S)
        With noise, in microjansky.
    mask : `~numpy.ndarray` of bool, (n, n_bands, S, S)
        True where saturated.
    xy : `~numpy.ndarray`, (n, 2)
        Position that is told.
    """

    image: np.ndarray
    mask: np.ndarray
    xy: np.ndarray


@lru_cache(maxsize=1)
def instrument():
    """Survey and PSFs of all stamps."""
    return Instrument(SURVEY, STAMP_SIZE + 31)


def _draw(source):
    """Noiseless image of a source."""
    return draw_source(source, instrument(),
                       BoundingBox(0, STAMP_SIZE, 0, STAMP_SIZE))


def _middle(rng):
    """Place near the middle of a stamp."""
    return (STAMP_SIZE - 1) / 2 + rng.uniform(-0.5, 0.5, 2)


def _galaxy(rng, xy, mag):
    """Galaxy of the mock catalogue."""
    return draw_galaxy_source(rng, instrument().survey, mag, *xy)


def _cloud(points, width, flux, xy):
    """Image of blobs, arcsec from a place, of the given fluxes."""
    weights = np.full(len(points), 1 / len(points))
    cloud = Component(part='disk', share=1.0, radius=width,
                      matrix=np.eye(2), points=points, weights=weights)
    return instrument().renderer.draw(
        [cloud], {'disk': flux}, BoundingBox(0, STAMP_SIZE, 0, STAMP_SIZE),
        *xy, np.abs(points).max() + 5 * width)


def draw_good(rng, mag):
    """Galaxy alone."""
    xy = _middle(rng)
    return _draw(_galaxy(rng, xy, mag)), xy


def draw_pair(rng, mag):
    """Two galaxies of about equal light, told between them."""
    xy = _middle(rng)
    angle = rng.uniform(0, 2 * np.pi)
    half = rng.uniform(*PAIR_DISTANCE) / 2 / instrument().survey.pixel_scale
    step = half * np.array([np.cos(angle), np.sin(angle)])
    each = mag + 2.5 * np.log10(2)
    contrast = rng.uniform(-0.5, 0.5) * PAIR_CONTRAST
    return (_draw(_galaxy(rng, xy + step, each + contrast))
            + _draw(_galaxy(rng, xy - step, each - contrast))), xy


def draw_arc(rng, mag):
    """Ridge along a part of a circle, told at its middle."""
    xy = _middle(rng)
    flux = _galaxy(rng, xy, mag).flux
    radius = rng.uniform(*ARC_RADIUS)
    half = np.deg2rad(rng.uniform(*ARC_ANGLE)) / 2
    angle = np.linspace(-half, half, N_BLOBS)
    points = radius * np.stack([np.cos(angle) - 1, np.sin(angle)], 1)
    turn = rng.uniform(0, 2 * np.pi)
    c, s = np.cos(turn), np.sin(turn)
    points = points @ np.array([[c, s], [-s, c]])
    return _cloud(points, rng.uniform(*ARC_WIDTH), flux, xy), xy


def draw_star(rng, mag):
    """Point source."""
    xy = _middle(rng)
    return _draw(draw_star_source(rng, instrument().survey, mag, *xy)), xy


def draw_saturated(rng, mag):
    """Star with a core that is masked, as bright as such stars are."""
    step = (mag - MAG_RANGE[0]) / (MAG_RANGE[1] - MAG_RANGE[0])
    low, high = SATURATED_RANGE
    return draw_star(rng, low + step * (high - low))


def _track(rng, xy, flux):
    """Hit of a cosmic ray: light of the first band, without the PSF."""
    image = np.zeros((len(instrument().psfs), STAMP_SIZE, STAMP_SIZE))
    along = rng.uniform(*HIT_LENGTH) * np.linspace(-0.5, 0.5, N_BLOBS)
    angle = rng.uniform(0, np.pi)
    ix, iy = (np.rint(start + along * factor).astype(int) for start, factor
              in zip(xy, (np.cos(angle), np.sin(angle)), strict=True))
    np.add.at(image[0], (iy, ix), flux / N_BLOBS)
    return image


def draw_hit(rng, mag):
    """Cosmic ray in the first band and nothing else."""
    xy = _middle(rng)
    return _track(rng, xy, 10 ** (-0.4 * (mag - ZEROPOINT))), xy


def draw_hit_galaxy(rng, mag):
    """Galaxy with a cosmic ray beside its centre."""
    image, xy = draw_good(rng, mag)
    scale = instrument().survey.pixel_scale
    offset = rng.uniform(-1, 1, 2) * HIT_DISTANCE / np.sqrt(2) / scale
    flux = 10 ** (-0.4 * (mag - ZEROPOINT)) * rng.uniform(*HIT_LIGHT)
    return image + _track(rng, xy + offset, flux), xy


def draw_streak(rng, mag):
    """Trail in the first band, of this magnitude per arcsec of length."""
    xy = _middle(rng)
    length = 1.5 * STAMP_SIZE * instrument().survey.pixel_scale
    angle = rng.uniform(0, np.pi)
    along = length * np.linspace(-0.5, 0.5, N_BLOBS)
    flux = np.zeros(len(instrument().psfs))
    flux[0] = 10 ** (-0.4 * (mag - ZEROPOINT)) * length
    points = along[:, None] * np.array([np.cos(angle), np.sin(angle)])
    return _cloud(points, STREAK_WIDTH, flux, xy), xy


KINDS = {'good': draw_good, 'pair': draw_pair, 'arc': draw_arc,
         'star': draw_star, 'saturated star': draw_saturated,
         'cosmic ray': draw_hit, 'galaxy with cosmic ray': draw_hit_galaxy,
         'streak': draw_streak, 'PSF 30 % too wide': draw_good}


def draw_stamps(kind, n, seed):
    """
    Draw stamps of a kind.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    n : int
        Number of stamps.
    seed : int
        Stamp k depends on the seed, the kind and k alone.

    Returns
    -------
    OddStamps
    """
    survey, rows = instrument().survey, []
    for k in range(n):
        rng = np.random.default_rng([seed, list(KINDS).index(kind), k])
        light, xy = KINDS[kind](rng, rng.uniform(*MAG_RANGE))
        noisy, _ = add_noise(rng, light, survey.sky_rms, survey.gain)
        image, mask = saturate(noisy, instrument().saturation_levels)
        told = xy + rng.normal(scale=POSITION_SIGMA / survey.pixel_scale,
                               size=2)
        rows.append((image, mask, told))
    image, mask, xy = (np.array(column) for column in zip(*rows,
                                                          strict=True))
    return OddStamps(image=image, mask=mask, xy=xy)
