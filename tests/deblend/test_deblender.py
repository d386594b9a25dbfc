# Licensed under a 3-clause BSD style license - see LICENSE.rst
import copy
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.table import Table
from numpy.testing import assert_allclose, assert_array_equal
from photutils.segmentation import SegmentationImage

from vaephot.deblend.deblender import VAEDeblender
from vaephot.deblend.functions import deblend_sources
from vaephot.exceptions import WeightsError
from vaephot.results.flags import decode_flags, encode_flags
from vaephot.results.result import DeblendResult

SCENES = Path(__file__).with_name('_scenes.py')
scenes = SimpleNamespace(**run_path(str(SCENES)))
GALAXIES, SHAPE, FWHM = scenes.GALAXIES, scenes.SHAPE, scenes.FWHM
BLEND, SINGLE, parents = scenes.BLEND, scenes.SINGLE, scenes.parents
XY = np.array([row[:2] for row in GALAXIES])

# what the networks have learned is no matter of these tests
pytestmark = pytest.mark.filterwarnings(
    'ignore::vaephot.exceptions.DeblendWarning')


# ------------------------------------------------------------- a plain call
def test_a_blend_and_a_single_source_are_found(reference):
    assert len(reference) == 3
    rows = scenes.by_position(reference, XY)
    assert sorted(rows) == [0, 1, 2]
    found = np.array([reference.table['x_centroid'][rows],
                      reference.table['y_centroid'][rows]]).T
    assert_allclose(found, XY, atol=0.3)
    assert_array_equal(reference.table['parent_label'][rows],
                       [BLEND, BLEND, SINGLE])
    assert_array_equal(reference.table['n_blended'][rows], [2, 2, 1])


def test_fluxes_agree_with_the_truth(reference):
    rows = scenes.by_position(reference, XY)
    truth = np.array([row[3] for row in GALAXIES])
    assert_allclose(scenes.flux_of(reference)[rows], truth, rtol=0.15)


def test_a_plain_result_obeys_the_laws(reference):
    scenes.check_laws(reference, scenes.parents())


def test_boxes_hold_the_flux(reference):
    for source in reference:
        assert source.model.sum() >= 0.989 * source.flux


def test_a_single_source_comes_back_as_it_was(reference):
    children = reference.segmentation_image.data
    single = scenes.parents() == SINGLE
    assert len(set(children[single])) == 1
    assert SINGLE not in reference.segmentation_image \
        .parent_to_deblended_labels


def test_the_table_of_an_image_has_the_agreed_columns(reference):
    assert reference.table.colnames == [
        'label', 'parent_label', 'x_centroid', 'y_centroid', 'x_err',
        'y_err', 'n_blended', 'p_source', 'p_point', 'area',
        'half_light_radius', 'axis_ratio', 'orientation', 'flux',
        'flux_err', 'snr', 'blendedness', 'reduced_chi2', 'flags']


def test_good_galaxies_are_not_odd_and_a_spike_is(deblend, data, segm,
                                                  reference):
    flagged = encode_flags('out_of_domain')
    assert all(0 <= source.oddity < 1 for source in reference)
    assert not (reference.table['flags'] & flagged).any()
    x, y = XY[2]
    spoiled = data.copy()
    spoiled[int(y), int(x)] += 300.0
    odd = deblend(spoiled, segm, error=1.0, psf=FWHM,
                  positions=XY[2:])
    [source] = [s for s in odd if s.parent_label == SINGLE]
    assert source.oddity > 1
    assert source.oddities['misfit'] > 0.5 * source.oddity
    row = odd.table[odd.labels == source.label]
    assert row['flags'][0] & flagged


def test_the_table_remembers_how_it_was_made(reference, deblend):
    meta = reference.table.meta
    assert meta['weights'] == 'default'
    assert len(meta['weights_sha256']) == 64
    assert meta['device'] == 'cpu'
    assert meta['n_pixels'] == 5
    assert {'version', 'date', 'refine', 'contrast'} <= set(meta)


