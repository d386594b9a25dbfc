# Licensed under a 3-clause BSD style license - see LICENSE.rst
import gzip
from dataclasses import replace
from pathlib import Path
from runpy import run_path

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table
from numpy.testing import assert_array_equal
from photutils.segmentation import SegmentationImage

from vaephot.exceptions import OutputExistsError, VaephotWarning
from vaephot.results.fits_io import ResultFileError
from vaephot.results.result import DeblendResult

BLENDS = run_path(str(Path(__file__).parents[1] / '_blends.py'))
make_result, make_wcs = BLENDS['make_result'], BLENDS['make_wcs']


def assert_same(first, second):
    """Equal values, NaN included, of the same type, dtype and unit."""
    assert type(first) is type(second)
    if first is None:
        return
    if isinstance(first, dict):
        assert list(first) == list(second)
        for band, value in first.items():
            assert_same(value, second[band])
        return
    assert getattr(first, 'unit', None) == getattr(second, 'unit', None)
    first, second = (np.asarray(getattr(x, 'value', x))
                     for x in (first, second))
    assert first.dtype == second.dtype
    assert first.shape == second.shape
    assert_array_equal(first, second)


def assert_same_table(first, second):
    assert first.colnames == second.colnames
    assert first.meta == second.meta
    assert type(first) is type(second)
    for name in first.colnames:
        a, b = first[name], second[name]
        if isinstance(a, SkyCoord):
            assert a.frame.name == b.frame.name
            assert_array_equal(a.ra.deg, b.ra.deg)
            assert_array_equal(a.dec.deg, b.dec.deg)
        else:
            assert_same(a, b)


def assert_same_result(first, second):
    for name in ('data', 'model_image', 'background_image',
                 'residual_image', 'error', 'mask'):
        assert_same(getattr(first, name), getattr(second, name))
    assert_same(first.noise, second.noise)
    for name in ('bands', 'unit', 'is_2d'):
        assert getattr(first, name) == getattr(second, name)
    assert_same_table(first.table, second.table)
    a, b = first.segmentation_image, second.segmentation_image
    assert_same(a.data, b.data)
    assert_array_equal(a.labels, b.labels)
    assert list(a.parent_to_deblended_labels) == list(
        b.parent_to_deblended_labels)
    for parent, children in a.parent_to_deblended_labels.items():
        assert_same(children, b.parent_to_deblended_labels[parent])
    assert [g.labels for g in first.groups] == [
        g.labels for g in second.groups]
    for one, two in zip(first.groups, second.groups, strict=True):
        assert_same(one.covariance, two.covariance)
    assert len(first) == len(second)
    for one, two in zip(first, second, strict=True):
        for name in ('label', 'parent_label', 'x_centroid', 'y_centroid',
                     'bbox', 'bboxes', 'oddities'):
            assert getattr(one, name) == getattr(two, name)
        for name in ('model', 'image', 'flux', 'flux_err', 'covariance'):
            assert_same(getattr(one, name), getattr(two, name))
        assert list(one.parameters) == list(two.parameters)
        for name, value in one.parameters.items():
            assert_same(value, two.parameters[name])


@pytest.mark.parametrize('unit', [None, u.uJy, u.electron / u.s,
                                  u.Unit('10 nJy')])
@pytest.mark.parametrize(('n_bands', 'is_2d'), [(1, True), (1, False),
                                                (3, False)])
@pytest.mark.parametrize('wcs', [None, make_wcs()], ids=['plain', 'wcs'])
def test_round_trip(tmp_path, n_bands, is_2d, unit, wcs):
    result = make_result(n_bands, is_2d=is_2d, unit=unit, wcs=wcs,
                         mask_some=True)
    path = tmp_path / 'result.fits'
    result.write(path)
    again = DeblendResult.read(path)
    assert_same_result(result, again)
    if wcs is None:
        assert again.wcs is None
    else:
        assert again.wcs.to_header() == wcs.to_header()
    assert [item.name for item in tmp_path.iterdir()] == ['result.fits']


@pytest.mark.parametrize('n_bands', [1, 3])
def test_round_trip_of_a_background(tmp_path, n_bands):
    result = make_result(n_bands, is_2d=n_bands == 1, unit=u.uJy)
    result = replace(result, background_image=result.data / 7)
    result.write(tmp_path / 'result.fits')
    again = DeblendResult.read(tmp_path / 'result.fits')
    assert_same_result(result, again)


def test_round_trip_of_grids_of_their_own(tmp_path):
    result = BLENDS['make_native_result']()
    result = replace(result, background_image={
        band: image / 7 for band, image in result.data.items()})
    result.write(tmp_path / 'result.fits')
    again = DeblendResult.read(tmp_path / 'result.fits')
    assert again.on_own_grids
    assert_same_result(result, again)
    for band in result.bands:
        assert again.wcs[band].to_header() == result.wcs[band].to_header()


@pytest.mark.parametrize('make', ['make_result', 'make_native_result'])
def test_round_trip_of_psf_and_noise(tmp_path, make):
    kept = BLENDS[make]()
    given = BLENDS['make_psf_and_noise'](len(kept.bands))
    given['psf'][1] = None
    result = replace(kept, **given)
    result.write(tmp_path / 'result.fits')
    again = DeblendResult.read(tmp_path / 'result.fits')
    assert_same_result(result, again)
    assert again.psf[1] is None
    for one, two in zip(result.psf[::2], again.psf[::2], strict=True):
        assert_same(one.data, two.data)
        assert_array_equal(one.oversampling, two.oversampling)
        assert_array_equal(one.origin, two.origin)


