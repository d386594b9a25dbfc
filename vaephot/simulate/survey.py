# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The surveys that ship, surveys of the user, and their PSFs.

A survey is a TOML or YAML file; those of the package are in
``data/surveys``. All fluxes are in microjansky, so the AB zeropoint is
23.9 everywhere.
"""

import tomllib
from dataclasses import fields, replace
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from astropy.io import fits

from vaephot.exceptions import CatalogError, PSFError
from vaephot.simulate._galsim import load_galsim
from vaephot.simulate.psfs import (
    TelescopePSF,
    psf_from_image,
    sample_psf,
    vary_psf,
)
from vaephot.simulate.survey_bands import Band, Depth, Survey
from vaephot.simulate.telescopes import TELESCOPES

__all__ = ['SURVEYS', 'ZEROPOINT', 'Band', 'Depth', 'Survey',
           'aperture_depth', 'band_profile', 'get_survey', 'join_surveys',
           'native_survey', 'point_depth', 'read_survey', 'survey_psfs']

# AB magnitude of one microjansky.
ZEROPOINT = 23.9

# Exponent of Moffat PSFs of the ground, a customary value.
MOFFAT_BETA = 3.5

# Keys of a file from which noise and gain of a band follow.
SKY_KEYS = ('zeropoint', 'sky_mag', 'exposure')


def _noise_from_sky(entry, pixel_scale):
    """Gain and sky noise of a band that the sky limits."""
    zeropoint, sky, exposure = (entry[key] for key in SKY_KEYS)
    gain = exposure * 10 ** (0.4 * (zeropoint - ZEROPOINT))
    electrons = exposure * pixel_scale ** 2 * 10 ** (0.4 * (zeropoint - sky))
    return {'gain': gain, 'sky_rms': float(np.sqrt(electrons) / gain)}


def _make_band(entry, pixel_scale, path):
    """Band of one entry of a file."""
    entry = dict(entry)
    if all(key in entry for key in SKY_KEYS):
        entry = {**_noise_from_sky(entry, pixel_scale), **entry}
    if isinstance(entry.get('depth'), dict):
        entry['depth'] = _make(Depth, entry['depth'], path)
    entry['sources'] = tuple(entry.get('sources', {}).items())
    entry['wavelengths_nm'] = tuple(entry.get('wavelengths_nm', ()))
    if entry.get('psf_file') is not None:
        entry['psf_file'] = str(Path(path).parent / entry['psf_file'])
    return _make(Band, entry, path)


def _make(cls, entry, path):
    """Build a dataclass; name what is unknown or missing."""
    known = {f.name for f in fields(cls)}
    unknown = sorted(set(entry) - known)
    if unknown:
        msg = (f'{path} has unknown keys {unknown} for a {cls.__name__}; '
               f'known are {", ".join(sorted(known))}.')
        raise CatalogError(msg, path=path, keys=unknown)
    try:
        return cls(**entry)
    except TypeError as err:
        msg = f'{path} is incomplete for a {cls.__name__}: {err}.'
        raise CatalogError(msg, path=path) from err


def _load(path):
    """Content of a TOML or YAML file."""
    text = path.read_text(encoding='utf-8')
    suffix = Path(str(path)).suffix.lower()
    try:
        if suffix == '.toml':
            return tomllib.loads(text)
        if suffix in ('.yaml', '.yml'):
            import yaml  # a requirement of astropy

            return yaml.safe_load(text)
    except ValueError as err:
        msg = f'{path} is no valid {suffix[1:].upper()}: {err}'
        raise CatalogError(msg, path=str(path)) from err
    msg = f'{path} ends in {suffix!r}; give a .toml, .yaml or .yml file.'
    raise CatalogError(msg, path=str(path))


def read_survey(path):
    """
    Read a survey from a TOML or YAML file.

    The keys are the parameters of `Survey`, ``bands`` a list whose
    entries have those of `Band`. Instead of ``sky_rms`` and ``gain`` a
    band may have ``zeropoint`` (AB magnitude of one electron per
    second), ``sky_mag`` (AB per square arcsec) and ``exposure`` (s).

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    `Survey`

    Raises
    ------
    CatalogError
        If keys are unknown or missing, or values impossible.
    """
    path = path if hasattr(path, 'read_text') else Path(path)
    content = _load(path)
    if not isinstance(content, dict) or 'bands' not in content:
        msg = f'{path} has no list "bands"; a survey needs at least one.'
        raise CatalogError(msg, path=str(path))
    scale = content.get('pixel_scale', 0)
    bands = tuple(_make_band(entry, scale, str(path))
                  for entry in content.pop('bands'))
    return _make(Survey, {**content, 'bands': bands}, str(path))


# Depth of the Euclid Deep Fields beyond the wide survey, mag: 5 sigma
# 27.9, 26.0, 26.2, 26.2 against 26.2, 24.3, 24.5, 24.4 (Mellier et al.
# 2024, Table 4).
EUCLID_DEEP_GAIN_MAG = (1.7, 1.7, 1.7, 1.8)


def _deeper_band(band, mag):
    """Band that goes deeper: more exposures, same sky."""
    depth = None if band.depth is None else replace(
        band.depth, mag=round(band.depth.mag + mag, 6))
    longer = 10 ** (0.8 * mag)
    return replace(band, sky_rms=band.sky_rms * 10 ** (-0.4 * mag),
                   gain=band.gain * longer, depth=depth,
                   exposure=band.exposure * longer)


def _shipped_surveys():
    """Surveys of the package by their name."""
    folder = files('vaephot.simulate') / 'data' / 'surveys'
    wide, *others = (
        read_survey(folder / f'{name}.toml')
        for name in ('euclid-wide', 'lsst', 'hsc-wide', 'cosmos-acs'))
    deep = replace(wide, name='euclid-deep', bands=tuple(
        _deeper_band(band, mag) for band, mag in
        zip(wide.bands, EUCLID_DEEP_GAIN_MAG, strict=True)))
    return {survey.name: survey for survey in (wide, deep, *others)}


SURVEYS = _shipped_surveys()


def get_survey(survey):
    """
    Look up a survey by its name.

    Parameters
    ----------
    survey : str or `Survey`
        Name, one of ``SURVEYS``; several joined by ``+``, the first of
        which gives the common pixels; the path of a file that ends in
        ``.toml``, ``.yaml`` or ``.yml``; a `Survey` is returned as it
        is.

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
    name = str(survey)
    if Path(name).suffix.lower() in ('.toml', '.yaml', '.yml'):
        return read_survey(name)
    if name in SURVEYS:
        return SURVEYS[name]
    if '+' in name:
        return join_surveys(*(get_survey(part) for part in name.split('+')))
    msg = (f'there is no survey {survey!r}; choose one of '
           f'{", ".join(SURVEYS)}, several joined by "+", or the path of a '
           f'TOML or YAML file.')
    raise CatalogError(msg, survey=survey)