def test_the_repr_names_every_setting():
    made = VAEDeblender(7, contrast=0.01, refine=False, device='cpu',
                        batch_size=3)
    assert repr(made) == (
        "VAEDeblender(n_pixels=7, contrast=0.01, n_levels=32, "
        "mode='exponential', connectivity=8, weights='default', "
        "finder=None, refine=False, local_background=None, relabel=True, "
        "device='cpu', batch_size=3, progress_bar=False)")


def test_a_result_survives_its_file(reference, tmp_path):
    reference.write(tmp_path / 'result.fits')
    again = DeblendResult.read(tmp_path / 'result.fits')
    scenes.assert_same(reference, again, rtol=1e-12)
    assert_array_equal(again.model_image, reference.model_image)
    for a, b in zip(reference, again, strict=True):
        assert_array_equal(a.image, b.image)
        assert a.bbox == b.bbox


def test_a_call_changes_no_attribute(deblend, data, segm):
    def state():
        return (copy.copy(vars(deblend)),
                {k: v.clone() for k, v in deblend._vae.state_dict().items()})
    before, tensors = state()
    deblend(data, segm, error=1.0, psf=FWHM)
    after, again = state()
    assert before == after
    assert all((tensors[k] == again[k]).all() for k in tensors)


# ------------------------------------------------------------- positions
def _points(places, **columns):
    x, y = np.array(places, float).T
    columns = {'point_source': np.ones(len(x), bool), **columns}
    return Table({'x': x, 'y': y, **columns})


ORDER = [1, 3, 0, 2]
WITH_EMPTY = np.array([*XY, (5.0, 45.0)])


def test_positions_keep_their_order(deblend, data, segm, reference):
    places = WITH_EMPTY[ORDER]
    result = deblend(data, segm, error=1.0, psf=FWHM, positions=places)
    assert_allclose(result.table['x_centroid'], places[:, 0], atol=1)
    assert_array_equal(result.table['parent_label'],
                       [BLEND, 0, BLEND, SINGLE])
    rows = scenes.by_position(reference, places[[0, 2, 3]])
    assert_allclose(scenes.flux_of(result)[[0, 2, 3]],
                    scenes.flux_of(reference)[rows], rtol=0.03)
    scenes.check_laws(result, segm)


def test_a_position_outside_every_segment_is_measured(deblend, data, segm):
    result = deblend(data, segm, error=1.0, psf=FWHM, positions=WITH_EMPTY)
    row = result.table[3]
    assert abs(row['flux']) < 5 * row['flux_err']
    assert row['area'] == 0
    assert row['label'] not in result.segmentation_image.labels
    assert 'forced' in decode_flags(int(row['flags']))


def test_fixed_positions_do_not_move(deblend, data, segm):
    places = XY + [[0.4, -0.4], [0.3, 0], [0, 0]]
    result = deblend(data, segm, error=1.0, psf=FWHM, positions=_points(
        places, fixed=[True, True, False], point_source=[False] * 3))
    found = np.array([result.table['x_centroid'],
                      result.table['y_centroid']]).T
    assert_allclose(found[:2], places[:2], atol=0.01)
    assert not (found[2] == places[2]).any()


def test_point_sources_are_as_sharp_as_the_psf(deblend, data, segm):
    result = deblend(data, segm, error=1.0, psf=FWHM, positions=_points(
        XY, point_source=[True, False, True]))
    size = scenes.plain(result.table['half_light_radius'])
    assert (size[[0, 2]] < 0.2).all()


def test_a_segment_without_positions_stays_as_it_is(deblend, data, segm):
    result = deblend(data, segm, error=1.0, psf=FWHM, positions=XY[:2])
    assert len(result) == 2
    children = result.segmentation_image.data
    assert len(set(children[segm == SINGLE])) == 1
    assert_array_equal(children > 0, segm > 0)


def test_contrast_does_not_touch_given_positions(data, segm):
    made = VAEDeblender(contrast=1, device='cpu', refine=False)
    assert len(made(data, segm, error=1.0, psf=FWHM, positions=XY)) == 3


@pytest.mark.parametrize('positions', [np.zeros((0, 2)), []])
def test_no_positions_give_no_sources(deblend, data, segm, positions):
    positions = np.reshape(positions, (0, 2))
    result = deblend(data, segm, error=1.0, psf=FWHM, positions=positions)
    assert len(result) == 0
    assert_array_equal(result.segmentation_image.data > 0, segm > 0)


