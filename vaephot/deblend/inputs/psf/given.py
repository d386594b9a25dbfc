# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Point spread functions, one per band, as users give them.

Whatever a user hands over becomes a `BandPSF`: an image of odd side whose
centre is the central pixel, of sum 1, sampled at or finer than the pixels.
All PSFs are *effective*: the response of the pixel is part of them, as
photutils takes its PSF models.
"""

from collections.abc import Mapping
from numbers import Real

import numpy as np
from astropy import units as u
from astropy.modeling import Model
from astropy.nddata import NDData
from astropy.stats import gaussian_sigma_to_fwhm
from photutils.psf import GriddedPSFModel, ImagePSF

from vaephot.deblend.inputs.psf.band_psf import BandPSF, GivenStamp
from vaephot.deblend.inputs.psf.extent import centroid
from vaephot.deblend.inputs.psf.samples import (
    MAX_PSF_PIXELS,
    check_size,
    from_array,
    from_samples,
    normalized,
    samples_per_pixel,
)
from vaephot.exceptions import PSFError
from vaephot.utils.bands import per_band

__all__ = ['make_band_psfs']

# a model's image grows until another step adds less than this share of light
LIGHT_TOLERANCE = 5e-4
# ... or reaches this radius (an Airy pattern never converges)
MAX_MODEL_FWHM = 20


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
        return from_samples(thing.data, thing.origin,
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
        return from_array(thing, band)
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


def _from_fwhm(fwhm, band, oversampling=None):
    """Circular Gaussian, pixel included."""
    if not (np.isfinite(fwhm) and fwhm > 0):
        msg = (f'psf of band {band!r} is a FWHM of {fwhm} pixels; it must '
               'be positive and finite.')
        raise PSFError(msg, fwhm=fwhm, band=band)
    oversampling = oversampling or samples_per_pixel(fwhm)
    sigma = fwhm / gaussian_sigma_to_fwhm * oversampling
    half = max(1, int(np.ceil(5.5 * sigma)))
    check_size((2 * half + 1,) * 2, (oversampling,) * 2, band)
    line = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma)**2)
    line /= line.sum()
    return np.outer(line, line), oversampling


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
        return from_samples(mixed, origin, oversampling, band)

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
    oversampling = oversampling or samples_per_pixel(widths.min())
    half = int(np.ceil(2 * widths.max() * oversampling))
    # a square that holds all but the last step's share of the light
    limit = min(MAX_PSF_PIXELS * oversampling // 2 - 1,
                int(MAX_MODEL_FWHM * widths.max() * oversampling))
    check_size((2 * half + 1,) * 2, (oversampling,) * 2, band)
    image = _grid(evaluate, half, oversampling)
    while half < limit:
        half = int(np.ceil(1.5 * half))
        wider = _grid(evaluate, min(half, limit), oversampling)
        gained = wider.sum() - image.sum()
        if abs(gained) < LIGHT_TOLERANCE * abs(wider.sum()):
            break
        image = wider
    return normalized(image, band), oversampling


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
