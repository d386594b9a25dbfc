# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Files of a mosaic.

A folder with ``<band>.fits``, ``<band>_rms.fits`` (noise of the sky),
``<band>_flag.fits`` (1 saturated, 2 bad, 4 not observed) and
``<band>_psf.fits`` of each band, and ``truth.fits``. They are written part by
part, so that the size of a mosaic does not matter to the memory.
"""

import os
from functools import partial
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import vstack
from photutils.aperture import BoundingBox
from tqdm import tqdm

from vaephot.exceptions import OutputExistsError
from vaephot.simulate._workers import ordered_map
from vaephot.simulate.field_files import psf_hdu, truth_hdu
from vaephot.simulate.field_sources import truth_table
from vaephot.simulate.image_noise import large_sum_factor
from vaephot.simulate.mosaics.mosaic_cells import MosaicDrawer
from vaephot.simulate.survey import ZEROPOINT
from vaephot.utils.atomic import atomic_write

__all__ = ['write_mosaic']

BLOCK = 2880
# kinds of images by what their names end in, and how they are stored
KINDS = {'': ('image', '>f4'), '_rms': ('sky_rms', '>f4'),
         '_flag': ('flags', 'u1')}


class _OpenImage:
    """A FITS image of a known shape, written in any order."""

    def __init__(self, path, header, shape, kind):
        self.path = path
        self.temporary = path.with_name(f'.{path.name}.part')
        header = header.copy()
        for position, (key, value) in enumerate((
                ('SIMPLE', True), ('BITPIX', {'>f4': -32, 'u1': 8}[kind]),
                ('NAXIS', 2), ('NAXIS1', shape[1]), ('NAXIS2', shape[0]))):
            header.insert(position, (key, value))
        text = header.tostring().encode('ascii')
        size = np.prod(shape) * np.dtype(kind).itemsize
        with self.temporary.open('wb') as file:
            file.write(text)
            file.truncate(len(text) + -(-size // BLOCK) * BLOCK)
        self.pixels = np.memmap(self.temporary, kind, 'r+', len(text),
                                tuple(shape))

    def write(self, bbox, values):
        """Write the pixels of a box."""
        self.pixels[bbox.iymin:bbox.iymax, bbox.ixmin:bbox.ixmax] = values
        self.pixels.flush()

    def close(self):
        """Give the file its name."""
        del self.pixels
        os.replace(self.temporary, self.path)


def _header(drawer, k):
    """Header of the images of a band."""
    header = drawer.wcs.to_header()
    header['BUNIT'] = 'uJy'
    header['MAGZERO'] = (ZEROPOINT, 'AB magnitude of 1 uJy')
    header['FILTER'] = drawer.survey.band_names[k]
    header['SKYRMS'] = (drawer.sky_rms[k], 'noise of the empty sky')
    header['GAIN'] = (drawer.survey.gain[k], 'electrons per uJy')
    header['NCORR'] = (large_sum_factor(drawer.widths[k]),
                       'noise of a large sum over independent pixels')
    header['SEED'] = (drawer.seed, 'seed of the simulation')
    return header


def _boxes(shape, side):
    """Boxes of some side that cover a mosaic."""
    ny, nx = shape
    return [BoundingBox(x, min(x + side, nx), y, min(y + side, ny))
            for y in range(0, ny, side) for x in range(0, nx, side)]


def _draw(bbox, *, drawer):
    return drawer.draw(bbox)


def _write_images(folder, drawer, side, n_workers, progress_bar):
    """Draw and write the images of all bands."""
    bands = drawer.survey.band_names
    files = {(k, end): _OpenImage(folder / f'{band}{end}.fits',
                                  _header(drawer, k), drawer.shape, kind)
             for k, band in enumerate(bands)
             for end, (_, kind) in KINDS.items()}
    boxes = _boxes(drawer.shape, side)
    with tqdm(total=len(boxes), desc='mosaic', unit='part',
              disable=not progress_bar) as bar:
        for part in ordered_map(partial(_draw, drawer=drawer), boxes,
                                n_workers):
            for (k, end), file in files.items():
                file.write(part.bbox, getattr(part, KINDS[end][0])[k])
            bar.update()
    for file in files.values():
        file.close()


def _write_psfs(folder, drawer):
    """Write the PSF of each band, or those at the nodes."""
    instrument = drawer.instrument
    for k, band in enumerate(drawer.survey.band_names):
        hdu = psf_hdu(band, instrument.psf_images[k],
                      instrument.oversampling,
                      None if instrument.node_images is None
                      else instrument.node_images[k],
                      instrument.node_places)
        with atomic_write(folder / f'{band}_psf.fits',
                          overwrite=True) as temporary:
            fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(temporary,
                                                           overwrite=True)


def _truth(drawer):
    """Table of the sources that were observed, cell by cell."""
    tables = []
    for iy in range(drawer.n_cells[0]):
        for ix in range(drawer.n_cells[1]):
            table = truth_table(drawer.sources(iy, ix),
                                drawer.survey.band_names, drawer.wcs)
            tables.append(table[drawer.covered(table['x'], table['y'])])
    truth = vstack(tables)
    truth['id'] = np.arange(1, len(truth) + 1)
    return truth


def write_mosaic(folder, config, *, seed, population=None, part=1024,
                 n_workers=1, overwrite=False, progress_bar=False):
    """
    Draw a mosaic and write it, part by part.

    Parameters
    ----------
    folder : path-like
        Folder of the files; made if there is none.
    config : `MosaicConfig`
        What the mosaic holds.
    seed : int
        Seed; the mosaic does not depend on ``part`` and ``n_workers``.
    population : population or None, optional
        Where galaxies come from. `None` is the mock catalogue.
    part : int, optional
        Side of the parts in pixels.
    n_workers : int, optional
        Number of processes.
    overwrite : bool, optional
        Whether to replace the files of another mosaic.
    progress_bar : bool, optional
        Whether to show a progress bar.

    Returns
    -------
    int
        Number of sources.

    Raises
    ------
    OutputExistsError
        If the folder has files and ``overwrite`` is False.
    """
    folder = Path(folder)
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        msg = (f'{folder} is not empty; choose another folder or pass '
               'overwrite (--overwrite on the command line).')
        raise OutputExistsError(msg, path=folder)
    folder.mkdir(parents=True, exist_ok=True)
    drawer = MosaicDrawer(config, seed, population)
    _write_images(folder, drawer, part, n_workers, progress_bar)
    _write_psfs(folder, drawer)
    truth = _truth(drawer)
    with atomic_write(folder / 'truth.fits', overwrite=True) as temporary:
        fits.HDUList([fits.PrimaryHDU(), truth_hdu(truth)]).writeto(
            temporary, overwrite=True)
    return len(truth)
