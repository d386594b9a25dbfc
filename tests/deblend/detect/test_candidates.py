# Licensed under a 3-clause BSD style license - see LICENSE.rst
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.table import Table
from numpy.testing import assert_allclose, assert_array_equal
from photutils.segmentation import SegmentationImage, detect_sources
from scipy.ndimage import gaussian_filter

from vaephot.deblend.detect.candidates import (
    FIXED_SIGMA,
    POSITION_SIGMA,
    choose_sources,
)
from vaephot.deblend.inputs.read import prepare_observation
from vaephot.deblend.settings import SearchSettings

scenes = SimpleNamespace(**run_path(
    str(Path(__file__).parents[1] / '_scenes.py')))
GALAXIES, SHAPE = scenes.GALAXIES, scenes.SHAPE
BLEND, SINGLE = scenes.BLEND, scenes.SINGLE
XY = np.array([row[:2] for row in GALAXIES])


def settings(**changes):
    """Settings of a search, without networks."""
    return SearchSettings(**{
        'n_pixels': 5, 'contrast': 0.001, 'n_levels': 32,
        'mode': 'exponential', 'connectivity': 8, **changes})


def choose(data=None, segm=None, *, positions=None, labels=None, mask=None,
           **changes):
    data = scenes.noisy(GALAXIES) if data is None else data
    segm = SegmentationImage(scenes.parents() if segm is None else segm)
    observation = prepare_observation(data, error=1.0, psf=scenes.FWHM,
                                      mask=mask)
    return choose_sources(settings(**changes), observation, segm, positions,
                          labels)


def places(chosen):
    return np.array([chosen.sources.x, chosen.sources.y]).T


@pytest.mark.parametrize('mode', ['exponential', 'linear', 'sinh'])
def test_the_search_finds_all_peaks_by_parent(mode):
    # some of the noise may be among the candidates: the fit will tell
    chosen = choose(mode=mode)
    found = places(chosen)
    for xy, parent in zip(XY, [BLEND, BLEND, SINGLE], strict=True):
        away = np.hypot(*(found - xy).T)
        assert away.min() < 1
        assert chosen.sources.parent[away.argmin()] == parent
    assert (np.diff(chosen.sources.parent) >= 0).all()
    assert len(found) < 8
    assert not chosen.given
    assert not chosen.sources.is_point.any()
    assert_array_equal(chosen.sources.position_sigma, POSITION_SIGMA)


def test_the_bands_are_searched_together():
    # each galaxy shines in a band of its own
    data = np.stack([scenes.noisy([galaxy], seed=i)
                     for i, galaxy in enumerate(GALAXIES)])
    found = places(choose(data))
    for xy in XY:
        assert np.hypot(*(found - xy).T).min() < 1


def test_every_parent_has_at_least_one_source():
    segm = scenes.parents()
    segm[2:5, 2:5] = 11
    segm[50, 69] = 12
    chosen = choose(segm=segm)
    assert_array_equal(chosen.sources.parent,
                       [BLEND, BLEND, SINGLE, 11, 12])
    assert_array_equal(places(chosen)[-1], (69, 50))


@pytest.mark.parametrize('how', ['mask', 'nan'])
def test_a_parent_without_data_has_a_source_inside(how):
    data, mask = scenes.noisy(GALAXIES), scenes.parents() == SINGLE
    if how == 'nan':
        data[mask] = np.nan
        mask = None
    chosen = choose(data, mask=mask)
    assert_array_equal(chosen.sources.parent, [BLEND, BLEND, SINGLE])
    x, y = places(chosen)[-1].round().astype(int)
    assert scenes.parents()[y, x] == SINGLE


def test_a_masked_peak_is_no_candidate():
    data = scenes.noisy(GALAXIES)
    data[30, 48] = 1e4
    mask = np.zeros(SHAPE, bool)
    mask[30, 48] = True
    assert len(choose(data, mask=mask).sources) == 3


def test_contrast_one_leaves_the_brightest_pixels():
    chosen = choose(contrast=1)
    assert_array_equal(chosen.sources.parent, [BLEND, SINGLE])
    assert_allclose(places(chosen), XY[[0, 2]], atol=1.5)


@pytest.mark.parametrize('labels', [[SINGLE], [BLEND], []])
def test_all_parents_are_searched_whatever_is_asked_for(labels):
    # those that nobody asks for shine on the others
    chosen = choose(labels=np.array(labels, int))
    assert_array_equal(chosen.sources.parent, [BLEND, BLEND, SINGLE])
    assert_array_equal(chosen.labels, labels)


def test_no_parents_give_no_candidates():
    chosen = choose(segm=np.zeros(SHAPE, int))
    assert len(chosen.sources) == 0


def test_a_finder_sees_the_image_and_fills_up_with_the_brightest():
    def finder(image, mask=None):
        assert image.shape == mask.shape == SHAPE
        assert mask[0, 0]
        # the last one lies in no parent
        return Table({'xcentroid': [20, 26, 1], 'ycentroid': [25, 27, 1]})
    mask = np.zeros(SHAPE, bool)
    mask[0, 0] = True
    chosen = choose(finder=finder, mask=mask)
    assert_array_equal(chosen.sources.parent, [BLEND, BLEND, SINGLE])
    assert_allclose(places(chosen), [(20, 25), (26, 27), XY[2]], atol=1.5)


@pytest.mark.parametrize(('found', 'error', 'match'), [
    (3, TypeError, 'finder returned int; it must return a table'),
    (Table({'a': [1.0]}), ValueError, 'the table of the finder has the '
     'columns a; x_centroid and'),
])
def test_a_useless_finder_is_refused(found, error, match):
    with pytest.raises(error, match=match):
        choose(finder=lambda image, mask: found)


def test_given_positions_are_taken_in_their_order():
    given = np.array([(50.0, 30), (2, 3), (26, 27), (-40, 7), (20, 25)])
    chosen = choose(positions=given)
    assert chosen.given
    assert_array_equal(places(chosen), given)
    assert_array_equal(chosen.sources.parent, [SINGLE, 0, BLEND, 0, BLEND])
    assert_array_equal(chosen.sources.position_sigma, POSITION_SIGMA)


def test_a_table_tells_what_is_fixed_and_what_is_a_point():
    table = Table({'x_centroid': XY[:, 0], 'y_centroid': XY[:, 1],
                   'fixed': [True, False, False],
                   'point_source': [False, True, False]}, masked=True)
    table['point_source'].mask[2] = True
    chosen = choose(positions=table)
    assert_array_equal(chosen.sources.is_point, [False, True, False])
    assert_array_equal(chosen.sources.position_sigma,
                       [FIXED_SIGMA, POSITION_SIGMA, POSITION_SIGMA])


def test_given_positions_are_not_searched_for():
    def finder(image, mask):
        pytest.fail('the finder was called')
    assert len(choose(positions=XY[:1], finder=finder).sources) == 1


def test_images_that_were_smoothed_before_are_not_smoothed_again():
    rng = np.random.default_rng(5)
    noise = rng.standard_normal((120, 140))
    galaxies = [(40, 60, 1.9, 9000.0), (47, 62, 1.6, 4500.0)]
    image = gaussian_filter(
        scenes.draw(galaxies, noise.shape, 0.1) + noise, 1.27)
    segm = detect_sources(image, 0.9, 5)
    observation = prepare_observation(image)
    found = places(choose_sources(settings(), observation, segm, None, None))
    for x, y, *_ in galaxies:
        assert np.hypot(*(found - (x, y)).T).min() < 1.5
