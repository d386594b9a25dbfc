# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tile-compressed FITS images that are written some rows at a time.

Each block of rows is compressed by astropy; here the blocks are put together
to one binary table, by the convention for tiled images of the FITS standard
(4.0, section 10).
"""

import io
import math

import numpy as np
from astropy.io import fits

from vaephot.exceptions import VaephotError
from vaephot.scale.sections import read_pieces
from vaephot.utils.atomic import atomic_write

__all__ = ['CompressedImage', 'merge_images']

# side of the compressed tiles in pixels, at most
SIDE = 256
BLOCK = 2880
# value of pixels without data
BLANK = np.iinfo(np.int32).min
# steps of images with values, in units of the noise of the sky: rounding
# adds 0.3 per cent of that
NOISE_STEP = 0.01


def _largest_divisor(number, most):
    """Largest divisor of a number that is not above another one."""
    return next(k for k in range(min(number, most), 0, -1)
                if number % k == 0)


def _pad(file):
    """Fill the last block of a FITS file with zeros."""
    file.write(bytes(-file.tell() % BLOCK))


class CompressedImage:
    """
    A compressed image extension of 32-bit integers in an open file.

    Parameters
    ----------
    file : binary file
        Positioned where the extension begins, after a primary HDU.
    header : `~astropy.io.fits.Header`
        What the image says.
    name : str
        Name of the extension.
    shape : tuple of int
        ``(ny, nx)``.
    n_rows : int
        Rows written at once, but for the last ones.
    """

    def __init__(self, file, header, name, shape, n_rows):
        self.file, self.shape = file, shape
        self.tile = (_largest_divisor(n_rows, SIDE), min(SIDE, shape[1]))
        self.n_across = math.ceil(shape[1] / self.tile[1])
        self.n_tiles = math.ceil(shape[0] / self.tile[0]) * self.n_across
        self.header, self.name = header, name
        self.start, self.table = file.tell(), []
        self.rows, self.size = 0, 0
        file.write(self._text())
        file.write(bytes(16 * self.n_tiles))

    def _text(self):
        """Header as it stands in the file."""
        blank = fits.CompImageHDU(
            np.zeros((1, 1), np.int32), self.header, name=self.name,
            compression_type='RICE_1', tile_shape=(1, 1))
        content = io.BytesIO()
        fits.HDUList([fits.PrimaryHDU(), blank]).writeto(content)
        content.seek(0)
        with fits.open(content, disable_image_compression=True) as hdus:
            header = hdus[1].header.copy()
        ny, nx = self.shape
        header['NAXIS1'], header['NAXIS2'] = 16, self.n_tiles
        header['PCOUNT'] = self.size
        longest = max((count for count, _ in self.table), default=0)
        # 64-bit descriptors: the heap may be larger than 2 GB
        header['TFORM1'] = f'1QB({longest})'
        header['ZNAXIS1'], header['ZNAXIS2'] = nx, ny
        header['ZTILE1'], header['ZTILE2'] = self.tile[1], self.tile[0]
        # astropy leaves them out: the data that it sees are not scaled
        for keyword in ('BSCALE', 'BZERO'):
            if keyword in self.header:
                header[keyword] = self.header[keyword]
        return header.tostring().encode('ascii')

    def write(self, rows):
        """Add rows (n, nx) of int32."""
        step = self.tile[0]
        for first in range(0, len(rows), step):
            self._write_tiles(np.ascontiguousarray(rows[first:first + step],
                                                   dtype=np.int32))
        self.rows += len(rows)

    def _write_tiles(self, rows):
        """Add one row of compressed tiles."""
        content = io.BytesIO()
        part = fits.CompImageHDU(rows, compression_type='RICE_1',
                                 tile_shape=(len(rows), self.tile[1]))
        fits.HDUList([fits.PrimaryHDU(), part]).writeto(content)
        content.seek(0)
        with fits.open(content, disable_image_compression=True) as hdus:
            header, start = hdus[1].header, hdus.fileinfo(1)['datLoc']
            raw = content.getvalue()[start:]
        n_bytes = header['NAXIS1'] * header['NAXIS2']
        found = np.frombuffer(raw[:n_bytes], '>i4').reshape(-1, 2)
        self.table += [(int(count), int(offset) + self.size)
                       for count, offset in found]
        self.file.write(raw[n_bytes:n_bytes + header['PCOUNT']])
        self.size += header['PCOUNT']

    def close(self):
        """Complete the extension, and leave the file at its end."""
        if self.rows != self.shape[0]:
            msg = (f'{self.rows} of {self.shape[0]} rows of {self.name} '
                   'were written.')
            raise VaephotError(msg)
        _pad(self.file)
        end = self.file.tell()
        self.file.seek(self.start)
        self.file.write(self._text())
        self.file.write(np.array(self.table, '>i8').tobytes())
        self.file.seek(end)


# ------------------------------------------------------------ whole images
def _header(plan):
    """Coordinates of the mosaic."""
    return fits.Header() if plan.wcs is None else plan.wcs.to_header(
        relax=True)


def _stored(path, name):
    """One array of an ``.npz`` file, or None if there is no file."""
    if not path.exists():
        return None
    with np.load(path) as stored:
        return stored[name]


def _label_rows(plan, row):
    """Labels of one row of tiles, (n, nx); 0 where one was set aside."""
    def part(number, core):
        found = _stored(plan.path('work', 'tiles',
                                  f'labels-{number:06d}.npz'), 'labels')
        return np.zeros(core.shape, np.int32) if found is None else found
    return _row(plan, row, part)


def _row(plan, row, part):
    """One row of tiles from ``part(number, core)`` of each."""
    n_x = plan.tiles.n_cells[1]
    cores = [(k, plan.tiles.core(k)) for k in range(row * n_x,
                                                    (row + 1) * n_x)]
    return np.concatenate([part(k, core) for k, core in cores], 1)


def _as_integers(image, step):
    """Values in steps, BLANK where there is none."""
    limit = np.iinfo(np.int32).max
    with np.errstate(invalid='ignore'):
        steps = np.clip(np.rint(image / step), -limit, limit)
    return np.where(np.isfinite(steps), steps, BLANK).astype(np.int32)


def _value_rows(plan, row, band, kind, step):
    """Model or residual of one row of tiles and a band, in steps."""
    def part(number, core):
        found = _stored(plan.path('work', 'tiles',
                                  f'images-{number:06d}.npz'), 'model')
        if found is None:
            return np.full(core.shape, BLANK, np.int32)
        image = found[band].astype(float)
        files = plan.files[band]
        if kind == 'residual':
            data = read_pieces([files.images], core)[0] * files.factor
            image = data - image
        return _as_integers(image, step)
    return _row(plan, row, part)


def _write(path, extensions):
    """
    Write a file of compressed images.

    ``extensions``: (image, rows) each, ``image(file)`` opens the extension
    and ``rows`` yields what to write.
    """
    with (atomic_write(path, overwrite=True) as temporary,
          temporary.open('r+b') as file):
        content = io.BytesIO()
        fits.PrimaryHDU().writeto(content)
        file.write(content.getvalue())
        for begin, rows in extensions:
            image = begin(file)
            for part in rows:
                image.write(part)
            image.close()


def merge_images(plan):
    """
    Write label map, model and residual from the parts of the tiles.

    Returns their paths by name; some rows of tiles are in memory at a time.
    """
    n_rows = plan.tiles.n_cells[0]

    def extension(name, header, rows):
        return (lambda file: CompressedImage(file, header, name, plan.shape,
                                             plan.tile),
                (rows(k) for k in range(n_rows)))
    paths = {'labels': plan.path('labels.fits')}
    _write(paths['labels'], [extension(
        'LABELS', _header(plan), lambda k: _label_rows(plan, k))])
    for kind in plan.images:
        paths[kind] = plan.path(f'{kind}.fits')
        _write(paths[kind], [
            extension(name, *_values(plan, band, kind))
            for band, name in enumerate(plan.bands)])
    return paths


def _values(plan, band, kind):
    """Header and rows of a model or residual image of a band."""
    step = NOISE_STEP * float(plan.sky.noise[band])
    header = _header(plan)
    header['BSCALE'], header['BZERO'] = step, 0.0
    header['BLANK'] = BLANK
    if plan.unit is not None:
        header['BUNIT'] = plan.unit
    return header, lambda k: _value_rows(plan, k, band, kind, step)
