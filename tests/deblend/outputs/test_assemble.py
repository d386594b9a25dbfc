# Licensed under a 3-clause BSD style license - see LICENSE.rst
import pickle
import warnings
from dataclasses import replace
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from astropy import units as u
from numpy.testing import assert_allclose, assert_array_equal
from photutils.segmentation import SegmentationImage

from vaephot.deblend.detect.candidates import Chosen
from vaephot.deblend.inputs.read import prepare_observation
from vaephot.deblend.outputs.assemble import (
    assemble_result,
    assign_labels,
    shapes_of,
)
from vaephot.deblend.outputs.fallback import Fallback
from vaephot.deblend.scene import Drawn, Sources
from vaephot.deblend.settings import SearchSettings
from vaephot.exceptions import DeblendWarning
from vaephot.results.flags import decode_flags

scenes = SimpleNamespace(**run_path(
    str(Path(__file__).parents[1] / '_scenes.py')))
GALAXIES, SHAPE = scenes.GALAXIES, scenes.SHAPE
BLEND, SINGLE = scenes.BLEND, scenes.SINGLE
# the three galaxies and a place without light outside every segment
PLACES = [row[:2] for row in GALAXIES] + [(5.0, 45.0)]
PARENTS = [BLEND, BLEND, SINGLE, 0]
SETTINGS = {'n_pixels': 5, 'contrast': 0.001, 'n_levels': 32,
            'mode': 'exponential', 'connectivity': 8}
META = {'weights': 'tiny', 'contrast': 0.2}


def make_sources(places, parents):
    x, y = np.array(places, float).reshape(-1, 2).T.copy()
    parent = np.array(parents, int)
    return Sources(x=x, y=y, parent=parent,
                   position_sigma=np.full(len(x), 0.5),
                   radius=np.where(parent > 0, 6.0, 0.0),
                   is_point=np.zeros(len(x), bool),
                   is_known=np.zeros(len(x), bool))


@pytest.fixture
def solved(make_engine):
    """Return a function that fits a scene and says what was asked for."""
    def make(data=None, *, segm=None, places=PLACES, parents=PARENTS,
             given=True, **options):
        data = scenes.noisy(GALAXIES) if data is None else data
        observation = prepare_observation(
            data, psf=scenes.FWHM, **{'error': 1.0, **options})
        segm = SegmentationImage(scenes.parents() if segm is None else segm)
        sources = make_sources(places, parents)
        engine = make_engine(observation, segm)
        scene = engine.settle(engine.fit(sources))
        return SimpleNamespace(
            engine=engine, segm=segm,
            chosen=Chosen(sources=sources, given=given),
            scene=replace(scene, scores=np.ones((len(sources), 2))))
    return make


