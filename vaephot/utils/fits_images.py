# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Read images from FITS files that users name."""

import re
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.nddata import NDData
from astropy.wcs import WCS, FITSFixedWarning

from vaephot.exceptions import ShapeMismatchError, VaephotError, VaephotWarning

__all__ = ['GAIN_KEYWORDS', 'OVERSAMPLING_KEYWORDS', 'USUAL_NAMES',
           'ZEROPOINT_KEYWORDS', 'FitsImage', 'InputFileError',
           'band_extensions', 'distortion_tables', 'find_hdu',
           'name_extensions', 'open_fits', 'psf_of_image',
           'read_band_images', 'read_image', 'split_extension']

# AB zeropoint of a flux of 1, in the order they are looked for
ZEROPOINT_KEYWORDS = ('MAGZERO', 'MAGZPT', 'ZEROPNT', 'ZEROPOIN', 'PHOTZP',
                      'ZPAB', 'ABZP', 'ZP', 'MAGZP', 'ZPTMAG')
OVERSAMPLING_KEYWORDS = ('OVERSAMP', 'OVERSAMPLING', 'OVERSMPL')
GAIN_KEYWORDS = ('GAIN', 'EGAIN', 'GAINEFF')
# extensions with errors and bad pixels in the files of the archives
USUAL_NAMES = {'ERROR_': ('ERR', 'ERROR', 'RMS', 'STD', 'UNCERT'),
               'VAR_': ('VAR', 'VARIANCE', 'VAR_TOTAL'),
               'IVAR_': ('IVAR', 'WHT', 'WEIGHT', 'INVVAR'),
               'MASK_': ('DQ', 'MASK', 'FLAG', 'FLAGS')}
# extensions with the distortions of a WCS
_DISTORTIONS = ('WCSDVARR', 'D2IMARR')
_WITH_EXTENSION = re.compile(r'(?P<path>.+)\[(?P<extension>[^\[\]]+)\]')


class InputFileError(VaephotError, ValueError):
    """An input file that lacks what was asked for."""


@dataclass(frozen=True, kw_only=True)
class FitsImage:
    """
    One image of a FITS file with what its header says.

    Parameters
    ----------
    data : `~numpy.ndarray`
        The image, or a cube.
    header : `~astropy.io.fits.Header`
        Its header.
    name : str
        Where it is from, as ``file[extension]``.
    tables : `~astropy.io.fits.HDUList`, optional
        Distortions that the header refers to.
    primary : `~astropy.io.fits.Header`, optional
        The first header of the file.
    """

    data: np.ndarray
    header: fits.Header
    name: str
    tables: fits.HDUList = None
    primary: fits.Header = None

    @property
    def wcs(self):
        """Celestial coordinates, or `None`."""
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', FITSFixedWarning)
            wcs = WCS(self.header, self.tables)
        return wcs.celestial if wcs.has_celestial else None

    @property
    def unit(self):
        """Unit of ``BUNIT``, or `None`."""
        text = str(self.header.get('BUNIT', '')).strip()
        if not text:
            return None
        for spelling in (text, text.lower()):
            unit = u.Unit(spelling, parse_strict='silent')
            if not isinstance(unit, u.UnrecognizedUnit):
                return None if unit == u.dimensionless_unscaled else unit
        msg = f'BUNIT of {self.name} is {text!r}, no known unit; ignored.'
        warnings.warn(msg, VaephotWarning, stacklevel=2)
        return None

    @property
    def extension(self):
        """Name of the extension, or an empty text."""
        return str(self.header.get('EXTNAME', '')).strip().upper()

    def find_text(self, keyword):
        """
        Look up a keyword in the header, then in the first of the file.

        Parameters
        ----------
        keyword : str
            Its name.

        Returns
        -------
        str or None
        """
        for header in (self.header, self.primary or {}):
            if keyword in header:
                return str(header[keyword])
        return None

    def find_number(self, keywords):
        """
        Look up the first of several keywords.

        Parameters
        ----------
        keywords : sequence of str
            Names, in the order of preference.

        Returns
        -------
        float or None
            `None` if the header has none of them.

        Raises
        ------
        InputFileError
            If the value is not a finite number.
        """
        for keyword in keywords:
            if keyword not in self.header:
                continue
            value = self.header[keyword]
            if (isinstance(value, (int, float)) and np.isfinite(value)
                    and not isinstance(value, bool)):
                return float(value)
            msg = (f'{keyword} in the header of {self.name} is {value!r}; '
                   'it must be a number.')
            raise InputFileError(msg, keyword=keyword, value=value)
        return None

    def check_shape(self, shape):
        """
        Compare the shape with that of the images.

        Parameters
        ----------
        shape : tuple of int
            What it must be.

        Raises
        ------
        ShapeMismatchError
            If it is another one.
        """
        if self.data.shape != tuple(shape):
            msg = (f'{self.name} has the shape {self.data.shape}, the '
                   f'images have {tuple(shape)} (y, x); they must be the '
                   'same.')
            raise ShapeMismatchError(msg, shape=self.data.shape)


