# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
From what a user hands over to plain arrays: the only place where units,
masks, dtypes and kinds of containers are dealt with.

Bands may lie on pixel grids of their own. Those that share one are a
*layer*, an `Observation` by itself; the layer of the first band is the
reference, to which segmentation, positions and shapes belong. A map of the
world coordinates leads from its pixels to those of each other layer. Data
are never resampled.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from astropy import units as u
from astropy.nddata import (
    InverseVariance,
    NDData,
    StdDevUncertainty,
    VarianceUncertainty,
)

from vaephot.deblend.inputs.noise import (
    correlation_of_smoothing,
    estimate_noise,
    estimate_smoothing,
)
from vaephot.deblend.inputs.psf import BandPSF, estimate_psf, make_band_psfs
from vaephot.exceptions import (
    BandMismatchError,
    ShapeMismatchError,
    UnitMismatchError,
)
from vaephot.photometry.magnitudes import zeropoint_of_unit
from vaephot.utils.bands import per_band
from vaephot.utils.grids import GridMap, same_grid

__all__ = ['NativeObservation', 'Observation', 'prepare_observation']


@dataclass(frozen=True, kw_only=True, eq=False)
class Observation:
    """
    Images of one field in one or several bands, on one pixel grid.

    Parameters
    ----------
    data : `~numpy.ndarray` of float64, (n_bands, ny, nx)
        Images; masked pixels are 0.
    variance : `~numpy.ndarray` of float64, (n_bands, ny, nx) or \
            (n_bands, 1, 1)
        Square of the 1-sigma error, positive everywhere.
    mask : `~numpy.ndarray` of bool, (n_bands, ny, nx)
        True for bad pixels: masked by the user, data or error not finite,
        error not positive.
    gain : `~numpy.ndarray` of float64, (n_bands,), or None
        Electrons per data unit; `None`: the variance is the total.
    noise_correlation : `~numpy.ndarray` of float64, (n_bands,)
        Noise of a large sum over that of independent pixels.
    psfs : tuple of `~vaephot.deblend.inputs.psf.BandPSF`
        Effective PSFs.
    bands : tuple of str
        Names of the bands.
    unit : `~astropy.units.UnitBase` or None
        Unit of the data.
    zeropoint : `~numpy.ndarray` of float64, (n_bands,), or None
        AB magnitude of one data unit.
    wcs : object or None
        World coordinate system of the pixels.
    is_2d : bool
        Whether the user gave a 2D image.
    error_estimated, psf_estimated : bool
        Whether they were not given.
    smoothing : `~numpy.ndarray` of float64, (n_bands,), optional
        FWHM in pixels of the Gaussian that each image was smoothed with
        before, where the error was estimated; 0 for none, infinite for an
        image without noise.
    """

    data: np.ndarray
    variance: np.ndarray
    mask: np.ndarray
    gain: np.ndarray | None
    noise_correlation: np.ndarray
    psfs: tuple[BandPSF, ...]
    bands: tuple[str, ...]
    unit: u.UnitBase | None
    zeropoint: np.ndarray | None
    wcs: object | None
    is_2d: bool
    error_estimated: bool
    psf_estimated: bool
    smoothing: np.ndarray

    @property
    def reference(self):
        """The observation on the grid of the first band: itself."""
        return self


@dataclass(frozen=True, kw_only=True, eq=False)
class NativeObservation:
    """
    Images of one field in bands on several pixel grids.

    Parameters
    ----------
    layers : tuple of Observation
        Bands by grid; the first layer holds the first band.
    rows : tuple of `~numpy.ndarray` of int
        Numbers of the bands of each layer among all.
    maps : tuple of `~vaephot.utils.grids.GridMap`
        From the pixels of the first layer to those of each.
    bands : tuple of str
        Names of all bands, in the order of the caller.
    """

    layers: tuple[Observation, ...]
    rows: tuple[np.ndarray, ...]
    maps: tuple[GridMap, ...]
    bands: tuple[str, ...]

    is_2d = False

    @property
    def reference(self):
        """The observation on the grid of the first band."""
        return self.layers[0]

    @property
    def unit(self):
        """Unit of the data."""
        return self.reference.unit

    @property
    def zeropoint(self):
        """AB magnitudes of one data unit, (n_bands,), or None."""
        if self.reference.zeropoint is None:
            return None
        out = np.zeros(len(self.bands))
        for layer, rows in zip(self.layers, self.rows, strict=True):
            out[rows] = layer.zeropoint
        return out

    def by_band(self, frames):
        """
        Images of the layers by the names of the bands.

        Parameters
        ----------
        frames : sequence of `~numpy.ndarray`
            One ``(n_bands, ...)`` for each layer.

        Returns
        -------
        dict
            In the order of the bands.
        """
        found = {band: image for layer, stack in zip(
            self.layers, frames, strict=True)
            for band, image in zip(layer.bands, stack, strict=True)}
        return {band: found[band] for band in self.bands}