def assemble(solved, empty=None):
    """Result of a scene, whatever is flagged."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeblendWarning)
        return assemble_loudly(solved, empty)


def assemble_loudly(solved, empty=None):
    """Result of a scene, with its warnings."""
    return assemble_result(
        solved.engine, solved.scene, solved.chosen,
        SearchSettings(**SETTINGS), Fallback(owners={}),
        empty=np.zeros(len(solved.scene), bool) if empty is None else empty,
        relabel=True, meta=META)


def label_sources(solved, *, relabel=True, **changes):
    rms = solved.engine.sky_rms(solved.scene.fit.parameters[:, :2])
    return assign_labels(solved.segm, solved.scene, rms,
                         SearchSettings(**{**SETTINGS, **changes}),
                         relabel=relabel)


# ----------------------------------------------------------------- labels
@pytest.mark.parametrize('relabel', [False, True])
def test_children_get_labels_inside_their_parents(solved, relabel):
    made = solved()
    segm, labels = label_sources(made, relabel=relabel)
    assert_array_equal(segm.data > 0, made.segm.data > 0)
    for label, (x, y), parent in zip(labels, PLACES, PARENTS, strict=True):
        if parent:
            assert segm.data[round(y), round(x)] == label
            assert set(made.segm.data[segm.data == label]) == {parent}
    assert list(segm.labels) == list(range(1, 4)) or not relabel
    assert (SINGLE in labels) == (not relabel)


def test_sources_without_pixels_have_labels_above_all(solved):
    segm, labels = label_sources(solved())
    assert labels[3] > segm.max_label


def test_the_maps_lead_from_parents_to_children(solved):
    segm, labels = label_sources(solved())
    assert list(segm.parent_to_deblended_labels) == [BLEND]
    assert_array_equal(np.sort(segm.parent_to_deblended_labels[BLEND]),
                       np.sort(labels[:2]))


def test_the_border_runs_where_the_models_are_equal(solved):
    # equal galaxies: each pixel belongs to the nearer one
    galaxies = [(18.0, 20.0, 1.5, 2000.0), (26.0, 20.0, 1.5, 2000.0)]
    segm = np.zeros((41, 45), np.int32)
    segm[10:31, 10:35] = 4
    made = solved(scenes.draw(galaxies, segm.shape), segm=segm,
                  places=[row[:2] for row in galaxies], parents=[4, 4])
    children, labels = label_sources(made)
    core = children.data[17:24, 14:31]
    assert (core[:, :7] == labels[0]).all()
    assert (core[:, 10:] == labels[1]).all()


def test_children_have_enough_pixels(solved):
    segm, _ = label_sources(solved(), n_pixels=150)
    assert (np.asarray(segm.areas) >= 150).all()


# ----------------------------------------------------------------- shapes
def _parameters(*rows):
    values = np.zeros((len(rows), 7))
    for row, given in zip(values, rows, strict=True):
        row[:len(given)] = given
    return values


def _second_moments(decoder, parameters):
    """Flux-weighted covariance matrix of a source."""
    mixture = decoder.from_parameters(torch.as_tensor(parameters)[None])
    mean, plus, cross = (float((mixture.weight * m).sum())
                         for m in mixture[1:4])
    return np.array([[mean + plus, cross], [cross, mean - plus]])


def test_size_is_the_half_light_radius(tiny_decoder):
    shapes = shapes_of(_parameters([5, 5, 0.7], [3, 3, -1.0]), tiny_decoder)
    np.testing.assert_allclose(shapes.half_light_radius, np.exp([0.7, -1]))
    np.testing.assert_allclose(shapes.axis_ratio, 1)


@pytest.mark.parametrize('angle', [0, 20, 45, 70, 89, -30, -80])
def test_orientation_is_from_x_towards_y(tiny_decoder, angle):
    eta = 0.6 * np.array([np.cos(2 * np.radians(angle)),
                          np.sin(2 * np.radians(angle))])
    parameters = _parameters([5, 5, 0.7, *eta, 0.4, -0.3])
    shapes = shapes_of(parameters, tiny_decoder)
    assert np.degrees(shapes.orientation[0]) == pytest.approx(angle)
    values, vectors = np.linalg.eigh(_second_moments(tiny_decoder,
                                                     parameters[0]))
    direction = np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1]))
    assert (direction - angle + 90) % 180 - 90 == pytest.approx(0, abs=1e-6)
    # flux-weighted isophotes are a little rounder or flatter than moments
    assert shapes.axis_ratio[0] == pytest.approx(
        np.sqrt(values[0] / values[1]), abs=0.15)


def test_axis_ratio_falls_with_the_shear(tiny_decoder):
    rows = [[5, 5, 0.7, eta, 0.0] for eta in (0.0, 0.3, 0.9, 2.0)]
    ratio = shapes_of(_parameters(*rows), tiny_decoder).axis_ratio
    assert (np.diff(ratio) < 0).all()
    assert (ratio > 0).all()


# ----------------------------------------------------------------- result
def test_an_assembled_result_obeys_the_laws(solved):
    made = solved()
    scenes.check_laws(assemble(made), made.segm.data)


def test_given_sources_keep_their_order(solved):
    order = [3, 1, 2, 0]
    made = solved(places=[PLACES[i] for i in order],
                  parents=[PARENTS[i] for i in order])
    result = assemble(made)
    assert_allclose(result.table['x_centroid'],
                    [PLACES[i][0] for i in order], atol=1)
    assert_array_equal(result.labels, result.table['label'])


def test_found_sources_are_in_the_order_of_their_labels(solved):
    result = assemble(solved(places=PLACES[:3], parents=PARENTS[:3],
                             given=False))
    assert list(result.labels) == [1, 2, 3]


def test_the_rows_of_the_table_are_the_sources(solved):
    result = assemble(solved())
    for row, source in zip(result.table, result, strict=True):
        assert row['label'] == source.label
        assert row['parent_label'] == source.parent_label
        assert row['flux'] == source.flux
        assert row['flux_err'] == source.flux_err
        assert row['x_centroid'] == source.x_centroid


def test_areas_are_those_of_the_segmentation(solved):
    result = assemble(solved())
    segm = result.segmentation_image
    for row in result.table:
        assert row['area'] == (segm.data == row['label']).sum()


def test_errors_of_positions_are_those_of_the_covariance(solved):
    result = assemble(solved())
    for row, source in zip(result.table, result, strict=True):
        assert_allclose(np.square([row['x_err'], row['y_err']]),
                        np.diagonal(source.covariance)[:2])


def test_parameters_have_names(solved):
    source = assemble(solved())[1]
    parameters = source.parameters
    assert_allclose(parameters['x'], source.x_centroid)
    assert_allclose(parameters['size'], np.exp(parameters['log_size']))
    # reduced shear of a conformal shear: tanh(|eta| / 2) in its direction
    eta = np.hypot(parameters['eta1'], parameters['eta2'])
    assert_allclose(np.hypot(parameters['g1'], parameters['g2']),
                    np.tanh(eta / 2))
    assert parameters['latent'].shape == (2,)
    assert source.covariance.shape == (7, 7)


def test_masked_pixels_hold_the_model(solved):
    mask = np.zeros(SHAPE, bool)
    mask[24:28, 15:30] = True
    made = solved(mask=mask)
    result = assemble(made)
    scenes.check_laws(result, made.segm.data)
    source = result[int(result.table['label'][0])]
    box = mask[source.slices]
    assert box.any()
    assert_array_equal(source.image[box], source.model[box])
    assert (source.model[box] > 1).any()


def test_several_bands_keep_their_axis(solved):
    made = solved(np.stack([scenes.noisy(GALAXIES, seed=i)
                            for i in range(2)]))
    result = assemble(made)
    scenes.check_laws(result, made.segm.data)
    assert result[1].model.shape[0] == result[1].flux.shape[0] == 2
    assert 'flux_band2' in result.table.colnames
    assert not result.is_2d


def test_units_come_back(solved):
    result = assemble(solved(scenes.noisy(GALAXIES) * u.mJy,
                             error=1 * u.mJy))
    assert result[1].flux.unit == result.table['flux'].unit == u.mJy


def test_the_table_says_what_made_it(solved):
    meta = assemble(solved()).table.meta
    assert {name: meta[name] for name in META} == META


def test_a_source_that_owns_no_pixel_is_told(solved):
    # the model of one of two at the same place has no light
    made = solved(places=[PLACES[0]] * 2 + PLACES[2:],
                  parents=[BLEND, BLEND, SINGLE, 0])
    made.scene.models[1][:] = 0
    result = assemble(made)
    areas = result.table['area'][:2]
    names = decode_flags(result.table['flags'][:2])
    for area, flags in zip(areas, names, strict=True):
        assert (area == 0) == ('no_pixels' in flags)
    assert 0 in areas
    hidden = int(result.table['label'][list(areas).index(0)])
    assert hidden not in result.segmentation_image.labels
    assert hidden in result


def test_positions_outside_segments_are_flagged(solved):
    names = decode_flags(assemble(solved()).table['flags'])
    assert ['forced' in flags for flags in names] == [False] * 3 + [True]
    assert 'no_pixels' not in names[3]


def test_trouble_is_one_warning_that_names_the_labels(solved):
    made = solved()
    made.scene = replace(made.scene, fit=replace(
        made.scene.fit, converged=np.array([True, False, False, True])))
    with pytest.warns(DeblendWarning) as seen:
        result = assemble_loudly(made)
    (warning,) = seen
    labels = ', '.join(str(x) for x in result.table['label'][1:3])
    assert str(warning.message) == (
        f"2 of 4 sources are flagged 'not_converged' (labels {labels}).")


def test_no_sources_make_an_empty_result(solved):
    result = assemble(solved(places=[], parents=[]))
    assert len(result) == 0
    assert_array_equal(result.model_image, 0)
    assert_array_equal(result.segmentation_image.data > 0,
                       scenes.parents() > 0)


def test_no_source_keeps_its_place_and_flux_but_has_no_shape(solved):
    empty = np.array([False, False, True, False])
    result = assemble(solved(), empty)
    row = result.table[2]
    assert (row['x_centroid'], row['y_centroid']) == PLACES[2]
    assert np.isnan([row['x_err'], row['axis_ratio']]).all()
    assert np.isfinite([row['flux'], row['p_source']]).all()
    assert 'no_source' in decode_flags(int(row['flags']))
    assert result.table['x_centroid'][0] != PLACES[0][0]


def test_follow_ups_take_rows_without_a_source(solved):
    empty = np.array([False, False, True, False])
    result = assemble(solved(), empty)
    table = result.aperture_table([3.0])
    assert np.isfinite(table['aperture_flux_0']).all()
    assert len(result.euclid_table()) == len(result.to_regions()) == 4
    assert len(result.to_catalog().to_table()) == 4


def test_the_order_of_the_sources_does_not_matter(solved):
    made = solved()
    one, order = assemble(made), [2, 0, 3, 1]
    scene, drawn = made.scene, made.scene.drawn[0]
    made.scene = replace(
        scene, sources=scene.sources.take(order), fit=scene.fit.take(order),
        drawn=(Drawn([drawn.boxes[i] for i in order],
                     [drawn.models[i] for i in order],
                     drawn.truncated[order], drawn.image),))
    other = assemble(made)
    for name in ('flux', 'flux_err', 'reduced_chi2', 'blendedness', 'area',
                 'flags', 'axis_ratio'):
        assert_allclose(other.table[name], one.table[name][order],
                        rtol=1e-5, atol=1e-6)
    for i, k in enumerate(order):
        assert_allclose(other.sources[i].image, one.sources[k].image,
                        rtol=1e-4, atol=1e-4)


def test_a_result_can_be_pickled(solved):
    result = assemble(solved())
    again = pickle.loads(pickle.dumps(result))  # noqa: S301
    for one, other in zip(result, again, strict=True):
        assert_array_equal(one.image, other.image)


def test_inputs_are_not_written_to(solved):
    made = solved(gain=2.0)
    observation = made.engine.observation
    arrays = [observation.data, observation.variance,
              observation.mask, made.segm.data,
              made.scene.model_image, made.scene.fit.flux,
              made.scene.fit.flux_err, made.scene.fit.covariance,
              made.scene.fit.parameters, *made.scene.models]
    before = [array.copy() for array in arrays]
    assemble(made)
    for array, copy in zip(arrays, before, strict=True):
        assert_array_equal(array, copy)
