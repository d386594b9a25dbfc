# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from photutils.segmentation import SegmentationImage

from vaephot.deblend.detect.residual_peaks import MIN_LEFT_OVER, find_left_over
from vaephot.deblend.detect.stars import (
    find_stars,
    point_parameters,
    recognize_stars,
    star_light,
)
from vaephot.deblend.pipeline import solve
from vaephot.deblend.select.features import (
    FEATURES,
    _colour_odds,
    chi2_gain,
    measure_evidence,
)

SHAPE = (64, 96)
PARAMETERS = np.array([[22.3, 30.6, 0.8, 0.1, -0.1, 0, 0],
                       [29.1, 32.2, 0.4, -0.1, 0.2, 0, 0]])
FLUX = np.array([[9000.0], [2500.0]])


def _segm():
    data = np.zeros(SHAPE, int)
    data[20:43, 12:40] = 4
    return SegmentationImage(data)


@pytest.fixture
def make(gaussian_band, draw_frame, make_observation, make_sources,
         make_fitter):
    """Return a function that gives a fitter and a solver of positions."""
    psfs = [gaussian_band(1.3)]

    def make_scene(parameters, flux, mask=None):
        data = draw_frame(parameters, flux, psfs, SHAPE)
        data = data + np.random.default_rng(2).standard_normal(data.shape)
        observation = make_observation(data, psfs)
        if mask is not None:
            observation.mask[:, mask] = True
        fitter = make_fitter(observation)

        def solved(xy):
            sources = make_sources(xy, [4] * len(xy))
            return solve(fitter, _segm(), sources, np.zeros(len(xy), bool))
        return fitter, solved
    return make_scene


def _column(evidence, name):
    return evidence[:, FEATURES.index(name)]


def test_evidence_tells_sources_from_empty_places(make):
    fitter, solved = make(PARAMETERS, FLUX)
    solution = solved(np.vstack([PARAMETERS[:, :2], (17.0, 40.0)]))
    evidence = measure_evidence(fitter, solution)
    assert evidence.shape == (3, len(FEATURES))
    assert np.isfinite(evidence).all()
    drop = _column(evidence, 'log_drop')
    assert drop[:2].min() > 2.5
    assert drop[2] < 1.5
    assert _column(evidence, 'first').tolist() == [1, 0, 0]
    assert (_column(evidence, 'refined') == 1).all()
    assert _column(evidence, 'around').max() < 0.2


def test_sources_are_compared_with_their_hosts(make):
    apart = PARAMETERS.copy()
    apart[1, :2] = 45.0, 32.2
    near, far = (
        {name: _column(measure_evidence(fitter, solved(p[:, :2])), name)
         for name in FEATURES}
        for p in (PARAMETERS, apart)
        for fitter, solved in [make(p, FLUX)])
    # the brightest has no host
    for name in ('log_here', 'log_size', 'around', 'mirrored', 'colour'):
        assert near[name][0] == 0
    assert 0 <= far['on_host'][1] < 0.4 < near['on_host'][1] <= 1
    assert far['log_here'][1] > 1.5
    assert near['log_size'][1] == pytest.approx(-0.4 / np.log(10), abs=0.1)


def test_lumps_on_both_sides_are_told_from_a_neighbour(make):
    lump = [0, 0, 0.2, 0, 0, 0, 0]
    center = np.array([[26.0, 31, 1.2, 0, 0, 0, 0]])
    places = np.array([[20.0, 28], [32, 34], [22, 36], [30, 26]])
    columns = []
    for n_lumps in (1, 4):
        lumps = np.array([lump] * n_lumps, float)
        lumps[:, :2] = places[:n_lumps]
        fitter, solved = make(np.vstack([center, lumps]),
                              np.array([[20_000.0]] + [[2000.0]] * n_lumps))
        evidence = measure_evidence(
            fitter, solved(np.vstack([center[:, :2], places[:1]])))
        columns.append([_column(evidence, name)[1]
                        for name in ('around', 'mirrored')])
    assert columns[0][0] < 0.5 * columns[1][0]
    assert columns[0][1] < 0.3
    assert columns[1][1] > 0.7


