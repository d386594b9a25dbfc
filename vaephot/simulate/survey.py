# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Surveys: pixels, PSFs, depth and gain of each band, with their sources.

All fluxes are in microjansky, so the AB zeropoint is 23.9 everywhere.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from vaephot.exceptions import CatalogError
from vaephot.simulate._galsim import load_galsim
from vaephot.simulate.psfs import (
    MIRROR_DIAMETER_M,
    sample_psf,
    telescope_profile,
)

__all__ = ['SURVEYS', 'ZEROPOINT', 'Band', 'Survey', 'get_survey',
           'survey_psfs']

# AB magnitude of one microjansky.
ZEROPOINT = 23.9

# Radians in arcsec, and nanometres in metres.
ARCSEC = 180 * 3600 / np.pi
NANOMETRE = 1e-9

# Exponent of Moffat PSFs of the ground, a customary value.
MOFFAT_BETA = 3.5


@dataclass(frozen=True, kw_only=True)
class Band:
    """
    One band of a survey.

    Parameters
    ----------
    name : str
        Name of the band.
    psf_fwhm : float
        Full width at half maximum of the PSF, pixel included for
        telescopes in space, in arcsec.
    sky_rms : float
        1-sigma noise of the empty sky per pixel, in microjansky, such
        that independent pixels give the depth of the survey.
    gain : float
        Electrons per microjansky in the stack.
    wavelength_nm : float or None, optional
        Central wavelength of a space telescope, in nm. `None` means
        a Moffat PSF.
    blur_fwhm : float, optional
        Gaussian blur in arcsec that brings the PSF of a space
        telescope to ``psf_fwhm``.
    broad : bool, optional
        Whether the band is so broad that the PSF needs more than one
        wavelength.
    saturation_mag : float or None, optional
        AB magnitude of a star whose brightest pixel just saturates.
        `None` means that nothing saturates.
    """

    name: str
    psf_fwhm: float
    sky_rms: float
    gain: float
    wavelength_nm: float | None = None
    blur_fwhm: float = 0.0
    broad: bool = False
    saturation_mag: float | None = None


@dataclass(frozen=True, kw_only=True)
class Survey:
    """
    A survey.

    Parameters
    ----------
    name : str
        Name of the survey.
    pixel_scale : float
        Pixel size in arcsec, common to the bands.
    bands : tuple of `Band`
        The bands, the one that detects first.
    """

    name: str
    pixel_scale: float
    bands: tuple[Band, ...]

    @property
    def band_names(self):
        """Names of the bands, a tuple of str."""
        return tuple(band.name for band in self.bands)

    @property
    def sky_rms(self):
        """Noise of the sky per pixel in microjansky, (n_bands,)."""
        return np.array([band.sky_rms for band in self.bands])

    @property
    def gain(self):
        """Electrons per microjansky, (n_bands,)."""
        return np.array([band.gain for band in self.bands])


# Euclid. PSF FWHM: VIS 0.16, NISP 0.477, 0.486, 0.492 arcsec (ERO
# pipeline, arXiv:2405.13496); central wavelengths 725, 1089, 1379,
# 1786 nm and 1.2 m give the diffraction, blur_fwhm the rest.
# Sky noise: VIS 10 sigma at 25.6 in an aperture of 1.3 arcsec (VIS
# processing of Q1, arXiv:2503.15303); NISP 5 sigma for point sources
# at 24.3, 24.5, 24.4 (Scaramella et al. 2022, Table 7).
# Gain: zeropoints 25.92, 24.99, 25.17, 25.11 per second (speclite
# passbands), four exposures of 565 s and of 87 s (net).
# Saturation: stars of 17.8 in a nominal VIS exposure (Euclid
# Consortium, VIS instrument page).
EUCLID_WIDE = Survey(
    name='euclid-wide', pixel_scale=0.1, bands=(
        Band(name='VIS', psf_fwhm=0.160, sky_rms=1.81e-3, gain=14500.0,
             wavelength_nm=725.0, blur_fwhm=0.088, broad=True,
             saturation_mag=17.8),
        Band(name='Y', psf_fwhm=0.477, sky_rms=1.67e-2, gain=950.0,
             wavelength_nm=1089.0, blur_fwhm=0.403),
        Band(name='J', psf_fwhm=0.486, sky_rms=1.29e-2, gain=1120.0,
             wavelength_nm=1379.0, blur_fwhm=0.398),
        Band(name='H', psf_fwhm=0.492, sky_rms=1.30e-2, gain=1060.0,
             wavelength_nm=1786.0, blur_fwhm=0.385)))

# Depth of the Euclid Deep Fields beyond the wide survey, mag: 5 sigma
# 27.9, 26.0, 26.2, 26.2 against 26.2, 24.3, 24.5, 24.4 (Mellier et al.
# 2024, Table 4).
EUCLID_DEEP_GAIN_MAG = (1.7, 1.7, 1.7, 1.8)


