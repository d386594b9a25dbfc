# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
From samples of a PSF to an odd square of sum 1 around its centre.

What cannot be a PSF is refused with what was found.
"""

import numpy as np
from scipy.interpolate import RectBivariateSpline

from vaephot.deblend.inputs.psf.extent import centroid, measure_fwhm
from vaephot.exceptions import PSFError

__all__ = ['MAX_PSF_PIXELS', 'check_size', 'from_array', 'from_samples',
           'normalized', 'samples_per_pixel']

# side of the largest PSF in image pixels: the largest stamp of the fit
MAX_PSF_PIXELS = 512
# samples per FWHM of a model: a Gaussian of 3 samples FWHM still has 1e-4 of
# its power beyond the Nyquist frequency, one of 4 has 1e-7
SAMPLES_PER_FWHM = 4.0
MAX_OVERSAMPLING = 8
# an image whose centroid is closer than this to a pixel is not resampled
CENTRE_TOLERANCE = 0.01
# an array of a smaller FWHM [px] has power beyond its Nyquist frequency: a
# quintic spline is drawn through it, with so many samples a pixel. Of Gaussian
# PSFs, between the pixels, it is nearer than a Fourier series below this
SHARP_FWHM, SHARP_ORDER, SHARP_OVERSAMPLING = 2.2, 5, 4
# an array is flat if its values differ by less than this share
FLAT = 1e-3
# pixels above half maximum of a PSF fill less than this share of an array, at
# least this wide, and lie within so many radii of their area from the peak
MAX_BRIGHT, MIN_SIDE, MAX_SPREAD = 0.5, 5, 4.0


def _checked(data, band):
    """Float64 copy of PSF data that can be normalised."""
    data = np.array(np.ma.filled(data, 0), dtype=float)
    why = None
    if data.ndim != 2:
        why = f'has {data.ndim} dimensions; it must have 2'
    elif data.size == 0:
        why = f'is empty, of shape {data.shape}'
    elif not np.isfinite(data).all():
        why = (f'has {np.count_nonzero(~np.isfinite(data))} values that '
               'are not finite; replace them')
    elif not data.any():
        why = 'is zero everywhere'
    elif data.sum() <= 0:
        why = (f'has the sum {data.sum():.3g}, which must be positive; '
               'subtract its background correctly')
    if why is not None:
        msg = f'psf of band {band!r} {why}.'
        raise PSFError(msg, psf=data, band=band)
    return data


def _check_is_psf(data, band):
    """Refuse an array that no PSF looks like: flat, wide or an image."""
    if min(data.shape) < MIN_SIDE:
        return
    peak = np.unravel_index(np.argmax(data), data.shape)
    bright = np.argwhere(data >= 0.5 * data[peak])
    why = None
    if np.ptp(data) < FLAT * data[peak]:
        why = 'is the same everywhere'
    elif len(bright) > MAX_BRIGHT * data.size:
        why = (f'is above half of its maximum in {len(bright)} of '
               f'{data.size} pixels; it is wider than its array')
    elif np.hypot(*(bright - peak).T).max() > MAX_SPREAD * (
            1 + np.sqrt(len(bright) / np.pi)):
        why = ('is above half of its maximum in places far apart, as an '
               'image of several sources or of noise')
    if why is not None:
        msg = (f'psf of band {band!r} {why}; give an array with the PSF '
               'alone.')
        raise PSFError(msg, psf=data, band=band)


def check_size(shape, oversampling, band):
    """Refuse a PSF that is larger than the stamps of the fit."""
    side = max(shape[0] / oversampling[0], shape[1] / oversampling[1])
    # the one sample more is what an even array gains when made odd
    if side > MAX_PSF_PIXELS + 1:
        msg = (f'psf of band {band!r} is {side:.0f} pixels on a side once '
               f'centred; at most {MAX_PSF_PIXELS} are allowed. Crop it '
               'around its centre.')
        raise PSFError(msg, shape=shape, band=band)


def from_array(data, band):
    """Image on an odd grid from an array sampled at the pixels."""
    data = _checked(data, band)
    check_size(data.shape, (1, 1), band)
    _check_is_psf(data, band)
    x, y = centroid(data)
    if measure_fwhm(data) < SHARP_FWHM and min(data.shape) >= MIN_SIDE:
        # moved by sines and cosines it would have a cross of ripples
        image = _resample(data, (x, y), (1, 1), SHARP_OVERSAMPLING,
                          SHARP_ORDER)
        check_size(image.shape, 2 * (SHARP_OVERSAMPLING,), band)
        return image / image.sum(), SHARP_OVERSAMPLING
    image = _centre_on_pixel(data, round(x), round(y))
    check_size(image.shape, (1, 1), band)
    shift = (y - round(y), x - round(x))
    if max(map(abs, shift)) > CENTRE_TOLERANCE:
        image = _fourier_shift(image, -shift[0], -shift[1])
    return image / image.sum(), 1


def from_samples(data, origin, oversampling, band):
    """
    Image from samples with a known origin.

    The samples are kept when the origin is a pixel and both axes are
    sampled alike, else a cubic spline goes through them, as in photutils.
    """
    data = _checked(data, band)
    x0, y0 = (float(value) for value in origin)
    oy, ox = (int(value) for value in oversampling)
    check_size(data.shape, (oy, ox), band)
    ny, nx = data.shape
    ix, iy = round(x0), round(y0)
    inside = 0 <= ix < nx and 0 <= iy < ny
    if not inside:
        msg = (f'psf of band {band!r} has its origin {(x0, y0)} outside its '
               f'data of shape {data.shape}.')
        raise PSFError(msg, origin=origin, band=band)
    _check_is_psf(data, band)
    if oy == ox and max(abs(x0 - ix), abs(y0 - iy)) < 1e-6:
        image = _centre_on_pixel(data, ix, iy)
    else:
        image = _resample(data, (x0, y0), (oy, ox), max(oy, ox))
    os = max(oy, ox)
    check_size(image.shape, (os, os), band)
    return normalized(image, band), os


def normalized(image, band):
    """Checked copy of sum 1."""
    image = _checked(image, band)
    return image / image.sum()


def _centre_on_pixel(data, ix, iy):
    """Pad with zeros so that a pixel becomes the centre of an odd square."""
    ny, nx = data.shape
    half = max(ix, nx - 1 - ix, iy, ny - 1 - iy)
    if nx == ny == 2 * half + 1:
        return data
    image = np.zeros((2 * half + 1, 2 * half + 1))
    image[half - iy:half - iy + ny, half - ix:half - ix + nx] = data
    return image


def _fourier_shift(image, dy, dx):
    """Shift an image of odd sides by a fraction of a pixel."""
    spectrum = np.fft.fft2(image)
    ky, kx = (np.fft.fftfreq(size) for size in image.shape)
    phase = np.exp(-2j * np.pi * (dy * ky[:, None] + dx * kx))
    return np.fft.ifft2(spectrum * phase).real


def _resample(data, origin, oversampling, finest, order=3):
    """Spline through samples, evaluated on a square grid at the origin."""
    ny, nx = data.shape
    sy, sx = (value / finest for value in oversampling)
    half = int(np.floor(max(origin[0] / sx, (nx - 1 - origin[0]) / sx,
                            origin[1] / sy, (ny - 1 - origin[1]) / sy)))
    steps = np.arange(-half, half + 1)
    x, y = origin[0] + steps * sx, origin[1] + steps * sy
    orders = {'kx': min(order, ny - 1), 'ky': min(order, nx - 1)}
    spline = RectBivariateSpline(np.arange(ny), np.arange(nx), data, **orders)
    image = spline(y, x)
    image[(y < 0) | (y > ny - 1)] = 0
    image[:, (x < 0) | (x > nx - 1)] = 0
    return image


def samples_per_pixel(fwhm):
    """Samples per pixel for a model of this FWHM in pixels."""
    wanted = int(np.ceil(SAMPLES_PER_FWHM / fwhm - 1e-9))
    return int(np.clip(wanted, 1, MAX_OVERSAMPLING))
