# Licensed under a 3-clause BSD style license - see LICENSE.rst
from dataclasses import replace
from pathlib import Path
from runpy import run_path

import astropy.units as u
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from photutils.aperture import BoundingBox

from vaephot.exceptions import BandMismatchError, ShapeMismatchError
from vaephot.results.result import DeblendResult
from vaephot.results.source import DeblendedSource

BLENDS = run_path(str(Path(__file__).parents[1] / '_blends.py'))
make_result = BLENDS['make_result']


@pytest.fixture(name='result', scope='module')
def _result():
    return make_result()


def arguments(result, **changes):
    names = ('table', 'segmentation_image', 'sources', 'data', 'bands',
             'is_2d')
    return {**{name: getattr(result, name) for name in names}, **changes}


def test_container_follows_the_table(result):
    assert len(result) == len(result.table) == 5
    assert [source.label for source in result] == list(
        result.table['label'])
    assert_array_equal(result.labels, [1, 2, 3, 4, 5])
    assert result[3].label == 3
    assert result[np.int32(3)] is result[3]
    assert 3 in result
    assert 99 not in result
    assert repr(result) == ('<DeblendResult: 5 sources, 70 x 90 pixels, '
                            'bands VIS, Y, H>')


@pytest.mark.parametrize('label', [0, 99, 'VIS', [1]])
def test_unknown_label_lists_the_labels(result, label):
    with pytest.raises(KeyError, match='1, 2, 3, 4, 5'):
        result[label]


def test_long_lists_of_labels_are_cut(result):
    sources = [replace(result[1], label=i) for i in range(1, 31)]
    table = result.table[np.zeros(30, int)]
    table['label'] = np.arange(1, 31)
    many = DeblendResult(**arguments(result, sources=sources, table=table))
    with pytest.raises(KeyError, match=r'20, \.\.\. \(30 labels up to 30'):
        many[31]


def test_slices_cut_the_box_out_of_the_frame(result):
    source = result[2]
    cut = result.data[..., *source.slices]
    assert cut.shape == source.model.shape == source.image.shape
    assert source.slices[0] == slice(source.bbox.iymin, source.bbox.iymax)


def test_models_add_up_to_the_model_image(result):
    want = sum(result.make_source_image(label, kind='model')
               for label in result.labels)
    assert_allclose(result.model_image, want, atol=1e-12)
    assert_allclose(result.residual_image,
                    result.data - result.model_image)
    assert abs(result.residual_image.value.std() - 0.05) < 0.002


def test_source_image_is_zero_outside_the_box(result):
    image = result.make_source_image(3)
    assert image.shape == result.data.shape
    assert image.unit == u.uJy
    assert_array_equal(image[..., *result[3].slices], result[3].image)
    assert image.value.sum() == pytest.approx(
        result[3].image.value.sum(dtype=float))
    with pytest.raises(ValueError, match='data'):
        result.make_source_image(3, kind='data')


def test_children_of_a_parent_sum_to_the_data(result):
    children = [s.label for s in result if s.parent_label == 4]
    total = sum(result.make_source_image(label) for label in children)
    inside = np.isin(result.segmentation_image.data, children)
    assert_allclose(total[:, inside], result.data[:, inside], rtol=0,
                    atol=1e-6 * result.data.value.max() * u.uJy)


def test_masked_pixels_have_no_residual():
    result = make_result(mask_some=True)
    assert_array_equal(result.residual_image[result.mask], 0)
    assert np.abs(result.residual_image[~result.mask]).min() > 0


def test_given_model_image_is_kept(result):
    model = np.full(result.data.shape, 2.0)
    other = DeblendResult(**arguments(result, model_image=model))
    assert_array_equal(other.model_image, model * u.uJy)
    assert_allclose(other.residual_image, result.data - 2 * u.uJy)


