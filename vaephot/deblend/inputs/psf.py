# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Point spread functions, one per band, in the one form the fit uses.

Whatever a user hands over becomes a `BandPSF`: an image of odd side whose
centre is the central pixel, of sum 1, sampled at or finer than the pixels.
All PSFs are *effective*: the response of the pixel is part of them, as
photutils takes its PSF models.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from threading import Lock

import numpy as np
from astropy import units as u
from astropy.modeling import Model
from astropy.nddata import NDData
from astropy.stats import gaussian_sigma_to_fwhm
from photutils.psf import GriddedPSFModel, ImagePSF
from scipy.interpolate import RectBivariateSpline
from scipy.ndimage import map_coordinates

from vaephot.exceptions import PSFError
from vaephot.utils.bands import per_band

__all__ = ['MAX_PSF_PIXELS', 'BandPSF', 'GivenStamp', 'centroid',
           'make_band_psfs', 'measure_fwhm']

# side of the largest PSF in image pixels: the largest stamp of the fit
MAX_PSF_PIXELS = 512
# samples per FWHM of a model: a Gaussian of 3 samples FWHM still has 1e-4 of
# its power beyond the Nyquist frequency, one of 4 has 1e-7
SAMPLES_PER_FWHM = 4.0
MAX_OVERSAMPLING = 8
# a model's image grows until another step adds less than this share of light
LIGHT_TOLERANCE = 5e-4
# ... or reaches this radius (an Airy pattern never converges)
MAX_MODEL_FWHM = 20
# an image whose centroid is closer than this to a pixel is not resampled
CENTRE_TOLERANCE = 0.01
# an array of a smaller FWHM [px] has power beyond its Nyquist frequency: a
# quintic spline is drawn through it, with so many samples a pixel. Of Gaussian
# PSFs, between the pixels, it is nearer than a Fourier series below this
SHARP_FWHM, SHARP_ORDER, SHARP_OVERSAMPLING = 2.2, 5, 4
# positions of a varying PSF are rounded to this many pixels
POSITION_STEP = 1.0
MAX_CACHE_BYTES = 64 * 2**20
# an array is flat if its values differ by less than this share
FLAT = 1e-3
# pixels above half maximum of a PSF fill less than this share of an array, at
# least this wide, and lie within so many radii of their area from the peak
MAX_BRIGHT, MIN_SIDE, MAX_SPREAD = 0.5, 5, 4.0


@dataclass(frozen=True, kw_only=True)
class GivenStamp:
    """
    What an array was before it was normalised and centred.

    Parameters
    ----------
    total : float
        Its sum.
    offset : tuple of float
        (x, y) of its centroid from the middle of the array, in pixels.
    """

    total: float
    offset: tuple[float, float]


class BandPSF:
    """
    Effective PSF of one band.

    Made by `make_band_psfs`. An instance is never changed and may be used
    from several threads.

    Parameters
    ----------
    sampler : callable
        ``sampler(x, y)`` returns an image as `sample` does.
    band : str
        Name of the band.
    varies : bool
        Whether the PSF depends on the position.
    centre : tuple of float
        (x, y) of the middle of the image, where ``fwhm`` is measured.
    stamp : GivenStamp or None, optional
        What was normalised and centred, for an array.
    """

    def __init__(self, sampler, *, band, varies, centre, stamp=None):
        self._sampler = sampler
        self._cache = OrderedDict()
        self._lock = Lock()
        self._band = band
        self._varies = bool(varies)
        self._stamp = stamp
        self._fwhm = measure_fwhm(*self.sample(*centre))

    @property
    def band(self):
        """Name of the band."""
        return self._band

    @property
    def varies(self):
        """Whether the PSF depends on the position."""
        return self._varies

    @property
    def fwhm(self):
        """FWHM in pixels, pixel included, at the middle of the image."""
        return self._fwhm

    @property
    def stamp(self):
        """What an array was before; `None` for other kinds of PSF."""
        return self._stamp

    def __repr__(self):
        return (f'<BandPSF {self.band!r}: FWHM {self.fwhm:.3g} pixels, '
                f'{"varies" if self.varies else "constant"}>')

    def sample(self, x, y):
        """
        Return the image of the PSF at a position.

        Parameters
        ----------
        x, y : float
            Position in the image, pixels. A PSF that varies is taken at
            the position rounded to whole pixels.

        Returns
        -------
        image : 2D `~numpy.ndarray` of float64
            Read-only image of shape (P, P) and sum 1, with P odd and the
            centre of the PSF at pixel ``P // 2`` of both axes.
        oversampling : int
            Samples per pixel along each axis, the same everywhere.
        """
        key = (0.0, 0.0)
        if self.varies:
            key = tuple(float(np.round(v / POSITION_STEP) * POSITION_STEP)
                        for v in (x, y))
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
        image, oversampling = self._sampler(*key)
        image.flags.writeable = False
        self._remember(key, (image, oversampling))
        return image, oversampling

    def _remember(self, key, value):
        """Keep a sample, and forget the oldest beyond the size limit."""
        with self._lock:
            self._cache[key] = value
            size = sum(image.nbytes for image, _ in self._cache.values())
            while size > MAX_CACHE_BYTES and len(self._cache) > 1:
                size -= self._cache.popitem(last=False)[1][0].nbytes


