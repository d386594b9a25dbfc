# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from astropy.io import fits

from vaephot.cli.main import main
from vaephot.deblend.inputs.psf import make_band_psfs, read_psf


@pytest.fixture(scope='module')
def image(tmp_path_factory):
    """Name of an image of sixteen stars of a FWHM of 2.6 pixels."""
    rng = np.random.default_rng(1)
    data = rng.normal(0, 1, (200, 200))
    y, x = np.mgrid[:200, :200]
    for k in range(16):
        cy, cx = 50 * np.array(divmod(k, 4)) + 25 + rng.uniform(-3, 3, 2)
        data += rng.uniform(300, 2000) * np.exp(
            -4 * np.log(2) * ((x - cx) ** 2 + (y - cy) ** 2) / 2.6 ** 2)
    path = tmp_path_factory.mktemp('psf') / 'image.fits'
    fits.writeto(path, data)
    return str(path)


def test_a_psf_is_built_drawn_and_read_again(image, tmp_path, capsys):
    out, plot = tmp_path / 'psf.fits', tmp_path / 'psf.png'
    assert main(['psf', image, '-o', str(out), '--plot', str(plot),
                 '--error', '1', '--gain', '2']) == 0
    assert 'built from 1' in capsys.readouterr().out
    assert plot.stat().st_size > 1000
    (psf,) = make_band_psfs(read_psf(out), ['r'], (200, 200))
    assert psf.fwhm == pytest.approx(2.6, rel=0.03)


def test_a_psf_of_another_tool_is_written(image, tmp_path, capsys):
    given, out = tmp_path / 'given.fits', tmp_path / 'psf.fits'
    steps = np.arange(-10, 11)
    fits.writeto(given, np.exp(-4 * np.log(2) * (
        steps ** 2 + steps[:, None] ** 2) / 2.6 ** 2))
    assert main(['psf', image, '--psf', str(given), '-o', str(out)]) == 0
    assert 'stamp of sum' in capsys.readouterr().out
    assert read_psf(out).shape == (21, 21)


def test_an_image_without_stars_has_no_psf(tmp_path, capsys):
    path = tmp_path / 'noise.fits'
    fits.writeto(path, np.random.default_rng(0).normal(size=(80, 80)))
    assert main(['psf', str(path), '-o', str(tmp_path / 'psf.fits')]) == 1
    assert 'too few stars' in capsys.readouterr().err
    assert not (tmp_path / 'psf.fits').exists()


def test_wrong_usage_is_told_before_the_work(image, tmp_path):
    out = str(tmp_path / 'psf.fits')
    assert main(['psf', image, '-o', out, '--plot', 'a.txt']) == 2
    cube = tmp_path / 'cube.fits'
    fits.writeto(cube, np.zeros((2, 9, 9)))
    assert main(['psf', str(cube), '-o', out]) == 2