def test_2d_input_gives_2d_everywhere():
    result = make_result(1, is_2d=True, unit=None)
    assert result.data.shape == result.model_image.shape == (70, 90)
    assert result[1].model.ndim == result[1].image.ndim == 2
    assert result.make_source_image(1).shape == (70, 90)
    assert np.ndim(result[1].flux) == 0
    assert type(result.residual_image) is np.ndarray
    assert 'flux' in result.table.colnames


def test_2d_data_need_no_hint():
    result = make_result(1, is_2d=True)
    again = DeblendResult(**arguments(result, is_2d=False))
    assert again.is_2d


def test_units_are_attached_everywhere(result):
    source = result[1]
    for value in (result.data, result.model_image, result.residual_image,
                  source.model, source.image, source.flux, source.flux_err):
        assert value.unit == u.uJy
    assert source.model.dtype == np.float32
    plain = make_result(unit=None)
    assert type(plain[1].model) is np.ndarray
    assert plain.table['flux_VIS'].unit is None


def test_bands_are_found_by_name_or_number(result):
    assert [result.band_index(band) for band in (None, 'H', 1)] == [0, 2, 1]
    for band in ('K', 3, -1):
        with pytest.raises(BandMismatchError, match='VIS, Y, H'):
            result.band_index(band)


def test_oddity_is_the_sum_of_its_terms(result):
    for source in result:
        assert source.oddity == pytest.approx(
            sum(source.oddities.values()) if source.oddities
            else np.nan, nan_ok=True)


def test_psf_can_be_used_as_one_of_photutils(result):
    psf = replace(result, **BLENDS['make_psf_and_noise'](3)).psf[1]
    assert_array_equal(psf.oversampling, 2)
    iy, ix = np.mgrid[-5:6, -5:6]
    assert psf(ix, iy).sum() == pytest.approx(1, abs=0.01)
    assert result.psf is result.noise is None


def test_inputs_are_not_changed():
    data = np.zeros((1, 8, 9))
    box = BoundingBox(0, 4, 0, 4)
    source = DeblendedSource(
        label=1, parent_label=1, bbox=box, model=np.ones((1, 4, 4)),
        image=np.ones((1, 4, 4)), x_centroid=1.0, y_centroid=1.0,
        flux=np.ones(1), flux_err=np.ones(1))
    assert source.parameters == {}
    assert source.covariance is None
    assert np.isnan(source.oddity)
    kept = make_result(1)
    segm = type(kept.segmentation_image)(np.ones((8, 9), int))
    result = DeblendResult(table=kept.table[:1], segmentation_image=segm,
                           sources=[source], data=data, bands=['r'],
                           unit=u.Jy)
    assert result.model_image.sum() == 16 * u.Jy
    assert type(source.model) is np.ndarray
    assert_array_equal(data, 0)


@pytest.mark.parametrize(('changes', 'error', 'match'), [
    ({'bands': ['a']}, BandMismatchError, '3 bands'),
    ({'noise': {'ratio': [1, 2]}}, BandMismatchError, 'noise has 2'),
    ({'psf': [None]}, BandMismatchError, 'psf has 1'),
    ({'sources': []}, ShapeMismatchError, '5 rows'),
    ({'data': np.zeros((3, 5, 6))}, ShapeMismatchError, r'\(70, 90\)'),
    ({'data': np.zeros(5), 'bands': ['a'] * 5}, ShapeMismatchError,
     r'\(5,\)')])
def test_parts_must_belong_together(result, changes, error, match):
    with pytest.raises(error, match=match):
        DeblendResult(**arguments(result, **changes))


def test_no_sources(result):
    segm = type(result.segmentation_image)(np.zeros((70, 90), int))
    empty = DeblendResult(**arguments(
        result, sources=[], table=result.table[:0],
        segmentation_image=segm))
    assert len(empty) == 0
    assert list(empty) == []
    assert_array_equal(empty.model_image, 0)
    with pytest.raises(KeyError, match='no source was found'):
        empty[1]
    with pytest.raises(ValueError, match='at least one'):
        empty.to_catalog()
