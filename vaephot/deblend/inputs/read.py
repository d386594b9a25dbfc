# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""From the arguments of a user to an observation."""

import numpy as np

from vaephot.deblend.inputs.error_maps import (
    positive_variance,
    read_correlation,
    read_error,
)
from vaephot.deblend.inputs.layers import (
    check_coordinates,
    coordinates_of,
    find_layers,
    share_of,
    single_image,
)
from vaephot.deblend.inputs.noise import (
    correlation_of_smoothing,
    estimate_noise,
    estimate_smoothing,
)
from vaephot.deblend.inputs.observation import NativeObservation, Observation
from vaephot.deblend.inputs.pixels import (
    read_data,
    read_mask,
    stack_images,
    to_unit,
)
from vaephot.deblend.inputs.psf import make_band_psfs
from vaephot.deblend.inputs.psf_estimate import estimate_psf
from vaephot.deblend.inputs.units import read_gain, read_zeropoint
from vaephot.utils.grids import GridMap

__all__ = ['prepare_observation']


def prepare_observation(data, *, error=None, gain=None,
                        noise_correlation=None, mask=None, psf=None,
                        bands=None, wcs=None, zeropoint=None):
    """
    Check and convert the inputs of a deblender; they are never changed.

    Parameters
    ----------
    data : array_like or `~astropy.units.Quantity` or \
            `~astropy.nddata.NDData` or mapping
        Image (ny, nx), images (n_bands, ny, nx), or ``{band: image}``. The
        uncertainty, mask, unit and wcs of `~astropy.nddata.NDData` are used
        unless given otherwise.
    error : array_like or float or None, optional
        1-sigma error: of the shape of the data, one number, one per band,
        or ``{band: error}``. `None` (default): estimated per band by
        `~vaephot.deblend.inputs.noise.estimate_noise`.
    gain : float or sequence or None, optional
        Electrons per data unit, one or one per band; `None` (default):
        ``error`` is total.
    noise_correlation : float or sequence or `~numpy.ndarray` or None, \
            optional
        Factor or 2D correlation kernel, one or one per band. A kernel,
        divided by its largest value, becomes the square root of its sum.
        `None` (default): from the image itself where the error is
        estimated, by `~vaephot.deblend.inputs.noise.estimate_smoothing`;
        else 1.
    mask : array_like of bool or None, optional
        True for bad pixels, (ny, nx) or per band.
    psf : object, optional
        See `~vaephot.deblend.inputs.psf.make_band_psfs`; `None` (default):
        estimated per band by
        `~vaephot.deblend.inputs.psf_estimate.estimate_psf`.
    bands : sequence of str or None, optional
        Names of the bands; `None` (default): the keys of a mapping, else
        ``'band1'``, ``'band2'``, ...
    wcs : object or None, optional
        World coordinate system, one or one per band. Bands whose systems
        put their pixels elsewhere than that of the first are on grids of
        their own: there each needs one, and errors, masks and PSFs are in
        the pixels of their bands.
    zeropoint : float or sequence or None, optional
        AB magnitude of one data unit, one or one per band; `None`
        (default): from the unit if it is one of flux density.

    Returns
    -------
    Observation or NativeObservation
        The second if bands lie on several pixel grids.

    Raises
    ------
    TypeError
        For data that are not real numbers.
    ShapeMismatchError, BandMismatchError, UnitMismatchError, ValueError
        For inputs that do not fit together or are out of range.
    PSFError
        For a PSF that cannot be used.
    """
    given = {'error': error, 'gain': gain, 'mask': mask, 'psf': psf,
             'noise_correlation': noise_correlation, 'zeropoint': zeropoint}
    images, bands, is_2d = read_data(data, bands)
    systems = coordinates_of(wcs, images, bands)
    layers = find_layers(images, systems)
    if len(layers) == 1:
        image = (stack_images(images, bands) if isinstance(images, list)
                 else images)
        return _observe(image, bands, is_2d, systems[0], **given)
    check_coordinates(systems, images, bands)
    return _observe_layers(images, bands, systems, layers, given)


def _observe(image, bands, is_2d, wcs, *, error, gain, noise_correlation,
             mask, psf, zeropoint):
    """Observation of bands on one grid."""
    values, bad = image.values, image.mask
    bad |= ~np.isfinite(values)
    if mask is not None:
        bad |= read_mask(mask, values.shape, bands)
    error_estimated = error is None and image.error is None
    smoothing = np.zeros(len(bands))
    if error is not None:
        image.error = read_error(error, image, bands, is_2d)
    if not error_estimated:
        variance = positive_variance(image.error, bad, bands)
    values[bad] = 0
    if error_estimated:
        noise = [estimate_noise(band, mask=m)
                 for band, m in zip(values, bad, strict=True)]
        variance = np.square(noise)[:, None, None]
        smoothing = np.array([estimate_smoothing(*band) for band in zip(
            values, noise, bad, strict=True)])
    if noise_correlation is None:
        noise_correlation = correlation_of_smoothing(smoothing)
    psfs = (_estimate_psfs(values, variance, bad, bands, smoothing)
            if psf is None else make_band_psfs(psf, bands, values.shape[1:]))
    return Observation(
        data=values, variance=variance, mask=bad, psfs=psfs, bands=bands,
        gain=read_gain(gain, image.unit, bands),
        noise_correlation=read_correlation(noise_correlation, bands),
        unit=image.unit, wcs=wcs,
        zeropoint=read_zeropoint(zeropoint, image.unit, bands),
        is_2d=is_2d, error_estimated=error_estimated,
        psf_estimated=psf is None, smoothing=smoothing)


def _observe_layers(images, bands, systems, layers, given):
    """Observation of each grid, and the maps between them."""
    unit = single_image(images, 0).unit
    first, made = systems[0], []
    for rows in layers:
        names = tuple(bands[i] for i in rows)
        parts = [single_image(images, i) for i in rows]
        for name, part in zip(names, parts, strict=True):
            to_unit(part, unit, name)
        made.append(_observe(
            stack_images(parts, names), names, False, systems[rows[0]],
            **{name: share_of(given, name, rows, bands) for name in given}))
    return NativeObservation(
        layers=tuple(made), rows=tuple(np.array(rows) for rows in layers),
        maps=tuple(GridMap(first, systems[rows[0]]) for rows in layers),
        bands=bands)


def _estimate_psfs(values, variance, bad, bands, smoothing):
    """Circular Gaussian PSFs from the images themselves."""
    noise = np.sqrt(variance)
    # infinite where there is no noise that would tell
    width = np.where(np.isfinite(smoothing), smoothing, 0)
    fwhm = {band: estimate_psf(values[i], noise[i], mask=bad[i],
                               smoothing=width[i])[0]
            for i, band in enumerate(bands)}
    return make_band_psfs(fwhm, bands, values.shape[1:])
