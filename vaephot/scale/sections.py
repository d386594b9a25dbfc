# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Images that are read in sections, never whole.

A mosaic is what several files say of one pixel grid. Each file lies on it at
an offset of whole pixels, which the world coordinates give.
"""

import warnings
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from vaephot.exceptions import ShapeMismatchError
from vaephot.utils.boxes import overlap
from vaephot.utils.fits_images import (
    FitsImage,
    InputFileError,
    distortion_tables,
    find_hdu,
    name_extensions,
    open_fits,
    split_extension,
)
from vaephot.utils.grids import map_positions
from vaephot.utils.optional_deps import import_optional

__all__ = ['Piece', 'Window', 'find_pieces', 'is_remote', 'place_pieces',
           'read_pieces', 'read_section']

# grids that differ by less than this many pixels are the same
SAME_GRID = 0.1


@dataclass(frozen=True, kw_only=True)
class Window:
    """Rectangle of pixels; upper ends are excluded."""

    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def shape(self):
        """(ny, nx)."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def slices(self):
        """Index of arrays (..., ny, nx) of the whole mosaic."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def grown(self, n_pixels, shape):
        """Window with more pixels around, inside of a mosaic (ny, nx)."""
        return Window(y0=max(self.y0 - n_pixels, 0),
                      y1=min(self.y1 + n_pixels, shape[0]),
                      x0=max(self.x0 - n_pixels, 0),
                      x1=min(self.x1 + n_pixels, shape[1]))

    def inside(self, other):
        """Slices of the common part in an array over ``other``."""
        rows = overlap(self.y0, self.y1, other.y0, other.y1)
        columns = overlap(self.x0, self.x1, other.x0, other.x1)
        return (slice(rows.start - other.y0, rows.stop - other.y0),
                slice(columns.start - other.x0, columns.stop - other.x0))

    def meets(self, other):
        """Whether two windows have a pixel in common."""
        return (self.y0 < other.y1 and other.y0 < self.y1
                and self.x0 < other.x1 and other.x0 < self.x1)


@dataclass(frozen=True, kw_only=True)
class Piece:
    """
    An image of a file and its place on the mosaic.

    Parameters
    ----------
    path : str
        File, or address where fsspec is installed.
    extension : int
        Number of the extension.
    name : str
        For messages.
    shape : tuple of int
        ``(ny, nx)``.
    plane : int or None, optional
        Plane of a cube; `None` for an image.
    origin : tuple of int, optional
        Row and column of its first pixel on the mosaic.
    """

    path: str
    extension: int
    name: str
    shape: tuple[int, int]
    plane: int | None = None
    origin: tuple[int, int] = (0, 0)

    @property
    def window(self):
        """Where it lies on the mosaic."""
        (y, x), (ny, nx) = self.origin, self.shape
        return Window(y0=y, y1=y + ny, x0=x, x1=x + nx)


def is_remote(path):
    """Whether a name is an address rather than a file."""
    return '://' in str(path)


@contextmanager
def _opened(path):
    """An open FITS file; nothing but headers is read."""
    if is_remote(path):
        import_optional('fsspec', 'reading remote files')
        with fits.open(path, use_fsspec=True) as hdus:
            yield hdus
        return
    with open_fits(Path(path)) as hdus:
        yield hdus


# ---------------------------------------------------------------- find them
def _split(text):
    """File or address, and extension."""
    path, extension = split_extension(text)
    if not is_remote(text):
        return str(path), extension
    return (text if extension is None else text[:text.rindex('[')],
            extension)


def _locate(text, extension=None):
    """`Piece` of each plane of an image, and what its header says."""
    path, own = _split(str(text))
    with _opened(path) as hdus:
        hdu = find_hdu(hdus, path, extension if own is None else own)
        name = f'{path}[{hdu.name}]' if hdu.name else path
        shape = hdu.shape
        while len(shape) > 2 and shape[0] == 1:
            shape = shape[1:]
        if len(shape) not in (2, 3):
            msg = (f'{name} has the shape {hdu.shape}; expected an image '
                   '(y, x) or a cube (band, y, x).')
            raise ShapeMismatchError(msg, shape=hdu.shape)
        header = FitsImage(data=None, header=hdu.header.copy(), name=name,
                           tables=distortion_tables(hdus))
        number = next(i for i, other in enumerate(hdus) if other is hdu)
    planes = [None] if len(shape) == 2 else range(shape[0])
    return [(Piece(path=path, extension=number, name=name,
                   shape=shape[-2:], plane=plane), header)
            for plane in planes]


def find_pieces(given, bands, prefix=''):
    """
    Images of each band, as lists of `Piece` and headers.

    Parameters
    ----------
    given : str, sequence or mapping
        One file with an extension ``prefix + band`` for each band, a cube,
        or an image; one file or list of files per band; or these by band.
    bands : sequence of str or None
        Names of the bands; `None` if there are none.
    prefix : str, optional
        What names of extensions begin with.

    Returns
    -------
    list of list of tuple
        Of each band, (`Piece`, `~vaephot.utils.fits_images.FitsImage`
        without data).
    """
    if isinstance(given, dict):
        given = [given[band] for band in bands]
    if isinstance(given, (str, Path)):
        given = [given]
    if len(given) == 1 and isinstance(given[0], (str, Path)):
        text = str(given[0])
        named = (None if is_remote(text) else
                 name_extensions(text, None, bands, prefix))
        if named is None:
            return [[found] for found in _locate(text)]
        given = named
    out = []
    for item in given:
        texts = [item] if isinstance(item, (str, Path)) else item
        found = [_locate(text) for text in texts]
        for planes in found:
            if len(planes) > 1:
                msg = (f'{planes[0][0].name} is a cube; with several files '
                       'each must be an image (y, x).')
                raise ShapeMismatchError(msg, shape=planes[0][0].shape)
        out.append([planes[0] for planes in found])
    return out


# ------------------------------------------------------------- place them
def _offset(wcs, first, shape, name):
    """Row and column of the first pixel of an image on the first's grid."""
    ny, nx = shape
    x, y = np.array([[0, nx - 1, 0, nx - 1], [0, 0, ny - 1, ny - 1]], float)
    there = np.stack(map_positions(wcs, first, x, y)) - [x, y]
    whole = np.rint(there.mean(1))
    worst = np.abs(there - whole[:, None]).max()
    if not worst < SAME_GRID:
        msg = (f'the pixels of {name} are off those of the first image by '
               f'{worst:.2f} pixels beside a whole number; images of a '
               'mosaic must lie on one pixel grid. Resample it first.')
        raise InputFileError(msg, path=name)
    return int(whole[1]), int(whole[0])


