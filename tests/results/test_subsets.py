# Licensed under a 3-clause BSD style license - see LICENSE.rst
from dataclasses import replace
from pathlib import Path
from runpy import run_path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from vaephot.exceptions import BandMismatchError

BLENDS = run_path(str(Path(__file__).parents[1] / '_blends.py'))


@pytest.fixture(name='native', scope='module')
def _native():
    return BLENDS['make_native_result']()


def test_view_of_a_stack_holds_that_band_alone():
    result = BLENDS['make_result'](wcs=BLENDS['make_wcs']())
    view = result.band('H')
    assert view.is_2d
    assert view.bands == ('H',)
    assert_array_equal(view.data, result.data[2])
    assert_array_equal(view[3].model, result[3].model[2])
    assert view[3].flux == result[3].flux[2]
    assert_array_equal(view.table['flux'], result.table['flux_H'])
    assert not any(name.endswith(('_VIS', '_Y', '_H'))
                   for name in view.table.colnames)
    assert view.table.meta['zeropoint'] == 23.9
    assert 'zeropoint_H' not in view.table.meta
    assert result.table.meta['zeropoint_H'] == 23.9
    assert view.flux_cov(3) == result.flux_cov(3)[2, 2]
    assert_array_equal(view.residual_image, result.residual_image[2])


def test_a_fitted_background_stays_with_bands_and_rows():
    result = BLENDS['make_result']()
    result = replace(result, background_image=result.data / 7)
    view = result.band('H')
    assert_array_equal(view.background_image, result.data[2] / 7)
    assert_array_equal(view.residual_image, result.residual_image[2])
    one = result[:1]
    assert_allclose(one.residual_image,
                    result.data * (6 / 7) - one.model_image)


def test_view_of_2d_is_the_same():
    result = BLENDS['make_result'](1, is_2d=True)
    view = result.band()
    assert view.table.colnames == result.table.colnames
    assert_array_equal(view.data, result.data)
    with pytest.raises(BandMismatchError, match='VIS'):
        result.band('H')


def test_view_on_another_grid_has_its_own_pixels(native):
    view = native.band('H')
    assert view.data.shape == view.segmentation_image.shape == (28, 34)
    for source, own in zip(native, view, strict=True):
        sky = native.wcs['VIS'].pixel_to_world(source.x_centroid,
                                               source.y_centroid)
        there = native.wcs['H'].pixel_to_world(own.x_centroid,
                                               own.y_centroid)
        assert sky.separation(there).arcsec < 1e-6
        assert own.bbox == source.bboxes['H']
    assert_allclose(view.table['x_err'], native.table['x_err'] / 3,
                    rtol=1e-3)


def test_segments_keep_their_places_on_another_grid(native):
    view = native.band('H')
    segm = view.segmentation_image
    for source in view:
        iy, ix = round(source.y_centroid), round(source.x_centroid)
        if source.parent_label:
            assert segm.data[iy, ix] == source.label
    area = native.segmentation_image.areas.sum()
    assert np.count_nonzero(segm.data) == pytest.approx(area / 9, rel=0.15)
    assert set(segm.parent_to_deblended_labels) == {4}


def test_catalog_of_a_band_on_its_own_grid(native):
    catalog = native.to_catalog('H')
    assert set(catalog.labels) <= set(native.labels)
    for label in (1, 2, 3):
        flux = catalog.select_label(label).kron_flux.value
        assert flux == pytest.approx(native[label].flux[1].value, rel=0.1)
    with pytest.raises(ValueError, match='grid'):
        native.to_catalog('H', detection_catalog=native.to_catalog('VIS'))


def test_slice_is_a_result_of_those_rows():
    result = BLENDS['make_result'](wcs=BLENDS['make_wcs'](), mask_some=True)
    part = result[1:3]
    assert len(part) == 2
    assert part.labels.tolist() == result.labels[1:3].tolist()
    assert part[2] is not result[1]
    assert part.unit == result.unit
    assert_array_equal(part.table['flux_H'], result.table['flux_H'][1:3])
    assert_array_equal(part.data, result.data)
    assert_array_equal(
        part.model_image, sum(result.make_source_image(label, kind='model')
                              for label in part.labels))
    assert set(part.segmentation_image.labels) <= set(part.labels)
    children = part.segmentation_image.parent_to_deblended_labels
    assert {parent: list(labels) for parent, labels in children.items()
            } == {4: [2, 3]}
    assert_array_equal(part.flux_cov([2, 3]), result.flux_cov([2, 3]))
    assert part.sample(3, [2, 3], rng=1).flux.shape == (3, 2, 3)


def test_slice_leaves_the_result_as_it_was():
    result = BLENDS['make_result'](1)
    before = result.segmentation_image.data.copy()
    empty = result[5:]
    assert len(empty) == 0
    assert not empty.segmentation_image.data.any()
    assert not empty.model_image.value.any()
    assert len(result[::2]) == 3
    assert_array_equal(result.segmentation_image.data, before)


def test_slice_keeps_grids_of_their_own(native):
    part = native[:2]
    assert part.on_own_grids
    assert part.model_image['H'].shape == native.data['H'].shape
    assert part.band('H').bands == ('H',)


def test_view_of_a_band_has_its_psf_and_noise():
    result = replace(BLENDS['make_result'](3),
                     **BLENDS['make_psf_and_noise'](3))
    view = result.band('Y')
    assert view.psf == result.psf[1:2]
    assert view.noise['correlation'].shape == (1, 7)
    assert view.noise['ratio'] == result.noise['ratio'][1]
