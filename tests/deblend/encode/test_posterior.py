# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from photutils.segmentation import SegmentationImage

from vaephot.deblend.encode import posterior
from vaephot.deblend.encode.posterior import network_fit
from vaephot.deblend.fit.common import POINT_LOG_SIZE

SHAPE = (50, 61)
PARAMETERS = np.array([[20.3, 22.6, 0.9, 0.3, -0.1, 0, 0],
                       [28.1, 25.2, 0.5, -0.2, 0.3, 0, 0]])
FLUX = np.array([[900.0], [500.0]])


@pytest.fixture(scope='module')
def blend(gaussian_band, draw_frame):
    """Return a blend with noise, and its PSF."""
    psf = gaussian_band(1.3)
    data = draw_frame(PARAMETERS, FLUX, [psf], SHAPE)
    return data + np.random.default_rng(3).standard_normal(data.shape), psf


@pytest.fixture(scope='module')
def engine(blend, make_observation, make_engine):
    """Return a function that makes the engine of an image."""
    def make(data=None, **settings):
        image, psf = blend
        segm = np.zeros(SHAPE, int)
        segm[12:36, 10:40] = 1
        return make_engine(make_observation(
            image if data is None else data, [psf]),
            SegmentationImage(segm), refine='network', **settings)
    return make


@pytest.fixture(scope='module')
def sources(make_sources):
    """Return where the galaxies were found."""
    return make_sources(PARAMETERS[:, :2], 1)


@pytest.fixture
def seen(monkeypatch):
    """Return what the encoder is shown, pass by pass."""
    shown, encode = [], posterior.encode

    def watch(vae, views, targets, prior, snr, **options):
        shown.append((views, targets, prior, snr))
        return encode(vae, views, targets, prior, snr, **options)
    monkeypatch.setattr(posterior, 'encode', watch)
    return shown


def test_shapes_are_those_of_the_encoder(engine, sources):
    fit = network_fit(engine(), sources)
    assert np.isfinite(fit.parameters).all()
    np.testing.assert_array_equal(fit.band_parameters[:, 0], fit.parameters)
    assert (abs(fit.parameters[:, :2] - PARAMETERS[:, :2]) < 1.0).all()


def test_sources_are_seen_as_they_are_at_first(engine, sources, seen, blend):
    network_fit(engine(), sources)
    alone = [targets.alone for _, targets, *_ in seen]
    assert alone == [False] + [True] * (posterior.N_PASSES - 1)
    np.testing.assert_array_equal(seen[0][0][0].data, blend[0][0])


def test_later_passes_are_shown_what_the_guess_leaves(engine, sources, seen,
                                                      blend):
    network_fit(engine(), sources)
    left = seen[1][0][0].data
    assert left.std() < 0.6 * blend[0].std()


def test_own_light_is_the_model_of_each_source(engine, sources, seen):
    network_fit(engine(), sources)
    light = seen[1][1].own_light
    found = light(0, [0, 1], [0, 0], [0, 0], 61)
    total = found.sum((1, 2))
    np.testing.assert_allclose(total, FLUX[:, 0], rtol=0.3)
    cut = light(0, [1], [20], [15], 16)[0]
    np.testing.assert_array_equal(cut, found[1, 15:31, 20:36])
    # beyond the image there is none
    assert (light(0, [0], [-40], [-40], 16) == 0).all()


def test_points_stay_points(engine, make_sources):
    found = network_fit(engine(), make_sources(
        PARAMETERS[:, :2], 1, is_point=[True, False]))
    assert found.parameters[0, 2] == POINT_LOG_SIZE
    assert found.parameters[1, 2] > -1


@pytest.mark.parametrize('kind', ['constant', 'plane'])
def test_a_free_sky_is_taken_off(engine, sources, seen, blend, kind):
    x = np.arange(SHAPE[1])
    sky = 3.0 + (0.1 * x if kind == 'plane' else 0)
    network_fit(engine(blend[0] + sky, background=kind), sources)
    edge = seen[0][0][0].data[40:]
    assert abs(edge.mean()) < 0.5
    assert abs(edge[:, 45:].mean() - edge[:, :15].mean()) < 1.0


def test_asymmetry_is_left_to_the_fit(engine, sources, structured_vae):
    fit = network_fit(engine(vae=structured_vae), sources)
    assert (fit.parameters[:, 7:] == 0).all()


def test_no_sources(engine, make_sources):
    assert network_fit(engine(), make_sources([])).flux.shape == (0, 1)


def test_image_is_left_unchanged(engine, sources, blend):
    made = engine()
    network_fit(made, sources)
    np.testing.assert_array_equal(made.pixels.data, blend[0])
