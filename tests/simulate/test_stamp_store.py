# Licensed under a 3-clause BSD style license - see LICENSE.rst
import json

import numpy as np
import pytest

from vaephot.exceptions import CatalogError, StoreError
from vaephot.simulate import ColumnMapping, sample_catalog, stamp_store
from vaephot.simulate.stamp_store import (
    StoreConfig,
    draw_shard,
    read_manifest,
    read_shard,
    shard_name,
    split_of,
    write_store,
)

pytestmark = pytest.mark.galsim

# a seed whose first two shards have PSFs of the ground, quick to draw
SETTINGS = {'galaxies_per_shard': 6, 'stamp_size': 48, 'seed': 9}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp('store')
    write_store(path, n_shards=2, **SETTINGS)
    return path


def contents(path):
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_a_shard_has_the_stated_arrays(folder):
    shard = read_shard(folder, 0)
    assert shard['image'].shape == (6, 48, 48)
    assert shard['image'].dtype == np.float32
    assert shard['psf'].shape == (145, 145)
    assert shard['psf'].sum() == pytest.approx(1, abs=1e-5)
    assert shard['oversampling'] == 3
    assert shard['psf_fwhm'] > 1
    for name in ('x', 'y', 'half_light_radius', 'eta1', 'eta2', 'mag',
                 'snr_scale', 'parent', 'split'):
        assert shard[name].shape == (6,), name
        assert np.isfinite(shard[name]).all()


def test_stamps_hold_nearly_all_of_a_unit_flux(folder):
    flux = read_shard(folder, 1)['image'].sum(axis=(1, 2))
    assert (flux > 0.97).all()
    assert (flux < 1.003).all()


def test_galaxies_stand_where_the_shard_says(folder):
    shard = read_shard(folder, 0)
    assert (abs(shard['x']) <= 0.5).all()
    y, x = np.indices((48, 48)) - 23.5
    window = np.exp(-0.5 * (x ** 2 + y ** 2) / 8 ** 2)
    light = shard['image'] * window
    flux = light.sum(axis=(1, 2))
    for name, grid in (('x', x), ('y', y)):
        centroid = (light * grid).sum(axis=(1, 2)) / flux
        assert np.corrcoef(centroid, shard[name])[0, 1] > 0.9


def test_the_signal_follows_from_magnitude_and_depth(folder):
    shard = read_shard(folder, 0)
    depth = shard['mag'] + 2.5 * np.log10(shard['snr_scale'] / 10)
    assert np.ptp(depth) < 1e-4


def test_shards_differ_and_follow_from_the_seed(folder):
    config = StoreConfig(**SETTINGS)
    again = draw_shard(config, 1)
    for name, values in read_shard(folder, 1).items():
        np.testing.assert_array_equal(values, again[name])
    other = draw_shard(StoreConfig(**{**SETTINGS, 'seed': 5}), 1)
    assert (other['image'] != again['image']).any()
    assert read_shard(folder, 0)['psf_fwhm'] != again['psf_fwhm']


def test_the_number_of_workers_does_not_matter(folder, tmp_path):
    write_store(tmp_path / 'two', n_shards=2, n_workers=2, **SETTINGS)
    assert contents(tmp_path / 'two') == contents(folder)


def test_finished_shards_are_kept(folder, monkeypatch):
    before = contents(folder)
    monkeypatch.setattr(stamp_store, 'draw_shard', None)  # must not be called
    write_store(folder, n_shards=2, **SETTINGS)
    assert contents(folder) == before


def test_a_damaged_shard_is_refused_and_drawn_again(tmp_path):
    write_store(tmp_path, n_shards=1, **SETTINGS)
    before = contents(tmp_path)
    file = tmp_path / shard_name(0)
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(StoreError, match='SHA-256'):
        read_shard(tmp_path, 0)
    write_store(tmp_path, n_shards=1, **SETTINGS)
    assert contents(tmp_path) == before


