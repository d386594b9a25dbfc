# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The files of Euclid's MER tiles, found by their names."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

from vaephot.utils.fits_images import InputFileError

__all__ = ['MER_BANDS', 'StampGrid', 'find_mer_files']

# bands as the names of the files have them, in the order of the results
MER_BANDS = ('VIS', 'NIR-Y', 'NIR-J', 'NIR-H')
# names of the files of a band
PATTERNS = {
    'images': 'EUC_MER_BGSUB-MOSAIC-{band}_TILE*.fits*',
    'error': 'EUC_MER_MOSAIC-{band}-RMS_TILE*.fits*',
    'mask': 'EUC_MER_MOSAIC-{band}-FLAG_TILE*.fits*',
    'psf': 'EUC_MER_GRID-PSF-{band}_TILE*.fits*',
}


def find_mer_files(folder):
    """
    Files of the MER tiles in a folder.

    Parameters
    ----------
    folder : path-like
        With one tile or several that overlap.

    Returns
    -------
    dict
        ``bands``, ``images`` and, where there are files, ``error``, ``mask``
        and ``psf``: arguments of `~vaephot.scale.deblend_mosaic`.

    Raises
    ------
    InputFileError
        If there are none, or not one for each image.
    """
    folder = Path(folder)
    found = {name: {band: sorted(map(str, folder.rglob(pattern.format(
        band=band)))) for band in MER_BANDS}
        for name, pattern in PATTERNS.items()}
    bands = tuple(band for band in MER_BANDS if found['images'][band])
    if not bands:
        msg = (f'{folder} holds no mosaic of a MER tile; the names of such '
               f'files are {PATTERNS["images"].format(band="VIS")}.')
        raise InputFileError(msg, path=folder)
    out = {'bands': bands}
    for name, files in found.items():
        counts = [len(files[band]) for band in bands]
        if not any(counts):
            continue
        wanted = [len(found['images'][band]) for band in bands]
        if counts != wanted:
            msg = (f'{folder} has {counts} files of the kind {name!r} but '
                   f'{wanted} images of {", ".join(bands)}; there must be '
                   'one for each image, or none.')
            raise InputFileError(msg, path=folder)
        out[name] = {band: files[band] for band in bands}
    if 'psf' in out:
        out['psf'] = {band: StampGrid(tuple(paths)) for band, paths
                      in out['psf'].items()}
    return out


@lru_cache(maxsize=16)
def _read_stamps(path):
    """Stamps (n, P, P) of a GRID-PSF file and their places (n, 2)."""
    with fits.open(path) as hdus:
        image, table = hdus[1], Table(hdus[2].data)
        half = int(image.header['STMPSIZE']) // 2
        # pixels of FITS count from 1
        corner = np.rint(np.column_stack([table['x_center'],
                                          table['y_center']])) - 1 - half
        side = 2 * half + 1
        stamps = np.stack([image.section[y:y + side, x:x + side]
                           for x, y in corner.astype(int).tolist()])
        places = np.column_stack([table['x'], table['y']]).astype(float) - 1
    return np.asarray(stamps, float), places


@dataclass(frozen=True)
class StampGrid:
    """
    PSF of a band as the stamps of GRID-PSF files: the nearest one.

    Parameters
    ----------
    paths : tuple of str
        Files, one for each image of the band.
    origins : tuple of tuple of int, optional
        Row and column of the first pixel of each image on the mosaic.
    """

    paths: tuple[str, ...]
    origins: tuple[tuple[int, int], ...] = ()

    def __call__(self, x, y, band):
        """Stamp for a place of the mosaic."""
        best, nearest = None, np.inf
        for path, (y0, x0) in zip(self.paths, self.origins, strict=True):
            stamps, places = _read_stamps(path)
            distance = np.hypot(*(places + [x0, y0] - [x, y]).T)
            k = int(distance.argmin())
            if distance[k] < nearest:
                best, nearest = stamps[k], distance[k]
        return best
