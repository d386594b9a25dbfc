# Licensed under a 3-clause BSD style license - see LICENSE.rst
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits

from vaephot.cli.main import main

pytest.importorskip('distributed')


@pytest.fixture
def calls(monkeypatch):
    """Replace the run; return the arguments of its calls."""
    calls = []

    def deblend_mosaic(**call):
        calls.append(call)
        failed = {'tile 3': 'OSError: no'} if call['tile'] == 99 else {}
        return SimpleNamespace(n_sources=5, catalog=Path('catalog'),
                               failed=failed)
    monkeypatch.setattr('vaephot.scale.deblend_mosaic', deblend_mosaic)
    return calls


@pytest.fixture
def image(tmp_path):
    path = tmp_path / 'image.fits'
    fits.writeto(path, np.zeros((20, 30)))
    return str(path)


def test_options_become_arguments(calls, image, capsys):
    assert main(['survey', image, 'b.fits+c.fits', '--bands', 'r,i', '-o',
                 'out', '--error', '1', '2', '--psf', 'p.fits', 'q.fits',
                 '--gain', 'header', '--residual', '--workers', '3',
                 '--refine', 'quick', '--mask-bits', '5']) == 0
    call = calls[0]
    assert call['images'] == {'r': image, 'i': ['b.fits', 'c.fits']}
    assert call['error'] == [1, 2]
    assert call['psf'] == {'r': 'p.fits', 'i': 'q.fits'}
    assert call['gain'] == 'header'
    assert call['write_images'] == ['residual']
    assert (call['workers'], call['refine'], call['mask_bits']) == (
        3, False, 5)
    assert '5 sources' in capsys.readouterr().out


def test_tiles_that_were_set_aside_are_named(calls, image, capsys):
    assert main(['survey', image, '-o', 'out', '--tile', '99']) == 1
    assert 'tile 3: OSError: no' in capsys.readouterr().out


@pytest.mark.parametrize(('argv', 'text'), [
    (['--error', '1', 'x.fits'], 'mixes numbers and files'),
    (['--bands', 'r,i', '--psf', 'a.fits', 'b.fits', 'c.fits'],
     '--psf has 3 values')])
def test_wrong_usage_is_one_line(calls, image, capsys, argv, text):
    assert main(['survey', image, *argv, '-o', 'out']) == 2
    err = capsys.readouterr().err
    assert text in err
    assert err.count('\n') == 1
    assert calls == []


def test_a_small_mosaic_is_deblended(image, tmp_path, capsys, monkeypatch):
    rng = np.random.default_rng(1)
    iy, ix = np.indices((64, 80))
    scene = rng.normal(size=(64, 80)) + 60 * np.exp(
        -0.5 * ((ix - 30)**2 + (iy - 20)**2) / 1.3**2)
    fits.writeto(image, scene, overwrite=True)
    out = tmp_path / 'out'
    assert main(['survey', image, '-o', str(out), '--error', '1', '--psf',
                 '3', '--tile', '64', '--workers', '1', '--quiet',
                 '--refine', 'network']) == 0
    assert (out / 'summary.html').is_file()
    assert len(list((out / 'catalog').iterdir())) == 2
    labels = fits.getdata(out / 'labels.fits', 1)
    assert labels[20, 30] > 0
    assert capsys.readouterr().out.startswith('1 sources')