def join_surveys(*surveys):
    """
    Put the bands of several surveys together.

    Parameters
    ----------
    *surveys : `Survey`
        The first gives the common pixels; the noise of the others is
        scaled to these, so that independent pixels give the same depth.

    Returns
    -------
    `Survey`
        Bands that come twice carry the name of their survey, as in
        ``lsst-i``.
    """
    first = surveys[0]
    counts = [name for s in surveys for name in s.band_names]
    bands = []
    for survey in surveys:
        factor = first.pixel_scale / survey.pixel_scale
        for band in survey.bands:
            name = (band.name if counts.count(band.name) == 1
                    else f'{survey.name}-{band.name}')
            bands.append(replace(
                band, name=name, sky_rms=band.sky_rms * factor,
                catalog_band=band.catalog_name,
                native_pixel_scale=(band.native_pixel_scale
                                    or survey.pixel_scale)))
    return Survey(name='+'.join(s.name for s in surveys), bands=tuple(bands),
                  pixel_scale=first.pixel_scale, telescope=first.telescope)


def native_survey(survey, band):
    """
    Survey of one band on the pixels of its detector.

    Parameters
    ----------
    survey : str or `Survey`
        The survey.
    band : str
        Name of the band.

    Returns
    -------
    `Survey`
        Same depth for point sources, on larger or smaller pixels.
    """
    survey = get_survey(survey)
    one = survey.select([band]).bands[0]
    scale = one.native_pixel_scale or survey.pixel_scale
    blur = (one.blur_fwhm if one.native_blur_fwhm is None
            else one.native_blur_fwhm)
    native = replace(survey, pixel_scale=scale, bands=(
        replace(one, blur_fwhm=blur, native_pixel_scale=None),))
    if scale == survey.pixel_scale:
        return native
    # the noise that gives the same depth through the native PSF
    fall = (point_depth(native.bands[0], _native_psf(native))
            - point_depth(one, _native_psf(survey.select([band]))))
    return replace(native, bands=(replace(
        native.bands[0], sky_rms=one.sky_rms * 10 ** (0.4 * fall)),))