def make_band_psfs(psf, bands, shape):
    """
    Make the PSF of every band from what a user gives.

    Parameters
    ----------
    psf : object
        One thing for all bands, or a sequence or mapping with one per band.
        A thing is

        * a 2D array sampled at the pixels, of any size, normalised here to
          sum 1. Its centre is its Gaussian-weighted centroid; unless that
          lies within 0.01 pixels of a pixel centre, the image is shifted
          there in Fourier space, on a grid with an odd number of pixels.
          An array with an even number of pixels whose PSF sits in the
          geometric middle is thus shifted by half a pixel;
        * a `~photutils.psf.ImagePSF`, with its oversampling and origin; the
          data are used as they are when the origin is a pixel and the
          oversampling is the same along both axes;
        * a `~photutils.psf.GriddedPSFModel`;
        * any other 2D model of photutils or astropy, evaluated relative to
          its position, at least 4 samples per FWHM;
        * a number: the FWHM in pixels of a circular Gaussian;
        * a callable ``psf(x, y, band)`` that returns one of these, called
          at whole pixels. What it returns must have one oversampling.
    bands : sequence of str
        Names of the bands.
    shape : tuple of int
        (ny, nx) of the image.

    Returns
    -------
    tuple of BandPSF
        In the order of ``bands``.

    Raises
    ------
    PSFError
        For a PSF that cannot be used.
    BandMismatchError
        If the number or the names do not match the bands.

    Examples
    --------
    >>> from vaephot.deblend.inputs.psf import make_band_psfs
    >>> (psf,) = make_band_psfs(3.0, ['r'], (100, 100))
    >>> image, oversampling = psf.sample(50, 50)
    >>> image.shape, oversampling
    ((31, 31), 2)
    """
    things = _things_per_band(psf, tuple(bands))
    centre = ((shape[1] - 1) / 2, (shape[0] - 1) / 2)
    made = []
    for band, thing in zip(bands, things, strict=True):
        sampler, varies = _make_sampler(thing, band)
        made.append(BandPSF(sampler, band=band, varies=varies,
                            centre=centre, stamp=_given_stamp(thing)))
    return tuple(made)


def _things_per_band(psf, bands):
    """One PSF per band from a single one, a sequence or a mapping."""
    if isinstance(psf, (list, tuple)) and psf and all(
            isinstance(row, (list, tuple))
            and all(isinstance(value, Real) for value in row)
            for row in psf):
        psf = np.array(psf, dtype=float)  # a 2D array written as lists
    if isinstance(psf, np.ndarray) and psf.ndim in (1, 3):
        psf = list(psf)
    if isinstance(psf, (Mapping, list, tuple)):
        return per_band(psf, bands, 'psf')
    return [psf] * len(bands)


def _given_stamp(thing):
    """Sum and offset of an array that is a PSF; None for other kinds."""
    thing = getattr(thing, 'value', thing)  # a Quantity
    if isinstance(thing, NDData):
        thing = thing.data
    if not isinstance(thing, (np.ndarray, list)) or np.ndim(thing) != 2:
        return None
    data = np.array(np.ma.filled(thing, 0), dtype=float)
    middle = (np.array(data.shape)[::-1] - 1) / 2
    offset = np.subtract(centroid(data), middle)
    return GivenStamp(total=float(data.sum()), offset=tuple(offset.tolist()))


