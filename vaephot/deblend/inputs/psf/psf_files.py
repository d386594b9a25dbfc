# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
PSFs in the files of other tools, and ours.

PSFEx models, grids of Euclid's MER mosaics, ePSF grids of HST and JWST
(STDPSF, STPSF), and plain images and cubes.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.io.fits.verify import VerifyWarning
from astropy.nddata import NDData
from astropy.table import Table
from photutils.psf import GriddedPSFModel, ImagePSF
from scipy.interpolate import RectBivariateSpline
from scipy.spatial import cKDTree

from vaephot.exceptions import PSFError
from vaephot.utils.fits_images import OVERSAMPLING_KEYWORDS

__all__ = ['PolynomialPSF', 'StampGrid', 'read_psf', 'write_psf']

# names of columns with positions that count from 1, in lower case
_COLUMNS = (('x', 'y'), ('x_center', 'y_center'), ('x_centre', 'y_centre'),
            ('x_image', 'y_image'), ('xcenter', 'ycenter'), ('x_pix', 'y_pix'))
_STAMP_KEYWORDS = ('STMPSIZE', 'STAMPSIZ', 'PSFSIZE')
# largest side of a stamp on a canvas, and how many stamps a place is between
MAX_STAMP, N_NEAREST = 151, 4


@dataclass(frozen=True, kw_only=True, eq=False)
class PolynomialPSF:
    """
    PSF of PSFEx: images times polynomials of the position.

    Parameters
    ----------
    images : `~numpy.ndarray`, (n_terms, ny, nx)
        One for each polynomial term.
    degree : int
        Largest sum of exponents.
    zero, scale : tuple of float
        Positions (x, y), from 1, become ``(position - zero) / scale``.
    step : float
        Pixels of the image between two samples.

    References
    ----------
    Bertin 2011, ASP Conf. 442, 435; the manual of PSFEx for the order of the
    terms: 1, x, x^2, ..., y, x y, ..., y^2, ...
    """

    images: np.ndarray
    degree: int
    zero: tuple
    scale: tuple
    step: float

    def __call__(self, x, y, band=None):
        """
        PSF at a position.

        Parameters
        ----------
        x, y : float
            Pixels, from 0.
        band : str or None, optional
            Not used.

        Returns
        -------
        `~photutils.psf.ImagePSF`
        """
        u = (x + 1 - self.zero[0]) / self.scale[0]
        v = (y + 1 - self.zero[1]) / self.scale[1]
        terms = [u ** i * v ** j for j in range(self.degree + 1)
                 for i in range(self.degree + 1 - j)]
        return _fine(np.tensordot(terms, self.images, 1), self.step)


@dataclass(frozen=True, kw_only=True, eq=False)
class StampGrid:
    """
    PSF from stamps at some positions: mean of the four nearest.

    Parameters
    ----------
    stamps : `~numpy.ndarray`, (n, side, side)
        Sampled at the pixels.
    xy : `~numpy.ndarray`, (n, 2)
        Their positions, from 0.
    """

    stamps: np.ndarray
    xy: np.ndarray

    def __call__(self, x, y, band=None):
        """
        PSF at a position, weighted by the inverse of the squared distance.

        Parameters
        ----------
        x, y : float
            Pixels, from 0.
        band : str or None, optional
            Not used.

        Returns
        -------
        2D `~numpy.ndarray`
        """
        distance, rows = cKDTree(self.xy).query(
            (x, y), k=min(N_NEAREST, len(self.xy)))
        weight = 1 / (np.atleast_1d(distance) ** 2 + 1)
        return np.tensordot(weight / weight.sum(),
                            self.stamps[np.atleast_1d(rows)], 1)


def read_psf(path, extension=None):
    """
    Read the PSF of a file.

    Parameters
    ----------
    path : str or path-like
        FITS file: a model of PSFEx, a GRID-PSF of Euclid's MER, a grid of
        ePSFs as HST, JWST and photutils have them, an image or a cube. The
        keyword ``OVERSAMP`` of an image says how many samples there are per
        pixel.
    extension : int, str or None, optional
        Extension of an image; `None` means the first one.

    Returns
    -------
    object
        Array, `~photutils.psf.ImagePSF`, `~photutils.psf.GriddedPSFModel`,
        or a function ``psf(x, y, band)``; of a cube a list of one per plane.
        All are understood as ``psf`` of `~vaephot.VAEDeblender`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    PSFError
        If it holds no PSF, with what was found.
    """
    path = Path(path)
    if not path.is_file():
        msg = f'there is no file {path}.'
        raise FileNotFoundError(msg)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', VerifyWarning)
            with fits.open(path, memmap=False) as hdus:
                return _read(hdus, path, extension)
    except OSError as err:
        msg = f'{path} cannot be read as a FITS file: {err}'
        raise PSFError(msg, path=path) from err


