# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Files of blends: NumPy archives, and FITS for other tools.

In FITS, ``IMAGE``, ``ERROR`` and ``MASK`` are cubes (blend, band, y, x),
``MODELS`` (blend, source, band, y, x), ``PSF`` (band, y, x), ``BANDS``
is a table of the bands and their noise, and ``TRUTH`` one with a row per
source: ``blend`` and ``source`` count from 0, fluxes have one column per
band.
"""

from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

from vaephot.exceptions import StoreError
from vaephot.utils.atomic import atomic_write

__all__ = ['check_name', 'read', 'write']

SCALARS = ('oversampling', 'pixel_scale', 'zeropoint', 'case', 'seed')
CUBES = ('image', 'error', 'mask', 'models', 'psf')
PER_BAND = ('sky_rms', 'gain', 'noise_correlation')
TABLE = ('x', 'y', 'half_light_radius', 'eta1', 'eta2', 'redshift',
         'is_star', 'parent')
TABLE_BANDS = ('flux', 'flux_inside', 'blendedness', 'mags')


def check_name(path):
    """
    Tell files of blends by their name.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    bool
        Whether it is a FITS file, not a NumPy archive.

    Raises
    ------
    StoreError
        If it is neither.
    """
    suffixes = [s.lower() for s in Path(path).suffixes]
    if any(s in ('.fits', '.fit') for s in suffixes):
        return True
    if suffixes[-1:] == ['.npz']:
        return False
    msg = (f'{path} is no file of blends by its name; it must end in .npz, '
           f'.fits or .fits.gz.')
    raise StoreError(msg, path=path)


def write(path, arrays, *, overwrite):
    """
    Write the arrays of blends, all or nothing.

    Parameters
    ----------
    path : path-like
        File to write.
    arrays : dict
        Fields of `~vaephot.simulate.Blends`.
    overwrite : bool
        Whether to replace a file.

    Raises
    ------
    StoreError
        If the name ends in something else.
    """
    is_fits = check_name(path)
    with atomic_write(path, overwrite=overwrite) as temporary:
        if is_fits:
            _to_hdus(arrays).writeto(temporary, overwrite=True)
        else:
            with open(temporary, 'wb') as file:
                np.savez(file, **arrays)


def _truth_table(arrays):
    """One row per source."""
    count = arrays['n_sources']
    index = np.repeat(np.arange(len(count)), count)
    source = np.concatenate([np.arange(n) for n in count])
    table = Table({'blend': index, 'source': source})
    for name in TABLE:
        table[name] = arrays[name][index, source]
    for name in TABLE_BANDS:
        for k, band in enumerate(arrays['bands']):
            table[f'{name}_{band}'] = arrays[name][index, source, k]
    return table


def _to_hdus(arrays):
    """FITS extensions of blends."""
    primary = fits.PrimaryHDU()
    header = primary.header
    header['BUNIT'] = 'uJy'
    header['MAGZERO'] = (arrays['zeropoint'], 'AB magnitude of 1 uJy')
    header['PIXSCALE'] = (arrays['pixel_scale'], 'arcsec')
    header['OVERSAMP'] = (arrays['oversampling'], 'samples of PSF per pixel')
    header['CASE'] = arrays['case']
    header['SEED'] = (arrays['seed'], 'seed of the simulation')
    hdus = fits.HDUList([primary, _table_hdu('BANDS', Table(
        {'name': arrays['bands'], **{n: arrays[n] for n in PER_BAND}}))])
    for name in CUBES:
        data = arrays[name]
        data = data.astype(np.uint8) if data.dtype == bool else data
        hdus.append(fits.ImageHDU(data, name=name.upper()))
    hdus.append(_table_hdu('TRUTH', _truth_table(arrays)))
    return hdus


def _table_hdu(name, table):
    hdu = fits.table_to_hdu(table)
    hdu.name = name
    return hdu


def _check(path, names, found):
    missing = sorted(set(names) - set(found))
    if missing:
        msg = (f'{path} lacks the arrays {missing}; draw the blends again '
               f'with "vaephot simulate blends".')
        raise StoreError(msg, path=path, missing=missing)


def read(path, names):
    """
    Read the arrays of blends.

    Parameters
    ----------
    path : path-like
        The file.
    names : list of str
        Fields to read.

    Returns
    -------
    dict

    Raises
    ------
    StoreError
        If arrays are missing.
    """
    if check_name(path):
        return _from_fits(path)
    with np.load(path, allow_pickle=False) as archive:
        _check(path, names, archive.files)
        values = {name: archive[name] for name in names}
    for name in SCALARS:
        values[name] = values[name].item()
    values['bands'] = tuple(str(band) for band in values['bands'])
    return values


def _from_fits(path):
    """Fields of blends in a FITS file."""
    with fits.open(path, memmap=False) as hdus:
        _check(path, [*(n.upper() for n in CUBES), 'BANDS', 'TRUTH'],
               [hdu.name for hdu in hdus])
        header = hdus[0].header
        values = {name: _native(hdus[name.upper()].data) for name in CUBES}
        table = Table.read(hdus['TRUTH'])
        per_band = Table.read(hdus['BANDS'])
    bands = tuple(str(name) for name in per_band['name'])
    values['mask'] = values['mask'].astype(bool)
    for name in PER_BAND:
        values[name] = _native(np.array(per_band[name]))
    values |= _from_table(table, bands, values['models'].shape[:2])
    return values | {
        'bands': bands, 'zeropoint': header['MAGZERO'],
        'pixel_scale': header['PIXSCALE'], 'seed': header['SEED'],
        'oversampling': header['OVERSAMP'], 'case': header['CASE']}


def _native(array):
    """Array in the byte order of this machine."""
    return array.astype(array.dtype.newbyteorder('='))


def _from_table(table, bands, shape):
    """Arrays (blend, source, ...) of the table of the truth."""
    place = (np.array(table['blend']), np.array(table['source']))
    out = {'n_sources': np.bincount(place[0], minlength=shape[0])}
    blank = {'is_star': False, 'parent': -1}
    for name in TABLE:
        column = _native(np.array(table[name]))
        out[name] = np.full(shape, blank.get(name, np.nan), column.dtype)
        out[name][place] = column
    for name in TABLE_BANDS:
        out[name] = np.full((*shape, len(bands)), np.nan)
        for k, band in enumerate(bands):
            out[name][(*place, k)] = table[f'{name}_{band}']
    return out