@dataclass(kw_only=True)
class _Image:
    """One image (or stack) as plain arrays."""

    values: np.ndarray
    mask: np.ndarray
    error: np.ndarray | None = None
    unit: u.UnitBase | None = None
    wcs: object | None = None


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
        estimated per band by `~vaephot.deblend.inputs.psf.estimate_psf`.
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
    images, bands, is_2d = _read_data(data, bands)
    systems = _coordinates(wcs, images, bands)
    layers = _layers(images, systems)
    if len(layers) == 1:
        image = _stack(images, bands) if isinstance(images, list) else images
        return _observe(image, bands, is_2d, systems[0], **given)
    _check_systems(systems, images, bands)
    return _observe_layers(images, bands, systems, layers, given)


def _observe(image, bands, is_2d, wcs, *, error, gain, noise_correlation,
             mask, psf, zeropoint):
    """Observation of bands on one grid."""
    values, bad = image.values, image.mask
    bad |= ~np.isfinite(values)
    if mask is not None:
        bad |= _read_mask(mask, values.shape, bands)
    error_estimated = error is None and image.error is None
    smoothing = np.zeros(len(bands))
    if error is not None:
        image.error = _read_error(error, image, bands, is_2d)
    if not error_estimated:
        variance = _variance(image.error, bad, bands)
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
        gain=_read_gain(gain, image.unit, bands),
        noise_correlation=_read_correlation(noise_correlation, bands),
        unit=image.unit, wcs=wcs,
        zeropoint=_read_zeropoint(zeropoint, image.unit, bands),
        is_2d=is_2d, error_estimated=error_estimated,
        psf_estimated=psf is None, smoothing=smoothing)


# --------------------------------------------------- grids of their own
def _coordinates(wcs, images, bands):
    """WCS of every band, None where there is none."""
    if isinstance(wcs, (Mapping, list, tuple)):
        return list(per_band(wcs, bands, 'wcs'))
    if wcs is not None:
        return [wcs] * len(bands)
    if isinstance(images, list):
        return [image.wcs for image in images]
    return [images.wcs] * len(bands)


def _shape_of(images, i):
    """Shape of the image of a band."""
    return (images[i].values.shape if isinstance(images, list)
            else images.values.shape[1:])


def _layers(images, systems):
    """Numbers of the bands by grid, the grid of the first band first."""
    layers = []
    for i, wcs in enumerate(systems):
        shape = _shape_of(images, i)
        for layer in layers:
            first = systems[layer[0]]
            if shape == _shape_of(images, layer[0]) and (
                    first is None or wcs is None
                    or same_grid(first, wcs, shape)):
                layer.append(i)
                break
        else:
            layers.append([i])
    return layers


def _check_systems(systems, images, bands):
    """Bands on several grids each need coordinates."""
    missing = [i for i, wcs in enumerate(systems) if wcs is None]
    if missing:
        first = _shape_of(images, 0)
        i = next((i for i in missing if _shape_of(images, i) != first),
                 missing[0])
        shape = _shape_of(images, i)
        msg = (f'the image of band {bands[i]!r} has shape {shape} and no '
               f'WCS, that of the first band, {bands[0]!r}, has shape '
               f'{first}; bands on several pixel grids each need a WCS: '
               'give NDData with one, or wcs per band.')
        raise ShapeMismatchError(msg, band=bands[i], shape=shape)


def _single(images, i):
    """Image of one band."""
    if isinstance(images, list):
        return images[i]
    return _Image(values=images.values[i], mask=images.mask[i],
                  error=None if images.error is None else images.error[i],
                  unit=images.unit)