def _read(hdus, path, extension):
    """What the HDUs of a file say of a PSF."""
    if extension is not None:
        try:
            return _from_image(hdus[extension], path)
        except (KeyError, IndexError) as err:
            listed = ', '.join(f'{i} ({hdu.name})'
                               for i, hdu in enumerate(hdus))
            msg = f'{path} has no extension {extension!r}; it has {listed}.'
            raise PSFError(msg, path=path, extension=extension) from err
    tables = [hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU)]
    for hdu in tables:
        if 'PSF_MASK' in hdu.columns.names:
            return _from_psfex(hdu, path)
    images = [hdu for hdu in hdus if hdu.is_image
              and hdu.header.get('NAXIS', 0) >= 2]
    if not images:
        msg = (f'{path} holds neither an image nor a table with the column '
               'PSF_MASK of PSFEx; give a file with a PSF.')
        raise PSFError(msg, path=path)
    first = images[0]
    if first.header['NAXIS'] == 2 and tables and _positions(tables[0]):
        return _from_canvas(first, tables[0], path)
    if first.header['NAXIS'] == 3 and tables and _positions(tables[0]):
        return _from_cube(first, tables[0], path)
    for keyword, kind in (('NXPSFS', 'stdpsf'), ('DET_YX0', 'webbpsf')):
        if keyword in first.header:
            return _from_grid(path, kind)
    return _from_image(first, path)


def _from_grid(path, kind):
    """Grid of a file of HST or JWST, as photutils reads it."""
    try:
        return GriddedPSFModel.read(str(path), format=kind)
    except ValueError as err:
        msg = (f'{path} is no grid of PSFs of one detector: {err}. Read it '
               'with photutils.psf.stdpsf_reader, naming the detector.')
        raise PSFError(msg, path=path) from err


def _from_psfex(hdu, path):
    """PSF of the table of PSFEx."""
    header, n_axes = hdu.header, hdu.header.get('POLNAXIS', 0)
    names = [str(header.get(f'POLNAME{i + 1}', '')) for i in range(n_axes)]
    if n_axes not in (0, 2) or not all(
            name.upper().startswith(letter)
            for name, letter in zip(names, 'XY', strict=False)):
        msg = (f'the PSF of {path} depends on {", ".join(names)}; only those '
               'that depend on x and y are read.')
        raise PSFError(msg, path=path)
    images = np.array(hdu.data['PSF_MASK'][0], dtype=float)
    images = images.reshape(-1, *images.shape[-2:])
    degree = int(header.get('POLDEG1', 0)) if n_axes else 0
    n_terms = (degree + 1) * (degree + 2) // 2
    if len(images) != n_terms or header.get('POLNGRP', 1) > 1:
        msg = (f'{path} has {len(images)} images for a polynomial of degree '
               f'{degree} in one group, which has {n_terms} terms.')
        raise PSFError(msg, path=path)
    zero, scale = ([float(header.get(f'{key}{i}', default)) for i in (1, 2)]
                   for key, default in (('POLZERO', 0), ('POLSCAL', 1)))
    psf = PolynomialPSF(images=images, degree=degree, zero=tuple(zero),
                        scale=tuple(scale),
                        step=float(header.get('PSF_SAMP', 1)))
    return psf if degree else psf(0, 0)


