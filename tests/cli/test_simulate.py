# Licensed under a 3-clause BSD style license - see LICENSE.rst
import argparse

import numpy as np
import pytest
from astropy.io import fits

from vaephot.cli import deblend, simulate
from vaephot.cli._inputs import read_inputs
from vaephot.cli._options import UsageError
from vaephot.exceptions import OutputExistsError
from vaephot.simulate import CASES, read_blends, read_manifest


def parse(*argv):
    parser = argparse.ArgumentParser()
    simulate.add_parser(parser.add_subparsers())
    return parser.parse_args(['simulate', *map(str, argv)])


def run(*argv):
    return simulate.run(parse(*argv))


def test_the_cases_are_those_of_the_package():
    for case in CASES:
        assert parse('blends', case, '-o', 'x.npz').case == case


@pytest.mark.parametrize('argv', [
    ['stamps'], ['blends', 'crowd', '-o', 'x'],
    ['field', '-o', 'x', '--seed', '-1'],
    ['blends', 'faint', '-o', 'x', '-n', '0']])
def test_wrong_usage_exits_with_2(argv, capsys):
    with pytest.raises(SystemExit) as info:
        parse(*argv)
    assert info.value.code == 2


@pytest.mark.galsim
def test_blends_are_written_with_a_preview(tmp_path, capsys):
    path, picture = tmp_path / 'b.npz', tmp_path / 'b.png'
    options = ['blends', 'faint', '-o', path, '-n', 2, '--seed', 4]
    assert run(*options, '--preview', picture) == 0
    assert '2 blends' in capsys.readouterr().out
    assert read_blends(path).seed == 4
    assert picture.read_bytes()[1:4] == b'PNG'
    with pytest.raises(OutputExistsError):
        run(*options)
    assert run(*options, '--overwrite') == 0


@pytest.mark.galsim
def test_a_field_is_written(tmp_path):
    path, picture = tmp_path / 'f.fits', tmp_path / 'f.png'
    assert run('field', '-o', path, '--shape', 40, 50, '--survey',
               'hsc-wide', '--preview', picture) == 0
    with fits.open(path) as hdus:
        assert hdus['i'].data.shape == (40, 50)
    assert picture.exists()


@pytest.mark.galsim
def test_a_field_is_read_by_deblend_as_it_is(tmp_path):
    path = str(tmp_path / 'f.fits')
    run('field', '-o', path, '--shape', 40, 50)
    parser = argparse.ArgumentParser()
    deblend.add_parser(parser.add_subparsers())
    call = read_inputs(parser.parse_args([
        'deblend', path, '--bands', 'VIS,Y,J,H', '--error', path,
        '--mask', path, '--psf', path, '-o', 'c.ecsv']))
    with fits.open(path) as hdus:
        for k, band in enumerate(('VIS', 'Y', 'J', 'H')):
            assert (call['error'].value[k]
                    == hdus[f'ERROR_{band}'].data).all()
    assert call.get('gain') is None


@pytest.mark.galsim
def test_a_store_is_written_and_finished(tmp_path):
    folder = tmp_path / 'store'
    options = ['stamps', '-o', folder, '--galaxies', 3,
               '--stamp-size', 48, '--seed', 9]
    assert run(*options, '--shards', 1) == 0
    first = (folder / 'shard-00000.npz').read_bytes()
    assert run(*options, '--shards', 2, '--preview',
               tmp_path / 's.png') == 0
    assert len(read_manifest(folder)['shards']) == 2
    assert (folder / 'shard-00000.npz').read_bytes() == first
    other = ['--seed', 5, '--overwrite', '--shards', 1]
    assert run(*options, *other) == 0
    assert len(list(folder.glob('shard-*'))) == 1
    with np.load(folder / 'shard-00000.npz') as arrays:
        assert len(arrays['image']) == 3


def test_overwriting_never_empties_another_folder(tmp_path):
    (tmp_path / 'thesis.tex').write_text('years of work')
    with pytest.raises(UsageError, match='no store'):
        run('stamps', '-o', tmp_path, '--overwrite')
    assert (tmp_path / 'thesis.tex').exists()