def _share_of(given, name, rows, bands):
    """What an argument says of some of the bands."""
    value = given[name]
    if value is None or callable(value):
        return value
    if isinstance(value, Mapping):
        each = per_band(value, bands, name)
        return {bands[i]: each[i] for i in rows}
    n_numbers = 1 if name in ('gain', 'zeropoint') else 0
    listed = isinstance(value, (list, tuple)) or (
        hasattr(value, 'ndim') and value.ndim in (
            {'error': (1, 3), 'mask': (3,), 'psf': (1, 3),
             'noise_correlation': (1, 3)}.get(name, (n_numbers,))))
    if not listed:
        return value
    if len(value) != len(bands):
        per_band(value, bands, name)  # says what is wrong
    if isinstance(value, (list, tuple)):
        return [value[i] for i in rows]
    return value[list(rows)]


def _observe_layers(images, bands, systems, layers, given):
    """Observation of each grid, and the maps between them."""
    unit = _single(images, 0).unit
    first, made = systems[0], []
    for rows in layers:
        names = tuple(bands[i] for i in rows)
        parts = [_single(images, i) for i in rows]
        for name, part in zip(names, parts, strict=True):
            _to_unit(part, unit, name)
        made.append(_observe(
            _stack(parts, names), names, False, systems[rows[0]],
            **{name: _share_of(given, name, rows, bands) for name in given}))
    return NativeObservation(
        layers=tuple(made), rows=tuple(np.array(rows) for rows in layers),
        maps=tuple(GridMap(first, systems[rows[0]]) for rows in layers),
        bands=bands)


# ---------------------------------------------------------------- the data
def _read_data(data, bands):
    """
    Images, names of the bands, whether one 2D image was given.

    Images are one stack, or a list where each may have a shape of its own.
    """
    if isinstance(bands, str):
        bands = (bands,)
    if isinstance(data, Mapping):
        names = tuple(data) if bands is None else tuple(bands)
        _check_names(names)
        things = per_band(data, names, 'data')
        images = [_read_image(item, f'data[{name!r}]', (2,))
                  for name, item in zip(names, things, strict=True)]
        return images, names, False
    if isinstance(data, (list, tuple)) and _is_list_of_images(data):
        image = [_read_image(item, f'data[{i}]', (2,))
                 for i, item in enumerate(data)]
        is_2d = False
    else:
        image = _read_image(data, 'data', (2, 3))
        is_2d = image.values.ndim == 2
        if is_2d:
            image.values, image.mask = image.values[None], image.mask[None]
            if image.error is not None:
                image.error = image.error[None]
    n_bands = len(image if isinstance(image, list) else image.values)
    names = (tuple(f'band{i + 1}' for i in range(n_bands))
             if bands is None else tuple(bands))
    _check_names(names)
    if len(names) != n_bands:
        msg = (f'data have {n_bands} bands but bands names {len(names)} '
               f'({", ".join(map(str, names))}); name each band once.')
        raise BandMismatchError(msg, bands=names, n_bands=n_bands)
    return image, names, is_2d


def _is_list_of_images(data):
    """Whether a list holds images, not the rows of one."""
    if any(isinstance(item, (NDData, u.Quantity, np.ma.MaskedArray))
           for item in data):
        return True
    shapes = {item.shape for item in data if isinstance(item, np.ndarray)}
    return len(shapes) > 1 and all(len(shape) == 2 for shape in shapes)


def _check_names(names):
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong:
        msg = (f'bands has the entry {wrong[0]!r} of type '
               f'{type(wrong[0]).__name__}; names of bands are strings.')
        raise TypeError(msg)
    if len(set(names)) != len(names) or not names:
        msg = (f'bands is {names}; give at least one name, and each only '
               'once.')
        raise BandMismatchError(msg, bands=names)


def _stack(images, names):
    """One stack from the images of the bands."""
    first = images[0]
    for name, image in zip(names, images, strict=True):
        _to_unit(image, first.unit, name)
    errors = [image.error for image in images]
    have = [err is not None for err in errors]
    if any(have) and not all(have):
        msg = ('only some of the bands have an uncertainty; give all or '
               'none, or use the argument error.')
        raise BandMismatchError(msg, bands=tuple(names))
    return _Image(values=np.stack([image.values for image in images]),
                  mask=np.stack([image.mask for image in images]),
                  error=np.stack(errors) if all(have) else None,
                  unit=first.unit, wcs=first.wcs)


