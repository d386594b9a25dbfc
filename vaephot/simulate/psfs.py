# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Point spread functions: of space telescopes, Moffat and Gaussian.

A `SampledPSF` is an *effective* PSF, convolved with the pixel, cut at
a box and normalised there; galaxies are drawn with just this PSF, so
that what a method is told about the PSF is the whole truth.
"""

from dataclasses import dataclass, field

import numpy as np

from vaephot.exceptions import PSFError
from vaephot.simulate._galsim import drawing_accuracy, load_galsim

__all__ = ['PSF_KINDS', 'SampledPSF', 'draw_psf', 'sample_psf',
           'telescope_profile']

# Samples per pixel of the PSF that is given away, and of the one that
# galaxies are drawn with.
OVERSAMPLING = 3
FINE_OVERSAMPLING = 6

PSF_KINDS = ('space', 'space-infrared', 'moffat', 'gaussian')

# Euclid: 1.2 m mirror, linear obscuration, three struts of 12 mm
# (GalSim-Euclid-Like, instrument parameters and pupil plane script).
MIRROR_DIAMETER_M = 1.2
OBSCURATION = 0.33
N_STRUTS = 3
STRUT_WIDTH = 0.012 / MIRROR_DIAMETER_M
STRUT_ANGLE_DEG = 16.8

# Wavelengths of a broad band over its middle, and range of the rms of
# each low-order aberration, in waves.
BAND_WAVES = (0.82, 1.0, 1.18)
ABERRATION_RMS = 0.015

# FWHM of an obscured Airy pattern over lambda / D, and range of the
# share of the Gaussian blur in the squared width.
AIRY_FWHM = 0.98
BLUR_RANGE = (0.15, 0.7)

# Share of each kind of PSF among random ones, and of the space ones
# that are sampled as coarsely as Euclid's VIS.
KIND_SHARES = (0.45, 0.20, 0.22, 0.13)
VIS_SHARE = 0.80

# Range of the FWHM before the pixel, in pixels: all, VIS, NISP on the
# pixels of VIS.
FWHM_RANGE = (0.9, 8.0)
VIS_FWHM_RANGE = (1.05, 2.0)
NISP_FWHM_RANGE = (4.3, 5.1)
MOFFAT_BETA_RANGE = (2.5, 4.5)

# Pixel scales in arcsec: the grid of Euclid's mosaics and its binnings
# with their shares, and the range for telescopes on the ground.
SPACE_PIXELS = (0.1, 0.2, 0.3, 0.4)
SPACE_PIXEL_SHARES = (0.55, 0.20, 0.15, 0.10)
GROUND_PIXEL_RANGE = (0.07, 0.27)
SHEAR_RMS = 0.02


@dataclass(frozen=True, kw_only=True)
class SampledPSF:
    """
    Effective PSF of one band.

    Parameters
    ----------
    image : ndarray (P, P)
        Samples of the pixel-convolved PSF, ``oversampling`` per pixel,
        sum 1, P odd, centred on the middle sample; read-only.
    oversampling : int
        Samples per pixel.
    pixel_scale : float
        Pixel size in arcsec.
    fwhm : float
        Full width at half maximum in pixels.
    profile : `galsim.GSObject`
        The same PSF as a profile of unit flux, lengths in arcsec.
    """

    image: np.ndarray
    oversampling: int
    pixel_scale: float
    fwhm: float
    profile: object = field(repr=False)


def telescope_profile(lam_over_diam, blur, *, aberrations=None, n_waves=3,
                      strut_angle=STRUT_ANGLE_DEG):
    """
    Make the PSF of a Euclid-like space telescope before the pixel.

    Parameters
    ----------
    lam_over_diam : float
        Central wavelength over mirror diameter, in arcsec.
    blur : float
        FWHM in arcsec of a Gaussian for detector and jitter.
    aberrations : sequence of float or None, optional
        Zernike coefficients in waves as GalSim counts them. `None` is
        a perfect mirror.
    n_waves : int, optional
        1 or 3 wavelengths across the band.
    strut_angle : float, optional
        Angle of the first strut in degrees.

    Returns
    -------
    `galsim.GSObject`
        Unit flux, lengths in arcsec.
    """
    galsim = load_galsim()
    waves = BAND_WAVES if n_waves > 1 else (1.0,)
    parts = [galsim.OpticalPSF(
        lam_over_diam=lam_over_diam * wave, obscuration=OBSCURATION,
        nstruts=N_STRUTS, strut_thick=STRUT_WIDTH,
        strut_angle=strut_angle * galsim.degrees,
        aberrations=aberrations, pad_factor=2.0,
        gsparams=drawing_accuracy()) / len(waves) for wave in waves]
    return galsim.Convolve(galsim.Add(parts), galsim.Gaussian(fwhm=blur))


def sample_psf(profile, pixel_scale, n_pixels, *, gsparams=None):
    """
    Convolve a PSF with the pixel, cut it at a box and sample it.

    Parameters
    ----------
    profile : `galsim.GSObject`
        PSF before the pixel, lengths in arcsec.
    pixel_scale : float
        Pixel size in arcsec.
    n_pixels : int
        Side of the box in pixels.
    gsparams : `galsim.GSParams` or None, optional
        Accuracy of profiles drawn with this PSF. `None` takes that of
        normalised stamps.

    Returns
    -------
    `SampledPSF`

    Raises
    ------
    PSFError
        If pixel scale or box are not positive.
    """
    if pixel_scale <= 0 or n_pixels < 1:
        msg = (f'pixel_scale is {pixel_scale} arcsec and n_pixels '
               f'{n_pixels}; both must be positive.')
        raise PSFError(msg, pixel_scale=pixel_scale, n_pixels=n_pixels)
    galsim = load_galsim()
    gsparams = drawing_accuracy() if gsparams is None else gsparams
    ratio = FINE_OVERSAMPLING // OVERSAMPLING
    half = (OVERSAMPLING * n_pixels) // 2
    size = 2 * ratio * half + 1
    effective = galsim.Convolve(profile, galsim.Pixel(pixel_scale))
    fine = effective.drawImage(nx=size, ny=size, method='no_pixel',
                               scale=pixel_scale / FINE_OVERSAMPLING,
                               dtype=float)
    given = fine.array[::ratio, ::ratio]
    profile = galsim.InterpolatedImage(
        fine, x_interpolant='quintic', flux=1.0, gsparams=gsparams)
    image = given / given.sum()
    image.setflags(write=False)
    return SampledPSF(image=image, pixel_scale=pixel_scale,
                      oversampling=OVERSAMPLING, profile=profile,
                      fwhm=fine.calculateFWHM() / pixel_scale)


def _draw_kind(rng):
    """Kind of a random PSF, its FWHM in pixels and the pixel scale."""
    kind = PSF_KINDS[rng.choice(len(PSF_KINDS), p=KIND_SHARES)]
    limits = FWHM_RANGE
    pixel_scale = float(np.exp(rng.uniform(*np.log(GROUND_PIXEL_RANGE))))
    if kind == 'space':
        pixel_scale = float(rng.choice(SPACE_PIXELS, p=SPACE_PIXEL_SHARES))
        limits = VIS_FWHM_RANGE if rng.random() < VIS_SHARE else limits
    elif kind == 'space-infrared':
        pixel_scale = SPACE_PIXELS[0]
        limits = NISP_FWHM_RANGE
    return kind, float(np.exp(rng.uniform(*np.log(limits)))), pixel_scale


def draw_psf(rng):
    """
    Draw a random PSF before the pixel, and a pixel scale for it.

    Parameters
    ----------
    rng : `numpy.random.Generator`
        Source of randomness.

    Returns
    -------
    kind : str
        One of ``PSF_KINDS``.
    pixel_scale : float
        Pixel size in arcsec.
    profile : `galsim.GSObject`
        Unit flux, lengths in arcsec.
    """
    galsim = load_galsim()
    kind, width, pixel_scale = _draw_kind(rng)
    fwhm = width * pixel_scale
    if kind == 'moffat':
        profile = galsim.Moffat(rng.uniform(*MOFFAT_BETA_RANGE), fwhm=fwhm)
    elif kind == 'gaussian':
        profile = galsim.Gaussian(fwhm=fwhm)
    else:
        aberrations = np.zeros(12)
        aberrations[4:] = rng.normal(0, ABERRATION_RMS, 8)
        blurred = rng.uniform(*BLUR_RANGE)
        profile = telescope_profile(
            fwhm * np.sqrt(1 - blurred) / AIRY_FWHM,
            fwhm * np.sqrt(blurred), aberrations=aberrations,
            n_waves=3 if kind == 'space' else 1,
            strut_angle=rng.uniform(0, 120))
    g1, g2 = np.clip(rng.normal(0, SHEAR_RMS, 2), -0.1, 0.1)
    return kind, pixel_scale, profile.shear(g1=g1, g2=g2)