def test_colours_tell_galaxies_apart_where_they_are_known():
    host = np.array([4.0, 6, 8, 9])
    other = np.array([9.0, 5, 3, 2])
    for flux, sign in ((0.1 * host, -1), (other, 1)):
        assert sign * _colour_odds(flux, 0.01 * flux, host) > 1
        # noisy fluxes and one band say nothing
        assert abs(_colour_odds(flux, 10 * flux, host)) < 0.3
        assert _colour_odds(flux[:1], 0.01 * flux[:1],
                            host[:1]) == pytest.approx(0, abs=1e-6)


def test_gain_belongs_to_the_source_that_was_added(make):
    fitter, solved = make(PARAMETERS, FLUX)
    one, both = solved(PARAMETERS[:1, :2]), solved(PARAMETERS[:, :2])
    gain = chi2_gain(fitter, one, both, 1)
    weight = fitter.weight(both.model_image)
    data = fitter.observation.data
    saved = sum(s * (weight * (data - m.model_image) ** 2).sum()
                for s, m in ((1, one), (-1, both)))
    assert gain.shape == (1,)
    assert gain[0] == pytest.approx(saved, rel=0.05)


def test_what_a_model_leaves_over_is_found(make):
    fitter, solved = make(PARAMETERS, FLUX)
    xy = PARAMETERS[:1, :2]
    faithful = solved(PARAMETERS[:, :2])
    own = np.zeros_like(faithful.model_image)
    box = faithful.boxes[0]
    own[:, box.iymin:box.iymax, box.ixmin:box.ixmax] = faithful.models[0]
    found = find_left_over(fitter, _segm(), own, xy, [4])
    assert np.hypot(found.x - 29.1, found.y - 32.2).min() < 1.5
    assert (found.parent == 4).all()
    assert found.significance.min() >= MIN_LEFT_OVER
    nothing = find_left_over(fitter, _segm(), faithful.model_image,
                             PARAMETERS[:, :2], [4], least=6.0)
    assert len(nothing) == 0
    assert len(find_left_over(fitter, _segm(), own, xy, [7])) == 0


@pytest.mark.parametrize('saturated', [False, True])
def test_bright_stars_are_found_at_their_places(make, saturated):
    fitter, _ = make(PARAMETERS, FLUX)
    star = point_parameters(fitter, np.array([[25.4, 31.3]]))
    y, x = np.mgrid[:SHAPE[0], :SHAPE[1]]
    core = np.hypot(x - 26, y - 31) < 1.5
    fitter, _ = make(star, np.array([[50_000.0]]),
                     core if saturated else None)
    image = np.where(fitter.observation.mask[0], np.nan,
                     fitter.observation.data[0])
    stars = find_stars(fitter, _segm(), image, np.array([4]))
    assert len(stars) == 1
    assert np.hypot(stars.x - 25.4, stars.y - 31.3)[0] < 0.05
    assert stars.flux[0, 0] == pytest.approx(50_000, rel=0.02)
    assert stars.saturated.tolist() == [saturated]
    # a told position is enough, and others stay as they were told
    xy, is_star = recognize_stars(fitter, image,
                                  np.array([[80.0, 10], [25.8, 31.0]]))
    assert is_star.tolist() == [False, True]
    np.testing.assert_allclose(xy, [[80, 10], [25.4, 31.3]], atol=0.05)
    light = star_light(fitter, stars)
    left = fitter.observation.data - light
    good = ~fitter.observation.mask
    assert left[good].std() < 2


def test_places_without_a_good_pixel_are_no_stars(make):
    everywhere = np.ones(SHAPE, bool)
    everywhere[:, 60:] = False
    fitter, _ = make(PARAMETERS, FLUX, everywhere)
    image = np.where(everywhere, np.nan, fitter.observation.data[0])
    places = np.array([[10.0, 31], [-400, 9000]])
    xy, is_star = recognize_stars(fitter, image, places)
    assert not is_star.any()
    np.testing.assert_array_equal(xy, places)


def test_galaxies_are_no_stars(make):
    fitter, _ = make(PARAMETERS[:1] + [0, 0, 0.5, 0, 0, 0, 0],
                     20 * FLUX[:1])
    stars = find_stars(fitter, _segm(), fitter.observation.data[0],
                       np.array([4]))
    assert len(stars) == 0
    _, is_star = recognize_stars(fitter, fitter.observation.data[0],
                                 PARAMETERS[:1, :2])
    assert not is_star.any()