def _to_unit(image, unit, name):
    """Convert an image to the unit of the first band, in place."""
    factor = _unit_factor(image.unit, unit, f'data of band {name!r}',
                          'the first band')
    if factor != 1:
        image.values *= factor
        if image.error is not None:
            image.error *= factor
        image.unit = unit


def _unit_factor(unit, target, name, whose):
    """Factor from one unit to another; both or none must be there."""
    if unit is None and target is None:
        return 1.0
    if unit is None or target is None:
        msg = (f'{name} has {_unit_name(unit)} but {whose} '
               f'{_unit_name(target)}; give both or none a unit.')
        raise UnitMismatchError(msg, unit=unit, expected=target)
    try:
        return float(unit.to(target))
    except u.UnitConversionError as err:
        msg = (f'{name} has {_unit_name(unit)}, which cannot be converted '
               f'to that of {whose}, {target}.')
        raise UnitMismatchError(msg, unit=unit, expected=target) from err


def _unit_name(unit):
    return 'no unit' if unit is None else f'the unit {str(unit)!r}'


def _read_image(item, name, allowed_ndim):
    """Plain float64 copy of an image, with what came along."""
    error = unit = wcs = None
    mask = False
    if isinstance(item, NDData):
        unit, wcs = item.unit, item.wcs
        error = _read_uncertainty(item.uncertainty, unit, name)
        if item.mask is not None:
            mask = np.asarray(item.mask).astype(bool)
        item = item.data
    if isinstance(item, u.Quantity):
        unit, item = item.unit, item.value
    if isinstance(item, np.ma.MaskedArray):
        mask = mask | np.ma.getmaskarray(item)
        item = item.data
    _check_linear(unit, name)
    values = _real_copy(item, name)
    if values.ndim not in allowed_ndim:
        msg = (f'{name} has {values.ndim} dimensions (shape {values.shape}); '
               'give (ny, nx)' + (', or (n_bands, ny, nx).'
                                  if 3 in allowed_ndim else '.'))
        raise ShapeMismatchError(msg, shape=values.shape)
    if values.size == 0:
        msg = f'{name} is empty, of shape {values.shape}.'
        raise ShapeMismatchError(msg, shape=values.shape)
    try:
        mask = np.array(np.broadcast_to(mask, values.shape))
        if error is not None:
            error = np.array(np.broadcast_to(error, values.shape))
    except ValueError as err:
        msg = (f'mask or uncertainty of {name} does not have its shape '
               f'{values.shape}.')
        raise ShapeMismatchError(msg, shape=values.shape) from err
    return _Image(values=values, mask=mask, error=error, unit=unit, wcs=wcs)


def _check_linear(unit, name):
    if unit is not None and not isinstance(unit, u.UnitBase):
        msg = (f'{name} has the logarithmic unit {unit}; give fluxes.')
        raise UnitMismatchError(msg, unit=unit)


def _real_copy(item, name):
    """Float64 copy in native byte order; refuse what is not real."""
    array = np.asanyarray(item)
    if array.dtype.kind not in 'biuf':
        msg = (f'{name} has dtype {array.dtype}; give real numbers.')
        raise TypeError(msg)
    return np.array(array, dtype=np.float64, order='C', copy=True,
                    subok=False)


def _read_uncertainty(uncertainty, unit, name):
    """1-sigma error in the unit of the data from an NDData uncertainty."""
    if uncertainty is None:
        return None
    kinds = {StdDevUncertainty: (1, 1), VarianceUncertainty: (2, 0.5),
             InverseVariance: (-2, -0.5)}
    kind = next((k for k in kinds if isinstance(uncertainty, k)), None)
    if kind is None:
        msg = (f'the uncertainty of {name} is of type '
               f'{type(uncertainty).__name__}; give StdDevUncertainty, '
               'VarianceUncertainty or InverseVariance, or use the argument '
               'error.')
        raise TypeError(msg)
    power, root = kinds[kind]
    values = _real_copy(uncertainty.array, f'the uncertainty of {name}')
    if uncertainty.unit is not None and unit is not None:
        values *= _unit_factor(uncertainty.unit, unit**power,
                               f'the uncertainty of {name}', 'the data')
    with np.errstate(divide='ignore', invalid='ignore'):
        return values if root == 1 else values**root


