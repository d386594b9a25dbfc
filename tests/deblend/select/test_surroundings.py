# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from scipy.ndimage import convolve1d

from vaephot.deblend.select.surroundings import (
    RING_WIDTH,
    colour_odds,
    elliptical_distance,
    find_hosts,
    surroundings,
)


def test_lumps_on_both_sides_are_told_from_a_neighbour(make):
    lump = [0, 0, 0.2, 0, 0, 0, 0]
    center = np.array([[26.0, 31, 1.2, 0, 0, 0, 0]])
    places = np.array([[20.0, 28], [32, 34], [22, 36], [30, 26]])
    found = []
    for n_lumps in (1, 4):
        lumps = np.array([lump] * n_lumps, float)
        lumps[:, :2] = places[:n_lumps]
        engine, fit = make(np.vstack([center, lumps]),
                           np.array([[20_000.0]] + [[2000.0]] * n_lumps))
        scene = fit(np.vstack([center[:, :2], places[:1]]))
        host = find_hosts(engine.pixels, scene)
        assert host.tolist() == [-1, 0]
        _, around, mirrored = surroundings(
            engine.pixels, scene, host, np.arange(len(host)))
        found.append((around[1], mirrored[1]))
    assert found[0][0] < 0.5 * found[1][0]
    assert found[0][1] < 0.3
    assert found[1][1] > 0.7


def test_hosts_are_brighter_and_of_the_same_parent(plain):
    engine, scene = plain()
    assert find_hosts(engine.pixels, scene).tolist() == [-1, 0, 1, -1, -1]
    # what has most light here, not what is nearest
    scene.models[1][:] = 0
    assert find_hosts(engine.pixels, scene)[2] == 0
    # without any light, the nearest one
    for model in scene.models:
        model[:] = 0
    assert find_hosts(engine.pixels, scene)[2] == 1
    scene.sources.parent = scene.sources.parent[:0]
    assert find_hosts(engine.pixels, scene).shape == (0,)


def test_distances_follow_the_ellipses():
    round_one = np.array([0, 0, 1.0, 0, 0])
    assert elliptical_distance(3.0, 4.0, round_one) == pytest.approx(5)
    # four times as long as wide, along x
    long = np.array([0, 0, 1.0, np.log(4), 0])
    assert elliptical_distance(2.0, 0.0, long) == pytest.approx(1)
    assert elliptical_distance(0.0, 2.0, long) == pytest.approx(4)
    turned = np.array([0, 0, 1.0, 0, np.log(4)])
    assert elliptical_distance(2 ** 0.5, 2 ** 0.5, turned) == pytest.approx(1)


def test_colours_tell_galaxies_apart_where_they_are_known():
    host = np.array([4.0, 6, 8, 9])
    other = np.array([9.0, 5, 3, 2])
    for flux, sign in ((0.1 * host, -1), (other, 1)):
        # noisy fluxes say nothing
        odds = colour_odds(np.array([flux, flux]),
                           np.array([0.01 * flux, 10 * flux]),
                           np.array([host, host]))
        assert sign * odds[0] > 1
        assert abs(odds[1]) < 0.3
        # nor does one band
        assert colour_odds(flux[None, :1], 0.01 * flux[None, :1],
                           host[None, :1]) == pytest.approx(0, abs=1e-6)


# --------------------------------------- the same on whole frames, and slowly
def slow_filter(image, line):
    """Separable convolution of a frame; there is nothing outside."""
    for axis in (-2, -1):
        image = convolve1d(image, line, axis=axis, mode='constant')
    return image


def slow_left(pixels, scene, weight, model, k):
    """Filtered residual of a model in its noise, as source k needs it."""
    sigma = pixels.fwhm.min() / 2.354820045
    half = int(np.ceil(3 * sigma))
    line = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma) ** 2)
    line /= line.sum()
    flux = np.maximum(scene.fit.flux[k], 0)
    spectrum = (flux / flux.max() + 1e-6)[:, None, None]
    signal = (spectrum * slow_filter(
        weight * (pixels.data - model), line)).sum(0)
    return signal / np.sqrt((spectrum ** 2
                             * slow_filter(weight, line ** 2)).sum(0))


def slow_ring(scene, k, host, fwhm, shape):
    """Pixels of the ring through a source around its host."""
    places, parameters = scene.fit.parameters[:, :2], scene.fit.parameters
    yy, xx = np.mgrid[:shape[0], :shape[1]]
    distance = elliptical_distance(*(places[k] - places[host]),
                                   parameters[host])
    radius = elliptical_distance(xx - places[host, 0], yy - places[host, 1],
                                 parameters[host])
    use = np.abs(radius - distance) < max(RING_WIDTH * distance, fwhm)
    for x, y in np.delete(places[:3], host, 0):
        use &= np.hypot(xx - x, yy - y) > fwhm
    return use


def test_surroundings_are_those_of_whole_frames(plain):
    engine, scene = plain()
    pixels, model = engine.pixels, scene.model_image
    weight = (~pixels.mask / (pixels.variance + np.maximum(model, 0)
                              / pixels.gain[:, None, None]))
    host = find_hosts(pixels, scene)
    here, around, mirrored = surroundings(
        pixels, scene, host, np.arange(len(host)))
    for k in (1, 2):
        place, center = scene.fit.parameters[[k, host[k]], :2]
        alone = slow_left(pixels, scene, weight, scene.frames[host[k]], k)
        peaks = [alone[tuple(np.rint(xy[::-1]).astype(int))]
                 for xy in (place, 2 * center - place)]
        np.testing.assert_allclose(here[k], max(peaks[0], 1))
        low, high = sorted(peaks)
        np.testing.assert_allclose(mirrored[k],
                                   np.clip(low / max(high, 1), 0, 1))
        left = slow_left(pixels, scene, weight, model, k)
        use = slow_ring(scene, k, host[k], pixels.fwhm.min(),
                        model.shape[1:])
        np.testing.assert_allclose(around[k],
                                   np.sqrt((left[use] ** 2).mean()))
    # those without a host have nothing to be compared with
    for values, nothing in ((here, 1), (around, 1), (mirrored, 0)):
        assert values[[0, 3, 4]].tolist() == [nothing] * 3
