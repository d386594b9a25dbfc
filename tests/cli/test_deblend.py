# Licensed under a 3-clause BSD style license - see LICENSE.rst
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import QTable
from photutils.segmentation import SegmentationImage

from vaephot.cli import deblend as command
from vaephot.cli.main import main


class FakeResult:
    """What the command needs of a result."""

    def __init__(self, call):
        self.call = call
        self.wcs = call.get('wcs')
        self.table = QTable({'label': [1], 'flux': [2.0]})
        labels = np.zeros(np.shape(call['data'])[-2:], int)
        labels[1, 1] = 1
        self.segmentation_image = SegmentationImage(labels)

    def __len__(self):
        return 1

    def band(self):
        return self

    def write(self, path, *, overwrite=False):
        fits.writeto(path, np.zeros((2, 2)), overwrite=overwrite)

    def plot_segments(self):
        import matplotlib.pyplot as plt

        return plt.subplots()[1]


@pytest.fixture
def calls(monkeypatch):
    """Replace the deblender; return the calls of it."""
    calls = []

    def make(args):
        def deblend(**call):
            calls.append(SimpleNamespace(args=args, call=call))
            return FakeResult(call)

        return deblend

    monkeypatch.setattr(command, '_make_deblender', make)
    return calls


@pytest.fixture
def image(tmp_path):
    path = tmp_path / 'image.fits'
    fits.writeto(path, np.random.default_rng(1).normal(size=(20, 30)))
    return str(path)


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize('suffix', ['ecsv', 'fits'])
def test_the_catalogue_is_written_in_the_format_of_its_name(
        calls, image, tmp_path, suffix, capsys):
    out = tmp_path / f'catalog.{suffix}'
    assert main(['deblend', image, '-o', str(out), '--quiet']) == 0
    assert QTable.read(out)['flux'].tolist() == [2]
    assert '1 sources' in capsys.readouterr().out
    assert set(calls[0].call) == {'data'}


def test_all_outputs_are_written(calls, image, tmp_path):
    names = [str(tmp_path / name) for name in
             ('c.ecsv', 'models.fits', 'segm.fits', 'plot.png')]
    assert main(['deblend', image, '-o', names[0], '--models', names[1],
                 '--segmentation-out', names[2], '--plot', names[3]]) == 0
    assert fits.getdata(names[2]).sum() == 1
    assert listing(tmp_path) == sorted(
        ['image.fits', 'c.ecsv', 'models.fits', 'segm.fits', 'plot.png'])


@pytest.mark.parametrize(('argv', 'code', 'text'), [
    (['-o', 'c.txt'], 2, 'must end in .ecsv'),
    (['-o', 'c.ecsv', '--models', 'm.ecsv'], 2, '--models'),
    (['-o', 'c.fits', '--models', 'c.fits'], 2, 'two outputs'),
    (['-o', 'absent/c.ecsv'], 1, 'no folder'),
    (['-o', 'c.ecsv', '--bands', 'a,b'], 2, '--bands names 2'),
    (['-o', 'c.ecsv', '--extension', '4'], 1, 'no extension 4'),
    (['-o', 'c.ecsv', '--psf', 'p.fits'], 1, 'no file p.fits')])
def test_errors_are_one_line_and_leave_nothing(
        calls, image, tmp_path, monkeypatch, capsys, argv, code, text):
    monkeypatch.chdir(tmp_path)
    assert main(['deblend', image, *argv]) == code
    err = capsys.readouterr().err
    assert err.startswith('vaephot: error: ')
    assert text in err
    assert err.count('\n') == 1
    assert calls == []
    assert listing(tmp_path) == ['image.fits']


def test_no_catalogue_name_is_wrong_usage(image, capsys):
    assert main(['deblend', image]) == 2
    assert 'usage: vaephot deblend' in capsys.readouterr().err


def test_existing_files_are_kept_unless_told(calls, image, tmp_path, capsys):
    out = tmp_path / 'c.ecsv'
    out.write_text('old')
    assert main(['deblend', image, '-o', str(out)]) == 1
    assert '--overwrite' in capsys.readouterr().err
    assert out.read_text() == 'old'
    assert calls == []
    assert main(['deblend', image, '-o', str(out), '--overwrite']) == 0
    assert out.read_text() != 'old'


def test_a_failing_writer_leaves_no_file_at_all(calls, image, tmp_path,
                                                monkeypatch):
    def fail(*args, **kwargs):
        raise OSError('disk full')

    monkeypatch.setattr(FakeResult, 'write', fail)
    assert main(['deblend', image, '-o', str(tmp_path / 'c.ecsv'),
                 '--models', str(tmp_path / 'm.fits')]) == 1
    assert listing(tmp_path) == ['image.fits']


def test_options_reach_the_call(calls, image, tmp_path):
    assert main(['deblend', image, '-o', str(tmp_path / 'c.ecsv'),
                 '--psf', '2.5', '--error', '1.0', '--zeropoint', '23.9',
                 '--noise-correlation', '1.2']) == 0
    call = calls[0].call
    assert (call['psf'], call['error'].tolist()) == (2.5, [1])
    assert call['zeropoint'].tolist() == [23.9]
    assert call['noise_correlation'] == 1.2


@pytest.mark.parametrize(('options', 'refine'), [
    ([], True), (['--refine', 'full'], True), (['--refine', 'quick'], False),
    (['--refine', 'network'], 'network'), (['--no-refine'], False)])
def test_refine_names_the_tier_of_the_deblender(monkeypatch, image, tmp_path,
                                                options, refine):
    def make(*args, **settings):
        assert settings['refine'] == refine
        return lambda **call: FakeResult(call)

    monkeypatch.setattr('vaephot.deblend.deblender.VAEDeblender', make)
    assert main(['deblend', image, '-o', str(tmp_path / 'c.ecsv'),
                 *options]) == 0


@pytest.mark.filterwarnings('ignore::vaephot.exceptions.VaephotWarning')
@pytest.mark.parametrize('suffix', ['ecsv', 'fits'])
def test_two_galaxies_are_measured_from_files(make_untrained, tmp_path,
                                              suffix):
    weights = make_untrained(tmp_path / 'w.safetensors')
    y, x = np.mgrid[:60, :80]
    data = np.random.default_rng(3).normal(0, 1, (60, 80))
    for x0 in (35, 44):
        data += 60 * np.exp(-((x - x0) ** 2 + (y - 30) ** 2) / 8)
    image = tmp_path / 'image.fits'
    fits.writeto(image, data, fits.Header({
        'BUNIT': 'uJy', 'CTYPE1': 'RA---TAN', 'CTYPE2': 'DEC--TAN',
        'CDELT1': -3e-5, 'CDELT2': 3e-5, 'CRVAL1': 10.0, 'CRVAL2': 5.0}))
    names = [str(tmp_path / name) for name in
             (f'c.{suffix}', 'm.fits', 's.fits', 'p.png')]
    assert main(['deblend', str(image), '--error', '1', '--psf', '4',
                 '--bands', 'r', '-o', names[0], '--models', names[1],
                 '--segmentation-out', names[2], '--plot', names[3],
                 '--weights', str(weights), '--quiet', '--no-refine',
                 '--device', 'cpu']) == 0
    table = QTable.read(names[0])
    assert {'label', 'flux_r', 'mag_r', 'flags'} <= set(table.colnames)
    assert str(table['flux_r'].unit) == 'uJy'
    assert fits.getdata(names[2]).max() == table['label'].max()
    assert fits.getheader(names[2])['CTYPE1'] == 'RA---TAN'
