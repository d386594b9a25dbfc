# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Blends with known truth on one image, for the scripts beside it."""

from dataclasses import dataclass, replace

import numpy as np
from astropy import units as u

from vaephot.evaluate import mosaic as layout
from vaephot.evaluate import runner
from vaephot.evaluate.observed import observe_blends
from vaephot.simulate import draw_blends

__all__ = ['GAP', 'NOISE_FREE', 'Mosaic', 'describe_software',
           'make_mosaic', 'vaephot_inputs']

GAP = layout.GAP
# noise that is stated for images without any, over that of the survey
NOISE_FREE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Mosaic:
    """
    Stamps in rows and columns with gaps of no data, and their truth.

    Parameters
    ----------
    data : `~astropy.units.Quantity`, (n_bands, ny, nx)
        Background-subtracted images; 0 in the gaps.
    gap : `~numpy.ndarray` of bool, (ny, nx)
        True between the stamps.
    mask : `~numpy.ndarray` of bool, (n_bands, ny, nx)
        True in the gaps and where saturated.
    sky_rms, gain : `~numpy.ndarray`, (n_bands,)
        Noise of the sky and electrons per unit of the data.
    psfs : list of `~photutils.psf.ImagePSF`
        Effective PSF of each band.
    bands : tuple of str
        Names of the bands.
    pixel_scale : float
        Arcsec.
    true_xy, told_xy : `~numpy.ndarray`, (n, 2)
        Positions of all sources, and those that a method is told.
    true_flux, true_mag : `~numpy.ndarray`, (n, n_bands)
        Their total fluxes and AB magnitudes.
    is_central : `~numpy.ndarray` of bool, (n,)
        The galaxy in the middle of each stamp.
    """

    data: u.Quantity
    gap: np.ndarray
    mask: np.ndarray
    sky_rms: np.ndarray
    gain: np.ndarray
    psfs: list
    bands: tuple
    pixel_scale: float
    true_xy: np.ndarray
    told_xy: np.ndarray
    true_flux: np.ndarray
    true_mag: np.ndarray
    is_central: np.ndarray


def make_mosaic(case, n_blends, seed, *, population=None,
                survey='euclid-wide', noise_free=False):
    """
    Draw blends and lay them out.

    Parameters
    ----------
    case : str
        One of `vaephot.simulate.CASES`.
    n_blends : int
        Number of blends.
    seed : int
        Seed of the blends.
    population : population or None, optional
        Where galaxies come from; `None` is the mock catalogue.
    survey : str, optional
        The survey that sees them.
    noise_free : bool, optional
        Whether the images are those of the true models.

    Returns
    -------
    Mosaic
    """
    blends = draw_blends(case, n_blends, seed=seed, population=population,
                         survey=survey)
    if noise_free:
        blends = replace(blends, image=blends.models.sum(1),
                         sky_rms=blends.sky_rms * NOISE_FREE,
                         gain=blends.gain / NOISE_FREE ** 2)
    observed = observe_blends(blends)
    laid = layout.make_mosaic(observed)
    truth = observed.truth
    return Mosaic(
        data=laid.image * u.uJy, gap=laid.gap, mask=laid.mask,
        sky_rms=observed.sky_rms, gain=observed.gain,
        psfs=layout.image_psfs(observed), bands=observed.bands,
        pixel_scale=observed.pixel_scale,
        true_xy=truth.xy + laid.corners[truth.blend],
        told_xy=(np.concatenate(observed.positions)
                 + laid.corners[truth.blend]),
        true_flux=truth.flux, true_mag=observed.true_mags,
        is_central=truth.is_scored)


def vaephot_inputs(mosaic):
    """
    Return what a deblender is told about a mosaic.

    Parameters
    ----------
    mosaic : Mosaic
        The images.

    Returns
    -------
    dict
        Keywords of a call: noise of the sky, gain, mask, PSFs and bands,
        but never the noise map, which carries the truth.
    """
    return {'error': mosaic.sky_rms * mosaic.data.unit, 'gain': mosaic.gain,
            'mask': mosaic.mask, 'psf': mosaic.psfs, 'bands': mosaic.bands}


def describe_software(record):
    """
    Name the versions and the weights that figures depend on.

    Parameters
    ----------
    record : `~vaephot.weights.WeightsRecord`
        Record of the weights.

    Returns
    -------
    dict
        Versions of the packages, and name, version and hash of the
        weights.
    """
    versions = runner.describe_software()
    return {'versions': ', '.join(f'{k} {v}' for k, v in versions.items()),
            'weights': f'{record.name} {record.version}, '
                       f'sha256 {record.sha256}'}
