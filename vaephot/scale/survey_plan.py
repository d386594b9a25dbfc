# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What is to be done: inputs, settings and tiles of one mosaic."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.table import Table
from astropy.wcs import WCS

from vaephot.deblend.inputs.positions import pixel_positions
from vaephot.exceptions import BandMismatchError, UnitMismatchError
from vaephot.scale.mer_tiles import StampGrid
from vaephot.scale.sections import Piece, find_pieces, place_pieces
from vaephot.scale.tiles import TileGrid
from vaephot.utils.fits_images import (
    GAIN_KEYWORDS,
    ZEROPOINT_KEYWORDS,
    InputFileError,
    psf_of_image,
    read_band_images,
)

__all__ = ['SECTION', 'BandFiles', 'SurveyPlan', 'make_plan']

# side in pixels of the sections of the first pass: it does not depend on the
# tiles, so that noise and parents do not
SECTION = 1024
# errors as a power of what a file holds
ERROR_POWERS = {'rms': 1.0, 'var': 0.5, 'ivar': -0.5}


@dataclass(frozen=True, kw_only=True)
class BandFiles:
    """
    Files of one band.

    Parameters
    ----------
    images : tuple of Piece
        Images.
    errors, masks : tuple of Piece or None
        1-sigma errors and masks, one for each image.
    factor, error_factor : float
        What brings image and error to the unit of the mosaic.
    """

    images: tuple[Piece, ...]
    errors: tuple[Piece, ...] | None
    masks: tuple[Piece, ...] | None
    factor: float
    error_factor: float


@dataclass(frozen=True, kw_only=True)
class SurveyPlan:
    """
    All that a worker needs to know; it is sent along with each job.

    Parameters
    ----------
    output : str
        Folder.
    bands : tuple of str
        Names of the bands.
    is_2d : bool
        Whether one image without a name was given.
    files : tuple of BandFiles
        One per band.
    shape : tuple of int
        ``(ny, nx)`` of the mosaic.
    wcs : `~astropy.wcs.WCS` or None
        Its coordinates.
    unit : str or None
        Unit of the images.
    error : tuple of float or None
        One number per band instead of files.
    error_type : str
        What the files of errors hold: ``'rms'``, ``'var'``, ``'ivar'``.
    mask_bits : int or None
        Bits that mark bad pixels; `None`: all.
    gain, zeropoint : tuple of float or None
        One per band.
    psf : list or None
        One thing per band; `None`: estimated.
    segmentation : tuple of Piece or None
        Labels of the parents.
    positions : `~astropy.table.Table` or None
        Sources, in pixels of the mosaic.
    settings : dict
        Of the deblender.
    tile : int
        Side of the tiles.
    halo : int or None
        Pixels around them; `None`: not yet known.
    images : tuple of str
        Images to write: ``'model'``, ``'residual'``.
    sky : `~vaephot.scale.first_pass.Sky` or None
        What the first pass found.
    """

    output: str
    bands: tuple[str, ...]
    is_2d: bool
    files: tuple[BandFiles, ...]
    shape: tuple[int, int]
    wcs: WCS | None
    unit: str | None
    error: tuple[float, ...] | None
    error_type: str
    mask_bits: int | None
    gain: tuple[float, ...] | None
    zeropoint: tuple[float, ...] | None
    psf: list | None
    segmentation: tuple[Piece, ...] | None
    positions: Table | None
    settings: dict
    tile: int
    halo: int | None
    images: tuple[str, ...]
    sky: object = None

    def __repr__(self):
        ny, nx = self.shape
        return (f'<SurveyPlan: {nx} x {ny} pixels, bands '
                f'{", ".join(self.bands)}, tiles of {self.tile}, '
                f'{self.output}>')

    @property
    def tiles(self):
        """`TileGrid` of the tiles."""
        return TileGrid(shape=self.shape, side=self.tile)

    @property
    def sections(self):
        """`TileGrid` of the first pass."""
        return TileGrid(shape=self.shape, side=SECTION)

    def path(self, *parts):
        """Path inside of the output folder."""
        return Path(self.output, *parts)


