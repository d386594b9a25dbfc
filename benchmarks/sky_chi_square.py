# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Measure the reduced chi-square of the empty sky of real images.

The images are FITS files with the extensions ``{band}_FLUX`` or
``{band}_BGSUB``, ``{band}_RMS`` and ``{band}_PSF``, as the cut-outs of Euclid
among the data for tests. Sources are detected and masked with what is around
them. For each band the chi-square of single pixels is printed beside that of
the residual smoothed with the PSF, which the table of a result has.
"""

import argparse
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from scipy.ndimage import binary_dilation

from vaephot.deblend.detect.stack import detect
from vaephot.deblend.fit.goodness import make_residual
from vaephot.deblend.inputs.read import prepare_observation

# pixels around a segment that are not sky either, and noise of bad pixels
MARGIN, MAX_RMS = 5, 1e10
N_PIXELS = 10


def read_images(path):
    """Observation of all bands of a file."""
    images, errors, psfs = {}, {}, {}
    with fits.open(path) as file:
        found = {hdu.name: hdu.data for hdu in file if hdu.data is not None}
    for name in found:
        band, _, kind = name.rpartition('_')
        if kind in ('FLUX', 'BGSUB') and f'{band}_RMS' in found:
            images[band] = found[name].astype(float)
            errors[band] = found[f'{band}_RMS'].astype(float)
            psfs[band] = found[f'{band}_PSF'].astype(float)
    error, data = np.stack(list(errors.values())), np.stack(list(
        images.values()))
    bad = ~(np.isfinite(data) & (error > 0) & (error < MAX_RMS))
    return prepare_observation(
        data, error=np.where(bad, 1.0, error), mask=bad,
        psf=list(psfs.values()), bands=list(images))


def measure(path):
    """Table of the sky of each band of a file."""
    seen = read_images(path)
    source = binary_dilation(detect(seen, N_PIXELS).data > 0,
                             iterations=MARGIN)
    mask = seen.mask | source
    fwhm = [psf.fwhm for psf in seen.psfs]
    residual = make_residual(seen.data, np.zeros_like(seen.data),
                             seen.variance, mask, seen.gain, fwhm)
    rows = []
    for b, band in enumerate(seen.bands):
        sky = ~mask[b]
        pixels = (seen.data[b] ** 2 / np.broadcast_to(
            seen.variance, seen.data.shape)[b])[sky]
        rows.append((Path(path).stem, band, fwhm[b],
                     sky.sum() / residual.area[b], residual.factor[b],
                     pixels.mean(), (residual.smoothed[b][sky] ** 2).mean()))
    return Table(rows=rows, names=('file', 'band', 'fwhm', 'samples',
                                   'factor', 'chi2_pixels', 'chi2'))


def main():
    """Print the table of each file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('files', nargs='+', metavar='FILE.fits')
    for path in parser.parse_args().files:
        table = measure(path)
        for name in table.colnames[2:]:
            table[name].format = '.3f' if name != 'samples' else '.0f'
        print(*table.pformat(max_lines=-1, max_width=-1), sep='\n')


if __name__ == '__main__':
    main()
