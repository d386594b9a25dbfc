# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Blends with known truth, laid out side by side on one image."""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from astropy import units as u
from photutils.psf import ImagePSF

from vaephot.simulate import draw_blends

__all__ = ['GAP', 'Mosaic', 'describe_software', 'make_mosaic',
           'vaephot_inputs']

# masked pixels around each stamp
GAP = 16
PACKAGES = ('vaephot', 'photutils', 'sep', 'torch', 'galsim', 'astropy',
            'scipy', 'numpy')


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
    true_xy : `~numpy.ndarray`, (n, 2)
        Positions of all sources.
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
    true_flux: np.ndarray
    true_mag: np.ndarray
    is_central: np.ndarray


def make_mosaic(case, n_blends, seed):
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

    Returns
    -------
    Mosaic
    """
    blends = draw_blends(case, n_blends, seed=seed)
    size, n_bands = blends.image.shape[-1], len(blends.bands)
    n_columns = int(np.ceil(np.sqrt(n_blends)))
    n_rows = -(-n_blends // n_columns)
    ny, nx = (GAP + n * (size + GAP) for n in (n_rows, n_columns))
    data = np.zeros((n_bands, ny, nx))
    gap = np.ones((ny, nx), bool)
    saturated = np.zeros(data.shape, bool)
    corners = GAP + (size + GAP) * np.stack(
        np.divmod(np.arange(n_blends), n_columns), axis=1)
    for k, (y0, x0) in enumerate(corners):
        box = np.s_[y0:y0 + size, x0:x0 + size]
        data[:, *box] = blends.image[k]
        saturated[:, *box] = blends.mask[k]
        gap[box] = False
    real = np.arange(blends.x.shape[1]) < blends.n_sources[:, None]
    return Mosaic(
        data=data * u.uJy, gap=gap, mask=saturated | gap,
        sky_rms=np.asarray(blends.sky_rms), gain=np.asarray(blends.gain),
        psfs=[ImagePSF(psf, oversampling=blends.oversampling)
              for psf in blends.psf],
        bands=blends.bands, pixel_scale=blends.pixel_scale,
        true_xy=np.stack([(blends.x + corners[:, 1:])[real],
                          (blends.y + corners[:, :1])[real]], axis=1),
        true_flux=blends.flux[real], true_mag=blends.mags[real],
        is_central=np.nonzero(real)[1] == 0)


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
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = 'none'
    return {'versions': ', '.join(f'{k} {v}' for k, v in found.items()),
            'weights': f'{record.name} {record.version}, '
                       f'sha256 {record.sha256}'}