# ------------------------------------------------------------------- inputs
def _units(headers):
    """Unit of the first image, and the factors that lead to it."""
    first = headers[0].unit
    factors = []
    for header in headers:
        unit = header.unit
        try:
            factors.append(1.0 if unit == first else unit.to(first))
        except (u.UnitConversionError, AttributeError, TypeError) as err:
            msg = (f'the unit of {headers[0].name} is {first}, that of '
                   f'{header.name} is {unit}; they must agree.')
            raise UnitMismatchError(msg, units=(first, unit)) from err
    return first, factors


def _error_factor(header, unit, factor):
    """What brings an error to the unit of the mosaic."""
    own = header.unit
    return factor if own is None or unit is None else own.to(unit)


def _per_band(value, n_bands, name):
    """Tuple of one number per band from one or several."""
    values = np.atleast_1d(np.asarray(value, float))
    if values.size not in (1, n_bands) or values.ndim > 1:
        msg = (f'{name} has {values.size} values for {n_bands} bands; give '
               'one for each, or one for all.')
        raise BandMismatchError(msg, n_bands=n_bands)
    return tuple(np.broadcast_to(values, n_bands).tolist())


def _are_files(value):
    """Whether something names files, not numbers."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return any(_are_files(item) for item in value)
    return isinstance(value, (str, Path))


def _layer(given, bands, found, prefix, placed):
    """Pieces of errors or masks, in the places of the images."""
    layer = find_pieces(given, bands, prefix)
    if len(layer) == 1 and len(found) > 1 and prefix == 'MASK_':
        layer = layer * len(found)
    out = []
    for k, images in enumerate(placed):
        if len(layer) != len(placed) or len(layer[k]) != len(images):
            msg = (f'{prefix.lower()[:-1]} does not have one file for each '
                   f'image: {sum(map(len, layer))} for '
                   f'{sum(map(len, placed))}.')
            raise BandMismatchError(msg)
        for (piece, _), image in zip(layer[k], images, strict=True):
            if piece.shape != image.shape:
                msg = (f'{piece.name} has the shape {piece.shape}, '
                       f'{image.name} {image.shape}; they must be the same.')
                raise InputFileError(msg, path=piece.name)
        out.append((tuple(
            replace(piece, origin=image.origin) for (piece, _), image
            in zip(layer[k], images, strict=True)), layer[k][0][1]))
    return out


def _from_headers(given, headers, factors, keywords, name):
    """One number per band: given, or ``'header'``, or `None`."""
    if given is None:
        return None
    if isinstance(given, str):
        wanted = keywords if given == 'header' else (given,)
        values = [header.find_number(wanted) for header in headers]
        if None in values:
            msg = (f'{headers[values.index(None)].name} has no keyword '
                   f'{" or ".join(wanted)}; give {name} as numbers.')
            raise InputFileError(msg, keywords=wanted)
    else:
        values = given
    values = _per_band(values, len(headers), name)
    return tuple((np.array(values) / factors).tolist())


def _zeropoint(given, headers, unit):
    """AB magnitudes of one unit of data, or `None`."""
    if given is not None:
        return _per_band(given, len(headers), 'zeropoint')
    if unit is not None and unit.is_equivalent(u.Jy):
        return None  # the unit says it all
    values = [header.find_number(ZEROPOINT_KEYWORDS) for header in headers]
    return None if None in values else tuple(values)


def _psfs(psf, bands, placed):
    """One PSF per band; files become what they hold."""
    n_bands = len(placed)
    if psf is None:
        return None
    if isinstance(psf, dict):
        psf = [psf[band] for band in bands]
    if isinstance(psf, (str, Path)):
        psf = [psf]
    if not isinstance(psf, (list, tuple)):
        psf = [psf] * n_bands
    if _are_files(psf):
        texts = [str(item) for item in psf]
        if len(texts) == 1:
            images = read_band_images(texts, bands=bands, prefix='PSF_')
        else:
            images = [image for text in texts for image in
                      read_band_images([text])]
        psf = [psf_of_image(image) for image in images]
    if len(psf) == 1:
        psf = list(psf) * n_bands
    if len(psf) != n_bands:
        msg = f'there are {len(psf)} PSFs for {n_bands} bands; give one each.'
        raise BandMismatchError(msg, n_bands=n_bands)
    return [replace(item, origins=tuple(piece.origin for piece in pieces))
            if isinstance(item, StampGrid) else item
            for item, pieces in zip(psf, placed, strict=True)]


def _positions(positions, wcs):
    """Table with ``x`` and ``y`` in pixels of the mosaic, or `None`."""
    if positions is None:
        return None
    found = pixel_positions(positions, wcs)
    if not hasattr(found, 'colnames'):
        x, y = np.asarray(found, float).reshape(-1, 2).T
        return Table({'x': x, 'y': y})
    names = ('x_centroid', 'y_centroid') if 'x_centroid' in found.colnames \
        else ('x', 'y')
    table = Table({new: np.asarray(getattr(found[old], 'value', found[old]),
                                   float)
                   for new, old in zip('xy', names, strict=True)})
    for name in ('fixed', 'point_source'):
        if name in found.colnames:
            table[name] = found[name]
    return table


def _band_files(found, placed, factors, unit, bands, error, mask):
    """`BandFiles` of each band."""
    errors = masks = None
    if _are_files(error):
        errors = _layer(error, bands, found, 'ERROR_', placed)
    if mask is not None:
        masks = _layer(mask, bands, found, 'MASK_', placed)
    return tuple(BandFiles(
        images=pieces, factor=float(factors[k]),
        errors=None if errors is None else errors[k][0],
        masks=None if masks is None else masks[k][0],
        error_factor=1.0 if errors is None else float(_error_factor(
            errors[k][1], unit, factors[k])))
        for k, pieces in enumerate(placed))


def _constant_error(error, factors):
    """One number per band in the unit of the mosaic, or `None`."""
    if error is None or _are_files(error):
        return None
    return tuple((np.array(_per_band(error, len(factors), 'error'))
                  * factors).tolist())


def make_plan(images, output, *, bands=None, error=None, error_type='rms',
              mask=None, mask_bits=None, psf=None, gain=None, zeropoint=None,
              segmentation=None, positions=None, tile=2048, halo=None,
              write_images=(), settings=None):
    """
    Look into the files, and say what is to be done.

    Arguments as for `~vaephot.scale.deblend_mosaic`; returns `SurveyPlan`.
    """
    if isinstance(images, dict) and bands is None:
        bands = tuple(images)
    found = find_pieces(images, bands)
    if bands is not None and len(bands) != len(found):
        msg = (f'bands names {len(bands)} bands ({", ".join(bands)}) but '
               f'there are {len(found)} images; name each once.')
        raise BandMismatchError(msg, bands=tuple(bands))
    placed, shape, wcs = place_pieces(found)
    headers = [band[0][1] for band in found]
    unit, factors = _units(headers)
    factors = np.array(factors)
    # variances and weights have other units than images
    files = _band_files(found, placed, factors,
                        unit if error_type == 'rms' else None, bands, error,
                        mask)
    n_bands = len(files)
    if segmentation is not None:
        segmentation = _labels(segmentation, found, placed)
    return SurveyPlan(
        output=str(Path(output).absolute()),
        bands=tuple(bands) if bands is not None else tuple(
            f'band{i + 1}' for i in range(n_bands)),
        is_2d=bands is None and n_bands == 1, files=files, shape=shape,
        wcs=wcs, unit=None if unit is None else unit.to_string(),
        error=_constant_error(error, factors), error_type=error_type,
        mask_bits=mask_bits,
        gain=_from_headers(gain, headers, factors, GAIN_KEYWORDS, 'gain'),
        zeropoint=_zeropoint(zeropoint, headers, unit),
        psf=_psfs(psf, bands, placed), segmentation=segmentation,
        positions=_positions(positions, wcs), settings=dict(settings or {}),
        tile=int(tile), halo=None if halo is None else int(halo),
        images=tuple(write_images))


def _labels(segmentation, found, placed):
    """Pieces of the label image on the grid of the mosaic."""
    texts = (segmentation if isinstance(segmentation, (list, tuple))
             else [segmentation])
    labels = find_pieces([list(texts)], None)
    joined, _, _ = place_pieces([found[0], *labels])
    first = joined[0][0].origin
    shift = np.subtract(placed[0][0].origin, first)
    return tuple(replace(piece, origin=tuple(
        np.add(piece.origin, shift).tolist())) for piece in joined[1])