def _fine(image, step):
    """PSF with samples every ``step`` pixels on a whole number per pixel."""
    oversampling = max(1, int(np.ceil(1 / step - 1e-6)))
    if abs(oversampling * step - 1) > 1e-6:
        ny, nx = image.shape
        spline = RectBivariateSpline(*(
            (np.arange(n) - n // 2) * step for n in (ny, nx)), image)
        half = int(min(ny // 2, nx // 2, (ny - 1) // 2, (nx - 1) // 2)
                   * step * oversampling)
        places = np.arange(-half, half + 1) / oversampling
        image, origin = spline(places, places), (half, half)
    else:
        origin = (image.shape[1] // 2, image.shape[0] // 2)
    return ImagePSF(image * (oversampling ** 2 / image.sum()),
                    origin=origin, oversampling=oversampling)


def _positions(hdu):
    """Names of the columns with positions, or None."""
    known = {name.lower(): name for name in hdu.columns.names}
    for pair in _COLUMNS:
        if all(name in known for name in pair):
            return [known[name] for name in pair]
    return None


def _xy(hdu):
    """Positions (n, 2) from 0 of a table that counts from 1."""
    return np.stack([np.array(hdu.data[name], dtype=float)
                     for name in _positions(hdu)], 1) - 1


def _from_canvas(image, table, path):
    """PSF of stamps on a canvas, those that have light."""
    canvas, xy = np.asarray(image.data, dtype=float), _xy(table)
    centre = np.rint(xy).astype(int)
    side = next((int(hdu.header[key]) for hdu in (image, table)
                 for key in _STAMP_KEYWORDS if key in hdu.header), None)
    half = (side - 1) // 2 if side else _stamp_half(canvas, centre)
    padded = np.pad(canvas, half)
    stamps = np.array([padded[iy:iy + 2 * half + 1, ix:ix + 2 * half + 1]
                       if min(ix, iy) >= 0 else np.zeros((1, 1))
                       for ix, iy in centre], dtype=object)
    good = [stamp.shape == (2 * half + 1,) * 2 and stamp.sum() > 0
            and np.isfinite(stamp.astype(float)).all() for stamp in stamps]
    if not any(good):
        msg = (f'{path} has no light at the {len(xy)} positions of its '
               'table; its stamps are somewhere else.')
        raise PSFError(msg, path=path)
    stamps = np.stack([stamp.astype(float) for stamp, ok
                       in zip(stamps, good, strict=True) if ok])
    stamps /= stamps.sum((1, 2), keepdims=True)
    return StampGrid(stamps=stamps, xy=xy[good])


def _stamp_half(canvas, centre):
    """Half the side of stamps: up to where a ring of pixels is empty."""
    found = []
    for ix, iy in centre[:9]:
        half = 0
        while half < MAX_STAMP // 2:
            rows = slice(max(iy - half - 1, 0), iy + half + 2)
            columns = slice(max(ix - half - 1, 0), ix + half + 2)
            window = canvas[rows, columns]
            inner = canvas[max(iy - half, 0):iy + half + 1,
                           max(ix - half, 0):ix + half + 1]
            if np.count_nonzero(window) == np.count_nonzero(inner):
                break
            half += 1
        found.append(half)
    return int(np.median(found))


def _from_cube(image, table, path):
    """Grid of PSFs from a cube and the positions of its planes."""
    data, xy = np.asarray(image.data, dtype=float), _xy(table)
    oversampling = _oversampling(image, path)
    if len(data) != len(xy):
        msg = (f'{path} has {len(data)} planes but {len(xy)} positions; they '
               'must be as many.')
        raise PSFError(msg, path=path)
    return GriddedPSFModel(NDData(data, meta={
        'grid_xypos': [tuple(row) for row in xy.tolist()],
        'oversampling': oversampling}))


def _oversampling(hdu, path):
    """Samples per pixel that a header states; 1 if it does not."""
    value = next((hdu.header[key] for key in OVERSAMPLING_KEYWORDS
                  if key in hdu.header), 1)
    if isinstance(value, bool) or not isinstance(
            value, (int, float)) or value != round(value) or value < 1:
        msg = (f'the oversampling of {path} is {value}; it must be a whole '
               'number, at least 1.')
        raise PSFError(msg, path=path, value=value)
    return int(value)


def _from_image(hdu, path):
    """Array or `ImagePSF` of an image; a list of a cube."""
    data = np.squeeze(np.asarray(hdu.data, dtype=float))
    if data.ndim == 3:
        return [_plane(plane, hdu, path) for plane in data]
    if data.ndim != 2:
        msg = (f'{path} has an array of shape {data.shape}; a PSF is an image '
               '(y, x) or a cube of them.')
        raise PSFError(msg, path=path)
    return _plane(data, hdu, path)


def _plane(data, hdu, path):
    """Array, or `ImagePSF` if it is oversampled."""
    oversampling = _oversampling(hdu, path)
    if not np.isfinite(data).all() or data.sum() <= 0:
        msg = (f'{path} is no PSF: its values must be finite and their sum '
               f'positive; {np.count_nonzero(~np.isfinite(data))} are not '
               f'finite and the sum is {np.nansum(data):.3g}.')
        raise PSFError(msg, path=path)
    if oversampling == 1:
        return data
    return ImagePSF(data * (oversampling ** 2 / data.sum()),
                    oversampling=oversampling)


def write_psf(path, psf, shape):
    """
    Write PSFs as `read_psf` and ``--psf`` read them.

    Parameters
    ----------
    path : path-like
        FITS file, which must not exist.
    psf : BandPSF
        PSF of one band.
    shape : tuple of int
        (ny, nx) of the image; one that varies is written on a grid of five
        by five places.
    """
    n = 5 if psf.varies else 1
    places = [np.linspace(0, size - 1, n) if n > 1 else [(size - 1) / 2]
              for size in shape]
    xy = [(x, y) for y in places[0] for x in places[1]]
    images, (oversampling, *_) = zip(*(psf.sample(x, y) for x, y in xy),
                                     strict=True)
    # as photutils has it: the sum is that of the samples of a pixel
    data = np.stack(images) * oversampling ** 2
    hdu = fits.PrimaryHDU(data[0] if n == 1 else data)
    hdu.header['OVERSAMP'] = (oversampling, 'samples per pixel')
    hdu.header['PSF_FWHM'] = (round(psf.fwhm, 4), '[pix] in the middle')
    hdus = fits.HDUList([hdu])
    if n > 1:
        x, y = np.transpose(np.rint(xy)) + 1
        hdus.append(fits.table_to_hdu(Table({'X': x, 'Y': y})))
    hdus.writeto(path)
