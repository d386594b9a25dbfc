# Licensed under a 3-clause BSD style license - see LICENSE.rst
import json
import shutil

import numpy as np
import pytest
import torch

from vaephot.exceptions import StoreError
from vaephot.models.normalization import bin_psf, psf_numbers
from vaephot.train.store import (
    COARSE_RADIUS,
    SPLITS,
    read_store,
    store_hash,
)


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
        np.testing.assert_allclose(
            shard.psf_shape, psf_numbers(arrays['psf'].astype(float), 3,
                                         float(arrays['psf_fwhm'])))


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


def _rewrite(store, **changes):
    """Change arrays of the first shard; the others go."""
    arrays = {**_arrays(store, 0), **changes}
    np.savez(store / 'shard-00000.npz', **arrays)
    (store / 'shard-00001.npz').unlink()
    return arrays


def _check_binned(shard, arrays, rows, factor):
    """Check a shard against the pixels of the store."""
    assert shard.image.shape[1:] == (64 // factor, 64 // factor)
    np.testing.assert_allclose(shard.image.sum((1, 2)),
                               arrays['image'][rows].sum((1, 2)), rtol=1e-5)
    corner = arrays['image'][rows][:, :factor, :factor].sum((1, 2))
    np.testing.assert_allclose(shard.image[:, 0, 0], corner, rtol=1e-5,
                               atol=1e-12)
    np.testing.assert_allclose(shard.truth[:, 2], np.log(
        arrays['half_light_radius'][rows] / factor), rtol=1e-5)
    grid = np.arange(shard.image.shape[-1]) - (shard.image.shape[-1] - 1) / 2
    for axis, k in ((1, 0), (2, 1)):
        centroid = (shard.image.numpy().sum(axis) * grid).sum(1)
        # pixels as coarse as the galaxies are wide: not quite
        np.testing.assert_allclose(centroid, shard.truth[:, k], atol=1e-3)
    assert shard.psf_fwhm == arrays['psf_fwhm'] / factor
    psf, samples = bin_psf(arrays['psf'].astype(float), 3, factor)
    np.testing.assert_array_equal(shard.psf, psf)
    assert shard.oversampling == samples == 3 * factor
    # a point source is as bright, and sums of pixels are noisier
    np.testing.assert_allclose(shard.snr, arrays['snr_scale'][rows],
                               rtol=1e-6)


def _rows(arrays, split='train'):
    rows = np.flatnonzero(arrays['split'] == SPLITS[split])
    return rows[np.argsort(arrays['mag'][rows])]


def test_wide_psfs_are_binned_as_the_deblender_bins_them(copied):
    # a PSF that looks three times as wide to a reader of the number
    arrays = _rewrite(copied, psf_fwhm=6.0)
    shard, = read_store(copied, 'train')
    _check_binned(shard, arrays, _rows(arrays), 2)


def test_large_galaxies_are_read_binned_too(copied):
    radius = np.full(30, 1.0)
    radius[::2] = COARSE_RADIUS + 0.5
    arrays = _rewrite(copied, half_light_radius=radius)
    fine, coarse = read_store(copied, 'train')
    rows = _rows(arrays)
    np.testing.assert_array_equal(fine.image, arrays['image'][rows])
    large = rows[radius[rows] > COARSE_RADIUS]
    assert 2 < len(large) < len(rows)
    _check_binned(coarse, arrays, large, 2)


def test_odd_stamps_lose_a_row_and_keep_their_centres(copied):
    arrays = _arrays(copied, 0)
    # one row and column more at the end: the middle moves by half a pixel
    image = np.pad(arrays['image'], ((0, 0), (0, 1), (0, 1)))
    arrays = _rewrite(copied, image=image, psf_fwhm=6.0,
                      x=arrays['x'] - 0.5, y=arrays['y'] - 0.5)
    shard, = read_store(copied, 'train')
    _check_binned(shard, arrays, _rows(arrays), 2)


def test_shapes_are_in_half_light_radii(copied):
    names = ('bulge_fraction', 'disk_axis_ratio', 'bulge_axis_ratio',
             'sersic_index')
    rng = np.random.default_rng(7)
    drawn = {name: rng.uniform(0.2, 1, 30) for name in
             (*names, 'disk_radius', 'bulge_radius', 'eta1', 'eta2',
              'half_light_radius')}
    arrays = _rewrite(copied, **drawn)
    shard, = read_store(copied, 'train')
    rows = _rows(arrays)
    for name in names:
        np.testing.assert_allclose(getattr(shard.shapes, name),
                                   arrays[name][rows], rtol=1e-6)
    for name in ('disk_radius', 'bulge_radius'):
        np.testing.assert_allclose(
            getattr(shard.shapes, name),
            (arrays[name] / arrays['half_light_radius'])[rows], rtol=1e-6)
    np.testing.assert_allclose(
        shard.shapes.eta ** 2, (arrays['eta1'] ** 2
                                + arrays['eta2'] ** 2)[rows], rtol=1e-5)
    assert all(column.dtype == torch.float32 for column in shard.shapes)
