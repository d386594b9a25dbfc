# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import QTable

from vaephot.cli.main import main
from vaephot.exceptions import OutputExistsError
from vaephot.simulate import FieldConfig, MosaicConfig, write_mosaic
from vaephot.utils.fits_images import psf_of_image, read_image

pytestmark = pytest.mark.galsim

CONFIG = MosaicConfig(field=FieldConfig(
    shape=(90, 120), survey='hsc-wide', psf_pixels=25,
    galaxy_mags=(20.0, 25.0)), cell=64)


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_files_do_not_depend_on_the_parts(tmp_path):
    n_sources = write_mosaic(tmp_path / 'a', CONFIG, seed=2, part=50)
    assert write_mosaic(tmp_path / 'b', CONFIG, seed=2, part=77) == n_sources
    one, other = content(tmp_path / 'a'), content(tmp_path / 'b')
    assert one == other
    bands = ('g', 'r', 'i', 'z', 'y')
    assert set(one) == {'truth.fits', *(
        f'{band}{end}.fits' for band in bands
        for end in ('', '_rms', '_flag', '_psf'))}


def test_the_files_say_what_they_are(tmp_path):
    n_sources = write_mosaic(tmp_path / 'a', CONFIG, seed=2)
    with fits.open(tmp_path / 'a' / 'i.fits') as hdus:
        hdus.verify('exception')
        assert hdus[0].data.shape == (90, 120)
        assert hdus[0].header['BUNIT'] == 'uJy'
    truth = QTable.read(tmp_path / 'a' / 'truth.fits')
    assert len(truth) == n_sources
    assert len(np.unique(truth['id'])) == n_sources
    psf = psf_of_image(read_image(str(tmp_path / 'a' / 'i_psf.fits')))
    assert psf.data.sum() == pytest.approx(
        np.prod(psf.oversampling), rel=1e-3)


def test_files_of_others_are_kept(tmp_path):
    (tmp_path / 'note').write_text('mine')
    with pytest.raises(OutputExistsError, match='not empty'):
        write_mosaic(tmp_path, CONFIG, seed=2)


def test_the_command_writes_a_mosaic(tmp_path, capsys):
    out = tmp_path / 'mosaic'
    assert main(['simulate', 'mosaic', '-o', str(out), '--shape', '70', '80',
                 '--survey', 'hsc-wide', '--seed', '3', '--wings', '61',
                 '--quiet']) == 0
    assert 'sources' in capsys.readouterr().out
    assert fits.getdata(out / 'r_flag.fits').shape == (70, 80)
