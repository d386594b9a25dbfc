# Licensed under a 3-clause BSD style license - see LICENSE.rst
from dataclasses import replace

import numpy as np
import pytest
from photutils.segmentation import SegmentationImage

from vaephot.deblend.select.host_test import (
    HostPairs,
    find_pairs,
    host_gains,
)

SHAPE = (64, 64)
N = 7
AMPLITUDES = np.array([0.9, -0.6, 0.5, 0.4])
HOST = np.array([31.3, 30.6, 1.4, 0.2, -0.1, 0, 0, 0, 0, 0, 0])
BESIDE = np.array([35.6, 33.0, 0.8, -0.2, 0.3, 0, 0, 0, 0, 0, 0])
FLUX = np.array([[20000.0, 30000], [4000, 5000]])
ONE = HostPairs(rows=np.array([1]), hosts=np.array([0]))


@pytest.fixture
def fitted(gaussian_band, draw_frame, make_observation, make_sources,
           make_engine, structured_vae, structured_decoder):
    """Return a function that fits a host and a second source to a frame."""
    def make(parameters, flux, vae=structured_vae):
        psfs = [gaussian_band(1.2), gaussian_band(1.6)]
        data = draw_frame(np.array(parameters), np.array(flux), psfs, SHAPE,
                          structured_decoder)
        data = data + np.random.default_rng(6).standard_normal(data.shape)
        segm = np.zeros(SHAPE, int)
        segm[12:50, 12:52] = 1
        engine = make_engine(make_observation(data, psfs),
                             SegmentationImage(segm), vae=vae)
        places = np.array([HOST, BESIDE])[:, :2]
        return engine, engine.fit(make_sources(places, [1, 1]))
    return make


def test_a_second_galaxy_gains_over_asymmetry(fitted):
    engine, scene = fitted([HOST, BESIDE], FLUX)
    pairs = find_pairs(engine, scene)
    assert (pairs.rows.tolist(), pairs.hosts.tolist()) == ([1], [0])
    assert host_gains(engine, scene, pairs)[0] > 100


def test_asymmetry_needs_no_second_galaxy(fitted):
    lopsided = HOST.copy()
    lopsided[N:] = AMPLITUDES
    engine, scene = fitted([lopsided], FLUX[:1])
    # a concentric galaxy leaves light over, and the second takes some
    assert scene.fit.flux[1].sum() > 5 * scene.fit.flux_err[1].sum()
    assert host_gains(engine, scene, ONE)[0] < 0


def test_the_scene_stays_as_it_is(fitted):
    engine, scene = fitted([HOST, BESIDE], FLUX)
    before = scene.fit.parameters.copy(), scene.model_image.copy()
    host_gains(engine, scene, ONE)
    np.testing.assert_array_equal(scene.fit.parameters, before[0])
    np.testing.assert_array_equal(scene.model_image, before[1])


def test_two_sources_of_one_host_are_compared_one_by_one(
        fitted, make_sources):
    engine, scene = fitted([HOST, BESIDE], FLUX)
    scene = engine.refit(scene, np.ones(2, bool),
                         added=make_sources([(27.0, 27.0)], [1]))
    both = HostPairs(rows=np.array([1, 2]), hosts=np.array([0, 0]))
    together = host_gains(engine, scene, both)
    apart = [host_gains(engine, scene, both.take([k]))[0] for k in (0, 1)]
    np.testing.assert_allclose(together, apart)


def test_what_cannot_be_a_part_is_not_compared(fitted):
    engine, scene = fitted([HOST, BESIDE], FLUX)

    def compared(**changes):
        return find_pairs(engine, replace(scene, **changes)).rows.tolist()
    assert compared() == [1]
    for is_point in ([True, False], [False, True]):
        assert compared(sources=replace(
            scene.sources, is_point=np.array(is_point))) == []
    faint = replace(scene.fit, snr=np.full((2, 2), 5.0))
    assert compared(fit=faint) == []
    far = scene.fit.parameters.copy()
    far[1, 0] += 25
    assert compared(fit=replace(scene.fit, parameters=far)) == []


def test_networks_without_asymmetry_compare_nothing(fitted, tiny_vae):
    engine, scene = fitted([HOST, BESIDE], FLUX, tiny_vae)
    pairs = find_pairs(engine, scene)
    assert len(pairs.rows) == 0
    assert host_gains(engine, scene, pairs).shape == (0,)