def _make_sampler(thing, band):
    """Return ``sampler(x, y)`` for one PSF and whether it varies."""
    if isinstance(thing, GriddedPSFModel):
        return _gridded_sampler(thing, band), len(thing.data) > 1
    if callable(thing) and not isinstance(thing, Model):
        return _function_sampler(thing, band), True
    image, oversampling = _render(thing, band)
    return (lambda x, y: (image, oversampling)), False


def _function_sampler(function, band):
    """Sampler of ``psf(x, y, band)``; its first call sets the sampling."""
    first = []

    def sampler(x, y):
        thing = function(x, y, band)
        if callable(thing) and not isinstance(thing, Model):
            msg = (f'the psf function of band {band!r} returned '
                   f'{type(thing).__name__}; it must return an array, a '
                   'model or a FWHM.')
            raise PSFError(msg, psf=thing, band=band)
        if isinstance(thing, GriddedPSFModel):
            image, oversampling = _gridded_sampler(thing, band)(x, y)
        else:
            image, oversampling = _render(thing, band, *first)
        if first and oversampling != first[0]:
            msg = (f'the psf function of band {band!r} returned samples '
                   f'with an oversampling of {oversampling} at ({x}, {y}) '
                   f'but {first[0]} in the middle of the image; it must be '
                   'the same everywhere.')
            raise PSFError(msg, oversampling=oversampling, band=band)
        first[:] = [oversampling]
        return image, oversampling

    return sampler


def _render(thing, band, oversampling=None):
    """
    Image and oversampling of a PSF that does not vary.

    ``oversampling`` is that of numbers and models; `None`: by their width.
    """
    if isinstance(thing, ImagePSF):
        return _from_samples(thing.data, thing.origin,
                             thing.oversampling, band)
    if isinstance(thing, Model):
        return _from_model(thing, band, oversampling)
    if isinstance(thing, NDData):
        thing = thing.data
    if isinstance(thing, u.Quantity):
        thing = _pixels(thing, band)
    if isinstance(thing, Real) and not isinstance(thing, bool):
        return _from_fwhm(float(thing), band, oversampling)
    if isinstance(thing, np.ndarray) and thing.ndim == 0:
        return _from_fwhm(float(thing), band, oversampling)
    if isinstance(thing, (np.ndarray, list, tuple)):
        return _from_array(thing, band)
    msg = (f'psf of band {band!r} is of type {type(thing).__name__}; give a '
           '2D array, a photutils or astropy PSF model, a FWHM in pixels, '
           'or a function psf(x, y, band).')
    raise PSFError(msg, psf=thing, band=band)


def _pixels(thing, band):
    """Value of a Quantity; a FWHM must be in pixels."""
    units = (u.pix, u.dimensionless_unscaled)
    if thing.isscalar and thing.unit not in units:
        msg = (f'psf of band {band!r} is the FWHM {thing}; give it in '
               'pixels.')
        raise PSFError(msg, fwhm=thing, band=band)
    return thing.value


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


def _check_size(shape, oversampling, band):
    """Refuse a PSF that is larger than the stamps of the fit."""
    side = max(shape[0] / oversampling[0], shape[1] / oversampling[1])
    # the one sample more is what an even array gains when made odd
    if side > MAX_PSF_PIXELS + 1:
        msg = (f'psf of band {band!r} is {side:.0f} pixels on a side once '
               f'centred; at most {MAX_PSF_PIXELS} are allowed. Crop it '
               'around its centre.')
        raise PSFError(msg, shape=shape, band=band)


def _from_fwhm(fwhm, band, oversampling=None):
    """Circular Gaussian, pixel included."""
    if not (np.isfinite(fwhm) and fwhm > 0):
        msg = (f'psf of band {band!r} is a FWHM of {fwhm} pixels; it must '
               'be positive and finite.')
        raise PSFError(msg, fwhm=fwhm, band=band)
    oversampling = oversampling or _model_oversampling(fwhm)
    sigma = fwhm / gaussian_sigma_to_fwhm * oversampling
    half = max(1, int(np.ceil(5.5 * sigma)))
    _check_size((2 * half + 1,) * 2, (oversampling,) * 2, band)
    line = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma)**2)
    line /= line.sum()
    return np.outer(line, line), oversampling


