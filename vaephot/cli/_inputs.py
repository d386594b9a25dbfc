# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Turn the options of ``vaephot deblend`` into arguments of the deblender."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.nddata import NDData
from astropy.table import Table

from vaephot.cli._mask_bits import bad_pixels
from vaephot.cli._options import UsageError
from vaephot.cli._sky_subtraction import subtract_sky
from vaephot.deblend.inputs.saturation import header_level
from vaephot.exceptions import UnitMismatchError
from vaephot.utils.fits_images import (
    GAIN_KEYWORDS,
    USUAL_NAMES,
    ZEROPOINT_KEYWORDS,
    InputFileError,
    band_extensions,
    read_band_images,
    read_image,
    split_extension,
)

__all__ = ['read_inputs', 'read_positions', 'read_psfs']

# extensions with errors, by what they hold
ERROR_PREFIX = {'rms': 'ERROR_', 'var': 'VAR_', 'ivar': 'IVAR_'}
ERROR_NAMES = {kind: USUAL_NAMES[prefix] for kind, prefix
               in ERROR_PREFIX.items()}
ERROR_KINDS = {'rms': '1-sigma errors', 'var': 'variances',
               'ivar': 'weights'}
# grids that differ by less than this many pixels are the same
SAME_GRID = 0.1


def _numbers(values):
    """Numbers, if all of these texts are."""
    try:
        return [float(value) for value in values]
    except ValueError:
        return None