def test_a_source_twice_shares_the_light(deblend, data, segm):
    places = [XY[2], XY[2]]
    result = deblend(data, segm, error=1.0, psf=FWHM, positions=places)
    assert np.isfinite(scenes.flux_of(result)).all()
    assert_allclose(scenes.flux_of(result).sum(), 800, rtol=0.15)


# -------------------------------------------------------------- settings
def test_labels_choose_the_parents_that_are_split(fast, data, segm):
    result = fast(data, segm, error=1.0, psf=FWHM, labels=SINGLE)
    assert_array_equal(sorted(result.table['parent_label']), [BLEND, SINGLE])
    assert_array_equal(result.table['n_blended'], 1)
    row = list(result.table['parent_label']).index(BLEND)
    assert 'not_deblended' in decode_flags(int(result.table['flags'][row]))
    result = fast(data, segm, error=1.0, psf=FWHM, labels=[BLEND])
    assert len(result) == 3


@pytest.mark.parametrize('refine', [False, True])
def test_a_parent_does_not_depend_on_what_else_is_asked_for(
        fast, deblend, data, refine, errors_of_noise):
    # the parents touch, so that their sources shine on each other
    segm = parents()
    segm[22:35, 34:42] = SINGLE
    made = deblend if refine else fast
    full = made(data, segm, error=1.0, psf=FWHM)
    part = made(data, segm, error=1.0, psf=FWHM, labels=[SINGLE])
    row = [list(result.table['parent_label']).index(SINGLE)
           for result in (full, part)]
    for name in ('x_centroid', 'p_source', 'flags'):
        assert full.table[name][row[0]] == part.table[name][row[1]]
    # the share of what is left over sees the other model of the neighbour
    error = full.table['flux_err'][row[0]]
    for name in ('flux', 'flux_err'):
        assert_allclose(full.table[name][row[0]], part.table[name][row[1]],
                        rtol=0, atol=0.2 * error)
    blend = list(part.table['parent_label']).index(BLEND)
    assert len(part) == 2
    most = full.table['flux'][full.table['parent_label'] == BLEND].max()
    assert part.table['flux'][blend] > most
    assert not part.table['flags'][blend] & encode_flags(
        'rejected_neighbour')
    again = made.segment(data, segm, error=1.0, psf=FWHM, labels=[SINGLE])
    assert_array_equal(again.data, part.segmentation_image.data)


def test_contrast_one_never_splits(data, segm):
    made = VAEDeblender(contrast=1, device='cpu', refine=False)
    result = made(data, segm, error=1.0, psf=FWHM)
    assert_array_equal(sorted(result.table['parent_label']), [BLEND, SINGLE])


def test_a_contrast_above_the_fainter_child_keeps_the_blend(data, segm):
    made = VAEDeblender(contrast=0.6, device='cpu')
    assert len(made(data, segm, error=1.0, psf=FWHM)) == 2


@pytest.mark.parametrize('kind', ['constant', 'plane'])
def test_a_local_background_is_taken_off(segm, kind):
    y, x = np.mgrid[:SHAPE[0], :SHAPE[1]]
    sky = 3.0 + (0.03 * x - 0.02 * y) * (kind == 'plane')
    data = scenes.noisy(GALAXIES)
    made = VAEDeblender(local_background=kind, device='cpu')
    with_sky = made(data + sky, segm, error=1.0, psf=FWHM, positions=XY)
    without = made(data, segm, error=1.0, psf=FWHM, positions=XY)
    assert_allclose(scenes.flux_of(with_sky), scenes.flux_of(without),
                    rtol=0.02)