def split_extension(text):
    """
    Split ``file.fits[EXT]`` into file and extension.

    Parameters
    ----------
    text : str
        What the user gave; a file of exactly that name has precedence.

    Returns
    -------
    path : pathlib.Path
    extension : int, str or None

    Examples
    --------
    >>> from vaephot.utils.fits_images import split_extension
    >>> split_extension('field.fits[2]')[1], split_extension('a.fits[Y]')[1]
    (2, 'Y')
    """
    match = _WITH_EXTENSION.fullmatch(text)
    if match is None or Path(text).exists():
        return Path(text), None
    extension = match['extension'].strip()
    number = extension.isdecimal()
    return Path(match['path']), int(extension) if number else extension


def _list_extensions(hdus):
    """Extensions of a file for a message."""
    return ', '.join(f'{i} ({hdu.name})' if hdu.name else str(i)
                     for i, hdu in enumerate(hdus))


def _is_image(hdu):
    return hdu.is_image and hdu.header.get('NAXIS', 0) >= 2


def find_hdu(hdus, path, extension):
    """HDU asked for, or the first that holds an image."""
    listed = _list_extensions(hdus)
    if extension is None:
        found = [hdu for hdu in hdus if _is_image(hdu)]
        if not found:
            msg = (f'{path} holds no image; its extensions are {listed}.')
            raise InputFileError(msg, path=path)
        return found[0]
    try:
        hdu = hdus[extension]
    except (KeyError, IndexError) as err:
        msg = (f'{path} has no extension {extension!r}; it has {listed}.')
        raise InputFileError(msg, path=path, extension=extension) from err
    if not _is_image(hdu):
        msg = (f'extension {extension!r} of {path} is not an image; the '
               f'file has {listed}.')
        raise InputFileError(msg, path=path, extension=extension)
    return hdu


def open_fits(path):
    """Open a FITS file, or say why not."""
    if not path.is_file():
        msg = f'there is no file {path}.'
        raise FileNotFoundError(msg)
    try:
        return fits.open(path, memmap=False)
    except OSError as err:
        msg = f'{path} cannot be read as a FITS file: {err}'
        raise InputFileError(msg, path=path) from err


def _load(hdu, path, hdus):
    """Data and header of an HDU, whole."""
    name = f'{path}[{hdu.name}]' if hdu.name else str(path)
    try:
        data = np.squeeze(hdu.data)
    except (OSError, ValueError, TypeError) as err:
        msg = f'{name} is damaged or truncated: {err}'
        raise InputFileError(msg, path=path) from err
    if data.ndim not in (2, 3):
        msg = (f'{name} has the shape {hdu.data.shape}; expected an image '
               '(y, x) or a cube (band, y, x).')
        raise ShapeMismatchError(msg, shape=hdu.data.shape)
    return FitsImage(data=data, header=hdu.header.copy(), name=name,
                     tables=distortion_tables(hdus),
                     primary=hdus[0].header.copy())


def distortion_tables(hdus):
    """Copies of the extensions that the WCS of others refer to."""
    return fits.HDUList([hdu.copy() for hdu in hdus
                         if hdu.name in _DISTORTIONS])


def read_image(text, extension=None):
    """
    Read one image or cube.

    Parameters
    ----------
    text : str
        ``file.fits`` or ``file.fits[EXT]``.
    extension : int, str or None, optional
        Extension if ``text`` names none. `None` means the first image.

    Returns
    -------
    FitsImage
        Axes of length one are dropped.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    InputFileError
        If it lacks the extension or cannot be read.
    ShapeMismatchError
        If it is neither an image nor a cube.
    """
    path, own = split_extension(str(text))
    with open_fits(path) as hdus:
        hdu = find_hdu(hdus, path, extension if own is None else own)
        return _load(hdu, path, hdus)


