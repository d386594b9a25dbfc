# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Results as FITS files.

Images are extensions of their own. Models, images, parameters and
covariances of the sources are laid end to end in one extension each, in
the order of SOURCES, because thousands of small extensions are slow. The
table is there twice: as a binary table for any FITS reader, and as ECSV
text, which keeps every unit, the sky positions and the meta data.
"""

import json
import warnings
from io import BytesIO, StringIO

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import QTable, Table
from astropy.wcs import WCS, FITSFixedWarning
from photutils.aperture import BoundingBox
from photutils.segmentation import SegmentationImage

from vaephot.exceptions import VaephotError, VaephotWarning
from vaephot.utils._atomic import atomic_write, check_output

__all__ = ['ResultFileError', 'read_result', 'write_result']

FORMAT_KEY = 'VAERESLT'
FORMAT_VERSION = 1
FRAMES = ('data', 'model_image', 'error')


class ResultFileError(VaephotError, ValueError):
    """A file that is not a result, or of a version that is unknown."""


def _plain(value):
    """Value without its unit."""
    return getattr(value, 'value', value)


def _native(array):
    """In the byte order of the machine."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder('='))


def _flat(arrays, dtype=float):
    """Arrays end to end; None and empty ones take no place."""
    parts = [np.ravel(_plain(array)) for array in arrays
             if array is not None]
    return np.concatenate(parts) if parts else np.zeros(0, dtype)


def _primary(result):
    """Header of the file."""
    hdu = fits.PrimaryHDU()
    header = hdu.header
    header[FORMAT_KEY] = (FORMAT_VERSION, 'version of this file format')
    header['IS2D'] = (result.is_2d, 'whether the data were one 2D image')
    header['NBANDS'] = len(result.bands)
    for i, band in enumerate(result.bands):
        header[f'BAND{i}'] = band
    if result.unit is not None:
        header['FLUXUNIT'] = result.unit.to_string()
    return hdu


def _wcs_header(wcs):
    """Return the FITS keywords of a WCS, or None."""
    if wcs is None:
        return None
    if not isinstance(wcs, WCS):
        warnings.warn(f'a WCS of type {type(wcs).__name__} cannot be kept '
                      'in a FITS header; the file has none.',
                      VaephotWarning, stacklevel=4)
        return None
    return wcs.to_header(relax=True)


def _unit_card(unit):
    """Keyword and value for a unit: TUNIT only where FITS knows it."""
    if isinstance(unit, u.MagUnit):
        return 'TUNIT', 'mag'
    try:
        return 'TUNIT', unit.to_string('fits')
    except ValueError:
        return 'TCOMM', f'unit: {unit}'


def _plain_table(table):
    """Binary table for any reader: numbers, and units as text."""
    columns, units = {}, {}
    for name in table.colnames:
        column = table[name]
        if isinstance(column, SkyCoord):
            for axis in ('ra', 'dec'):
                columns[f'{name}_{axis}'] = getattr(column.icrs, axis).deg
                units[f'{name}_{axis}'] = u.deg
            continue
        columns[name] = np.asarray(_plain(column))
        if getattr(column, 'unit', None) is not None:
            units[name] = column.unit
    hdu = fits.table_to_hdu(Table(columns))
    hdu.name = 'TABLE'
    for i, name in enumerate(columns, 1):
        if name in units:
            keyword, text = _unit_card(units[name])
            hdu.header.set(f'{keyword}{i}', text, after=f'TFORM{i}')
    return hdu


def _text_hdu(table):
    """Exact copy of the table, as the bytes of its ECSV text."""
    text = StringIO()
    table.write(text, format='ascii.ecsv')
    return fits.ImageHDU(np.frombuffer(text.getvalue().encode(), np.uint8),
                         name='TABLE_ECSV')


def _schema(parameters):
    """Names and shapes of parameters, as text."""
    return json.dumps([[name, None if np.ndim(value) == 0
                        and not isinstance(value, np.ndarray)
                        else list(np.shape(value))]
                       for name, value in parameters.items()])


def _sources_hdu(sources, n_bands):
    """Everything of the sources that has the same size for each."""
    flux_shape = (len(sources), n_bands)
    columns = {
        'label': [s.label for s in sources],
        'parent_label': [s.parent_label for s in sources],
        **{name: [getattr(s.bbox, name) for s in sources]
           for name in ('ixmin', 'ixmax', 'iymin', 'iymax')}}
    columns = {name: np.array(values, int)
               for name, values in columns.items()}
    columns |= {name: np.array([getattr(s, name) for s in sources], float)
                for name in ('x_centroid', 'y_centroid')}
    columns |= {name: np.array([_plain(getattr(s, name)) for s in sources],
                               float).reshape(flux_shape)
                for name in ('flux', 'flux_err')}
    columns['n_covariance'] = np.array(
        [-1 if s.covariance is None else len(s.covariance)
         for s in sources], int)
    columns['schema'] = np.array([_schema(s.parameters) for s in sources],
                                 str)
    hdu = fits.table_to_hdu(Table(columns))
    hdu.name = 'SOURCES'
    return hdu


def _children_hdu(segm):
    """Pairs of parent and child labels."""
    pairs = [(parent, child)
             for parent, children in segm.parent_to_deblended_labels.items()
             for child in children]
    array = np.array(pairs, int).reshape(-1, 2)
    hdu = fits.table_to_hdu(Table({'parent': array[:, 0],
                                   'child': array[:, 1]}))
    hdu.name = 'CHILDREN'
    return hdu