@pytest.mark.parametrize('kind', ['constant', 'plane'])
def test_a_fitted_background_is_in_no_measurement(segm, kind):
    y, x = np.mgrid[:SHAPE[0], :SHAPE[1]]
    sky = 3.0 + (0.03 * x - 0.02 * y) * (kind == 'plane')
    data = scenes.noisy(GALAXIES)
    made = VAEDeblender(local_background=kind, device='cpu')
    results = [made(image, segm, error=1.0, psf=FWHM, positions=XY)
               for image in (data + sky, data)]
    high, low = (result.aperture_table([5.0]) for result in results)
    for name in ('aperture_flux_0', 'kron_flux'):
        assert_allclose(high[name], low[name], rtol=0.01)
    assert_allclose(high['reduced_chi2'], low['reduced_chi2'], rtol=0.03)
    assert (high['flags'] == low['flags']).all()
    frames = [result.background_image for result in results]
    # the truth in all pixels, within what neighbouring groups leave open
    assert_allclose(frames[0] - frames[1], sky, atol=0.15)
    assert_allclose(results[0].residual_image, results[1].residual_image,
                    atol=0.3)
    assert abs(np.median(results[0].residual_image)) < 0.1
    scenes.check_laws(results[0], segm,
                      data=results[0].data - results[0].background_image)


@pytest.mark.parametrize('kind', ['constant', 'plane'])
def test_a_free_background_costs_accuracy(data, segm, kind):
    # the shapes are the same, so the difference is the background's
    free, fixed = (
        VAEDeblender(local_background=how, device='cpu', refine='network')(
            data, segm, error=1.0, psf=FWHM, positions=XY)
        for how in (kind, None))
    assert (free.table['flux_err'] > fixed.table['flux_err']).all()


def test_without_refinement_the_laws_hold_too(fast, data, segm):
    result = fast(data, segm, error=1.0, psf=FWHM)
    assert len(result) == 3
    scenes.check_laws(result, segm)


def test_labels_are_kept_without_relabelling(data, segm):
    made = VAEDeblender(relabel=False, device='cpu', refine=False)
    result = made(data, segm, error=1.0, psf=FWHM)
    assert SINGLE in result.segmentation_image.labels
    assert BLEND not in result.segmentation_image.labels
    assert min(result.segmentation_image.parent_to_deblended_labels[BLEND]
               ) > SINGLE


def test_a_finder_replaces_the_search(data, segm):
    def finder(image, mask=None):
        assert image.shape == mask.shape == SHAPE
        return _points(XY)
    made = VAEDeblender(finder=finder, device='cpu', refine=False)
    assert len(made(data, segm, error=1.0, psf=FWHM)) == 3
    made = VAEDeblender(finder=lambda image, mask: None, device='cpu',
                        refine=False)
    assert len(made(data, segm, error=1.0, psf=FWHM)) == 2


def test_a_progress_bar_is_drawn_on_demand(data, segm, capsys):
    for wanted in (False, True):
        made = VAEDeblender(progress_bar=wanted, device='cpu', refine=False)
        made(data, segm, error=1.0, psf=FWHM)
        assert ('deblend' in capsys.readouterr().err) == wanted


@pytest.mark.parametrize('refine', [False, True])
def test_the_function_gives_the_same_segmentation(data, segm, refine):
    given = SegmentationImage(segm)
    made = VAEDeblender(n_pixels=4, contrast=0.01, refine=refine,
                        device='cpu')
    result = made(data, given, error=1.0, psf=FWHM)
    children = deblend_sources(data, given, 4, contrast=0.01, error=1.0,
                               psf=FWHM, refine=refine, progress_bar=False)
    assert_array_equal(children.data, result.segmentation_image.data)


@pytest.mark.parametrize(('settings', 'error', 'match'), [
    ({'n_pixels': 0}, ValueError, 'n_pixels must be a positive integer.*0'),
    ({'n_pixels': 2.5}, ValueError, 'n_pixels.*2.5'),
    ({'contrast': 2}, ValueError, r'contrast must be >= 0 and <= 1, got 2'),
    ({'contrast': -0.1}, ValueError, r'contrast must be .*-0.1'),
    ({'contrast': np.nan}, ValueError, r'contrast must be .*nan'),
    ({'n_levels': 0}, ValueError, 'n_levels must be >= 1.*0'),
    ({'mode': 'cubic'}, ValueError, "mode must be 'exponential'.*'cubic'"),
    ({'connectivity': 6}, ValueError, 'connectivity=6; it must be 4 or 8'),
    ({'finder': 3}, TypeError, 'finder is of type int; give a callable'),
    ({'local_background': 'sky'}, ValueError,
     "local_background is 'sky'; it must be one of None, 'constant'"),
    ({'batch_size': 0}, ValueError, 'batch_size is 0; it must be >= 1'),
    ({'batch_size': 1.5}, TypeError, 'batch_size is of type float'),
    ({'device': 'abacus'}, ValueError, "device is 'abacus'"),
    ({'weights': 'unheard-of'}, WeightsError,
     "no weights are called 'unheard-of'; known: "),
    ({'weights': '/no/where.safetensors'}, WeightsError, '/no/where'),
])
def test_wrong_settings_are_refused(settings, error, match):
    with pytest.raises(error, match=match):
        VAEDeblender(**{'device': 'cpu', **settings})