def _per_band(values, n_bands, option):
    """As many values as bands, or one for all of them."""
    if len(values) not in (1, n_bands):
        msg = (f'{option} has {len(values)} values for {n_bands} '
               f'band{"s" if n_bands > 1 else ""}; give one for each, or '
               'one for all.')
        raise UsageError(msg, option=option, values=values)
    return list(values) * (n_bands // len(values))


def _split(values):
    """Texts, also those joined by commas."""
    out = []
    for value in values:
        out += [value] if Path(value).exists() else value.split(',')
    return [value for value in out if value]


def _band_names(images, given):
    """Names of the bands."""
    if given is None:
        return None
    if len(given) != len(images):
        msg = (f'--bands names {len(given)} bands ({", ".join(given)}) but '
               f'there are {len(images)} images; give one name for each.')
        raise UsageError(msg, bands=tuple(given), given=len(images))
    if len(set(given)) != len(given):
        msg = f'--bands names a band twice: {", ".join(given)}.'
        raise UsageError(msg, bands=tuple(given))
    return tuple(given)


def _corners(shape):
    ny, nx = shape
    return np.array([0, nx - 1, 0, nx - 1]), np.array([0, 0, ny - 1, ny - 1])


def _same_grid(images):
    """Whether all images lie on the pixels of the first."""
    first = images[0]
    if any(image.data.shape != first.data.shape for image in images):
        return False
    systems = [image.wcs for image in images]
    if systems[0] is None:
        return True
    x, y = _corners(first.data.shape)
    sky = systems[0].pixel_to_world(x, y)
    for wcs in systems[1:]:
        if wcs is None:
            continue
        found = np.array(wcs.world_to_pixel(sky))
        if not (np.abs(found - [x, y]) < SAME_GRID).all():
            return False
    return True


def _units(images):
    """The unit of the first image, and the factors that lead to it."""
    units = [image.unit for image in images]
    first = units[0]
    factors = []
    for image, unit in zip(images, units, strict=True):
        try:
            factors.append(1.0 if unit == first else unit.to(first))
        except (u.UnitConversionError, AttributeError, TypeError) as err:
            msg = (f'the unit of {images[0].name} is {first}, that of '
                   f'{image.name} is {unit}; they must agree.')
            raise UnitMismatchError(msg, units=(first, unit)) from err
    return first, factors


def _image_arguments(images, bands):
    """Data, bands and coordinates."""
    unit, factors = _units(images)
    planes = [image.data * factor if factor != 1 else image.data
              for image, factor in zip(images, factors, strict=True)]
    if not _same_grid(images):
        names = bands or [f'band{i + 1}' for i in range(len(images))]
        data = {name: NDData(plane, wcs=image.wcs, unit=unit)
                for name, plane, image in zip(names, planes, images,
                                              strict=True)}
        return {'data': data}, factors
    data = planes[0] if len(planes) == 1 and bands is None else (
        np.stack([plane.astype(float) for plane in planes]))
    if unit is not None:
        data = u.Quantity(data.astype(float), unit, copy=False)
    return {'data': data, 'bands': bands, 'wcs': images[0].wcs}, factors


def _zeropoints(images, given):
    """Zeropoints given, or those of the headers; `None` without."""
    if given is not None:
        values = _numbers(given)
        if values is None:
            msg = f'--zeropoint is {" ".join(given)}; give numbers.'
            raise UsageError(msg, value=given)
        values = _per_band(values, len(images), '--zeropoint')
    else:
        unit = images[0].unit
        if unit is not None and unit.is_equivalent(u.Jy):
            return None  # the unit says it all
        values = [image.find_number(ZEROPOINT_KEYWORDS) for image in images]
        if None in values:
            return None
    return np.array(values)


def _header_numbers(images, keyword, option):
    """One keyword of all headers, if it is there."""
    values = [image.find_number([keyword]) for image in images]
    missing = [image.name for image, value in zip(images, values,
                                                  strict=True)
               if value is None]
    if len(missing) == len(images):
        return None
    if missing:
        msg = (f'{option} asks for the keyword {keyword}, which '
               f'{missing[0]} lacks.')
        raise InputFileError(msg, keyword=keyword)
    return values


def _read_error(images, factors, args):
    """1-sigma error: numbers, header keyword or files."""
    if args.error is None:
        return None
    given, n_bands = _split(args.error), len(images)
    values = _numbers(given)
    if values is None and len(given) == 1 and not Path(given[0]).exists():
        values = _header_numbers(images, given[0], '--error')
    unit = images[0].unit
    if values is not None:
        values = np.array(_per_band(values, n_bands, '--error'))
        values = _sigma(values, args.error_type) * factors
        return values if unit is None else values * unit
    errors = read_band_images(given, bands=args.bands,
                              prefix=ERROR_PREFIX[args.error_type])
    errors = _per_band(errors, n_bands, '--error')
    planes = []
    for error, image, factor in zip(errors, images, factors, strict=True):
        error.check_shape(image.data.shape)
        _check_kind(error, args.error_type)
        planes.append(_sigma(error.data, args.error_type) * _error_factor(
            error, image, unit, factor, args.error_type))
    stacked = _stack(planes, args)
    return stacked if unit is None else stacked * unit


def _sigma(values, kind):
    """1-sigma error from variances or weights; infinite for no weight."""
    values = np.asarray(values, float)
    if kind == 'rms':
        return values
    with np.errstate(divide='ignore', invalid='ignore'):
        root = np.sqrt(values)
        return root if kind == 'var' else np.where(values > 0, 1 / root,
                                                   np.inf)


def _check_kind(error, kind):
    """Refuse an extension whose name says that it is something else."""
    for other, names in ERROR_NAMES.items():
        if error.extension in names and other != kind:
            msg = (f'the name of {error.name} is one of '
                   f'{ERROR_KINDS[other]}, but --error-type is {kind}; give '
                   f'--error-type {other}, or another extension.')
            raise UsageError(msg, option='--error-type', value=kind)


def _error_factor(error, image, unit, factor, kind):
    """What turns a 1-sigma map into the unit of the data."""
    own = error.unit
    if kind != 'rms' and own is not None and unit is not None:
        root = {'var': 0.5, 'ivar': -0.5}[kind]
        if not own.is_equivalent(unit):
            own = own ** root
        else:  # copied from the header of the image
            own = None
    if own is None or unit is None:
        return factor
    try:
        return own.to(unit)
    except u.UnitConversionError as err:
        msg = (f'the unit of {error.name} is {error.unit}, that of the '
               f'image is {unit}; they must agree.')
        raise UnitMismatchError(msg, units=(unit, error.unit)) from err


def _stack(planes, args):
    """2D for a single band without a name, as the data."""
    if len({plane.shape for plane in planes}) > 1:
        names = args.bands or [f'band{i + 1}' for i in range(len(planes))]
        return dict(zip(names, planes, strict=True))
    return (planes[0] if len(planes) == 1 and args.bands is None
            else np.stack(planes))


def _read_gain(images, factors, args):
    """Gain: numbers, or the keyword of the headers."""
    if args.gain is None:
        return None
    given = _split(args.gain)
    values = _numbers(given)
    if values is None:
        keywords = GAIN_KEYWORDS if given == ['header'] else given[:1]
        values = [image.find_number(keywords) for image in images]
        if None in values:
            msg = (f'{images[values.index(None)].name} has no keyword '
                   f'{" or ".join(keywords)}; give --gain as numbers.')
            raise InputFileError(msg, keywords=keywords)
    values = _per_band(values, len(images), '--gain')
    return np.array(values) / factors


def _read_mask(images, args):
    """Bad pixels of each band, or None."""
    if args.mask is None:
        if args.mask_bits is not None:
            msg = '--mask-bits needs --mask FILE.'
            raise UsageError(msg, option='--mask-bits')
        return None
    masks = read_band_images(_split(args.mask), bands=args.bands,
                             prefix='MASK_')
    masks = _per_band(masks, len(images), '--mask')
    for mask, image in zip(masks, images, strict=True):
        mask.check_shape(image.data.shape)
    return [bad_pixels(mask, args.mask_bits) for mask in masks]


def _read_saturation(images, factors, args):
    """Saturation level of each band: numbers, or those of the headers."""
    if args.saturation is not None:
        given = _split(args.saturation)
        values = _numbers(given)
        if values is None:
            values = _header_numbers(images, given[0], '--saturation')
        if values is None:
            msg = (f'--saturation is {" ".join(given)}; give numbers or a '
                   'keyword of the headers.')
            raise UsageError(msg, value=given)
        values = _per_band(values, len(images), '--saturation')
    else:
        values = [header_level(image.header, image.data, image.unit)
                  for image in images]
    if all(value is None for value in values):
        return None
    return [None if value is None else _with_unit(value * factor,
                                                  images[0].unit)
            for value, factor in zip(values, factors, strict=True)]


def _with_unit(value, unit):
    """Number, or quantity if there is a unit."""
    return value if unit is None else value * unit


def _read_segmentation(images, args):
    """Segmentation: whole numbers on the grid of the first band."""
    if args.segmentation is None:
        return None
    segm = read_image(args.segmentation)
    segm.check_shape(images[0].data.shape)
    labels = np.asarray(segm.data)
    if not (np.isfinite(labels).all() and (labels >= 0).all()
            and (labels == np.round(labels)).all()):
        msg = (f'{segm.name} is no segmentation: its values must be whole '
               'numbers, 0 for the background.')
        raise InputFileError(msg, path=args.segmentation)
    if labels.max(initial=0) <= np.iinfo(np.int32).max:
        return labels.astype(np.int32)
    return (labels if labels.dtype.kind in 'iu'
            else labels.astype(np.int64))


def read_psfs(given, n_bands, bands=None):
    """
    PSFs from FWHMs or FITS images.

    Parameters
    ----------
    given : list of str
        FWHMs in pixels, or files: one per band, one for all, a cube, or
        one file with an extension ``PSF_<band>`` for each. The keyword
        OVERSAMP (or OVERSAMPLING) of a header says how many samples
        there are per pixel.
    n_bands : int
        Number of bands.
    bands : sequence of str or None, optional
        Their names.

    Returns
    -------
    list
        What `~vaephot.VAEDeblender` takes as ``psf``.

    Raises
    ------
    UsageError
        If their number is wrong.
    PSFError, InputFileError, FileNotFoundError
        If a file cannot be used.
    """
    from vaephot.deblend.inputs.psf import read_psf

    given = _split(given)
    values = _numbers(given)
    if values is None:
        values = []
        for text in band_extensions(given, bands, 'PSF_'):
            psf = read_psf(*split_extension(text))
            values += psf if isinstance(psf, list) else [psf]
    return _per_band(values, n_bands, '--psf')


def read_positions(path):
    """
    Read a table of positions.

    Parameters
    ----------
    path : str
        ECSV, FITS, VOTable or CSV.

    Returns
    -------
    `~astropy.table.Table`

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    InputFileError
        If it cannot be read as a table.
    """
    if not Path(path).is_file():
        msg = f'there is no file {path}.'
        raise FileNotFoundError(msg)
    try:
        if Path(path).suffix in {'.csv', '.txt', '.dat', '.cat'}:
            return Table.read(path, format='ascii')
        return Table.read(path)
    except Exception as err:  # readers raise errors of many classes
        msg = (f'{path} cannot be read as a table (ECSV, FITS, VOTable or '
               f'CSV): {err}')
        raise InputFileError(msg, path=path) from err


def read_inputs(args):
    """
    Read everything that the deblender is called with.

    Parameters
    ----------
    args : argparse.Namespace
        Options of ``vaephot deblend``.

    Returns
    -------
    dict
        Arguments of `~vaephot.VAEDeblender`'s call.

    Raises
    ------
    UsageError
        If options do not fit together.
    FileNotFoundError, VaephotError
        If a file is missing or unfit.
    """
    images = read_band_images(args.images, args.extension, bands=args.bands)
    bands = _band_names(images, args.bands)
    masks = _read_mask(images, args)
    saturation = _read_saturation(images, _units(images)[1], args)
    if args.subtract_background:
        images = [replace(image, data=subtract_sky(image.data, bad))
                  for image, bad in zip(images, masks or [None] * len(images),
                                        strict=True)]
    call, factors = _image_arguments(images, bands)
    factors = np.array(factors)
    call['error'] = _read_error(images, factors, args)
    call['gain'] = _read_gain(images, factors, args)
    call['mask'] = None if masks is None else _stack(masks, args)
    call['saturation'] = saturation
    call['segmentation_image'] = _read_segmentation(images, args)
    call['zeropoint'] = _zeropoints(images, args.zeropoint)
    if args.psf is not None:
        call['psf'] = read_psfs(args.psf, len(images), bands)
        if 'bands' in call and call['bands'] is None and len(images) == 1:
            call['psf'] = call['psf'][0]
    if args.positions is not None:
        call['positions'] = read_positions(args.positions)
    return {name: value for name, value in call.items() if value is not None}
