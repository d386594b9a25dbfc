# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from photutils.segmentation import SegmentationImage

from vaephot.deblend.detect.candidates import Chosen
from vaephot.deblend.pipeline import deblend
from vaephot.deblend.settings import SearchSettings

SHAPE = (70, 110)
# a blend, a galaxy whose wings the blend sees, and one far away
PARAMETERS = np.array([[22.3, 30.6, 0.9, 0.3, -0.1, 0, 0],
                       [27.1, 33.2, 0.5, -0.2, 0.3, 0, 0],
                       [50.4, 31.8, 1.6, 0.0, 0.0, 0, 0],
                       [92.2, 44.1, 0.7, 0.1, 0.4, 0, 0]])
FLUX = np.array([[9000.0, 5000], [4000, 7000], [30000, 9000], [6000, 6000]])
PARENTS = [1, 1, 2, 3]
SEARCH = SearchSettings(n_pixels=5, contrast=0.001, n_levels=32,
                        mode='exponential', connectivity=8)


def _segm():
    data = np.zeros(SHAPE, int)
    data[24:39, 16:32] = 1
    data[26:38, 44:56] = 2
    data[38:50, 86:98] = 3
    return SegmentationImage(data)


@pytest.fixture(scope='module')
def engine(gaussian_band, draw_frame, make_observation, make_engine):
    """Return a function that makes the engine of an image."""
    psfs = [gaussian_band(1.2), gaussian_band(1.6)]
    data = draw_frame(PARAMETERS, FLUX, psfs, SHAPE)
    data = data + np.random.default_rng(6).standard_normal(data.shape)

    def make(**settings):
        return make_engine(make_observation(data, psfs), _segm(), **settings)
    return make


@pytest.fixture(scope='module')
def run(make_sources, shipped_classifier):
    """Return a function that deblends the galaxies, or those given."""
    def make(engine, *, places=PARAMETERS[:, :2], parents=PARENTS,
             given=True, is_point=False, progress=None):
        sources = make_sources(places, parents, is_point=is_point)
        return deblend(engine, Chosen(sources=sources, given=given), SEARCH,
                       shipped_classifier, progress)
    return make


@pytest.fixture(scope='module')
def solved(engine, run):
    """Return the scene of the galaxies."""
    return run(engine())


def test_sources_are_found_from_their_positions_alone(solved):
    np.testing.assert_allclose(solved.fit.flux, FLUX, rtol=0.05)
    np.testing.assert_allclose(solved.fit.parameters[:, :2],
                               PARAMETERS[:, :2], atol=0.1)


def test_every_source_has_its_probabilities(solved):
    assert solved.scores.shape == (4, 2)
    assert ((solved.scores >= 0) & (solved.scores <= 1)).all()


def test_residuals_are_noise(engine, solved):
    residual = engine().pixels.data - solved.model_image
    assert residual[:, 15:60, 10:40].std() == pytest.approx(1, abs=0.05)


def test_point_sources_stay_points(engine, run):
    is_point = np.array([False, False, False, True])
    scene = run(engine(), is_point=is_point)
    assert np.exp(scene.fit.parameters[3, 2]) < 0.1
    np.testing.assert_array_equal(scene.is_point, is_point)


def test_equal_calls_give_equal_results(engine, run, solved):
    again = run(engine())
    np.testing.assert_array_equal(again.fit.flux, solved.fit.flux)
    np.testing.assert_array_equal(again.model_image, solved.model_image)
    np.testing.assert_array_equal(again.scores, solved.scores)


@pytest.mark.parametrize('refine', [True, False, 'network'])
def test_no_sources_give_an_empty_scene(engine, run, refine):
    scene = run(engine(refine=refine), places=[], parents=[])
    assert len(scene) == 0
    assert scene.fit.flux.shape == (0, 2)
    assert abs(scene.model_image).max() == 0
    assert scene.scores.shape == (0, 2)


def test_sources_that_were_given_all_stay(engine, run):
    places = np.vstack([PARAMETERS[:, :2], [[94.5, 46.0]]])
    scene = run(engine(), places=places, parents=[*PARENTS, 3])
    assert len(scene) == 5


def test_candidates_that_are_none_are_dropped(engine, run, solved):
    places = np.vstack([PARAMETERS[:, :2], [[94.5, 46.0]]])
    scene = run(engine(), places=places, parents=[*PARENTS, 3], given=False)
    far = np.flatnonzero(scene.sources.parent == 3)
    assert len(far) == 1
    apart = abs(scene.fit.flux[far] - solved.fit.flux[[3]])
    assert (apart < 0.3 * solved.fit.flux_err[[3]]).all()


def test_the_residual_is_searched_where_nothing_was_given(engine, run):
    scene = run(engine(), places=[], parents=[], given=False)
    assert sorted(scene.sources.parent) == PARENTS


# the encoder of these tests has learned nothing
@pytest.mark.parametrize(('refine', 'share'), [(False, 0.05),
                                               ('network', 1.0)])
def test_lower_tiers_give_fluxes(engine, run, refine, share):
    scene = run(engine(refine=refine))
    np.testing.assert_allclose(scene.fit.flux[3], FLUX[3], rtol=share)
    assert np.isfinite(scene.fit.flux_err).all()
    assert (scene.fit.flux_err > 0).all()


def test_progress_counts_every_source(engine, run):
    counts = []
    run(engine(), progress=counts.append)
    assert sum(counts) == 4


def test_what_is_given_is_left_unchanged(engine, run):
    made = engine()
    before = made.pixels.data.copy()
    run(made, given=False)
    np.testing.assert_array_equal(made.pixels.data, before)