def test_settings_are_keyword_only():
    with pytest.raises(TypeError, match='positional'):
        VAEDeblender(5, 0.001)


# --------------------------------------------------- shapes of the frame
@pytest.mark.parametrize('shape', [(30, 30), (31, 44), (44, 31), (33, 33),
                                   (12, 80), (9, 9), (150, 40)])
def test_frames_of_any_shape_are_accepted(fast, shape):
    y, x = shape[0] / 2 - 0.3, shape[1] / 2 + 0.2
    data = scenes.noisy([(x, y, 1.0, 500.0)], shape)
    segm = (scenes.draw([(x, y, 1.0, 500.0)], shape) > 2).astype(int)
    result = fast(data, segm, error=1.0, psf=FWHM)
    assert len(result) == 1
    assert_allclose([result.table['x_centroid'][0],
                     result.table['y_centroid'][0]], [x, y], atol=0.5)
    scenes.check_laws(result, segm)


def test_a_frame_may_be_a_single_pixel(fast):
    result = fast(np.full((1, 1), 9.0), np.ones((1, 1), int), error=1.0,
                  psf=FWHM)
    assert len(result) == 1


@pytest.mark.parametrize('x', [0.0, 16.4, 33.0])
@pytest.mark.parametrize('y', [0.0, 10.3, 20.0])
def test_sources_on_edges_and_corners_are_measured(deblend, x, y):
    galaxies = [(x, y, 1.0, 800.0)]
    data = scenes.noisy(galaxies, (21, 34))
    segm = (scenes.draw(galaxies, (21, 34)) > 2).astype(int)
    result = deblend(data, segm, error=1.0, psf=FWHM)
    scenes.check_laws(result, segm)
    (row,) = scenes.by_position(result, [(x, y)])
    on_edge = x in (0, 33) or y in (0, 20)
    assert ('edge' in decode_flags(int(result.table['flags'][row]))
            ) == on_edge
    # a quarter of the light is in the frame at a corner
    assert_allclose(scenes.flux_of(result)[row], 800, rtol=0.3)


# ------------------------------------------------- few and many sources
@pytest.mark.parametrize('segmentation', ['empty', 'none'])
@pytest.mark.parametrize('refine', [False, True])
def test_no_source_gives_an_empty_result(data, segmentation, refine,
                                         tmp_path):
    segm = np.zeros(SHAPE, int)
    given = segm
    if segmentation == 'none':
        given = None
        data = np.random.default_rng(3).standard_normal(SHAPE)
    made = VAEDeblender(refine=refine, device='cpu')
    result = made(data, given, error=1.0, psf=FWHM)
    assert len(result) == len(result.table) == 0
    assert 'flux' in result.table.colnames
    assert_array_equal(result.segmentation_image.data, segm)
    assert_array_equal(result.residual_image, data)
    result.write(tmp_path / 'empty.fits')
    assert len(DeblendResult.read(tmp_path / 'empty.fits')) == 0


def test_an_image_of_zeros_has_no_sources(fast):
    assert len(fast(np.zeros(SHAPE))) == 0


def test_sources_are_detected_without_a_segmentation(deblend, data):
    result = deblend(data, error=1.0, psf=FWHM)
    assert len(result) == 3
    assert_allclose(np.sort(scenes.flux_of(result)), [600, 800, 1000],
                    rtol=0.15)
    assert_array_equal(result.residual_image, data - result.model_image)


