# Licensed under a 3-clause BSD style license - see LICENSE.rst
import shutil
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.utils.exceptions import AstropyUserWarning
from photutils.segmentation import SegmentationImage
from scipy.spatial import KDTree

from vaephot import VAEDeblender
from vaephot.exceptions import OutputExistsError
from vaephot.scale import deblend_mosaic, read_catalog
from vaephot.scale import run_survey as module
from vaephot.utils.fits_images import InputFileError

pytest.importorskip('distributed')
pytest.importorskip('pyarrow')


def files_of(result):
    """Content of all final outputs by their names."""
    folder = result.catalog.parent
    return {path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(chain(folder.glob('catalog/*'),
                                     folder.glob('*.fits')))}


def values(column):
    """Plain numbers of a column with or without a unit."""
    return np.asarray(getattr(column, 'value', column), float)


def matched(one, other):
    """Rows of the same sources of two catalogues."""
    places = [np.column_stack([table['x_centroid'], table['y_centroid']])
              for table in (one, other)]
    distance, rows = KDTree(places[1]).query(places[0])
    assert (distance < 0.5).all()
    assert len(np.unique(rows)) == len(other) == len(one)
    return other[rows]


def test_tiles_change_neither_list_nor_fluxes(whole, tiled):
    one, many = read_catalog(whole.catalog), read_catalog(tiled.catalog)
    same = matched(many, one)
    pulls = values((many['flux'] - same['flux']) / same['flux_err'])
    assert np.abs(pulls).max() < 0.1
    ratio = values(many['flux_err'] / same['flux_err'])
    assert ratio == pytest.approx(1, abs=0.02)
    assert (many['flags'] == same['flags']).all()
    assert (many['parent_label'] == same['parent_label']).all()
    assert tiled.failed == {}
    assert tiled.n_sources == len(many)


def test_the_catalogue_is_that_of_the_deblender(whole, sky, call):
    deblend = VAEDeblender(refine=False, weights=call['weights'],
                           device='cpu')
    direct = deblend(sky[0], error=1.0, psf=call['psf'],
                     noise_correlation=1.0).table
    found = read_catalog(whole.catalog)
    same = matched(found, direct)
    assert values(found['flux']) == pytest.approx(values(same['flux']),
                                                  rel=1e-3)
    assert values(found['x_centroid']) == pytest.approx(
        values(same['x_centroid']), abs=0.01)


