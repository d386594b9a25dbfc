# Licensed under a 3-clause BSD style license - see LICENSE.rst
from pathlib import Path
from runpy import run_path

import astropy.units as u
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from photutils.aperture import BoundingBox
from photutils.segmentation import SourceCatalog

from vaephot.photometry.source_catalog import _split_into_layers

BLENDS = run_path(str(Path(__file__).parents[1] / '_blends.py'))
make_result, make_wcs = BLENDS['make_result'], BLENDS['make_wcs']
FLUX = {2: 300, 3: 120, 4: 60, 1: 150}


@pytest.fixture(name='result', scope='module')
def _result():
    return make_result(wcs=make_wcs())


@pytest.fixture(name='catalog', scope='module')
def _catalog(result):
    return result.to_catalog()


def test_one_row_for_each_source(catalog, result):
    assert isinstance(catalog, SourceCatalog)
    assert_array_equal(catalog.labels, [1, 2, 3, 4, 5])
    assert len(catalog) == 5
    table = catalog.to_table()
    assert_array_equal(table['label'], [1, 2, 3, 4, 5])
    assert table['kron_flux'].unit == u.uJy


def test_kron_fluxes_of_blended_sources(catalog):
    for label, flux in FLUX.items():
        got = catalog.select_label(label).kron_flux.value
        assert got == pytest.approx(flux, rel=0.02)


def test_segments_sum_to_the_flux_of_the_parent(catalog, result):
    inside = np.isin(result.segmentation_image.data, [2, 3, 4])
    got = catalog.select_labels([2, 3, 4]).segment_flux.sum()
    assert_allclose(got, result.data[0][inside].sum(), rtol=1e-4)


def test_positions_and_shapes_are_of_the_frame(catalog, result):
    assert_allclose(catalog.x_centroid[:4], [70.3, 30.2, 40.5, 27.4],
                    atol=0.15)
    assert_allclose(catalog.y_centroid[:4], [20.6, 30.7, 35.1, 42.0],
                    atol=0.15)
    assert_allclose(catalog.orientation[1].to_value('deg'), 30, atol=3)
    sky = result.wcs.pixel_to_world(catalog.x_centroid, catalog.y_centroid)
    assert catalog.sky_centroid.separation(sky).max() < 1e-6 * u.arcsec


def test_each_property_equals_that_of_its_layer(catalog):
    for layer in catalog._layers:
        same = catalog.select_labels(layer.labels)
        for name in layer.to_table().colnames:
            if 'sky' not in name:
                assert_array_equal(np.asarray(getattr(same, name)),
                                   np.asarray(getattr(layer, name)))


def test_every_property_can_be_had_whole_sliced_and_single(catalog):
    for name in catalog.properties:
        whole = getattr(catalog, name)
        part, one = getattr(catalog[1:3], name), getattr(catalog[1], name)
        if name in ('isscalar', 'n_labels') or whole is None:
            continue
        assert len(whole) == 5
        assert len(part) == 2
        if name in ('kron_flux', 'x_centroid', 'fwhm'):
            assert part[0] == whole[1] == one


def test_aperture_methods(catalog):
    flux, flux_err = catalog.circular_photometry(3.0, name='r3',
                                                 overwrite=True)
    assert flux.unit == flux_err.unit == u.uJy
    assert_array_equal(catalog.r3_flux, flux)
    assert catalog[2].circular_photometry(3.0)[0] == flux[2]
    radius = catalog.flux_radius(0.5, name='half', overwrite=True)
    assert_allclose(radius[:4].value, 1.18 * np.sqrt([
        2.8 ** 2 * 0.8, 3 ** 2 * 0.6, 2.2 ** 2 * 0.9, 2.5 ** 2 * 0.5]),
        rtol=0.12)
    assert_array_equal(catalog.half, radius)
    kron, _ = catalog.kron_photometry([2.5, 1.4, 0], name='k',
                                      overwrite=True)
    assert_allclose(kron, catalog.kron_flux)


def test_another_band_at_the_places_of_the_first(result, catalog):
    red = result.to_catalog('H', detection_catalog=catalog)
    assert_array_equal(red.x_centroid, catalog.x_centroid)
    assert_allclose(red.kron_flux[:4].value, [150, 500, 70, 180], rtol=0.03)


def test_source_outside_all_parents_is_measured(catalog):
    assert catalog.select_label(5).segment_flux.value == pytest.approx(
        8, rel=0.2)


def test_2d_without_unit_error_or_mask():
    result = make_result(1, is_2d=True, unit=None)
    catalog = result.to_catalog(error=None, mask=None)
    assert not hasattr(catalog.kron_flux, 'unit')
    assert np.isnan(catalog.kron_flux_err).all()


def test_bad_arguments(result, catalog):
    with pytest.raises(TypeError, match='convolved_data'):
        result.to_catalog(convolved_data=result.data[0])
    with pytest.raises(ValueError, match='invalid'):
        catalog.select_label(77)
    with pytest.raises(ValueError, match='VIS, Y, H'):
        result.to_catalog('K')


def test_boxes_of_a_layer_are_apart():
    rng = np.random.default_rng(2)
    boxes = [BoundingBox(int(x), int(x) + 9, int(y), int(y) + 7)
             for x, y in rng.integers(0, 60, (50, 2))]
    layer = _split_into_layers(boxes)
    for k in range(layer.max() + 1):
        members = [boxes[i] for i in np.flatnonzero(layer == k)]
        for i, box in enumerate(members):
            assert not any(box.intersection(other)
                           for other in members[:i])
    assert layer.max() < 20