def _deeper(survey, name, mags):
    """Survey that goes deeper by ``mags``: more exposures, same sky."""
    bands = tuple(
        replace(band, sky_rms=band.sky_rms * 10 ** (-0.4 * mag),
                gain=band.gain * 10 ** (0.8 * mag))
        for band, mag in zip(survey.bands, mags, strict=True))
    return replace(survey, name=name, bands=bands)


def _ground_band(name, pixel_scale, psf_fwhm, zeropoint, sky, exposure):
    """Band of a telescope on the ground, limited by the sky."""
    gain = exposure * 10 ** (0.4 * (zeropoint - ZEROPOINT))
    electrons = exposure * pixel_scale ** 2 * 10 ** (0.4 * (zeropoint - sky))
    return Band(name=name, psf_fwhm=psf_fwhm, gain=gain,
                sky_rms=np.sqrt(electrons) / gain)


def _ground_survey(name, pixel_scale, detection, table):
    bands = {row[0]: _ground_band(row[0], pixel_scale, *row[1:])
             for row in table}
    first = bands.pop(detection)
    return Survey(name=name, pixel_scale=pixel_scale,
                  bands=(first, *bands.values()))


# Band, PSF FWHM [arcsec], zeropoint [AB per second], sky [AB per square
# arcsec], total exposure [s]: surveycodex 1.3.0, LSST and HSC Wide.
LSST = _ground_survey('lsst', 0.2, 'i', (
    ('u', 0.90, 26.44, 22.99, 1680), ('g', 0.86, 28.29, 22.26, 2400),
    ('r', 0.81, 28.13, 21.20, 5520), ('i', 0.79, 27.81, 20.48, 5520),
    ('z', 0.77, 27.42, 19.60, 4800), ('y', 0.76, 26.59, 18.61, 4800)))
HSC_WIDE = _ground_survey('hsc-wide', 0.168, 'i', (
    ('g', 0.79, 28.90, 21.4, 600), ('r', 0.75, 28.86, 20.6, 600),
    ('i', 0.61, 28.61, 19.7, 1200), ('z', 0.68, 27.68, 18.3, 1200),
    ('y', 0.68, 27.34, 17.9, 1200)))

SURVEYS = {survey.name: survey for survey in (
    EUCLID_WIDE, _deeper(EUCLID_WIDE, 'euclid-deep', EUCLID_DEEP_GAIN_MAG),
    LSST, HSC_WIDE)}


def get_survey(survey):
    """
    Look up a survey by its name.

    Parameters
    ----------
    survey : str or `Survey`
        Name, one of ``SURVEYS``; a `Survey` is returned as it is.

    Returns
    -------
    `Survey`

    Raises
    ------
    CatalogError
        If the name is unknown.

    Examples
    --------
    >>> from vaephot.simulate import get_survey
    >>> get_survey('euclid-wide').band_names
    ('VIS', 'Y', 'J', 'H')
    """
    if isinstance(survey, Survey):
        return survey
    if survey not in SURVEYS:
        msg = (f'there is no survey {survey!r}; choose one of '
               f'{", ".join(SURVEYS)} or pass a Survey.')
        raise CatalogError(msg, survey=survey)
    return SURVEYS[survey]


def _band_profile(band):
    """PSF of a band before the pixel."""
    if band.wavelength_nm is None:
        return load_galsim().Moffat(MOFFAT_BETA, fwhm=band.psf_fwhm)
    lam_over_diam = (band.wavelength_nm * NANOMETRE / MIRROR_DIAMETER_M
                     * ARCSEC)
    return telescope_profile(lam_over_diam, band.blur_fwhm,
                             n_waves=3 if band.broad else 1)


def survey_psfs(survey, n_pixels, *, gsparams=None):
    """
    Make the effective PSFs of a survey.

    Parameters
    ----------
    survey : str or `Survey`
        The survey.
    n_pixels : int
        Side of the box, in pixels, that the PSFs are cut at.
    gsparams : `galsim.GSParams` or None, optional
        Accuracy of what is drawn with them. `None` takes that of
        normalised stamps.

    Returns
    -------
    tuple of `~vaephot.simulate.psfs.SampledPSF`
        One per band.
    """
    return _cached_psfs(get_survey(survey), n_pixels, gsparams)


# diffraction takes about a second per band; sets of PSFs that are kept
@lru_cache(maxsize=8)
def _cached_psfs(survey, n_pixels, gsparams):
    return tuple(sample_psf(_band_profile(band), survey.pixel_scale,
                            n_pixels, gsparams=gsparams)
                 for band in survey.bands)
