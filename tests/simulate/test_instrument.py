# Licensed under a 3-clause BSD style license - see LICENSE.rst
from dataclasses import replace

import numpy as np
import pytest
from photutils.aperture import BoundingBox

from vaephot.simulate.instrument import (
    Instrument,
    PSFVariation,
    blendedness,
    draw_galaxy_source,
    draw_source,
    draw_star_source,
    source_bbox,
)
from vaephot.simulate.survey import get_survey

pytestmark = pytest.mark.galsim

LARGE = BoundingBox(0, 301, 0, 301)


@pytest.fixture(scope='module')
def instrument():
    return Instrument('euclid-wide', 61)


@pytest.mark.parametrize('seed', range(4))
def test_drawn_fluxes_are_those_of_the_catalogue(instrument, seed):
    source = draw_galaxy_source(np.random.default_rng(seed),
                                instrument.survey, 22.0, 150.2, 149.7)
    image = draw_source(source, instrument, LARGE)
    assert image.sum(axis=(1, 2)) == pytest.approx(source.flux, rel=2e-3)


def test_a_star_has_its_flux_and_the_shape_of_the_psf(instrument):
    star = draw_star_source(np.random.default_rng(1), instrument.survey,
                            20.0, 30, 30)
    image = draw_source(star, instrument, BoundingBox(0, 61, 0, 61))
    assert image.sum(axis=(1, 2)) == pytest.approx(star.flux, rel=2e-3)
    psf = instrument.psf_images[:, 1::3, 1::3] * 9
    expected = psf * star.flux[:, None, None]
    for drawn, want in zip(image, expected, strict=True):
        assert drawn == pytest.approx(want, abs=5e-4 * want.max())


def test_a_galaxy_is_the_same_in_any_box(instrument):
    source = draw_galaxy_source(np.random.default_rng(2),
                                instrument.survey, 23.0, 60.3, 40.8)
    whole = draw_source(source, instrument, BoundingBox(0, 140, 0, 121))
    part = draw_source(source, instrument, BoundingBox(30, 91, 10, 80))
    assert part == pytest.approx(whole[:, 10:80, 30:91],
                                 abs=2e-4 * whole.max())


def test_positions_count_from_zero(instrument):
    star = draw_star_source(np.random.default_rng(1), instrument.survey,
                            20.0, 12, 25)
    image = draw_source(star, instrument, BoundingBox(0, 40, 0, 50))
    assert np.unravel_index(image[0].argmax(), (50, 40)) == (25, 12)


@pytest.mark.parametrize(('x', 'y'), [(0, 0), (99, 5), (50, 79)])
def test_boxes_are_cut_at_the_image(instrument, x, y):
    source = draw_galaxy_source(np.random.default_rng(3),
                                instrument.survey, 24.0, x, y)
    bbox = source_bbox(source, instrument, (80, 100))
    assert 0 <= bbox.ixmin <= x < bbox.ixmax <= 100
    assert 0 <= bbox.iymin <= y < bbox.iymax <= 80


def test_a_source_far_outside_has_no_box(instrument):
    star = draw_star_source(np.random.default_rng(1), instrument.survey,
                            20.0, -500, 25)
    assert source_bbox(star, instrument, (50, 50)) is None


def test_a_box_holds_the_light_of_its_source(instrument):
    source = draw_galaxy_source(np.random.default_rng(5),
                                instrument.survey, 21.0, 200, 200)
    bbox = source_bbox(source, instrument, (401, 401))
    image = draw_source(source, instrument, bbox)
    assert image.sum(axis=(1, 2)) == pytest.approx(source.flux, rel=5e-3)


def test_the_radius_of_the_disk_can_be_set(instrument):
    source = draw_galaxy_source(np.random.default_rng(6),
                                instrument.survey, 21.0, 0, 0,
                                disk_radius=1.1)
    assert source.galaxy.disk_radius == pytest.approx(1.1)


def test_a_star_at_the_limit_just_saturates(instrument):
    star = draw_star_source(np.random.default_rng(1), instrument.survey,
                            17.8, 30, 30)
    image = draw_source(star, instrument, BoundingBox(0, 61, 0, 61))
    assert image[0].max() == pytest.approx(instrument.saturation_levels[0],
                                           rel=1e-3)


def test_bands_without_a_limit_never_saturate():
    survey = get_survey('hsc-wide')
    survey = replace(survey, bands=tuple(
        replace(band, saturation_mag=None) for band in survey.bands))
    assert np.isinf(Instrument(survey, 25).saturation_levels).all()


def test_large_stamps_hold_the_flux_of_the_catalogue_to_two_permille(
        instrument):
    rng = np.random.default_rng(11)
    mags = rng.uniform(21, 26, 12)
    for mag in mags:
        source = draw_galaxy_source(rng, instrument.survey, mag, 150.3,
                                    150.8)
        image = draw_source(source, instrument, LARGE)
        assert image.sum(axis=(1, 2)) == pytest.approx(source.flux, rel=2e-3)


@pytest.mark.parametrize('places', [(0.0, 0.0), (99.0, 79.0), (30.0, 70.0)])
def test_weights_of_the_nodes_add_to_one(places):
    variation = PSFVariation(n_nodes=3)
    instrument = Instrument('hsc-wide', 25, variation=variation,
                            shape=(80, 100))
    weights = instrument.weights(*places)
    assert weights.sum() == pytest.approx(1)
    at = weights @ instrument.node_places
    assert at == pytest.approx(places)


def test_blendedness_of_equal_and_of_lone_sources():
    one = np.random.default_rng(1).random((2, 5, 5))
    assert blendedness(one, one) == pytest.approx(0)
    assert blendedness(one, 3 * one) == pytest.approx(2 / 3)
    assert np.isnan(blendedness(0 * one, one)).all()
