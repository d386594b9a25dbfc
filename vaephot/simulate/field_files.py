# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
FITS files of fields.

A file has one image per band, named by the band; ``ERROR_`` with the
total noise, ``SKYERR_`` with the noise of the sky alone, ``MASK_`` (1
saturated, 2 bad) and ``NOISELESS_`` of each; ``PSF_`` of each with
``OVERSAMP`` samples per pixel (a cube and ``NODE`` keywords where it
varies); ``TRUTH``, the table of the sources; and on request ``MODELS``,
a table with the box of each source and one array per band.
"""

import numpy as np
from astropy import units as u
from astropy.io import fits

from vaephot.exceptions import StoreError
from vaephot.simulate.survey import ZEROPOINT
from vaephot.utils.atomic import atomic_write

__all__ = ['field_hdus', 'psf_hdu', 'read_models', 'truth_hdu',
           'write_field']

# Bits of the masks.
SATURATED, BAD = 1, 2


def _image_header(simulated, k):
    header = simulated.wcs.to_header()
    header['BUNIT'] = 'uJy'
    header['MAGZERO'] = (ZEROPOINT, 'AB magnitude of 1 uJy')
    header['FILTER'] = simulated.bands[k]
    header['SKYRMS'] = (simulated.sky_rms[k], 'noise of the empty sky')
    header['GAIN'] = (simulated.gain[k], 'electrons per uJy')
    header['NCORR'] = (simulated.noise_correlation[k],
                       'noise of a large sum over independent pixels')
    if np.isfinite(simulated.saturation_levels[k]):
        header['SATURATE'] = (simulated.saturation_levels[k],
                              'largest pixel value')
    header['SEED'] = (simulated.seed, 'seed of the simulation')
    return header


def truth_hdu(truth):
    """
    Turn the truth into a FITS table, which has no AB magnitudes.

    Parameters
    ----------
    truth : `~astropy.table.QTable`
        Sources of a field.

    Returns
    -------
    `~astropy.io.fits.BinTableHDU`
    """
    table = truth.copy()
    for name in table.colnames:
        if name.startswith('mag_'):
            table[name] = table[name].value * u.mag
    hdu = fits.table_to_hdu(table)
    hdu.name = 'TRUTH'
    return hdu


def _mask_bits(simulated, k):
    bits = SATURATED * simulated.saturated[k].astype(np.uint8)
    bad = simulated.mask[k] & ~np.isfinite(simulated.image[k])
    return bits | BAD * bad.astype(np.uint8)


def _planes(simulated, k, with_errors, with_noiseless):
    """Names and data of the images of a band."""
    band = simulated.bands[k]
    out = [(band, simulated.image[k].astype(np.float32))]
    if with_errors:
        out += [(f'ERROR_{band}', simulated.error[k].astype(np.float32)),
                (f'SKYERR_{band}',
                 simulated.sky_error[k].astype(np.float32)),
                (f'MASK_{band}', _mask_bits(simulated, k))]
    if with_noiseless:
        out.append((f'NOISELESS_{band}', simulated.noiseless[k]))
    return out


def psf_hdu(band, image, oversampling, nodes=None, places=None):
    """
    Turn the PSF of a band, or those at nodes, into a FITS extension.

    Parameters
    ----------
    band : str
        Name of the band.
    image : ndarray (P, P)
        PSF of the middle.
    oversampling : int
        Samples per pixel.
    nodes : ndarray (n_nodes, P, P) or None, optional
        PSFs at nodes; `None`: the PSF does not vary.
    places : ndarray (n_nodes, 2) or None, optional
        x and y of the nodes.

    Returns
    -------
    `~astropy.io.fits.ImageHDU`
    """
    data = image if nodes is None else nodes
    hdu = fits.ImageHDU(data.astype(np.float32), name=f'PSF_{band}')
    hdu.header['OVERSAMP'] = (oversampling, 'samples per image pixel')
    if nodes is not None:
        for i, (x, y) in enumerate(places):
            hdu.header[f'NODEX{i}'] = (float(x), 'place of a PSF, from 0')
            hdu.header[f'NODEY{i}'] = (float(y), 'place of a PSF, from 0')
    return hdu


def _psf_hdu(simulated, k):
    """PSF of a band of a field."""
    nodes = simulated.psf_nodes
    return psf_hdu(simulated.bands[k], simulated.psf[k],
                   simulated.oversampling,
                   None if nodes is None else nodes[k],
                   simulated.node_places)


def _models_hdu(simulated):
    """Images of the sources, as arrays of different lengths."""
    boxes = [bbox for bbox, _ in simulated.models]
    columns = [fits.Column(name='id', format='J',
                           array=np.asarray(simulated.truth['id']))]
    columns += [fits.Column(name=name, format='J', array=np.array(
        [getattr(box, name) for box in boxes]))
        for name in ('ixmin', 'ixmax', 'iymin', 'iymax')]
    for k, band in enumerate(simulated.bands):
        arrays = np.empty(len(boxes), object)
        arrays[:] = [model[k].ravel() for _, model in simulated.models]
        columns.append(fits.Column(name=band, format='PE()', array=arrays))
    return fits.BinTableHDU.from_columns(columns, name='MODELS')


def field_hdus(simulated, *, with_errors=True, with_noiseless=False,
               with_models=False):
    """
    Turn a field into FITS extensions.

    Parameters
    ----------
    simulated : `SimulatedField` or dict of `SimulatedField`
        The field, or one per band on pixels of their own.
    with_errors : bool, optional
        Whether to add the noise and the masks, which can be computed
        again from the headers.
    with_noiseless : bool, optional
        Whether to add the sums of the sources without noise.
    with_models : bool, optional
        Whether to add the images of the single sources.

    Returns
    -------
    `~astropy.io.fits.HDUList`

    Raises
    ------
    StoreError
        If models are asked for that the field did not keep.
    """
    parts = (list(simulated.values()) if isinstance(simulated, dict)
             else [simulated])
    hdus = fits.HDUList([fits.PrimaryHDU()])
    for part in parts:
        for k in range(len(part.bands)):
            header = _image_header(part, k)
            for name, data in _planes(part, k, with_errors, with_noiseless):
                hdus.append(fits.ImageHDU(data, header, name=name))
    hdus += [_psf_hdu(part, k) for part in parts
             for k in range(len(part.bands))]
    hdus.append(truth_hdu(_joined_truth(parts)))
    if with_models:
        if len(parts) > 1 or parts[0].models is None:
            msg = ('models can be written of a field on one grid that was '
                   'drawn with keep_models; draw it again.')
            raise StoreError(msg)
        hdus.append(_models_hdu(parts[0]))
    return hdus


def _joined_truth(parts):
    """One table of fields whose bands have pixels of their own."""
    table = parts[0].truth.copy()
    for part in parts[1:]:
        band = part.bands[0]
        table[f'x_{band}'], table[f'y_{band}'] = part.truth['x'], part.truth[
            'y']
        for name in ('flux', 'mag', 'flux_inside', 'blendedness'):
            table[f'{name}_{band}'] = part.truth[f'{name}_{band}']
    return table


def write_field(path, simulated, *, overwrite=False, **options):
    """
    Write a field to a FITS file.

    Parameters
    ----------
    path : path-like
        File to write, ending in ``.fits`` or ``.fits.gz``.
    simulated : `SimulatedField` or dict of `SimulatedField`
        The field.
    overwrite : bool, optional
        Whether to replace a file.
    **options
        As for `field_hdus`.

    Raises
    ------
    OutputExistsError
        If the file exists and ``overwrite`` is False.
    """
    with atomic_write(path, overwrite=overwrite) as temporary:
        field_hdus(simulated, **options).writeto(temporary, overwrite=True)


def read_models(path):
    """
    Read the images of the single sources of a file.

    Parameters
    ----------
    path : path-like
        File that was written with ``with_models=True``.

    Returns
    -------
    dict of (BoundingBox, ndarray (n_bands, ny, nx))
        By the ``id`` of the truth.

    Raises
    ------
    StoreError
        If the file has no models.
    """
    from photutils.aperture import BoundingBox

    with fits.open(path, memmap=False) as hdus:
        if 'MODELS' not in hdus:
            msg = (f'{path} has no extension MODELS; write the field with '
                   f'with_models=True.')
            raise StoreError(msg, path=path)
        data = hdus['MODELS'].data
        bands = data.columns.names[5:]
        out = {}
        for row in data:
            box = BoundingBox(*(int(row[name]) for name in
                                ('ixmin', 'ixmax', 'iymin', 'iymax')))
            out[int(row['id'])] = (box, np.array(
                [np.reshape(row[band], box.shape) for band in bands]))
    return out
