# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Sources on the sky, and how they are drawn through an instrument."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from photutils.aperture import BoundingBox

from vaephot.simulate._galsim import (
    SCENE_FOLDING,
    drawing_accuracy,
    load_galsim,
)
from vaephot.simulate.catalog import draw_colors, draw_galaxy, draw_star_colors
from vaephot.simulate.galaxies import TRUNCATION, Galaxy, galaxy_profile
from vaephot.simulate.survey import ZEROPOINT, get_survey, survey_psfs

__all__ = ['Instrument', 'Source', 'draw_galaxy_source', 'draw_source',
           'draw_star_source', 'source_bbox']


@dataclass(frozen=True, kw_only=True)
class Source:
    """
    A galaxy or a star at a place of the image.

    Parameters
    ----------
    x, y : float
        Position in pixels, the first pixel centre being 0.
    mags : ndarray (n_bands,)
        AB magnitudes, total.
    galaxy : `~vaephot.simulate.galaxies.Galaxy` or None, optional
        Shape. `None` is a star.
    bulge_fractions : ndarray (n_bands,) or None, optional
        Share of the bulge in each band. `None` for a star.
    """

    x: float
    y: float
    mags: np.ndarray
    galaxy: Galaxy | None = None
    bulge_fractions: np.ndarray | None = None

    @property
    def is_star(self):
        """Whether the source is a point."""
        return self.galaxy is None

    @property
    def flux(self):
        """Total fluxes in microjansky, (n_bands,)."""
        return 10 ** (-0.4 * (self.mags - ZEROPOINT))


class Instrument:
    """
    A survey with its PSFs ready to draw.

    Parameters
    ----------
    survey : str or `~vaephot.simulate.survey.Survey`
        The survey.
    psf_pixels : int
        Side of the box that the PSFs are cut at, in pixels.
    """

    def __init__(self, survey, psf_pixels):
        self.survey = get_survey(survey)
        self.psf_pixels = psf_pixels
        self.gsparams = drawing_accuracy(SCENE_FOLDING)
        self.psfs = survey_psfs(self.survey, psf_pixels,
                                gsparams=self.gsparams)

    def __repr__(self):
        return (f'Instrument({self.survey.name!r}, '
                f'psf_pixels={self.psf_pixels})')

    @cached_property
    def psf_images(self):
        """Sampled PSFs, (n_bands, P, P), each of sum 1."""
        return np.array([psf.image for psf in self.psfs])

    @property
    def oversampling(self):
        """Samples of the PSF per pixel."""
        return self.psfs[0].oversampling

    @cached_property
    def saturation_levels(self):
        """Largest pixel values in microjansky, (n_bands,)."""
        levels = []
        for band, psf in zip(self.survey.bands, self.psfs, strict=True):
            mag = band.saturation_mag
            peak = psf.image.max() * psf.oversampling ** 2
            levels.append(np.inf if mag is None
                          else 10 ** (-0.4 * (mag - ZEROPOINT)) * peak)
        return np.array(levels)


def draw_galaxy_source(rng, survey, mag, x, y, *, disk_radius=None):
    """
    Draw a galaxy of the mock catalogue.

    Parameters
    ----------
    rng : `numpy.random.Generator`
        Source of randomness.
    survey : `~vaephot.simulate.survey.Survey`
        Survey whose bands it is seen in.
    mag : float
        AB magnitude in VIS.
    x, y : float
        Position in pixels.
    disk_radius : float or None, optional
        Half-light radius of the disk in arcsec. `None` draws it.

    Returns
    -------
    `Source`
    """
    galaxy = draw_galaxy(rng, mag)
    if disk_radius is not None:
        galaxy = galaxy.scaled(disk_radius / galaxy.disk_radius)
    mags, fractions = draw_colors(rng, mag, galaxy.bulge_fraction,
                                  survey.band_names)
    return Source(x=float(x), y=float(y), mags=mags, galaxy=galaxy,
                  bulge_fractions=fractions)


def draw_star_source(rng, survey, mag, x, y):
    """
    Draw a star.

    Parameters
    ----------
    rng : `numpy.random.Generator`
        Source of randomness.
    survey : `~vaephot.simulate.survey.Survey`
        Survey whose bands it is seen in.
    mag : float
        AB magnitude in VIS.
    x, y : float
        Position in pixels.

    Returns
    -------
    `Source`
    """
    return Source(x=float(x), y=float(y),
                  mags=draw_star_colors(rng, mag, survey.band_names))


def source_bbox(source, instrument, shape):
    """
    Box that holds the light of a source, cut at the image.

    Parameters
    ----------
    source : `Source`
        The source.
    instrument : `Instrument`
        Gives the size of the PSF.
    shape : tuple of int
        (ny, nx) of the image.

    Returns
    -------
    `photutils.aperture.BoundingBox` or None
        `None` if nothing of it falls on the image.
    """
    half = instrument.psf_pixels / 2
    if not source.is_star:
        half += (TRUNCATION * source.galaxy.major_radius
                 / instrument.survey.pixel_scale)
    box = (max(int(np.floor(source.x - half)), 0),
           min(int(np.ceil(source.x + half)) + 1, shape[1]),
           max(int(np.floor(source.y - half)), 0),
           min(int(np.ceil(source.y + half)) + 1, shape[0]))
    if box[0] >= box[1] or box[2] >= box[3]:
        return None
    return BoundingBox(*box)


def draw_source(source, instrument, bbox):
    """
    Draw one source without noise.

    Parameters
    ----------
    source : `Source`
        The source.
    instrument : `Instrument`
        Survey and PSFs.
    bbox : `photutils.aperture.BoundingBox`
        Pixels to draw.

    Returns
    -------
    ndarray (n_bands, ny, nx)
        In microjansky.
    """
    galsim = load_galsim()
    ny, nx = bbox.shape
    offset = (source.x - (bbox.ixmin + bbox.ixmax - 1) / 2,
              source.y - (bbox.iymin + bbox.iymax - 1) / 2)
    out = np.empty((len(instrument.psfs), ny, nx))
    for k, psf in enumerate(instrument.psfs):
        profile = psf.profile
        if not source.is_star:
            shape = galaxy_profile(source.galaxy,
                                   bulge_fraction=source.bulge_fractions[k],
                                   gsparams=instrument.gsparams)
            profile = galsim.Convolve(shape, profile,
                                      gsparams=instrument.gsparams)
        image = profile.drawImage(
            nx=nx, ny=ny, scale=psf.pixel_scale, offset=offset,
            method='no_pixel', dtype=float)
        out[k] = source.flux[k] * image.array
    return out