def test_round_trip_without_groups_or_sources(tmp_path):
    kept = make_result(2)
    segm = SegmentationImage(np.zeros(kept.data.shape[1:], int))
    empty = DeblendResult(
        table=kept.table[:0], segmentation_image=segm, sources=[],
        data=kept.data, bands=kept.bands)
    empty.write(tmp_path / 'result.fits')
    again = DeblendResult.read(tmp_path / 'result.fits')
    assert len(again) == 0
    assert again.groups == ()


def test_second_generation_is_the_same(tmp_path):
    first = make_result(wcs=make_wcs())
    first.write(tmp_path / 'one.fits')
    DeblendResult.read(tmp_path / 'one.fits').write(tmp_path / 'two.fits')
    assert_same_result(first, DeblendResult.read(tmp_path / 'two.fits'))


@pytest.mark.parametrize('dtype', ['u1', 'u2', 'i8', '>i4'])
def test_dtype_of_labels(tmp_path, dtype):
    result = make_result(1)
    maps = result.segmentation_image.parent_to_deblended_labels
    segm = SegmentationImage(result.segmentation_image.data.astype(dtype))
    segm._deblend_label_map = maps
    other = DeblendResult(
        table=result.table, segmentation_image=segm, sources=result.sources,
        data=result.data, bands=result.bands)
    other.write(tmp_path / 'result.fits')
    got = DeblendResult.read(tmp_path / 'result.fits').segmentation_image
    assert got.data.dtype == np.dtype(dtype).newbyteorder('=')
    assert_array_equal(got.data, segm.data)


def test_awkward_values_survive(tmp_path):
    result = make_result(2)
    result.table['flux_VIS'][0] = -np.inf * u.uJy
    result.table.meta['note'] = 'é "quoted", ' + 'long ' * 50
    result.table.meta['nested'] = {'a': [1, 2.5, None, True]}
    result.sources[0].model[0, 0, 0] = np.nan
    result.sources[1].parameters['matrix'] = np.arange(6.0).reshape(2, 3)
    result.sources[1].parameters['none'] = np.zeros(0)
    result.write(tmp_path / 'result.fits')
    assert_same_result(result, DeblendResult.read(tmp_path / 'result.fits'))


def test_no_sources(tmp_path):
    result = make_result(wcs=make_wcs())
    empty = DeblendResult(
        table=result.table[:0], sources=[], data=result.data,
        segmentation_image=SegmentationImage(np.zeros((70, 90), int)),
        bands=result.bands, wcs=result.wcs)
    empty.write(tmp_path / 'result.fits')
    again = DeblendResult.read(tmp_path / 'result.fits')
    assert len(again) == 0
    assert_same(again.data, empty.data)
    assert again.table.colnames == empty.table.colnames


def test_any_fits_reader_can_use_the_table(tmp_path):
    result = make_result(wcs=make_wcs())
    result.write(tmp_path / 'result.fits')
    table = Table.read(tmp_path / 'result.fits', hdu='TABLE')
    assert_array_equal(table['flux_H'], result.table['flux_H'].value)
    assert table['flux_H'].unit == u.uJy
    assert_array_equal(table['sky_centroid_ra'],
                       result.table['sky_centroid'].ra.deg)
    assert table['mag_H'].unit == u.mag
    with fits.open(tmp_path / 'result.fits') as hdus:
        assert hdus['TABLE'].header['TTYPE1'] == 'label'
        assert hdus['SEGMENTATION'].header['CTYPE1'] == 'RA---TAN'
        assert hdus['DATA'].data.shape == (3, 70, 90)


def test_existing_file_is_kept(tmp_path):
    path = tmp_path / 'result.fits'
    path.write_text('precious')
    result = make_result(1)
    with pytest.raises(OutputExistsError, match=r'result\.fits'):
        result.write(path)
    assert path.read_text() == 'precious'
    result.write(path, overwrite=True)
    assert len(DeblendResult.read(path)) == 5


def test_failed_write_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / 'result.fits'

    def fail(self, name, **kwargs):
        Path(name).write_text('half')
        raise OSError('disk full')
    monkeypatch.setattr(fits.HDUList, 'writeto', fail)
    with pytest.raises(OSError, match='disk full'):
        make_result(1).write(path)
    assert list(tmp_path.iterdir()) == []


def test_compressed_file(tmp_path):
    path = tmp_path / 'result.fits.gz'
    result = make_result(1)
    result.write(path)
    with gzip.open(path) as file:
        assert file.read(6) == b'SIMPLE'
    assert_same_result(result, DeblendResult.read(path))


def test_wcs_of_another_kind_is_left_out(tmp_path):
    class Other:
        def __init__(self):
            wcs = make_wcs()
            self.pixel_to_world = wcs.pixel_to_world

    result = make_result(1, wcs=Other())
    with pytest.warns(VaephotWarning, match='Other'):
        result.write(tmp_path / 'result.fits')
    assert DeblendResult.read(tmp_path / 'result.fits').wcs is None


def test_other_files_are_refused(tmp_path):
    path = tmp_path / 'image.fits'
    fits.PrimaryHDU(np.zeros((3, 3))).writeto(path)
    with pytest.raises(ResultFileError, match=r'image\.fits'):
        DeblendResult.read(path)