def test_an_interrupted_store_is_finished(tmp_path, folder):
    write_store(tmp_path, n_shards=1, **SETTINGS)
    with pytest.raises(StoreError, match='lists 1'):
        read_shard(tmp_path, 1)
    write_store(tmp_path, n_shards=2, **SETTINGS)
    assert contents(tmp_path) == contents(folder)


def test_other_settings_are_refused(folder):
    with pytest.raises(StoreError, match='another folder'):
        write_store(folder, n_shards=2, **{**SETTINGS, 'seed': 1})


def test_the_manifest_names_versions_and_hashes(folder):
    manifest = read_manifest(folder)
    assert manifest['config'] == SETTINGS
    assert set(manifest['versions']) == {'vaephot', 'galsim', 'numpy'}
    assert list(manifest['shards']) == ['shard-00000.npz',
                                        'shard-00001.npz']


def test_a_folder_without_manifest_is_no_store(tmp_path):
    with pytest.raises(StoreError, match='no store'):
        read_manifest(tmp_path)


def test_another_format_is_refused(tmp_path):
    (tmp_path / 'manifest.json').write_text(json.dumps({'format': 99}))
    with pytest.raises(StoreError, match='99'):
        read_manifest(tmp_path)


@pytest.mark.parametrize('change', [
    {'galaxies_per_shard': 0}, {'seed': -1}, {'stamp_size': 8},
    {'seed': 1.5}])
def test_bad_settings_are_refused(change):
    with pytest.raises(StoreError, match='must be an integer'):
        StoreConfig(**{**SETTINGS, **change})


def test_splits_have_their_shares_and_follow_from_the_parent():
    splits = np.array([split_of(k) for k in range(5000)])
    assert np.bincount(splits) / 5000 == pytest.approx(
        [0.8, 0.1, 0.1], abs=0.02)
    assert split_of(17) == splits[17]


def test_real_parents_of_odd_rows_are_for_tests():
    assert {split_of(-1 - row) for row in range(1, 400, 2)} == {2}
    even = [split_of(-1 - row) for row in range(0, 4000, 2)]
    assert set(even) == {0, 1}
    assert np.mean(even) == pytest.approx(1 / 9, abs=0.03)


def test_a_store_of_a_survey_has_all_bands(tmp_path):
    config = {'galaxies_per_shard': 5, 'stamp_size': 48, 'seed': 1}
    write_store(tmp_path, n_shards=1, survey='hsc-wide', **config)
    shard = read_shard(tmp_path, 0)
    assert shard['bands'].tolist() == ['i', 'g', 'r', 'z', 'y']
    assert shard['images'].shape == (5, 5, 48, 48)
    assert (shard['images'][:, 0] == shard['image']).all()
    assert shard['psfs'].shape[0] == 5
    assert (shard['psfs'][0] == shard['psf']).all()
    assert shard['images'].sum(axis=(2, 3)) == pytest.approx(1, abs=0.06)
    assert (shard['flux'] > 0).all()
    assert read_manifest(tmp_path)['config']['survey'] == 'hsc-wide'


def test_what_a_killed_run_left_is_removed(tmp_path, folder):
    write_store(tmp_path, n_shards=1, **SETTINGS)
    (tmp_path / 'shard-00001.npz.77.part').write_bytes(b'half')
    # a shard that is not in the manifest yet is drawn again
    (tmp_path / shard_name(1)).write_bytes(b'whole but unknown')
    write_store(tmp_path, n_shards=2, **SETTINGS)
    assert contents(tmp_path) == contents(folder)


def test_a_full_disk_is_told_and_leaves_a_valid_store(tmp_path, folder,
                                                      monkeypatch):
    import errno
    from pathlib import Path

    real = Path.write_bytes

    def full(self, content):
        if self.name.startswith('shard-00001'):
            raise OSError(errno.ENOSPC, 'No space left on device')
        return real(self, content)

    monkeypatch.setattr(Path, 'write_bytes', full)
    with pytest.raises(StoreError, match='no room'):
        write_store(tmp_path, n_shards=2, **SETTINGS)
    monkeypatch.undo()
    assert list(read_manifest(tmp_path)['shards']) == ['shard-00000.npz']
    assert not list(tmp_path.glob('*.part'))
    write_store(tmp_path, n_shards=2, **SETTINGS)
    assert contents(tmp_path) == contents(folder)