def name_extensions(text, extension, bands, prefix):
    """Names of the extensions of a file that are meant, or None."""
    path, own = split_extension(text)
    if own is not None or extension is not None or not (bands or prefix):
        return None
    with open_fits(path) as hdus:
        known = [hdu.name.upper() for hdu in hdus if _is_image(hdu)]
    wanted = [prefix + band for band in bands or ()]
    if wanted and all(name.upper() in known for name in wanted):
        return [f'{path}[{name}]' for name in wanted]
    if prefix and len(known) > 1:
        usual = [name for name in USUAL_NAMES.get(prefix, ()) if name in known]
        if len(usual) == 1 and not wanted:
            return [f'{path}[{usual[0]}]']
        if not (wanted or prefix in USUAL_NAMES):
            return None
        # its first image may well be the data themselves
        wanted = wanted or USUAL_NAMES.get(prefix, ())
        msg = (f'{path} has several images but not {", ".join(wanted)}; it '
               f'has {", ".join(sorted(set(known)))}. Name the extension, as '
               f'in {path.name}[EXT].')
        raise InputFileError(msg, path=path)
    return None


def band_extensions(texts, bands, prefix):
    """Names of files, or of the extensions of bands if there is one file."""
    if len(texts) == 1:
        return name_extensions(texts[0], None, bands, prefix) or texts
    return texts


def _planes(image):
    """Images of a cube, one per plane."""
    if image.data.ndim == 2:
        return [image]
    header = image.header
    return [replace(image, data=plane, header=header,
                    name=f'{image.name}, plane {i + 1}')
            for i, plane in enumerate(image.data)]


def read_band_images(texts, extension=None, *, bands=None, prefix=''):
    """
    Read one image per band.

    Parameters
    ----------
    texts : list of str
        One file per band, or one file with a cube, or, if ``bands`` are
        given, one file with an extension ``prefix + band`` for each. Of
        errors and masks without ``bands`` also one with an extension of a
        usual name, such as ``ERR`` and ``DQ``.
    extension : int, str or None, optional
        Extension of the files that name none themselves.
    bands : sequence of str or None, optional
        Names of the bands.
    prefix : str, optional
        What the names of extensions begin with.

    Returns
    -------
    list of FitsImage
        2D images.

    Raises
    ------
    FileNotFoundError, InputFileError, ShapeMismatchError
        As `read_image`.
    """
    if len(texts) == 1:
        texts = name_extensions(texts[0], extension, bands, prefix) or texts
    images = [read_image(text, extension) for text in texts]
    if len(images) == 1:
        return _planes(images[0])
    for image in images:
        if image.data.ndim != 2:
            msg = (f'{image.name} has the shape {image.data.shape}; with '
                   'several files each must be an image (y, x).')
            raise ShapeMismatchError(msg, shape=image.data.shape)
    return images


def psf_of_image(image):
    """
    Make a PSF of an image.

    Parameters
    ----------
    image : FitsImage
        A PSF; the keyword OVERSAMP (or OVERSAMPLING) of its header says how
        many samples there are per pixel. A cube holds PSFs at the places
        that the keywords NODEX0, NODEY0, NODEX1, ... name, in pixels from 0.

    Returns
    -------
    `~numpy.ndarray`, `photutils.psf.ImagePSF` or \
            `photutils.psf.GriddedPSFModel`
        The array if there is one sample per pixel; the last for a cube.

    Raises
    ------
    InputFileError
        If it is no PSF.
    """
    from photutils.psf import GriddedPSFModel, ImagePSF

    oversampling = image.find_number(OVERSAMPLING_KEYWORDS) or 1.0
    if oversampling != round(oversampling) or oversampling < 1:
        msg = (f'the oversampling of {image.name} is {oversampling}; it '
               'must be a whole number, at least 1.')
        raise InputFileError(msg, value=oversampling)
    data = np.asarray(image.data, dtype=float)
    total = data.sum((-2, -1), keepdims=True)
    if not np.isfinite(data).all() or (total <= 0).any():
        msg = (f'{image.name} is no PSF: its values must be finite and '
               'their sum positive.')
        raise InputFileError(msg, path=image.name)
    scale = oversampling**2 / total
    if data.ndim == 3:
        places = [tuple(image.find_number([f'NODE{axis}{i}'])
                        for axis in 'XY') for i in range(len(data))]
        if any(None in place for place in places):
            msg = (f'{image.name} holds {len(data)} PSFs but does not say '
                   'where; it needs keywords NODEX0, NODEY0, NODEX1, ...')
            raise InputFileError(msg, path=image.name)
        return GriddedPSFModel(NDData(data * scale, meta={
            'grid_xypos': places, 'oversampling': int(oversampling)}))
    return (data if oversampling == 1 else
            ImagePSF(data * scale[0, 0], oversampling=int(oversampling)))
