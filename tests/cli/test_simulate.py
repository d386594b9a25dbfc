# Licensed under a 3-clause BSD style license - see LICENSE.rst
import argparse

import numpy as np
import pytest
from astropy.io import fits

from vaephot.cli import deblend, simulate
from vaephot.cli._inputs import read_inputs
from vaephot.cli._options import UsageError
from vaephot.exceptions import CatalogError, OutputExistsError
from vaephot.simulate import CASES, read_blends, read_manifest, read_shard


def parse(*argv):
    parser = argparse.ArgumentParser()
    simulate.add_parser(parser.add_subparsers())
    return parser.parse_args(['simulate', *map(str, argv)])


def run(*argv):
    return simulate.run(parse(*argv))


def test_the_cases_are_those_of_the_package():
    for case in CASES:
        assert parse('blends', case, '-o', 'x.npz').case == case
    assert CASES.keys() == {'isolated', 'faint', 'crowded', 'bright',
                            'extreme', 'cluster', 'star'}


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
def test_a_native_field_with_all_options_is_written(tmp_path):
    path, picture = tmp_path / 'n.fits', tmp_path / 'n.png'
    assert run('field', '-o', path, '--shape', 60, 60, '--native',
               '--wings', 41, '--bad-pixels', 0.01, '--background', 0.1,
               '--star-density', 30, '--preview', picture) == 0
    with fits.open(path) as hdus:
        assert hdus['VIS'].data.shape == (60, 60)
        assert hdus['H'].data.shape == (20, 20)
    assert picture.exists()


@pytest.mark.galsim
def test_models_of_a_field_are_written(tmp_path):
    path = tmp_path / 'm.fits'
    run('field', '-o', path, '--shape', 40, 40, '--survey', 'hsc-wide',
        '--models', '--correlated', '--wings', 31)
    with fits.open(path) as hdus:
        assert len(hdus['MODELS'].data) == len(hdus['TRUTH'].data)
    with pytest.raises(UsageError, match='one grid'):
        run('field', '-o', tmp_path / 'x.fits', '--models', '--native')


@pytest.mark.galsim
def test_blends_of_a_catalogue_are_written_as_fits(tmp_path):
    rows = ['galaxy_id,halo_id,true_redshift_gal,bulge_fraction,bulge_r50,'
            'disk_r50,bulge_axis_ratio,disk_axis_ratio,bulge_nsersic,'
            'disk_angle,gamma1,gamma2,kappa,euclid_vis,lsst_i,lsst_g,'
            'lsst_r,lsst_z,lsst_y']
    rows += [f'{k},1,0.5,0.2,0.1,0.3,0.8,0.6,4,{k},0.01,0,0'
             + f',{1e-29 * (k + 1)}' * 6 for k in range(20)]
    catalog = tmp_path / 'flagship.csv'
    catalog.write_text('\n'.join(rows))
    path = tmp_path / 'b.fits'
    options = ['blends', 'isolated', '-o', path, '-n', 2, '--survey',
               'hsc-wide']
    assert run(*options, '--catalog', catalog) == 0
    assert np.isfinite(read_blends(path).image).all()
    with pytest.raises(CatalogError, match='lacks the columns'):
        run(*options, '--catalog', catalog, '--suffix', '_none',
            '--overwrite')


@pytest.mark.galsim
def test_columns_of_a_catalogue_can_be_named(tmp_path):
    catalog = tmp_path / 'mine.csv'
    catalog.write_text('n,bt,rb,rd,vis,y,j,h\n' + '\n'.join(
        f'{k},0.3,0.1,0.3' + f',{20 + 0.1 * k}' * 4 for k in range(50)))
    columns = [f'--column={text}' for text in (
        'id=n', 'bulge_fraction=bt', 'bulge_radius=rb', 'disk_radius=rd',
        'halo=', 'redshift=', 'bulge_axis_ratio=', 'disk_axis_ratio=',
        'bulge_index=', 'angle=', 'gamma1=', 'gamma2=', 'kappa=',
        'flux_VIS=vis', 'flux_Y=y', 'flux_J=j', 'flux_H=h')]
    options = ['--catalog', catalog, '--flux-kind', 'mag', *columns]
    folder = tmp_path / 'store'
    assert run('stamps', '-o', folder, '--shards', 1, '--galaxies', 3,
               *options) == 0
    assert (read_shard(folder, 0)['parent'] < 50).all()
    with pytest.raises(SystemExit):
        run('stamps', '-o', folder, '--column', 'redshift')


@pytest.mark.galsim
def test_ranges_of_blends_can_be_chosen(tmp_path):
    path = tmp_path / 'b.npz'
    assert run('blends', 'isolated', '-o', path, '-n', 2, '--survey',
               'hsc-wide', '--mag', 22, 23, '--n-neighbors', 2, 2,
               '--neighbor-distance', 0.5, 1.0, '--blendedness', 0.1,
               0.9) == 0
    blends = read_blends(path)
    assert (blends.n_sources == 3).all()
    assert blends.case == 'custom'
    shared = blends.blendedness[:, 0, 0]
    assert ((shared > 0.1) & (shared < 0.9)).all()


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
