# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Point spread functions: of space telescopes, Moffat, Gaussian and images.

A `SampledPSF` is an *effective* PSF, convolved with the pixel, cut at
a box and normalised there; galaxies are drawn with just this PSF, so
that what a method is told about the PSF is the whole truth.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from scipy.fft import fft2, ifft2, next_fast_len, rfft2

from vaephot.exceptions import PSFError
from vaephot.simulate._galsim import drawing_accuracy, load_galsim
from vaephot.simulate.telescopes import (
    ARCSEC,
    EUCLID,
    SIGMA_TO_FWHM,
    Telescope,
    diffraction_pattern,
)

__all__ = ['PSF_KINDS', 'SampledPSF', 'TelescopePSF', 'draw_psf',
           'gaussian_transform', 'pixel_transform', 'psf_from_image',
           'sample_psf', 'telescope_profile', 'vary_psf']

# Samples per pixel of the PSF that is given away, and of the one that
# galaxies are drawn with.
OVERSAMPLING = 3
FINE_OVERSAMPLING = 6

PSF_KINDS = ('space', 'space-infrared', 'moffat', 'gaussian')

# Range of the rms of each low-order aberration of random PSFs, waves.
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

# The PSF falls to zero over so many pixels at the edge of its box: a
# sharp edge would have light at all frequencies.
TAPER_PIXELS = 3

# Transfer below this share of the total is taken as zero. The coarser
# samples give the transfer up to this share of their highest frequency.
TRANSFER_FLOOR = 2e-5
COARSE_LIMIT = 0.9