def _native_psf(survey):
    """PSF of the only band of a survey, in a box that decides depth."""
    return survey_psfs(survey, max(int(6.0 / survey.pixel_scale), 9))[0]


def point_depth(band, psf, n_sigma=5.0):
    """
    Magnitude of a point source that a fit of the PSF just measures.

    Parameters
    ----------
    band : `Band`
        Gives the noise, of independent pixels.
    psf : `~vaephot.simulate.psfs.SampledPSF`
        Effective PSF of the band.
    n_sigma : float, optional
        Signal-to-noise ratio.

    Returns
    -------
    float
        AB magnitude.
    """
    ratio = psf.fine_oversampling
    middle = psf.fine.shape[0] // 2
    pixels = psf.fine[middle % ratio::ratio, middle % ratio::ratio]
    pixels = pixels * ratio ** 2
    error = band.sky_rms / np.sqrt((pixels ** 2).sum())
    return float(ZEROPOINT - 2.5 * np.log10(n_sigma * error))


def aperture_depth(band, pixel_scale, diameter, n_sigma=5.0):
    """
    Magnitude whose flux is some times the noise of an aperture.

    Parameters
    ----------
    band : `Band`
        Gives the noise, of independent pixels.
    pixel_scale, diameter : float
        In arcsec.
    n_sigma : float, optional
        Signal-to-noise ratio.

    Returns
    -------
    float
        AB magnitude.
    """
    n_pixels = np.pi * (diameter / 2 / pixel_scale) ** 2
    error = band.sky_rms * np.sqrt(n_pixels)
    return float(ZEROPOINT - 2.5 * np.log10(n_sigma * error))


def band_profile(survey, band):
    """
    PSF of a band before the pixel.

    Parameters
    ----------
    survey : `Survey`
        Names the telescope.
    band : `Band`
        One of its bands.

    Returns
    -------
    `~vaephot.simulate.psfs.TelescopePSF` or `galsim.GSObject`
        Unit flux, lengths in arcsec.

    Raises
    ------
    CatalogError
        If wavelengths are given without a telescope.
    """
    if not band.wavelengths_nm:
        return load_galsim().Moffat(MOFFAT_BETA, fwhm=band.psf_fwhm)
    if survey.telescope is None:
        msg = (f'band {band.name} of survey {survey.name} has wavelengths '
               f'but the survey no telescope; set telescope to one of '
               f'{", ".join(TELESCOPES)}.')
        raise CatalogError(msg, band=band.name)
    return TelescopePSF(telescope=TELESCOPES[survey.telescope],
                        wavelengths_nm=band.wavelengths_nm,
                        blur_fwhm=band.blur_fwhm)


def survey_psfs(survey, n_pixels, *, widening=1.0, g1=0.0, g2=0.0):
    """
    Make the effective PSFs of a survey.

    Parameters
    ----------
    survey : str or `Survey`
        The survey.
    n_pixels : int
        Side of the box, in pixels, that the PSFs are cut at.
    widening : float, optional
        Factor of their lengths before the pixel.
    g1, g2 : float, optional
        Reduced shear to add.

    Returns
    -------
    tuple of `~vaephot.simulate.psfs.SampledPSF`
        One per band.
    """
    survey = get_survey(survey)
    return tuple(_cached_psf(replace(survey, name='', bands=(band,)),
                             int(n_pixels), float(widening), float(g1),
                             float(g2)) for band in survey.bands)


# diffraction takes up to some seconds; PSFs that are kept
@lru_cache(maxsize=128)
def _cached_psf(survey, n_pixels, widening, g1, g2):
    band, scale = survey.bands[0], survey.pixel_scale
    if band.psf_file is not None:
        return _read_psf(band, scale, n_pixels)
    profile = vary_psf(band_profile(survey, band), widening=widening, g1=g1,
                       g2=g2)
    return sample_psf(profile, scale, n_pixels)


def _read_psf(band, pixel_scale, n_pixels):
    """PSF image of a FITS file; it does not vary."""
    try:
        with fits.open(band.psf_file) as hdus:
            hdu = next(hdu for hdu in hdus if hdu.data is not None)
            return psf_from_image(
                hdu.data, pixel_scale, n_pixels=n_pixels,
                oversampling=hdu.header.get('OVERSAMP', 1))
    except (OSError, StopIteration) as err:
        msg = (f'psf_file of band {band.name} is {band.psf_file}; it holds '
               f'no image that can be read: {err}')
        raise PSFError(msg, path=band.psf_file) from err