def place_pieces(bands):
    """
    Put the images of all bands on one grid.

    Parameters
    ----------
    bands : list of list of tuple
        As `find_pieces` returns them.

    Returns
    -------
    placed : list of tuple of `Piece`
    shape : tuple of int
        ``(ny, nx)`` of the mosaic.
    wcs : `~astropy.wcs.WCS` or None
        Its coordinates.
    """
    first, header = bands[0][0]
    wcs, flat, origins = header.wcs, [], []
    for piece, other in (item for band in bands for item in band):
        origins.append((0, 0))
        flat.append(piece)
        if piece.shape != first.shape and wcs is None:
            msg = (f'{piece.name} has the shape {piece.shape}, '
                   f'{first.name} {first.shape}; without a WCS they must '
                   'be the same.')
            raise ShapeMismatchError(msg, shape=piece.shape)
        own = other.wcs
        if wcs is not None and own is not None:
            origins[-1] = _offset(own, wcs, piece.shape, piece.name)
    if wcs is None and max(map(len, bands)) > 1:
        msg = ('several images of one band need a WCS each, which says how '
               'they lie together.')
        raise InputFileError(msg, path=first.name)
    low = np.min(origins, 0)
    flat = [replace(piece, origin=tuple((np.array(origin) - low).tolist()))
            for piece, origin in zip(flat, origins, strict=True)]
    high = np.max([np.add(p.origin, p.shape) for p in flat], 0)
    placed, start = [], 0
    for band in bands:
        placed.append(tuple(flat[start:start + len(band)]))
        start += len(band)
    if wcs is not None:
        wcs = _shifted(wcs, *low.tolist())
    return placed, tuple(high.tolist()), wcs


def _shifted(wcs, row, column):
    """WCS of pixels that begin at a row and column of its own."""
    out = wcs.deepcopy()
    if isinstance(out, WCS):
        out.wcs.crpix = out.wcs.crpix - [column, row]
        if out.sip is not None:
            out.sip.crpix[:] = out.sip.crpix - [column, row]
    return out


# ---------------------------------------------------------------- read them
def read_section(piece, window):
    """
    The part of an image in a window of the mosaic, (ny, nx) as stored.

    Only these rows and columns are read. Raises `InputFileError` if they
    are not there.
    """
    rows, columns = window.inside(piece.window)
    index = (rows, columns)
    try:
        with warnings.catch_warnings():
            # a file that was cut short says so; what is there is read
            warnings.simplefilter('ignore')
            with _opened(piece.path) as hdus:
                data = _section(hdus[piece.extension], index, piece.plane)
    except (OSError, ValueError, TypeError, IndexError, KeyError) as err:
        if isinstance(err, InputFileError):
            raise
        msg = f'{piece.name} is damaged or truncated: {err}'
        raise InputFileError(msg, path=piece.path) from err
    return np.asarray(data)


def _section(hdu, index, plane):
    """Part of an HDU that may have axes of length one."""
    leading = [0] * (len(hdu.shape) - 2)
    if plane is not None:
        leading[-1] = plane
    return hdu.section[(*leading, *index)]


def read_pieces(layers, window):
    """
    Layers of one band in a window; where images overlap, the first counts.

    Parameters
    ----------
    layers : list of tuple of `Piece`
        Images, and what belongs to them piece by piece, such as errors and
        masks.
    window : Window
        Part of the mosaic.

    Returns
    -------
    list of ndarray (ny, nx)
        The first, the images, is NaN where nothing was observed; the others
        are 0 there.
    """
    out, empty = None, np.ones(window.shape, bool)
    for pieces in zip(*layers, strict=True):
        if not pieces[0].window.meets(window) or not empty.any():
            continue
        parts = [read_section(piece, window) for piece in pieces]
        if out is None:
            out = [_blank(part, window.shape, k == 0)
                   for k, part in enumerate(parts)]
        place = pieces[0].window.inside(window)
        new = empty[place]
        if parts[0].dtype.kind == 'f':
            new = new & np.isfinite(parts[0])
        for image, part in zip(out, parts, strict=True):
            image[place][new] = part[new]
        empty[place] &= ~new
    if out is None:
        return [np.full(window.shape, np.nan if k == 0 else 0.0)
                for k in range(len(layers))]
    return out


def _blank(part, shape, is_data):
    """Empty image of a kind that holds the values of a part."""
    if is_data:
        return np.full(shape, np.nan)
    kind = float if part.dtype.kind == 'f' else part.dtype.newbyteorder('=')
    return np.zeros(shape, kind)