def _to_hdus(result):
    """All extensions of a result."""
    segm = result.segmentation_image
    hdus = [_primary(result)]
    hdus += [fits.ImageHDU(_plain(getattr(result, name)), name=name.upper())
             for name in FRAMES if getattr(result, name) is not None]
    if result.mask is not None:
        hdus.append(fits.ImageHDU(result.mask.astype(np.uint8), name='MASK'))
    hdus += [
        fits.ImageHDU(segm.data, _wcs_header(result.wcs),
                      name='SEGMENTATION'),
        _children_hdu(segm), _plain_table(result.table),
        _text_hdu(result.table),
        _sources_hdu(result.sources, len(result.bands))]
    flat = {
        'MODELS': [s.model for s in result], 'IMAGES': [s.image for s in
                                                        result],
        'PARAMETERS': [np.asarray(value, float) for s in result
                       for value in s.parameters.values()],
        'COVARIANCES': [s.covariance for s in result]}
    hdus += [fits.ImageHDU(_flat(arrays), name=f'SOURCE_{name}')
             for name, arrays in flat.items()]
    return fits.HDUList(hdus)


def write_result(result, path, *, overwrite=False):
    """
    Write a result, all or nothing.

    Parameters
    ----------
    result : `~vaephot.results.DeblendResult`
        What to write.
    path : path-like
        The file.
    overwrite : bool, optional
        Whether an existing file may be replaced.

    Raises
    ------
    OutputExistsError
        If the file exists and ``overwrite`` is False.
    """
    check_output(path, overwrite=overwrite)
    hdus = _to_hdus(result)
    with atomic_write(path, overwrite=overwrite) as temporary:
        hdus.writeto(temporary, overwrite=True)


def _image(hdus, name):
    """Image of an extension, or None if there is no such extension."""
    if name not in hdus:
        return None
    data = hdus[name].data
    return np.zeros(0) if data is None else _native(data)


def _read_wcs(header):
    """Return the WCS of a header, or None."""
    if 'WCSAXES' not in header:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', FITSFixedWarning)
        return WCS(header)


def _read_segmentation(hdus):
    """Segmentation with its maps."""
    data = _image(hdus, 'SEGMENTATION')
    segm = SegmentationImage(data)
    pairs = hdus['CHILDREN'].data
    parents = np.asarray(pairs['parent'])
    order = dict.fromkeys(parents.tolist())
    segm._deblend_label_map = {
        parent: np.asarray(pairs['child'])[parents == parent].astype(
            data.dtype) for parent in order}
    return segm


class _Reader:
    """Hands out consecutive parts of a flat array."""

    def __init__(self, array):
        self.array = array
        self.position = 0

    def take(self, shape):
        start = self.position
        self.position += int(np.prod(shape))
        return self.array[start:self.position].reshape(shape).copy()


def _read_parameters(schema, reader):
    """Parameters of one source."""
    return {name: float(reader.take(())) if shape is None
            else reader.take(tuple(shape))
            for name, shape in json.loads(schema)}


def _read_sources(hdus, source_class, bands):
    """Rebuild all sources, without units."""
    readers = {name: _Reader(_image(hdus, f'SOURCE_{name}'))
               for name in ('MODELS', 'IMAGES', 'PARAMETERS',
                            'COVARIANCES')}
    sources = []
    for row in hdus['SOURCES'].data:
        box = BoundingBox(*(int(row[name]) for name in (
            'ixmin', 'ixmax', 'iymin', 'iymax')))
        shape = box.shape if bands is None else (bands, *box.shape)
        size = int(row['n_covariance'])
        values = {name: _native(np.atleast_1d(row[name]))
                  for name in ('flux', 'flux_err')}
        if bands is None:
            values = {name: value[0] for name, value in values.items()}
        sources.append(source_class(
            label=int(row['label']), parent_label=int(row['parent_label']),
            bbox=box, model=readers['MODELS'].take(shape),
            image=readers['IMAGES'].take(shape),
            x_centroid=float(row['x_centroid']),
            y_centroid=float(row['y_centroid']), **values,
            parameters=_read_parameters(row['schema'],
                                        readers['PARAMETERS']),
            covariance=None if size < 0
            else readers['COVARIANCES'].take((size, size))))
    return sources


def read_result(path, source_class):
    """
    Read the parts of a result.

    Parameters
    ----------
    path : path-like
        A file made by `write_result`.
    source_class : type
        Class of the sources.

    Returns
    -------
    dict
        Arguments of `~vaephot.results.DeblendResult`.

    Raises
    ------
    ResultFileError
        If the file is no such result.
    """
    with fits.open(path, memmap=False) as hdus:
        header = hdus[0].header
        if header.get(FORMAT_KEY) != FORMAT_VERSION:
            msg = (f'{path} is not a result of vaephot in version '
                   f'{FORMAT_VERSION} of the format ({FORMAT_KEY} is '
                   f'{header.get(FORMAT_KEY)}); give a file written by '
                   'DeblendResult.write.')
            raise ResultFileError(msg, path=path)
        is_2d = bool(header['IS2D'])
        bands = tuple(header[f'BAND{i}'] for i in range(header['NBANDS']))
        unit = header.get('FLUXUNIT')
        mask = _image(hdus, 'MASK')
        text = bytes(_image(hdus, 'TABLE_ECSV'))
        return {
            **{name: _image(hdus, name.upper()) for name in FRAMES},
            'mask': None if mask is None else mask.astype(bool),
            'table': QTable.read(BytesIO(text), format='ascii.ecsv'),
            'segmentation_image': _read_segmentation(hdus),
            'sources': _read_sources(hdus, source_class,
                                     None if is_2d else len(bands)),
            'bands': bands, 'is_2d': is_2d,
            'unit': None if unit is None else u.Unit(unit),
            'wcs': _read_wcs(hdus['SEGMENTATION'].header)}