def _model_oversampling(fwhm):
    """Samples per pixel for a model of this FWHM in pixels."""
    wanted = int(np.ceil(SAMPLES_PER_FWHM / fwhm - 1e-9))
    return int(np.clip(wanted, 1, MAX_OVERSAMPLING))


def _from_array(data, band):
    """Image on an odd grid from an array sampled at the pixels."""
    data = _checked(data, band)
    _check_size(data.shape, (1, 1), band)
    _check_is_psf(data, band)
    x, y = centroid(data)
    if measure_fwhm(data) < SHARP_FWHM and min(data.shape) >= MIN_SIDE:
        # moved by sines and cosines it would have a cross of ripples
        image = _resample(data, (x, y), (1, 1), SHARP_OVERSAMPLING,
                          SHARP_ORDER)
        _check_size(image.shape, 2 * (SHARP_OVERSAMPLING,), band)
        return image / image.sum(), SHARP_OVERSAMPLING
    image = _centre_on_pixel(data, round(x), round(y))
    _check_size(image.shape, (1, 1), band)
    shift = (y - round(y), x - round(x))
    if max(map(abs, shift)) > CENTRE_TOLERANCE:
        image = _fourier_shift(image, -shift[0], -shift[1])
    return image / image.sum(), 1


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


def centroid(data, *, n_iterations=50):
    """
    Centroid under a Gaussian window that follows the light.

    The window makes noise and wings count little; it is twice as wide as
    the PSF, so that pixels wider than the PSF bias it little.

    Parameters
    ----------
    data : 2D `~numpy.ndarray`
        Image of one PSF.
    n_iterations : int, optional
        Largest number of steps; about ten are needed.

    Returns
    -------
    x, y : float
    """
    iy, ix = np.unravel_index(np.argmax(data), data.shape)
    n_bright = np.count_nonzero(data >= 0.5 * data[iy, ix])
    fwhm = np.sqrt(n_bright / np.pi) * 2
    sigma = 2 * max(fwhm / gaussian_sigma_to_fwhm, 0.6)
    x, y = float(ix), float(iy)
    xs, ys = np.arange(data.shape[1]), np.arange(data.shape[0])
    for _ in range(n_iterations):
        window = data * np.exp(-0.5 * ((ys - y) / sigma)**2)[:, None]
        window *= np.exp(-0.5 * ((xs - x) / sigma)**2)
        total = window.sum()
        if total <= 0:
            return float(ix), float(iy)
        dx = (window.sum(axis=0) @ (xs - x)) / total
        dy = (window.sum(axis=1) @ (ys - y)) / total
        # a window twice as wide as the PSF shows 4/5 of an offset
        x = float(np.clip(x + 1.25 * dx, 0, data.shape[1] - 1))
        y = float(np.clip(y + 1.25 * dy, 0, data.shape[0] - 1))
        if max(abs(dx), abs(dy)) < 1e-5:
            break
    return x, y


def _from_samples(data, origin, oversampling, band):
    """
    Image from samples with a known origin.

    The samples are kept when the origin is a pixel and both axes are
    sampled alike, else a cubic spline goes through them, as in photutils.
    """
    data = _checked(data, band)
    x0, y0 = (float(value) for value in origin)
    oy, ox = (int(value) for value in oversampling)
    _check_size(data.shape, (oy, ox), band)
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
    _check_size(image.shape, (os, os), band)
    return _normalised(image, band), os


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


def _normalised(image, band):
    image = _checked(image, band)
    return image / image.sum()


def _gridded_sampler(model, band):
    """Sampler of a grid of PSFs, interpolated linearly between them."""
    data = np.asarray(model.data, dtype=float)
    positions = np.asarray(model.grid_xypos, dtype=float).reshape(-1, 2)
    oversampling = np.broadcast_to(model.oversampling, 2)
    origin = ((data.shape[2] - 1) / 2, (data.shape[1] - 1) / 2)
    xgrid, ygrid = np.unique(positions[:, 0]), np.unique(positions[:, 1])
    rows = np.lexsort((positions[:, 0], positions[:, 1]))
    cube = data[rows].reshape(len(ygrid), len(xgrid), *data.shape[1:])

    def sampler(x, y):
        mixed = np.einsum('y,x,yxij->ij', _linear_weights(ygrid, y),
                          _linear_weights(xgrid, x), cube)
        return _from_samples(mixed, origin, oversampling, band)

    return sampler


