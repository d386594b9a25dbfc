# Licensed under a 3-clause BSD style license - see LICENSE.rst
import json
import shutil

import numpy as np
import pytest

from vaephot.exceptions import StoreError
from vaephot.train.store import SPLITS, read_store, store_hash


@pytest.fixture
def copied(tiny_store, tmp_path):
    """Return a copy of the store that may be spoilt."""
    return shutil.copytree(tiny_store, tmp_path / 'copy')


def _arrays(store, number):
    with np.load(store / f'shard-{number:05d}.npz') as file:
        return dict(file)


def test_every_galaxy_is_in_one_split(tiny_store):
    counts = [sum(len(shard.image) for shard in read_store(tiny_store, split))
              for split in SPLITS]
    assert counts == [20, 20, 20]


@pytest.mark.parametrize('split', list(SPLITS))
def test_galaxies_are_sorted_by_brightness_with_their_truth(tiny_store,
                                                            split):
    for number, shard in enumerate(read_store(tiny_store, split)):
        arrays = _arrays(tiny_store, number)
        rows = np.flatnonzero(arrays['split'] == SPLITS[split])
        rows = rows[np.argsort(arrays['mag'][rows])]
        assert (np.diff(shard.snr) <= 0).all()
        np.testing.assert_allclose(shard.snr, arrays['snr_scale'][rows],
                                   rtol=1e-6)
        np.testing.assert_array_equal(shard.image, arrays['image'][rows])
        names = ('x', 'y', 'half_light_radius', 'eta1', 'eta2')
        truth = np.stack([arrays[name][rows] for name in names], 1)
        truth[:, 2] = np.log(truth[:, 2])
        np.testing.assert_allclose(shard.truth, truth, rtol=1e-5, atol=1e-7)
        assert shard.oversampling == 3
        assert shard.psf_fwhm == arrays['psf_fwhm']


def test_error_of_a_point_source_is_that_of_its_pixels(tiny_store):
    # a Gaussian of width s has an effective area of 4 pi s^2
    for shard in read_store(tiny_store, 'train'):
        sigma = shard.psf_fwhm / 2.3548
        assert shard.point_error == pytest.approx(
            np.sqrt(4 * np.pi) * sigma, rel=0.02)


def test_unknown_split_is_refused(tiny_store):
    with pytest.raises(ValueError, match="'valid'"):
        read_store(tiny_store, 'valid')


def test_folder_without_manifest_is_no_store(tmp_path):
    with pytest.raises(StoreError, match='manifest') as caught:
        read_store(tmp_path, 'train')
    assert caught.value.path == tmp_path


def test_store_without_shards_is_refused(copied):
    for path in copied.glob('*.npz'):
        path.unlink()
    with pytest.raises(StoreError, match='no shards'):
        read_store(copied, 'train')


def test_missing_array_is_named(copied):
    arrays = _arrays(copied, 1)
    del arrays['eta2']
    np.savez(copied / 'shard-00001.npz', **arrays)
    with pytest.raises(StoreError, match='eta2') as caught:
        read_store(copied, 'train')
    assert caught.value.missing == ['eta2']


def test_hash_follows_the_manifest_not_its_layout(copied, tiny_store):
    assert store_hash(copied) == store_hash(tiny_store)
    path = copied / 'manifest.json'
    manifest = json.loads(path.read_text(encoding='utf-8'))
    path.write_text(json.dumps(dict(reversed(manifest.items())), indent=3),
                    encoding='utf-8')
    assert store_hash(copied) == store_hash(tiny_store)
    path.write_text(json.dumps({**manifest, 'seed': 2}), encoding='utf-8')
    assert store_hash(copied) != store_hash(tiny_store)
