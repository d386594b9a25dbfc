# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Observations of parts of a mosaic."""

import warnings
from dataclasses import replace
from functools import lru_cache

import numpy as np
from astropy import units as u

from vaephot.deblend.inputs.psf import make_band_psfs
from vaephot.deblend.inputs.read import prepare_observation
from vaephot.exceptions import VaephotWarning
from vaephot.scale.sections import read_pieces
from vaephot.scale.survey_plan import ERROR_POWERS

__all__ = ['observe', 'read_bands']

# mosaics whose PSFs a worker keeps
KEPT_PSFS = 4


class _PartPSF:
    """PSF of a band of a mosaic, in pixels of a part of it."""

    def __init__(self, whole, window):
        self.whole, self.window = whole, window
        self.band, self.varies = whole.band, whole.varies
        self.fwhm, self.stamp = whole.fwhm, whole.stamp
        self.stars = whole.stars

    def describe(self):
        """What was done to the PSF of the mosaic."""
        return self.whole.describe()

    def sample(self, x, y):
        """Image and oversampling at a place of the part."""
        return self.whole.sample(x + self.window.x0, y + self.window.y0)


class _Key:
    """A plan as a key: two of one folder have the same PSFs."""

    def __init__(self, plan):
        self.plan = plan
        self.values = (plan.output, plan.bands, plan.shape, None
                       if plan.sky is None else plan.sky.psf_fwhm)

    def __eq__(self, other):
        return self.values == other.values

    def __hash__(self):
        return hash(self.values)


@lru_cache(maxsize=KEPT_PSFS)
def _mosaic_psfs(key):
    """`~vaephot.deblend.inputs.psf.BandPSF` of each band, or None."""
    plan = key.plan
    psf = plan.psf
    if psf is None and plan.sky is not None:
        psf = list(plan.sky.psf_fwhm)
    return None if psf is None else make_band_psfs(psf, plan.bands,
                                                   plan.shape)


def _bad(values, bits):
    """True where a mask marks bad pixels."""
    return values != 0 if bits is None else (values.astype(np.int64)
                                             & bits) != 0


def _read_band(plan, files, window):
    """Image, error or None, and mask of one band."""
    layers = [files.images]
    layers += [layer for layer in (files.errors, files.masks)
               if layer is not None]
    image, *others = read_pieces(layers, window)
    image = image * files.factor
    mask, error = ~np.isfinite(image), None
    if files.errors is not None:
        with np.errstate(divide='ignore', invalid='ignore'):
            error = (others[0].astype(float)
                     ** ERROR_POWERS[plan.error_type] * files.error_factor)
        mask |= ~(np.isfinite(error) & (error > 0))
    if files.masks is not None:
        mask |= _bad(others[-1], plan.mask_bits)
    return image, error, mask


def read_bands(plan, window):
    """Images, errors or None, and masks of a window, (n_bands, ny, nx)."""
    rows = [_read_band(plan, files, window) for files in plan.files]
    image, error, mask = zip(*rows, strict=True)
    mask = np.stack(mask)
    if error[0] is None:
        error = (None if plan.error is None
                 else np.array(plan.error)[:, None, None])
    else:
        # what is masked does not count, but may not be infinite
        error = np.where(mask, np.nanmedian(np.where(
            mask, np.nan, error), axis=(1, 2), keepdims=True), error) \
            if not mask.all() else None
    return np.stack(image), error, mask


def _sky_error(plan, error, window, shape):
    """Error and factors of large sums, from what the first pass found."""
    sky = plan.sky
    if error is None:
        error = sky.error_map(window)
    factor = sky.factor
    if sky.varies:
        error = np.broadcast_to(error, shape) * (
            sky.factor_map(window) / factor[:, None, None])
    return error, factor


def observe(plan, window, *, light=None):
    """
    `~vaephot.deblend.inputs.observation.Observation` of a window.

    ``light`` (n_bands, ny, nx) or None is subtracted first. Before the first
    pass noise and PSF are those of the window, later those of the mosaic.
    """
    image, error, mask = read_bands(plan, window)
    factor, psfs = None, _mosaic_psfs(_Key(plan))
    if light is not None:
        image = image - light
    if plan.sky is not None:
        error, factor = _sky_error(plan, error, window, image.shape)
    wcs = None if plan.wcs is None else plan.wcs[window.slices]
    if plan.is_2d:
        image, mask = image[0], mask[0]
        error = None if error is None else error[0]
    if error is not None and error.shape[-1] == 1:
        error = error.ravel()  # one number per band
    unit = None if plan.unit is None else u.Unit(plan.unit)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', VaephotWarning)
        made = prepare_observation(
            image if unit is None else image * unit,
            error=(error if unit is None or error is None else error * unit),
            mask=mask, gain=plan.gain, zeropoint=plan.zeropoint, wcs=wcs,
            bands=None if plan.is_2d else plan.bands,
            noise_correlation=None if factor is None else factor.tolist(),
            psf=None if psfs is None else [psf.fwhm for psf in psfs])
    if psfs is None:
        return made
    parts = tuple(_PartPSF(psf, window) for psf in psfs)
    made = replace(made, psfs=parts, psf_estimated=plan.psf is None)
    if light is not None and made.gain is not None:
        photons = np.maximum(light * made.scale, 0)
        made = replace(made, variance=made.variance
                       + photons / made.gain[:, None, None])
    if plan.sky is None:
        return made
    return replace(made, stack_weights=plan.sky.weights,
                   error_estimated=plan.sky.error_estimated)
