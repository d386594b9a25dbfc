# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from vaephot.scale.mer_tiles import StampGrid, find_mer_files
from vaephot.scale.survey_plan import make_plan
from vaephot.utils.fits_images import InputFileError

SIDE = 7


def write_grid(path, widths):
    """Stamps of Gaussians in a row, for places 20 pixels apart."""
    canvas = np.zeros((SIDE, SIDE * len(widths)), 'f4')
    grid = np.arange(SIDE) - SIDE // 2
    for k, width in enumerate(widths):
        line = np.exp(-0.5 * (grid / width)**2)
        canvas[:, k * SIDE:(k + 1) * SIDE] = np.outer(line, line)
    n = np.arange(len(widths))
    # pixels of FITS, from 1
    table = Table({'x_center': n * SIDE + SIDE // 2 + 1.0,
                   'y_center': np.full(len(n), SIDE // 2 + 1.0),
                   'x': 20.0 * n + 1, 'y': np.full(len(n), 1.0)})
    image = fits.ImageHDU(canvas, fits.Header({'STMPSIZE': SIDE}))
    fits.HDUList([fits.PrimaryHDU(), image,
                  fits.table_to_hdu(table)]).writeto(path)


def write_tile(folder, bands=('VIS', 'NIR-H')):
    for band in bands:
        for kind in (f'BGSUB-MOSAIC-{band}', f'MOSAIC-{band}-RMS',
                     f'MOSAIC-{band}-FLAG'):
            fits.writeto(folder / f'EUC_MER_{kind}_TILE1-A.fits',
                         np.ones((20, 60), 'f4'))
        write_grid(folder / f'EUC_MER_GRID-PSF-{band}_TILE1-A.fits',
                   [1.0, 1.2, 1.4])


def test_the_files_of_a_tile_are_found(tmp_path):
    write_tile(tmp_path)
    found = find_mer_files(tmp_path)
    assert found['bands'] == ('VIS', 'NIR-H')
    assert {len(found[name]) for name in ('images', 'error', 'mask',
                                          'psf')} == {2}
    plan = make_plan(output=tmp_path / 'run', **found)
    assert plan.psf[0].origins == ((0, 0),)
    assert plan.files[1].masks is not None


def test_the_nearest_stamp_counts(tmp_path):
    write_grid(tmp_path / 'grid.fits', [1.0, 1.2, 1.4])
    psf = StampGrid((str(tmp_path / 'grid.fits'),), ((0, 5),))
    sizes = [psf(x, 3.0, 'VIS')[SIDE // 2, 0] for x in (5.0, 26.0, 99.0)]
    assert sizes == pytest.approx(
        [np.exp(-0.5 * (3 / width)**2) for width in (1.0, 1.2, 1.4)])


def test_a_folder_without_tiles_is_named(tmp_path):
    with pytest.raises(InputFileError, match='BGSUB-MOSAIC'):
        find_mer_files(tmp_path)


def test_a_missing_file_is_noticed(tmp_path):
    write_tile(tmp_path)
    (tmp_path / 'EUC_MER_MOSAIC-VIS-RMS_TILE1-A.fits').unlink()
    with pytest.raises(InputFileError, match="kind 'error'"):
        find_mer_files(tmp_path)