# Pixels that are computed beyond the box before a PSF is convolved.
MARGIN = 8


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
    fine : ndarray (F, F)
        The same PSF, ``fine_oversampling`` samples per pixel, sum 1:
        what sources are drawn with; read-only.
    fine_oversampling : int
        Samples per pixel of ``fine``.
    """

    image: np.ndarray
    oversampling: int
    pixel_scale: float
    fwhm: float
    fine: np.ndarray = field(repr=False)
    fine_oversampling: int = FINE_OVERSAMPLING

    @property
    def n_pixels(self):
        """Side of the box in pixels, a float."""
        return self.fine.shape[0] / self.fine_oversampling

    @property
    def peak(self):
        """Share of the flux in the brightest pixel of a centred star."""
        return self.fine.max() * self.fine_oversampling ** 2

    @cached_property
    def profile(self):
        """The same PSF as a `galsim.GSObject` of unit flux, in arcsec."""
        galsim = load_galsim()
        scale = self.pixel_scale / self.fine_oversampling
        return galsim.InterpolatedImage(
            galsim.Image(np.array(self.fine), scale=scale), flux=1.0,
            x_interpolant='quintic', gsparams=drawing_accuracy(5e-3))

    @cached_property
    def reach(self):
        """Highest frequency with light, in cycles per pixel."""
        size = next_fast_len(2 * len(self.fine), real=True)
        light = abs(rfft2(self.fine, (size, size))) > TRANSFER_FLOOR
        ky = abs(np.fft.fftfreq(size, 1 / size))
        highest = max(ky[light.any(axis=1)].max(),
                      np.flatnonzero(light.any(axis=0)).max())
        return float((highest + 1) / size * self.fine_oversampling)

    def transfer(self, n_grid, half):
        """
        Fourier transform at integer frequencies of a periodic grid.

        Parameters
        ----------
        n_grid : int
            Side of the grid in pixels.
        half : int
            Largest frequency in cycles per ``n_grid`` pixels.

        Returns
        -------
        ndarray (2 half + 1, half + 1)
            Complex, over (ky, kx >= 0); 1 at zero frequency. Light
            beyond the grid is wrapped into it.
        """
        # the coarser samples do unless light is near their limit
        coarse = half / n_grid < COARSE_LIMIT * self.oversampling / 2
        image, ratio = ((self.image, self.oversampling) if coarse else
                        (self.fine, self.fine_oversampling))
        spectrum = rfft2(_wrapped(image, n_grid * ratio))
        ky = np.arange(-half, half + 1)
        return spectrum[ky, :half + 1]


def _wrapped(image, size):
    """Image around the first corner of a periodic grid."""
    half = image.shape[0] // 2
    out = np.zeros((size, size))
    if 2 * half + 1 > size:
        index = np.arange(-half, half + 1) % size
        np.add.at(out, (index[:, None], index[None, :]), image)
        return out
    for rows, to_rows in _halves(half):
        for columns, to_columns in _halves(half):
            out[to_rows, to_columns] = image[rows, columns]
    return out


def _halves(half):
    """Slices of a line of 2 half + 1, and where they go."""
    return ((slice(half, None), slice(0, half + 1)),
            (slice(0, half), slice(-half, None)))


@dataclass(frozen=True, kw_only=True)
class TelescopePSF:
    """
    PSF of a space telescope before the pixel, of unit flux.

    Parameters
    ----------
    telescope : `~vaephot.simulate.telescopes.Telescope`
        Mirror, obscuration and spiders.
    wavelengths_nm : tuple of float
        Wavelengths that are averaged.
    blur_fwhm : float
        FWHM in arcsec of a Gaussian for detector and jitter.
    aberrations : tuple of float, optional
        Zernike coefficients in waves of the middle wavelength, the
        first belonging to Noll index 0 as GalSim counts them.
    rotation_deg : float, optional
        Angle that the pupil is turned by.
    g1, g2 : float, optional
        Reduced shear of the whole PSF.
    """

    telescope: Telescope
    wavelengths_nm: tuple[float, ...]
    blur_fwhm: float
    aberrations: tuple[float, ...] = ()
    rotation_deg: float = 0.0
    g1: float = 0.0
    g2: float = 0.0

    flux = 1.0

    def sample(self, scale, size):
        """
        Compute samples of the surface brightness.

        Parameters
        ----------
        scale : float
            Distance of the samples in arcsec.
        size : int
            Samples per side, odd.

        Returns
        -------
        ndarray (size, size)
            Not yet blurred; flux per sample over the total flux.
        """
        middle = np.mean(self.wavelengths_nm)
        return sum(diffraction_pattern(
            self.telescope, wave, scale, size, rotation_deg=self.rotation_deg,
            aberrations=np.array(self.aberrations) * middle / wave,
            shear=(self.g1, self.g2))
            for wave in self.wavelengths_nm) / len(self.wavelengths_nm)


def telescope_profile(lam_over_diam, blur, *, aberrations=None, n_waves=3,
                      rotation_deg=0.0, telescope=EUCLID):
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
        Number of wavelengths, from 0.76 to 1.24 of the central one as
        in Euclid's VIS; 1 is monochromatic.
    rotation_deg : float, optional
        Angle that the pupil is turned by.
    telescope : `~vaephot.simulate.telescopes.Telescope`, optional
        Shape of the pupil; only its ratios count.

    Returns
    -------
    `TelescopePSF`
        Unit flux, lengths in arcsec.
    """
    central = lam_over_diam / ARCSEC * telescope.diameter_m * 1e9
    span = 0.0 if n_waves == 1 else 0.24
    waves = central * np.linspace(1 - span, 1 + span, n_waves)
    return TelescopePSF(
        telescope=telescope, wavelengths_nm=tuple(waves.tolist()),
        blur_fwhm=float(blur), rotation_deg=float(rotation_deg),
        aberrations=() if aberrations is None else tuple(aberrations))


def gaussian_transform(frequency_squared, fwhm):
    """
    Fourier transform of a round Gaussian of unit flux.

    Parameters
    ----------
    frequency_squared : ndarray
        Squared frequency in cycles per unit of length.
    fwhm : float
        In the unit of length.

    Returns
    -------
    ndarray
    """
    sigma = fwhm / SIGMA_TO_FWHM
    return np.exp(-2 * np.pi ** 2 * sigma ** 2 * frequency_squared)


def pixel_transform(kx, ky, pixel_scale):
    """
    Fourier transform of a square pixel of unit flux.

    Parameters
    ----------
    kx, ky : ndarray
        Frequencies in cycles per unit of length, to be broadcast.
    pixel_scale : float
        Side of the pixel in the unit of length.

    Returns
    -------
    ndarray
    """
    return np.sinc(kx * pixel_scale) * np.sinc(ky * pixel_scale)