def _linear_weights(grid, value):
    """Weights of the points of a grid; beyond its ends, those of the end."""
    return np.array([np.interp(value, grid, row)
                     for row in np.eye(len(grid))])


def _from_model(model, band, oversampling=None):
    """Image of a 2D model, relative to its position parameters."""
    if model.n_inputs != 2 or model.n_outputs != 1 or len(model) != 1:
        msg = (f'psf of band {band!r} is a {type(model).__name__} with '
               f'{model.n_inputs} inputs and {model.n_outputs} outputs; a '
               'PSF has 2 and 1.')
        raise PSFError(msg, psf=model, band=band)
    x0, y0 = (_position(model, axis) for axis in 'xy')

    def evaluate(x, y):
        return np.asarray(model(x + x0, y + y0), dtype=float)

    widths = 2 * _half_maximum_radii(evaluate, band)
    oversampling = oversampling or _model_oversampling(widths.min())
    half = int(np.ceil(2 * widths.max() * oversampling))
    # a square that holds all but the last step's share of the light
    limit = min(MAX_PSF_PIXELS * oversampling // 2 - 1,
                int(MAX_MODEL_FWHM * widths.max() * oversampling))
    _check_size((2 * half + 1,) * 2, (oversampling,) * 2, band)
    image = _grid(evaluate, half, oversampling)
    while half < limit:
        half = int(np.ceil(1.5 * half))
        wider = _grid(evaluate, min(half, limit), oversampling)
        gained = wider.sum() - image.sum()
        if abs(gained) < LIGHT_TOLERANCE * abs(wider.sum()):
            break
        image = wider
    return _normalised(image, band), oversampling


def _grid(evaluate, half, oversampling):
    steps = np.arange(-half, half + 1) / oversampling
    return evaluate(*np.meshgrid(steps, steps))


def _position(model, axis):
    """Position parameter of a model along an axis; 0 if it has none."""
    names = [f'{axis}_{kind}{tail}' for tail in ('', '_0')
             for kind in ('0', 'mean')]
    for name in names:
        if name in model.param_names:
            return float(np.squeeze(getattr(model, name).value))
    return 0.0


def _half_maximum_radii(evaluate, band):
    """Radii in eight directions where a model is half of its centre."""
    radii = np.concatenate([[0], np.geomspace(0.02, MAX_PSF_PIXELS, 600)])
    found = []
    for angle in np.arange(8) * np.pi / 4:
        values = evaluate(radii * np.cos(angle), radii * np.sin(angle))
        below = np.flatnonzero(values < 0.5 * values[0])
        if not values[0] > 0 or below.size == 0:
            msg = (f'psf of band {band!r} does not fall from a positive '
                   'value at its position to half of it; check its '
                   'parameters.')
            raise PSFError(msg, band=band)
        end = below[0]
        found.append(np.interp(0.5 * values[0], values[[end, end - 1]],
                               radii[[end, end - 1]]))
    return np.array(found)


def measure_fwhm(image, oversampling=1):
    """
    Measure the FWHM of an image of a PSF from the area above half maximum.

    Parameters
    ----------
    image : 2D `~numpy.ndarray`
        Image with the PSF at its central pixel.
    oversampling : int, optional
        Samples per pixel.

    Returns
    -------
    float
        FWHM in pixels of the circle with that area.
    """
    image = np.pad(image, 3)  # the spline needs the fall to zero
    n_bright = np.count_nonzero(image >= 0.5 * image.max())
    half = int(np.ceil(2 * np.sqrt(n_bright))) + 2
    factor = int(np.clip(np.ceil(64 / half), 1, 32))
    iy, ix = np.unravel_index(np.argmax(image), image.shape)
    steps = np.arange(-half * factor, half * factor + 1) / factor
    y, x = np.meshgrid(iy + steps, ix + steps, indexing='ij')
    fine = map_coordinates(image, [y, x], order=3, mode='constant')
    area = np.count_nonzero(fine >= 0.5 * fine.max()) / factor**2
    return float(2 * np.sqrt(area / np.pi) / oversampling)