def _field(nx, ny, step=22, *, blended=True):
    """Galaxies on a grid, every third with a neighbour."""
    rng = np.random.default_rng(8)
    galaxies = []
    for i in range(nx * ny):
        x, y = np.array([i % nx, i // nx]) * step + step / 2 + rng.uniform(
            -1, 1, 2)
        sigma = rng.uniform(0.8, 1.8)
        galaxies.append((x, y, sigma, rng.uniform(300, 2000)))
        if blended and i % 3 == 0:
            angle = rng.uniform(0, 2 * np.pi)
            galaxies.append((x + 7 * np.cos(angle), y + 7 * np.sin(angle),
                             1.0, rng.uniform(300, 900)))
    shape = (ny * step, nx * step)
    return galaxies, shape


def _draw_field(galaxies, shape):
    out = np.zeros(shape)
    for x, y, sigma, flux in galaxies:
        x0, y0 = max(int(x) - 15, 0), max(int(y) - 15, 0)
        part = out[y0:y0 + 31, x0:x0 + 31]
        part += scenes.draw([(x - x0, y - y0, sigma, flux)], part.shape)
    return out


def test_hundreds_of_sources_are_no_trouble(fast):
    galaxies, shape = _field(15, 15)
    data = _draw_field(galaxies, shape)
    data += np.random.default_rng(9).standard_normal(shape)
    result = fast(data, error=1.0, psf=FWHM)
    assert len(galaxies) == 300
    assert abs(len(result) - 300) < 15
    places = np.array([row[:2] for row in galaxies])
    rows = scenes.by_position(result, places)
    found = np.array([result.table['x_centroid'],
                      result.table['y_centroid']]).T[rows]
    away = np.hypot(*(found - places).T)
    assert np.median(away) < 1


@pytest.mark.slow
def test_thousands_of_sources_are_no_trouble():
    galaxies, shape = _field(50, 50)
    data = _draw_field(galaxies, shape)
    data += np.random.default_rng(9).standard_normal(shape)
    made = VAEDeblender(device='cpu', refine=False)
    result = made(data, error=1.0, psf=FWHM)
    assert abs(len(result) / len(galaxies) - 1) < 0.05


# ----------------------------------------------------- right on average
def _moffat(x, y, flux, shape, gamma=3.0, beta=3.0):
    iy, ix = np.mgrid[:shape[0], :shape[1]]
    r2 = (ix - x) ** 2 + (iy - y) ** 2
    return flux * (beta - 1) / (np.pi * gamma ** 2) * (
        1 + r2 / gamma ** 2) ** -beta


def test_fluxes_of_blended_stars_are_right_within_the_noise(deblend):
    rng = np.random.default_rng(4)
    shape, pulls = (41, 161), []
    psf = _moffat(30, 30, 1.0, (61, 61))
    for _ in range(4):
        x = np.repeat(np.arange(4) * 40 + 20.0, 2) + rng.uniform(-1, 1, 8)
        x[1::2] += 4
        y = 20 + rng.uniform(-2, 2, 8)
        truth = rng.uniform(100, 1000, 8)
        data = sum(_moffat(*star, shape) for star in
                   zip(x, y, truth, strict=True))
        data = data + rng.standard_normal(shape)
        result = deblend(data, (data > 3).astype(int), error=1.0, psf=psf,
                         positions=_points(np.array([x, y]).T))
        pulls.append((scenes.flux_of(result) - truth)
                     / result.table['flux_err'])
    pulls = np.ravel(pulls)
    assert abs(pulls.mean()) < 4 / np.sqrt(pulls.size)
    assert 0.7 < pulls.std() < 1.4


def test_fluxes_of_gaussian_galaxies_are_unbiased(deblend):
    galaxies, shape = _field(5, 5, 26)
    truth = np.array([row[3] for row in galaxies])
    places = np.array([row[:2] for row in galaxies])
    model, off = _draw_field(galaxies, shape), []
    for seed in range(2):
        data = model + np.random.default_rng(seed).standard_normal(shape)
        result = deblend(data, scenes.label(model > 1), error=1.0, psf=FWHM,
                         positions=places)
        error = np.asarray(result.table['flux_err'])
        off.append((scenes.flux_of(result) - truth) / np.hypot(
            error, 0.02 * truth))
    off = np.ravel(off)
    assert abs(off.mean()) < 1
    assert np.median(abs(off)) < 1.5


@pytest.mark.parametrize(('refine', 'step'), [
    (False, 7), (False, 10), (True, 7), (True, 10)])
def test_empty_places_beside_bright_galaxies_stay_empty(data, refine, step):
    places = [(x, y) for x in range(5, 70, step)
              for y in range(5, 51, step)]
    made = VAEDeblender(device='cpu', refine=refine)
    result = made(data, np.zeros(SHAPE, int), error=1.0, psf=FWHM,
                  positions=[*XY, *places])
    pulls = result.table['flux'] / result.table['flux_err']
    away = np.hypot(*(np.array(places)[:, None] - XY).T).min(0) > 8
    assert pulls[3:][away].std() < 2
    if refine:
        # Gaussians are not quite galaxies, and share light with what is near
        truth = np.array([row[3] for row in GALAXIES])
        error = np.hypot(result.table['flux_err'][:3], 0.1 * truth)
        assert (abs(scenes.flux_of(result)[:3] - truth) < 3 * error).all()


# ----------------------------------------------------- the same again
def test_equal_calls_give_equal_results(deblend, data, segm, reference):
    again = deblend(data, segm, error=1.0, psf=FWHM)
    scenes.assert_same(reference, again, rtol=0)


@pytest.mark.parametrize('refine', [False, True])
def test_one_stamp_at_a_time_gives_the_same(refine):
    galaxies, shape = _field(4, 4)
    data = _draw_field(galaxies, shape) + np.random.default_rng(
        2).standard_normal(shape)
    results = [VAEDeblender(device='cpu', refine=refine, batch_size=size)(
        data, error=1.0, psf=FWHM) for size in (None, 1)]
    scenes.assert_alike(*(result.table for result in results))
    assert_array_equal(*(result.segmentation_image.data
                         for result in results))


def test_the_order_of_the_parents_does_not_matter(deblend):
    galaxies, shape = _field(4, 4)
    truth = _draw_field(galaxies, shape)
    data = truth + np.random.default_rng(2).standard_normal(shape)
    first = SegmentationImage(scenes.label(truth > 1))
    rng = np.random.default_rng(6)
    new = np.concatenate([[0], 3 + rng.permutation(first.max_label)])
    results = [deblend(data, segm, error=1.0, psf=FWHM)
               for segm in (first, new[first.data])]
    order = [np.lexsort((r.table['x_centroid'].round(2),
                         r.table['y_centroid'].round(2))) for r in results]
    one, other = (r.table[o] for r, o in zip(results, order, strict=True))
    assert_array_equal(new[one['parent_label']], other['parent_label'])
    scenes.assert_alike(one, other)


def test_two_threads_may_share_a_deblender(deblend, segm):
    images = [scenes.noisy(GALAXIES, seed=seed) for seed in range(4)]

    def call(image):
        return deblend(image, segm, error=1.0, psf=FWHM)
    alone = [call(image) for image in images]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(call, images))
    for a, b in zip(alone, together, strict=True):
        scenes.assert_same(a, b, rtol=1e-10)


THREADS = """
import sys, warnings
from runpy import run_path
import numpy as np, torch
from vaephot import VAEDeblender
from vaephot.exceptions import DeblendWarning
warnings.simplefilter('ignore', DeblendWarning)
s = run_path(sys.argv[1])
results = []
for n in (1, 2):
    torch.set_num_threads(n)
    results += [VAEDeblender(device='cpu', refine=refine)(
        s['noisy'](s['GALAXIES']), s['parents'](), error=1.0,
        psf=s['FWHM']) for refine in (False, True)]
for a, b in zip(results[:2], results[2:]):
    s['assert_same'](a, b, rtol=1e-5)
print('same')
"""


def test_the_number_of_threads_does_not_matter():
    done = subprocess.run([sys.executable, '-c', THREADS, str(SCENES)],
                          capture_output=True, text=True, check=False)
    assert done.stdout.strip() == 'same', done.stderr[-2000:]