def _read_mask(mask, shape, bands):
    """Mask of every band, True for bad pixels."""
    if isinstance(mask, Mapping):
        mask = np.stack([np.broadcast_to(np.asarray(item), shape[1:])
                         for item in per_band(mask, bands, 'mask')])
    mask = np.asarray(mask)
    if mask.ndim == 0:  # numpy's "nomask"
        mask = np.broadcast_to(mask, shape)
    if mask.dtype.kind not in 'biu':
        msg = (f'mask has dtype {mask.dtype}; give booleans, True for bad '
               'pixels.')
        raise TypeError(msg)
    if mask.shape not in (shape, shape[1:]):
        msg = (f'mask has shape {mask.shape} but the data have {shape[1:]} '
               f'in {shape[0]} bands; give (ny, nx) or (n_bands, ny, nx).')
        raise ShapeMismatchError(msg, shape=mask.shape, expected=shape)
    return mask.astype(bool)


# --------------------------------------------------------------- the errors
def _read_error(error, image, bands, is_2d):
    """1-sigma error, (n_bands, ny, nx) or (n_bands, 1, 1)."""
    shape = image.values.shape
    listed = isinstance(error, (list, tuple)) and any(
        isinstance(item, np.ndarray) for item in error)
    if not listed and not isinstance(error, Mapping):
        array = _plain_error(error, image.unit, 'error')
        if is_2d and array.shape == shape[1:]:
            array = array[None]
        if array.ndim == 0:
            array = np.full(shape[0], array)
        if array.ndim == 1:
            array = np.array(per_band(array, bands, 'error'))[:, None, None]
        return _check_error_shape(array, shape)
    items = per_band(error, bands, 'error')
    arrays = [_plain_error(item, image.unit, f'error of band {band!r}')
              for band, item in zip(bands, items, strict=True)]
    if all(array.ndim == 0 for array in arrays):
        return np.array(arrays)[:, None, None]
    return np.stack([_check_error_shape(
        array[None] if array.ndim == 2 else array.reshape(-1, 1, 1),
        (1, *shape[1:]), fill=True)[0] for array in arrays])


def _check_error_shape(array, shape, *, fill=False):
    """Refuse an error of another shape than the data."""
    if array.shape not in (shape, (shape[0], 1, 1)):
        msg = (f'error has shape {array.shape} but the data have '
               f'{shape[1:]} in {shape[0]} bands; give an array of the '
               'shape of the data, or one number per band.')
        raise ShapeMismatchError(msg, shape=array.shape, expected=shape)
    return np.broadcast_to(array, shape) if fill else array


def _plain_error(error, unit, name):
    """Error as float64 numbers in the unit of the data."""
    error_unit = None
    if isinstance(error, u.Quantity):
        error_unit, error = error.unit, error.value
    if isinstance(error, np.ma.MaskedArray):
        error = np.ma.filled(error.astype(float), np.nan)
    factor = _unit_factor(error_unit, unit, name, 'the data')
    return _real_copy(error, name) * factor


def _variance(error, bad, bands):
    """Positive variance; pixels with an error out of range are masked."""
    wrong = ~np.isfinite(error) | (error <= 0)
    for band, err, out in zip(bands, error, wrong, strict=True):
        if out.all():
            value = err.flat[0]
            msg = (f'error of band {band!r} is {value} '
                   f'{"everywhere " if err.size > 1 else ""}(a 1-sigma '
                   'error must be positive and finite); give a number, a '
                   'map, or None to have it estimated.')
            raise ValueError(msg)
    if error.shape == bad.shape:
        bad |= wrong
        error = np.array(error)
        for err, out in zip(error, wrong, strict=True):
            err[out] = np.median(err[~out])
    variance = np.square(error)
    if not (variance > 0).all() or not np.isfinite(variance).all():
        msg = (f'error has the value {np.min(error):.3g} to '
               f'{np.max(error):.3g}, the square of which is out of range; '
               'use another unit.')
        raise ValueError(msg)
    return variance


