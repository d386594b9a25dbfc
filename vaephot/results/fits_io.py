# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Results as FITS files.

Images are extensions of their own. Models, images, parameters and
covariances of the sources are laid end to end in one extension each, in
the order of SOURCES, because thousands of small extensions are slow; so
are the matrices of GROUPS. The table is there twice: as a binary table for
any FITS reader, and as ECSV text, which keeps every unit, the sky
positions and the meta data. Bands on grids of their own have their images
in DATA_0, DATA_1, ..., and the boxes of the sources in BOXES. The PSF of
band 0 is PSF_0; measured noise is NOISE, a row for each band.
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

from vaephot.exceptions import VaephotError, VaephotWarning
from vaephot.results.covariance import FitGroup
from vaephot.results.source import DeblendedSource
from vaephot.results.subsets import segmentation_with_maps
from vaephot.utils.atomic import atomic_write, check_output
from vaephot.utils.frames import each, is_mapping

__all__ = ['ResultFileError', 'read_result', 'write_result']

FORMAT_KEY = 'VAERESLT'
FORMAT_VERSION = 3
FRAMES = ('data', 'model_image', 'background_image', 'error')
BOX_EDGES = ('ixmin', 'ixmax', 'iymin', 'iymax')


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
    header['OWNGRIDS'] = (result.on_own_grids,
                          'whether each band has a grid of its own')
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


def _integers(values):
    """Integers of 64 bits, without a sign only where they need it."""
    largest = max(values, default=0)
    return np.array(values, np.uint64 if largest > np.iinfo(int).max
                    else int)


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
           for name in BOX_EDGES}}
    columns = {name: _integers(values) for name, values in columns.items()}
    columns |= {name: np.array([getattr(s, name) for s in sources], float)
                for name in ('x_centroid', 'y_centroid')}
    columns |= {name: np.array([_plain(getattr(s, name)) for s in sources],
                               float).reshape(flux_shape)
                for name in ('flux', 'flux_err')}
    columns['n_covariance'] = np.array(
        [-1 if s.covariance is None else len(s.covariance)
         for s in sources], int)
    columns['oddities'] = np.array([json.dumps(s.oddities)
                                    for s in sources], str)
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
    hdu = fits.table_to_hdu(Table({
        name: _integers([int(pair[i]) for pair in pairs])
        for i, name in enumerate(('parent', 'child'))}))
    hdu.name = 'CHILDREN'
    return hdu


def _frame_hdus(result):
    """Images of the whole frame."""
    hdus = []
    for name in (*FRAMES, 'mask'):
        frame = getattr(result, name)
        if frame is None:
            continue
        frames = ({f'{name}_{i}': frame[band] for i, band
                   in enumerate(result.bands)}
                  if is_mapping(frame) else {name: frame})
        for key, image in frames.items():
            image = _plain(image)
            if name == 'mask':
                image = image.astype(np.uint8)
            hdus.append(fits.ImageHDU(image, name=key.upper()))
    return hdus


def _boxes_hdu(sources, bands):
    """Boxes of the sources in all bands, (n, n_bands, 4)."""
    boxes = [[getattr(source.bboxes[band], edge) for edge in BOX_EDGES]
             for source in sources for band in bands]
    return fits.ImageHDU(np.array(boxes, np.int32).reshape(
        len(sources), len(bands), 4), name='BOXES')


def _group_hdus(groups):
    """Labels and matrices of the sources fitted together."""
    number = np.repeat(np.arange(len(groups)),
                       [len(group.labels) for group in groups])
    hdu = fits.table_to_hdu(Table({
        'group': number.astype(int),
        'label': np.array([label for group in groups
                           for label in group.labels], int),
        'n': np.array([len(groups[i].covariance) for i in number], int)}))
    hdu.name = 'GROUPS'
    return [hdu, fits.ImageHDU(_flat([g.covariance for g in groups]),
                               name='GROUP_COVARIANCES')]