def _effective_samples(psf, pixel_scale, scale, size):
    """Samples of a telescope PSF, blurred and convolved with a pixel."""
    larger = size + 2 * MARGIN * FINE_OVERSAMPLING
    optical = psf.sample(scale, larger)
    n_fft = next_fast_len(larger + MARGIN * FINE_OVERSAMPLING)
    k = np.fft.fftfreq(n_fft, scale)
    response = (gaussian_transform(k[:, None] ** 2 + k ** 2, psf.blur_fwhm)
                * pixel_transform(k[None, :], k[:, None], pixel_scale))
    image = ifft2(fft2(optical, (n_fft, n_fft)) * response).real
    start = (larger - size) // 2
    return image[start:start + size, start:start + size]


def _profile_samples(profile, pixel_scale, scale, size):
    """Samples of a GalSim profile, convolved with a pixel."""
    galsim = load_galsim()
    effective = galsim.Convolve(profile, galsim.Pixel(pixel_scale))
    return effective.drawImage(nx=size, ny=size, scale=scale,
                               method='no_pixel', dtype=float).array


def _taper(size):
    """Fall from 1 to 0 at both ends of a line of fine samples."""
    width = min(TAPER_PIXELS * FINE_OVERSAMPLING, size // 6)
    edge = np.minimum(np.arange(size), np.arange(size)[::-1])
    return np.sin(np.pi / 2 * np.clip((edge + 1) / (width + 1), 0, 1)) ** 2


def _fwhm(image):
    """Full width at half maximum, in samples: that of a round area."""
    half = image.max() / 2
    side = image.shape[0] // 2
    # the mean over rows and columns through the middle is exact enough
    widths = [_crossing(image[side]), _crossing(image[side, ::-1]),
              _crossing(image[:, side]), _crossing(image[::-1, side])]
    return 2 * float(np.mean(widths)) if half > 0 else 0.0


def _crossing(line):
    """Distance from the middle where a line falls to half of it."""
    middle = len(line) // 2
    right = line[middle:] - line.max() / 2
    below = np.flatnonzero(right < 0)
    if len(below) == 0:
        return float(middle)
    k = below[0]
    return k - 1 + right[k - 1] / (right[k - 1] - right[k])


def _pack(fine, pixel_scale):
    """Taper and normalise fine samples and take coarser ones out."""
    taper = _taper(len(fine))
    fine = fine * taper[:, None] * taper
    fine = fine / fine.sum()
    ratio = FINE_OVERSAMPLING // OVERSAMPLING
    image = fine[::ratio, ::ratio]
    image = image / image.sum()
    for array in (fine, image):
        array.setflags(write=False)
    return SampledPSF(image=image, pixel_scale=pixel_scale, fine=fine,
                      oversampling=OVERSAMPLING,
                      fwhm=_fwhm(fine) / FINE_OVERSAMPLING)


def sample_psf(profile, pixel_scale, n_pixels):
    """
    Convolve a PSF with the pixel, cut it at a box and sample it.

    Parameters
    ----------
    profile : `TelescopePSF` or `galsim.GSObject`
        PSF before the pixel, lengths in arcsec.
    pixel_scale : float
        Pixel size in arcsec.
    n_pixels : int
        Side of the box in pixels.

    Returns
    -------
    `SampledPSF`

    Raises
    ------
    PSFError
        If pixel scale or box are not positive.
    """
    if not pixel_scale > 0 or not n_pixels >= 1:
        msg = (f'pixel_scale is {pixel_scale} arcsec and n_pixels '
               f'{n_pixels}; both must be positive.')
        raise PSFError(msg, pixel_scale=pixel_scale, n_pixels=n_pixels)
    ratio = FINE_OVERSAMPLING // OVERSAMPLING
    size = 2 * ratio * ((OVERSAMPLING * n_pixels) // 2) + 1
    draw = (_effective_samples if isinstance(profile, TelescopePSF)
            else _profile_samples)
    return _pack(draw(profile, pixel_scale, pixel_scale / FINE_OVERSAMPLING,
                      size), pixel_scale)


def psf_from_image(image, pixel_scale, *, oversampling=1, n_pixels=None):
    """
    Make a PSF from the image of an effective, pixel-convolved one.

    The image is taken as band-limited: it is interpolated to the finer
    samples by its Fourier transform.

    Parameters
    ----------
    image : array_like (P, P)
        The PSF, centred on the middle sample (P odd) or on the corner
        between the four middle ones (P even).
    pixel_scale : float
        Pixel size in arcsec.
    oversampling : int, optional
        Samples of ``image`` per pixel.
    n_pixels : int or None, optional
        Side of the box that the PSF is cut at, in pixels. `None` takes
        all of the image.

    Returns
    -------
    `SampledPSF`

    Raises
    ------
    PSFError
        If the image is no square of finite numbers with a positive sum,
        or the oversampling no positive number.
    """
    image = np.asarray(image, float)
    if image.ndim != 2 or image.shape[0] != image.shape[1]:
        msg = f'the PSF image has the shape {image.shape}; it must be square.'
        raise PSFError(msg, shape=image.shape)
    if not np.isfinite(image).all() or not image.sum() > 0:
        msg = (f'the PSF image has the sum {image.sum()}; its values must '
               f'be finite and their sum positive.')
        raise PSFError(msg, sum=float(image.sum()))
    if not oversampling > 0:
        msg = f'oversampling is {oversampling}; it must be positive.'
        raise PSFError(msg, oversampling=oversampling)
    extent = len(image) / oversampling
    n_pixels = extent if n_pixels is None else min(n_pixels, extent)
    ratio = FINE_OVERSAMPLING // OVERSAMPLING
    half = ratio * max(int(OVERSAMPLING * n_pixels) // 2, 1)
    return _pack(_interpolate(image, oversampling, half), pixel_scale)


def _interpolate(image, oversampling, half):
    """Band-limited values at the fine samples from -half to half."""
    n = len(image)
    k = np.fft.fftfreq(n)
    spectrum = fft2(image)
    place = (np.arange(-half, half + 1) * oversampling / FINE_OVERSAMPLING
             + (n - 1) / 2)
    waves = np.exp(2j * np.pi * place[:, None] * k[None, :]) / n
    return (waves @ spectrum @ waves.T).real


def vary_psf(profile, *, widening=1.0, g1=0.0, g2=0.0):
    """
    Widen and shear a PSF.

    Parameters
    ----------
    profile : `TelescopePSF` or `galsim.GSObject`
        PSF before the pixel.
    widening : float, optional
        Factor of all lengths.
    g1, g2 : float, optional
        Reduced shear to add.

    Returns
    -------
    The same type as ``profile``.
    """
    if not isinstance(profile, TelescopePSF):
        return profile.dilate(widening).shear(g1=g1, g2=g2)
    waves = tuple(wave * widening for wave in profile.wavelengths_nm)
    return replace(profile, wavelengths_nm=waves, g1=profile.g1 + g1,
                   blur_fwhm=profile.blur_fwhm * widening,
                   g2=profile.g2 + g2)


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


def _draw_telescope_psf(rng, fwhm, n_waves):
    """Random PSF in space of about this FWHM in arcsec."""
    aberrations = np.zeros(12)
    aberrations[4:] = rng.normal(0, ABERRATION_RMS, 8)
    blurred = rng.uniform(*BLUR_RANGE)
    return telescope_profile(
        fwhm * np.sqrt(1 - blurred) / AIRY_FWHM, fwhm * np.sqrt(blurred),
        aberrations=aberrations.tolist(), n_waves=n_waves,
        rotation_deg=rng.uniform(0, 360))


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
    profile : `TelescopePSF` or `galsim.GSObject`
        Unit flux, lengths in arcsec.
    """
    kind, width, pixel_scale = _draw_kind(rng)
    fwhm = width * pixel_scale
    if kind == 'moffat':
        profile = load_galsim().Moffat(rng.uniform(*MOFFAT_BETA_RANGE),
                                       fwhm=fwhm)
    elif kind == 'gaussian':
        profile = load_galsim().Gaussian(fwhm=fwhm)
    else:
        profile = _draw_telescope_psf(rng, fwhm,
                                      5 if kind == 'space' else 1)
    g1, g2 = np.clip(rng.normal(0, SHEAR_RMS, 2), -0.1, 0.1)
    return kind, pixel_scale, vary_psf(profile, g1=g1, g2=g2)
