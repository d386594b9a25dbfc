# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""From the arguments of a user to an observation."""

from dataclasses import replace

import numpy as np

from vaephot.deblend.inputs.coverage import filled_areas
from vaephot.deblend.inputs.error_maps import (
    check_level,
    check_not_image,
    positive_error,
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
from vaephot.deblend.inputs.noise_level import measure_noise
from vaephot.deblend.inputs.observation import NativeObservation, Observation
from vaephot.deblend.inputs.pixels import (
    mask_impossible,
    read_data,
    read_mask,
    stack_images,
    to_flux,
    to_unit,
)
from vaephot.deblend.inputs.psf import (
    build_psf,
    check_width,
    hollow_tops,
    make_band_psfs,
    with_wings,
)
from vaephot.deblend.inputs.saturation import flat_tops, mark_saturated
from vaephot.deblend.inputs.units import read_gain, read_zeropoint
from vaephot.utils.grids import GridMap

__all__ = ['prepare_observation']

# noise beyond this, or its inverse, is scaled: its square and the flux of
# bright sources must fit into single precision
LEAST_SIGMA = 1e-6


def prepare_observation(data, *, error=None, gain=None,
                        noise_correlation=None, mask=None, psf=None,
                        bands=None, wcs=None, zeropoint=None, saturation=None,
                        sources=None):
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
        Electrons per data unit, of flux where the data are a surface
        brightness; one or one per band. `None` (default): ``error`` is
        total.
    noise_correlation : float or sequence or `~numpy.ndarray` or None, \
            optional
        Factor or 2D correlation kernel, one or one per band. A kernel,
        divided by its largest value, becomes the square root of its sum.
        `None` (default), for all or some bands: measured on the sky by
        `~vaephot.deblend.inputs.noise_level.measure_noise`. Without sky
        enough: from `~vaephot.deblend.inputs.noise.estimate_smoothing`
        where the error is estimated, else 1.
    mask : array_like of bool or None, optional
        True for bad pixels, (ny, nx) or per band.
    psf : object, optional
        See `~vaephot.deblend.inputs.psf.make_band_psfs`; `None` (default):
        built from the stars of each
        band by `~vaephot.deblend.inputs.psf.build_psf`.
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
    saturation : float or sequence or None, optional
        Level in the unit of the data from which on pixels are saturated, one
        or one per band. `None` (default), for all or some bands: that of the
        header of `~astropy.nddata.NDData`, and flat tops of stars.
    sources : `~numpy.ndarray` of bool, (ny, nx), or None, optional
        True for pixels of known sources, on the grid of the first band;
        they are no sky.

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

    Warns
    -----
    VaephotWarning
        For pixels that no source can have, which are masked; for an error
        that the scatter of the sky contradicts.
    """
    given = {'error': error, 'gain': gain, 'mask': mask, 'psf': psf,
             'noise_correlation': noise_correlation, 'zeropoint': zeropoint}
    images, bands, is_2d = read_data(data, bands)
    systems = coordinates_of(wcs, images, bands)
    mark_saturated(images, saturation, bands)
    for i, image in enumerate(images if isinstance(images, list)
                              else [images]):
        to_flux(image, systems[i])
    layers = find_layers(images, systems)
    if len(layers) == 1:
        image = (stack_images(images, bands) if isinstance(images, list)
                 else images)
        return _scaled(_observe(image, bands, is_2d, systems[0],
                                sources=sources, **given))
    check_coordinates(systems, images, bands)
    return _observe_layers(images, bands, systems, layers, given, sources)


def _observe(image, bands, is_2d, wcs, *, error, gain, noise_correlation,
             mask, psf, zeropoint, sources=None):
    """Observation of bands on one grid."""
    values, bad = image.values, image.mask
    bad |= ~np.isfinite(values)
    if image.saturated is not None:
        bad |= image.saturated
    if mask is not None:
        bad |= read_mask(mask, values.shape, bands)
    _mask_filled(values, bad)
    estimated = error is None and image.error is None
    error, smoothing = (
        _estimate_error(values, bad, bands) if estimated
        else _read_error(error, image, bands))
    saturated = _mask_tops(image, bad, error)
    gain = read_gain(gain, image.unit, bands)
    psfs = (_build_psfs(values, error, bad, bands, smoothing, gain)
            if psf is None else _given_psfs(psf, values, error, bad, bands))
    noise = measure_noise(values, error, bad, sources=sources,
                          psf_fwhm=[psf.fwhm for psf in psfs])
    factor = read_correlation(noise_correlation, bands)
    if not estimated:
        check_level(noise, np.where(np.isnan(factor), 1, factor), values,
                    error, bands)
    noise = _used_level(noise, factor, smoothing)
    return Observation(
        data=values, variance=np.square(error, out=error), mask=bad,
        psfs=psfs, bands=bands,
        gain=gain,
        noise_correlation=noise.used, noise=noise, unit=image.unit, wcs=wcs,
        zeropoint=read_zeropoint(zeropoint, image.unit, bands),
        is_2d=is_2d, error_estimated=estimated, psf_estimated=psf is None,
        smoothing=smoothing, saturated=saturated)


def _mask_filled(values, bad):
    """Mask areas that are filled with one number, in place."""
    for image, mask in zip(values, bad, strict=True):
        found = filled_areas(image, mask)
        if found is not None:
            mask |= found


def _mask_tops(image, bad, error):
    """
    Mask flat tops of stars and those that overflowed, in place.

    Returns all saturated pixels, or None.
    """
    found = image.saturated
    for i, (values, mask, err) in enumerate(zip(image.values, bad, error,
                                                strict=True)):
        tops = hollow_tops(values, err)
        flat = flat_tops(values, mask, np.median(err))
        if flat is not None:
            tops = tops | flat
        if not tops.any():
            continue
        if found is None:
            found = np.zeros(bad.shape, bool)
        found[i] |= tops
        mask |= tops
        values[tops] = 0
    return found


def _read_error(error, image, bands):
    """Error that was given, and no smoothing."""
    values, bad = image.values, image.mask
    if error is not None:
        image.error = read_error(error, image, bands)
    check_not_image(image.error, values, bands)
    error = positive_error(image.error, bad, bands)
    values[bad] = 0
    mask_impossible(values, bad, [np.median(err) for err in error], bands)
    return error, np.zeros(len(bands))


def _estimate_error(values, bad, bands):
    """Error (n_bands, 1, 1) and smoothing of every band."""
    values[bad] = 0
    sigma = _estimate_sigma(values, bad)
    if mask_impossible(values, bad, sigma, bands):
        sigma = _estimate_sigma(values, bad)
    smoothing = np.array([estimate_smoothing(*band) for band in zip(
        values, sigma, bad, strict=True)])
    return sigma[:, None, None], smoothing


def _estimate_sigma(values, bad):
    """Noise of every band, (n_bands,)."""
    return np.array([estimate_noise(band, mask=mask)
                     for band, mask in zip(values, bad, strict=True)])


def _used_level(noise, factor, smoothing):
    """Noise level with the factors of the user, or else those measured."""
    # an image without noise has no level of it
    measured = noise.measured & np.isfinite(smoothing)
    used = np.where(measured, noise.used, correlation_of_smoothing(smoothing))
    return replace(noise, measured=measured, used=np.where(
        np.isnan(factor), used, factor))


def _scaled(observation, scale=None):
    """Multiply by a power of 2 if the noise is out of range, in place."""
    if scale is None:
        sigma = np.sqrt(np.median(observation.variance[0]))
        if LEAST_SIGMA <= sigma <= 1 / LEAST_SIGMA:
            return observation
        scale = 2.0 ** -round(np.log2(sigma))
    values = observation.data
    values *= scale
    gain, zeropoint = observation.gain, observation.zeropoint
    return replace(
        observation, scale=scale, variance=observation.variance * scale**2,
        gain=None if gain is None else gain / scale,
        zeropoint=(None if zeropoint is None
                   else zeropoint + 2.5 * np.log10(scale)))


def _observe_layers(images, bands, systems, layers, given, sources):
    """Observation of each grid, and the maps between them."""
    unit = single_image(images, 0).unit
    first, made = systems[0], []
    for rows in layers:
        names = tuple(bands[i] for i in rows)
        parts = [single_image(images, i) for i in rows]
        for name, part in zip(names, parts, strict=True):
            to_unit(part, unit, name)
        layer = _observe(
            stack_images(parts, names), names, False, systems[rows[0]],
            sources=None if made else sources,
            **{name: share_of(given, name, rows, bands) for name in given})
        made.append(_scaled(layer, made[0].scale if made else None))
    return NativeObservation(
        layers=tuple(made), rows=tuple(np.array(rows) for rows in layers),
        maps=tuple(GridMap(first, systems[rows[0]]) for rows in layers),
        bands=bands)


def _given_psfs(psf, values, error, bad, bands):
    """PSFs that the user gave, compared with stars and with wings."""
    made = make_band_psfs(psf, bands, values.shape[1:])
    for item, *band in zip(made, values, error, bad, strict=True):
        check_width(item, *band)
    return tuple(with_wings(item, *band) for item, *band in zip(
        made, values, error, strict=True))


def _build_psfs(values, error, bad, bands, smoothing, gain):
    """PSFs from the stars of the images themselves."""
    # infinite where there is no noise that would tell
    width = np.where(np.isfinite(smoothing), smoothing, 0)
    return tuple(
        build_psf(values[i], error[i], bad[i], band=band, smoothing=width[i],
                  gain=None if gain is None else gain[i])
        for i, band in enumerate(bands))