def _psf_hdus(psfs):
    """Images of the PSFs of the bands, as far as they are known."""
    hdus = []
    for i, psf in enumerate(psfs or ()):
        if psf is not None:
            hdu = fits.ImageHDU(psf.data, name=f'PSF_{i}')
            for axis, key in enumerate('YX'):
                hdu.header[f'OVERSMP{key}'] = int(psf.oversampling[axis])
                hdu.header[f'ORIGIN{key}'] = float(psf.origin[1 - axis])
            hdus.append(hdu)
    return hdus


def _noise_hdu(noise):
    """Measured noise, a row for each band."""
    hdu = fits.table_to_hdu(Table(noise))
    hdu.name = 'NOISE'
    return hdu


def _images_of(result, name):
    """Images of the sources, one after the other."""
    images = [getattr(source, name) for source in result]
    if result.on_own_grids:
        return [image[band] for image in images for band in result.bands]
    return images


def _to_hdus(result):
    """All extensions of a result."""
    segm = result.segmentation_image
    first = (result.wcs[result.bands[0]] if is_mapping(result.wcs)
             else result.wcs)
    hdus = [
        _primary(result), *_frame_hdus(result),
        fits.ImageHDU(segm.data, _wcs_header(first), name='SEGMENTATION'),
        _children_hdu(segm), _plain_table(result.table),
        _text_hdu(result.table),
        _sources_hdu(result.sources, len(result.bands)),
        *_group_hdus(result.groups), *_psf_hdus(result.psf)]
    if result.noise is not None:
        hdus.append(_noise_hdu(result.noise))
    if result.on_own_grids:
        hdus.append(_boxes_hdu(result.sources, result.bands))
        for hdu in hdus:
            name, _, index = hdu.name.rpartition('_')
            if name == 'DATA' and result.wcs is not None:
                hdu.header.update(_wcs_header(
                    result.wcs[result.bands[int(index)]]) or {})
    flat = {
        'MODELS': _images_of(result, 'model'),
        'IMAGES': _images_of(result, 'image'),
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
    result : `~vaephot.results.result.DeblendResult`
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
    pairs = hdus['CHILDREN'].data
    maps = {}
    for parent, child in zip(pairs['parent'].tolist(),
                             pairs['child'].tolist(), strict=True):
        maps.setdefault(parent, []).append(child)
    return segmentation_with_maps(_image(hdus, 'SEGMENTATION'), maps)


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


class _Shapes:
    """Takes the images of sources from flat arrays."""

    def __init__(self, hdus, bands, is_2d):
        self.bands, self.is_2d = bands, is_2d
        self.boxes = None
        if hdus[0].header['OWNGRIDS']:
            self.boxes = hdus['BOXES'].data
            if self.boxes is None:  # no source
                self.boxes = np.zeros((0, len(bands), 4), int)

    def bboxes(self, row):
        """Boxes of a source by band, or None."""
        if self.boxes is None:
            return None
        return {band: BoundingBox(*edges.tolist()) for band, edges
                in zip(self.bands, self.boxes[row], strict=True)}

    def take(self, reader, box, bboxes):
        """Next image, or one for each band."""
        if bboxes is not None:
            return {band: reader.take(own.shape)
                    for band, own in bboxes.items()}
        return reader.take(box.shape if self.is_2d
                           else (len(self.bands), *box.shape))


def _read_sources(hdus, shapes):
    """Rebuild all sources, without units."""
    readers = {name: _Reader(_image(hdus, f'SOURCE_{name}'))
               for name in ('MODELS', 'IMAGES', 'PARAMETERS',
                            'COVARIANCES')}
    sources = []
    for number, row in enumerate(hdus['SOURCES'].data):
        box = BoundingBox(*(int(row[name]) for name in BOX_EDGES))
        bboxes = shapes.bboxes(number)
        size = int(row['n_covariance'])
        values = {name: _native(np.atleast_1d(row[name]))
                  for name in ('flux', 'flux_err')}
        if shapes.is_2d:
            values = {name: value[0] for name, value in values.items()}
        sources.append(DeblendedSource(
            label=int(row['label']), parent_label=int(row['parent_label']),
            bbox=box, bboxes=bboxes,
            model=shapes.take(readers['MODELS'], box, bboxes),
            image=shapes.take(readers['IMAGES'], box, bboxes),
            x_centroid=float(row['x_centroid']),
            y_centroid=float(row['y_centroid']), **values,
            parameters=_read_parameters(row['schema'],
                                        readers['PARAMETERS']),
            oddities=json.loads(row['oddities']),
            covariance=None if size < 0
            else readers['COVARIANCES'].take((size, size))))
    return sources


def _read_groups(hdus):
    """Covariances of the sources fitted together."""
    rows, reader = hdus['GROUPS'].data, _Reader(
        _image(hdus, 'GROUP_COVARIANCES'))
    number = np.asarray(rows['group'])
    starts = np.flatnonzero(np.diff(number, prepend=-1))
    sizes = np.asarray(rows['n'])[starts].tolist()
    labels = np.split(np.asarray(rows['label']), starts[1:])
    return [FitGroup(labels=tuple(own.tolist()),
                     covariance=reader.take((size, size)))
            for own, size in zip(labels, sizes, strict=False)]


def _read_psfs(hdus, n_bands):
    """PSF of each band, or None if none was kept."""
    psfs = [_read_psf(hdus[f'PSF_{i}']) if f'PSF_{i}' in hdus else None
            for i in range(n_bands)]
    return psfs if any(psf is not None for psf in psfs) else None


def _read_psf(hdu):
    """PSF of one band."""
    from photutils.psf import ImagePSF  # it loads matplotlib

    header = hdu.header
    return ImagePSF(
        _native(hdu.data), origin=(header['ORIGINX'], header['ORIGINY']),
        oversampling=(header['OVERSMPY'], header['OVERSMPX']))


def _read_noise(hdus):
    """Arrays of measured noise by name, or None."""
    if 'NOISE' not in hdus:
        return None
    rows = hdus['NOISE'].data
    return {name: _native(rows[name]) for name in rows.names}


def _read_frame(hdus, name, bands):
    """Image of the whole frame, or one for each band."""
    if hdus[0].header['OWNGRIDS'] and f'{name}_0'.upper() in hdus:
        return {band: _image(hdus, f'{name}_{i}'.upper())
                for i, band in enumerate(bands)}
    return _image(hdus, name.upper())


def _read_coordinates(hdus, bands):
    """WCS of the frame, or of each band."""
    first = _read_wcs(hdus['SEGMENTATION'].header)
    if not hdus[0].header['OWNGRIDS'] or first is None:
        return first
    return {band: _read_wcs(hdus[f'DATA_{i}'].header) if i else first
            for i, band in enumerate(bands)}


def read_result(path):
    """
    Read the parts of a result.

    Parameters
    ----------
    path : path-like
        A file made by `write_result`.

    Returns
    -------
    dict
        Arguments of `~vaephot.results.result.DeblendResult`.

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
        mask = _read_frame(hdus, 'mask', bands)
        text = bytes(_image(hdus, 'TABLE_ECSV'))
        return {
            **{name: _read_frame(hdus, name, bands) for name in FRAMES},
            'mask': None if mask is None else each(
                lambda image: image.astype(bool), mask),
            'table': QTable.read(BytesIO(text), format='ascii.ecsv'),
            'segmentation_image': _read_segmentation(hdus),
            'sources': _read_sources(hdus, _Shapes(hdus, bands, is_2d)),
            'groups': _read_groups(hdus),
            'psf': _read_psfs(hdus, len(bands)),
            'noise': _read_noise(hdus),
            'bands': bands, 'is_2d': is_2d,
            'unit': None if unit is None else u.Unit(unit),
            'wcs': _read_coordinates(hdus, bands)}
