# Licensed under a 3-clause BSD style license - see LICENSE.rst
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from photutils.aperture import BoundingBox

from vaephot.deblend.outputs.measure import (
    blendedness,
    describe,
    goodness,
    shapes_of,
)

SHAPE = (40, 60)


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


def _blob(x, y, sigma=2.0):
    iy, ix = np.mgrid[:SHAPE[0], :SHAPE[1]]
    image = np.exp(-0.5 * ((ix - x) ** 2 + (iy - y) ** 2) / sigma ** 2)
    return image / image.sum()


def _solution(places, fluxes, **fit):
    """Solution of round sources with boxes of 21 pixels, of one band."""
    boxes, models, total = [], [], np.zeros((1, *SHAPE))
    for (x, y), flux in zip(places, fluxes, strict=True):
        box = BoundingBox(max(x - 10, 0), min(x + 11, SHAPE[1]),
                          max(y - 10, 0), min(y + 11, SHAPE[0]))
        image = flux * _blob(x, y)[None, box.iymin:box.iymax,
                                   box.ixmin:box.ixmax]
        total[:, box.iymin:box.iymax, box.ixmin:box.ixmax] += image
        boxes.append(box)
        models.append(image)
    n = len(places)
    values = {'parameters': _parameters(*[[x, y, 0.5] for x, y in places]),
              'flux': np.array(fluxes, float)[:, None],
              'converged': np.ones(n, bool), 'cropped': np.zeros(n, bool),
              **fit}
    return SimpleNamespace(boxes=boxes, models=models, model_image=total,
                           fit=SimpleNamespace(**values),
                           sources=SimpleNamespace(parent=1 + np.arange(n)),
                           is_point=np.zeros(n, bool), rejected=(2,),
                           truncated=np.zeros(n, bool))


def test_lonely_source_is_not_blended():
    solution = _solution([(15, 20), (45, 20)], [10.0, 5.0])
    np.testing.assert_allclose(blendedness(solution), 0, atol=1e-9)


def test_coincident_twins_are_half_blended():
    solution = _solution([(15, 20), (15, 20)], [5.0, 5.0])
    np.testing.assert_allclose(blendedness(solution), 0.5)


def test_fainter_source_is_the_more_blended_one():
    solution = _solution([(15, 20), (18, 20)], [10.0, 1.0])
    bright, faint = blendedness(solution)[:, 0]
    assert 0 < bright < faint < 1


def test_source_without_light_is_not_blended():
    solution = _solution([(15, 20), (18, 20)], [10.0, 0.0])
    assert blendedness(solution)[1, 0] == 0


def _observation(solution, noise=1.0, seed=1, **options):
    rng = np.random.default_rng(seed)
    shape = solution.model_image.shape
    values = {'data': solution.model_image
              + noise * rng.standard_normal(shape),
              'variance': np.full((1, 1, 1), noise ** 2), 'gain': None,
              'mask': np.zeros(shape, bool), 'psf_estimated': False,
              'error_estimated': False, **options}
    return SimpleNamespace(**values)


def test_reduced_chi_square_is_one_in_noise():
    solution = _solution([(15, 20), (45, 20)], [500.0, 300.0])
    quality = goodness(solution, _observation(solution, 3.0))
    np.testing.assert_array_equal(quality.n_pixels, 441)
    np.testing.assert_allclose(quality.reduced_chi2, 1,
                               atol=5 * np.sqrt(2 / 441))


def test_poisson_noise_of_the_model_is_allowed_for():
    solution = _solution([(15, 20)], [1e5])
    rng = np.random.default_rng(3)
    data = rng.normal(solution.model_image,
                      np.sqrt(1 + solution.model_image / 2.0))
    plain, aware = (goodness(solution, _observation(
        solution, data=data, gain=gain)).reduced_chi2[0]
        for gain in (None, np.array([2.0])))
    assert plain > 5
    assert aware == pytest.approx(1, abs=0.35)


def test_masked_pixels_do_not_count_in_the_chi_square():
    solution = _solution([(15, 20)], [500.0])
    observation = _observation(solution)
    observation.mask[0, 18:22, 14:17] = True
    observation.data[0, 18:22, 14:17] = 1e6
    quality = goodness(solution, observation)
    assert quality.n_pixels[0] == 441 - 12
    assert quality.reduced_chi2[0] < 1.5


def test_chi_square_without_good_pixels_is_unknown():
    solution = _solution([(15, 20)], [500.0])
    observation = _observation(solution)
    observation.mask[:] = True
    quality = goodness(solution, observation)
    assert np.isnan(quality.reduced_chi2[0])
    assert quality.n_pixels[0] == 0


def _flags(solution, **options):
    observation = _observation(solution, **options)
    radius = np.exp(solution.fit.parameters[:, 2]) + 3
    return describe(solution, observation, radius,
                    goodness(solution, observation))


def test_parent_that_lost_a_candidate_is_told():
    solution = _solution([(20, 10), (45, 30)], [500.0, 500.0])
    flags = _flags(solution)
    assert flags['rejected_neighbour'].tolist() == [False, True]


def test_ordinary_source_has_no_flag():
    flags = _flags(_solution([(30, 20)], [500.0]))
    assert not any(flag.any() for flag in flags.values())


@pytest.mark.parametrize(('x', 'y', 'edge'), [
    (2, 20, True), (57, 20, True), (30, 2, True), (30, 37, True),
    (6, 20, False), (53, 20, False), (30, 6, False), (30, 33, False)])
def test_edge_flag_knows_all_four_edges(x, y, edge):
    # half-light radius 1.6 plus the FWHM of 3
    flags = _flags(_solution([(x, y)], [500.0]))
    assert flags['edge'].tolist() == [edge]


def test_masked_flag_looks_near_the_source_only():
    solution = _solution([(20, 10), (45, 30)], [500.0, 500.0])
    mask = np.zeros((1, *SHAPE), bool)
    mask[0, 12, 21] = True
    assert _flags(solution, mask=mask)['masked_pixels'].tolist() == [True,
                                                                    False]


def test_poor_fit_is_told():
    solution = _solution([(20, 10), (45, 30)], [500.0, 500.0])
    data = solution.model_image.copy()
    rng = np.random.default_rng(1)
    data += rng.standard_normal(data.shape)
    data[0, 27:34, 42:49] += 5
    assert _flags(solution, data=data)['poor_fit'].tolist() == [False, True]


def test_estimated_noise_and_psf_are_told_of_every_source():
    solution = _solution([(20, 10), (45, 30)], [500.0, 500.0])
    flags = _flags(solution, psf_estimated=True, error_estimated=True)
    assert flags['psf_estimated'].all()
    assert flags['error_estimated'].all()


def test_conditions_of_the_fit_are_passed_on():
    solution = _solution([(20, 10), (45, 30)], [500.0, 500.0],
                         converged=np.array([True, False]),
                         cropped=np.array([True, False]))
    flags = _flags(solution)
    assert flags['not_converged'].tolist() == [False, True]
    assert flags['larger_than_stamp'].tolist() == [True, False]