def test_labels_are_unique_and_those_of_the_map(tiled):
    table = read_catalog(tiled.catalog)
    assert len(np.unique(table['label'])) == len(table)
    labels = fits.getdata(tiled.label_map, 1)
    values, counts = np.unique(labels[labels > 0], return_counts=True)
    assert set(values) <= set(table['label'].tolist())
    rows = np.searchsorted(table['label'], values)
    assert (np.abs(table['area'][rows] - counts)
            <= 0.1 * counts + 2).all()
    assert (table['tile'] == table['label'] // 1_000_000 - 1).all()


def test_no_border_is_seen_in_the_images(whole, tiled):
    labels = [fits.getdata(result.label_map, 1) for result in (whole, tiled)]
    assert ((labels[0] > 0) == (labels[1] > 0)).all()
    pairs = np.unique(np.stack([part[part > 0] for part in labels]), axis=1)
    n_labels = len(np.unique(labels[0])) - 1
    assert pairs.shape[1] == n_labels == len(np.unique(labels[1])) - 1
    for name in ('model', 'residual'):
        one, many = (fits.getdata(result.images[name], 1)
                     for result in (whole, tiled))
        assert np.abs(one - many).max() < 0.1


def test_data_are_model_and_residual(tiled, sky):
    model, residual = (fits.getdata(tiled.images[name], 1)
                       for name in ('model', 'residual'))
    assert model + residual == pytest.approx(sky[0], abs=0.011)


def test_the_files_have_coordinates_and_units(tiled, image_file):
    header = fits.getheader(tiled.label_map, 1)
    assert header['CRPIX1'] == fits.getheader(image_file)['CRPIX1']
    assert fits.getheader(tiled.images['model'], 1)['BUNIT'] == 'uJy'
    table = read_catalog(tiled.catalog)
    assert table['flux'].unit == 'uJy'
    assert table['ra'].unit == 'deg'


def interrupted(monkeypatch, name, after):
    """Let a function of the run raise after some calls."""
    function, calls = getattr(module, name), []

    def stop(*args):
        if len(calls) == after:
            raise KeyboardInterrupt
        calls.append(args)
        return function(*args)
    monkeypatch.setattr(module, name, stop)


@pytest.mark.parametrize('stage', ['labels', 'tile', 'final'])
def test_a_run_that_was_stopped_ends_with_the_same_bytes(
        image_file, client, call, tiled, tmp_path, monkeypatch, stage):
    run_jobs = module.run_jobs

    def stopping(client, function, plan, name, numbers, keep, **options):
        if name == stage:
            run_jobs(client, function, plan, name, numbers[:1], keep)
            raise KeyboardInterrupt
        return run_jobs(client, function, plan, name, numbers, keep,
                        **options)
    again = {'tile': 80, 'client': client,
             'write_images': ('model', 'residual'), **call}
    with monkeypatch.context() as patch:
        patch.setattr(module, 'run_jobs', stopping)
        with pytest.raises(KeyboardInterrupt):
            deblend_mosaic(image_file, tmp_path / 'run', **again)
    result = deblend_mosaic(image_file, tmp_path / 'run', **again)
    assert files_of(result) == files_of(tiled)


def test_another_configuration_is_refused(image_file, client, call, tiled):
    folder = tiled.catalog.parent
    before = files_of(tiled)
    with pytest.raises(OutputExistsError, match=r'different: tile'):
        deblend_mosaic(image_file, folder, tile=70, client=client,
                       write_images=('model', 'residual'), **call)
    assert files_of(tiled) == before


def test_other_files_are_left_alone(image_file, client, call, tmp_path):
    (tmp_path / 'note.txt').write_text('mine')
    with pytest.raises(OutputExistsError, match='not empty'):
        deblend_mosaic(image_file, tmp_path, client=client, **call)
    assert [path.name for path in tmp_path.iterdir()] == ['note.txt']


def test_a_damaged_file_costs_its_tiles_and_can_be_replaced(
        image_file, client, call, tiled, tmp_path):
    path = tmp_path / 'image.fits'
    shutil.copy(image_file, path)
    content = path.read_bytes()
    # rows from 100 on are missing
    path.write_bytes(content[:2880 * 2 + 4 * 190 * 100])
    again = {'tile': 80, 'client': client, **call}
    with pytest.warns(AstropyUserWarning, match='truncated'):
        broken = deblend_mosaic(path, tmp_path / 'run', **again)
    assert {name.split()[0] for name in broken.failed} >= {'tile'}
    assert all('truncated' in why for why in broken.failed.values())
    assert 'set aside' in broken.page.read_text().lower()
    path.write_bytes(content)
    mended = deblend_mosaic(path, tmp_path / 'run', **again)
    assert mended.failed == {}
    found, want = files_of(mended), files_of(tiled)
    assert found == {name: want[name] for name in found}
    assert len(found) == len(want) - 2


def test_given_positions_come_back_once_each(image_file, client, call, sky,
                                             tmp_path):
    _, x, y, flux = sky
    # on the borders of the tiles, too
    positions = Table({'x': [*x, 79.5, 79.5, 20.0],
                       'y': [*y, 10.0, 79.5, 79.49]})
    result = deblend_mosaic(image_file, tmp_path / 'run', tile=80,
                            positions=positions, client=client, **call)
    table = read_catalog(result.catalog)
    table.sort('input_row')
    assert table['input_row'].tolist() == list(range(len(positions)))
    pulls = (table['flux'].value[:len(x)] - flux) / (
        table['flux_err'].value[:len(x)])
    assert np.median(np.abs(pulls)) < 3


def test_given_parents_keep_their_labels(image_file, client, call, sky,
                                         tmp_path):
    labels = np.zeros(sky[0].shape, np.int32)
    labels[sky[0] > 5] = 1
    segm = SegmentationImage(labels)
    segm = SegmentationImage(3 * _connected(segm.data))
    path = tmp_path / 'segm.fits'
    fits.writeto(path, segm.data.astype(np.int32))
    result = deblend_mosaic(image_file, tmp_path / 'run', tile=80,
                            segmentation=path, client=client, **call)
    table = read_catalog(result.catalog)
    assert set(table['parent_label']) == set(segm.labels)


def _connected(image):
    from scipy.ndimage import label

    return label(image, np.ones((3, 3)))[0]


def test_a_parent_larger_than_the_halos_is_fitted_once(client, call,
                                                       tmp_path):
    rng = np.random.default_rng(3)
    iy, ix = np.indices((150, 190))
    image = rng.normal(size=(150, 190))
    for x, y, flux, size in ((90, 75, 8e4, 14.0), (30, 20, 500, 1.3),
                             (160, 130, 500, 1.3)):
        image += flux / (2 * np.pi * size**2) * np.exp(
            -0.5 * ((ix - x)**2 + (iy - y)**2) / size**2)
    path = tmp_path / 'big.fits'
    fits.writeto(path, image.astype(np.float32))
    result = deblend_mosaic(path, tmp_path / 'run', tile=80, halo=16,
                            client=client, write_images=('residual',), **call)
    table = read_catalog(result.catalog)
    labels = fits.getdata(result.label_map, 1)
    for x, y in ((90, 75), (30, 20), (160, 130)):
        near = np.hypot(table['x_centroid'] - x, table['y_centroid'] - y) < 3
        assert near.sum() >= 1
        assert labels[y, x] in table['label'][near]
    record = list((tmp_path / 'run' / 'journal').glob('large-*'))
    assert len(record) == 1


@pytest.mark.parametrize(('argument', 'error', 'text'), [
    ({'tile': 10}, ValueError, 'tile is 10'),
    ({'halo': 0}, ValueError, 'halo is 0'),
    ({'write_images': ['noise']}, ValueError, "'noise'"),
    ({'error_type': 'sigma'}, ValueError, "'sigma'"),
    ({'refine': 'slow'}, ValueError, "'slow'"),
    ({'error': 'absent.fits'}, FileNotFoundError, 'absent.fits')])
def test_wrong_arguments_raise_before_anything_is_written(
        image_file, client, call, tmp_path, argument, error, text):
    with pytest.raises(error, match=text):
        deblend_mosaic(image_file, tmp_path / 'run', client=client,
                       **{**call, **argument})
    assert not (tmp_path / 'run').exists()


def test_a_list_without_coordinates_is_refused(sky, client, call, tmp_path):
    paths = [tmp_path / name for name in ('a.fits', 'b.fits')]
    for path in paths:
        fits.writeto(path, sky[0])
    with pytest.raises(InputFileError, match='WCS'):
        deblend_mosaic({'r': paths}, tmp_path / 'run', client=client, **call)


def test_overlapping_images_are_one_mosaic(sky, image_file, tiled, client,
                                           call, tmp_path):
    header = fits.getheader(image_file)
    paths = []
    for name, columns in (('left', slice(0, 120)), ('right', slice(90, 190))):
        part = header.copy()
        part['CRPIX1'] -= columns.start
        paths.append(Path(tmp_path, f'{name}.fits'))
        fits.writeto(paths[-1], sky[0][:, columns], part)
    result = deblend_mosaic({'r': paths}, tmp_path / 'run', tile=80,
                            client=client, **call)
    found = read_catalog(result.catalog)
    want = matched(found, read_catalog(tiled.catalog))
    assert values(found['flux_r']) == pytest.approx(values(want['flux']),
                                                    rel=1e-6)