def _estimate_psfs(values, variance, bad, bands, smoothing):
    """Circular Gaussian PSFs from the images themselves."""
    noise = np.sqrt(variance)
    # infinite where there is no noise that would tell
    width = np.where(np.isfinite(smoothing), smoothing, 0)
    fwhm = {band: estimate_psf(values[i], noise[i], mask=bad[i],
                               smoothing=width[i])[0]
            for i, band in enumerate(bands)}
    return make_band_psfs(fwhm, bands, values.shape[1:])


# ------------------------------------------------------- numbers per band
def _numbers(given, bands, name):
    """One float per band from one number, a sequence or a mapping."""
    if isinstance(given, Mapping):
        given = per_band(given, bands, name)
    values = _real_copy(given, name)
    if values.ndim == 0:
        values = np.full(len(bands), values)
    if values.ndim != 1:
        msg = (f'{name} has shape {values.shape}; give one number, or one '
               f'for each of the bands ({", ".join(bands)}).')
        raise ShapeMismatchError(msg, shape=values.shape)
    values = np.array(per_band(values, bands, name))
    if not np.isfinite(values).all():
        msg = f'{name} is {values}; it must be finite.'
        raise ValueError(msg)
    return values


def _check_positive(values, name):
    if not (values > 0).all():
        msg = f'{name} is {values}; it must be positive.'
        raise ValueError(msg)
    return values


def _read_gain(gain, unit, bands):
    """Electrons per data unit of every band."""
    if gain is None:
        return None
    if isinstance(gain, u.Quantity):
        gain = gain.value * _gain_factor(gain.unit, unit)
    return _check_positive(_numbers(gain, bands, 'gain'), 'gain')


def _gain_factor(gain_unit, unit):
    """Factor that makes a gain electrons per data unit."""
    counts = gain_unit * (unit or u.dimensionless_unscaled)
    for target in (u.electron, u.photon, u.count,
                   u.dimensionless_unscaled):
        if counts.is_equivalent(target):
            return counts.to(target)
    msg = (f'gain has the unit {str(gain_unit)!r} and the data '
           f'{_unit_name(unit)}; their product must be electrons.')
    raise UnitMismatchError(msg, unit=gain_unit, expected=u.electron / (
        unit or u.dimensionless_unscaled))


def _read_correlation(given, bands):
    """Factor of the noise of large sums, per band."""
    if isinstance(given, Mapping):
        given = per_band(given, bands, 'noise_correlation')
    elif (not isinstance(given, (list, tuple))
          and np.ndim(given) in (0, 2)):
        given = [given] * len(bands)
    else:
        given = per_band(given, bands, 'noise_correlation')
    factors = [_correlation_factor(item, band)
               for item, band in zip(given, bands, strict=True)]
    return np.array(factors)


def _correlation_factor(item, band):
    """Factor of one band from a number, a kernel or None."""
    if item is None:
        return 1.0
    name = f'noise_correlation of band {band!r}'
    array = _real_copy(item, name)
    if array.ndim not in (0, 2) or array.size == 0:
        msg = (f'{name} has shape {array.shape}; give a number or a 2D '
               'kernel.')
        raise ShapeMismatchError(msg, shape=array.shape)
    total = array.sum()
    if not (np.isfinite(total) and total > 0):
        what = 'is' if array.ndim == 0 else 'is a kernel of the sum'
        msg = f'{name} {what} {total}; it must be positive and finite.'
        raise ValueError(msg)
    return float(total if array.ndim == 0 else np.sqrt(total / array.max()))


def _read_zeropoint(zeropoint, unit, bands):
    """AB magnitude of one data unit, per band."""
    if isinstance(zeropoint, u.Quantity):
        if zeropoint.unit not in (u.mag, u.ABmag):
            msg = (f'zeropoint has the unit {str(zeropoint.unit)!r}; give '
                   'AB magnitudes.')
            raise UnitMismatchError(msg, unit=zeropoint.unit,
                                    expected=u.ABmag)
        zeropoint = zeropoint.value
    if zeropoint is not None:
        return _numbers(zeropoint, bands, 'zeropoint')
    known = zeropoint_of_unit(unit)
    return None if known is None else np.full(len(bands), known)