def test_a_second_run_in_the_folder_is_refused(tmp_path):
    with stamp_store._locked(tmp_path):
        with pytest.raises(StoreError, match='another run'):
            write_store(tmp_path, n_shards=1, **SETTINGS)


def test_other_versions_are_refused(tmp_path, folder, monkeypatch):
    monkeypatch.setattr(stamp_store, '_versions', lambda: {'numpy': '0'})
    with pytest.raises(StoreError, match='begun with the versions'):
        write_store(folder, n_shards=2, **SETTINGS)


def test_a_file_is_no_folder_and_unknown_surveys_are_named(tmp_path):
    path = tmp_path / 'file'
    path.write_text('x')
    with pytest.raises(StoreError, match='is a file'):
        write_store(path, n_shards=1, **SETTINGS)
    with pytest.raises(CatalogError, match='no survey'):
        StoreConfig(**SETTINGS, survey='sdss')


def test_parents_are_never_shared_between_shards(folder):
    parents = np.concatenate([read_shard(folder, k)['parent']
                              for k in (0, 1)])
    assert len(np.unique(parents)) == len(parents)


@pytest.fixture
def sample(tmp_path):
    path = tmp_path / 'catalog.csv'
    rows = [f'{k},{0.2 * (k % 3)},0.1,0.25,{19 + 0.1 * k},{18 + 0.1 * k}'
            for k in range(70)]
    path.write_text('n,bt,rb,rd,vis,h\n' + '\n'.join(rows))
    optional = ('halo', 'redshift', 'bulge_axis_ratio', 'disk_axis_ratio',
                'bulge_index', 'angle', 'gamma1', 'gamma2', 'kappa')
    mapping = ColumnMapping(
        id='n', bulge_fraction='bt', bulge_radius='rb', disk_radius='rd',
        flux_kind='mag', fluxes={'VIS': 'vis', 'H': 'h'},
        **dict.fromkeys(optional))
    return sample_catalog(path, 70, ['VIS', 'H'], seed=1, mapping=mapping)


def test_galaxies_of_a_catalogue_keep_their_numbers_and_split(sample,
                                                              tmp_path):
    one, two = tmp_path / 'one', tmp_path / 'two'
    for path, n_workers in ((one, 1), (two, 2)):
        write_store(path, n_shards=2, population=sample,
                    n_workers=n_workers, **SETTINGS)
    assert contents(one) == contents(two)
    assert (read_manifest(one)['config']['population']
            == sample.fingerprint)
    shards = [read_shard(one, k) for k in (0, 1)]
    parents = np.concatenate([shard['parent'] for shard in shards])
    splits = np.concatenate([shard['split'] for shard in shards])
    assert set(parents) <= set(sample.rows['parent'])
    assert splits.tolist() == [split_of(p) for p in parents]
    for other in (None, sample.without_structure()):
        with pytest.raises(StoreError, match='another folder'):
            write_store(one, n_shards=2, population=other, **SETTINGS)


def test_a_survey_of_a_file_must_not_change(tmp_path):
    path = tmp_path / 'mine.toml'
    text = ('name = "mine"\npixel_scale = 0.2\n[[bands]]\nname = "r"\n'
            'psf_fwhm = 0.7\nsky_rms = 0.01\ngain = 100.0\n')
    path.write_text(text)
    settings = {**SETTINGS, 'survey': str(path), 'stamp_size': 48}
    write_store(tmp_path / 'store', n_shards=1, **settings)
    path.write_text(text.replace('0.7', '0.9'))
    with pytest.raises(StoreError, match='another folder'):
        write_store(tmp_path / 'store', n_shards=2, **settings)
