# Licensed under a 3-clause BSD style license - see LICENSE.rst
from functools import partial

import numpy as np
import pytest

from vaephot.deblend.turned import encode_both_ways

SHAPE = (50, 61)
PLACES = [(20.3, 22.6), (28.1, 25.2)]


@pytest.fixture
def scene(gaussian_band, make_observation, make_fitter, make_sources):
    """Return a function that makes a fitter of an image and sources."""
    def make(data, places, **options):
        fitter = make_fitter(make_observation(data, [gaussian_band(1.3)]),
                             **options)
        return fitter, make_sources(places, [1] * len(places))
    return make


@pytest.fixture
def image(draw_frame, gaussian_band):
    """Return a blend with noise."""
    parameters = [[*PLACES[0], 0.9, 0.3, -0.1, 0, 0],
                  [*PLACES[1], 0.5, -0.2, 0.3, 0, 0]]
    data = draw_frame(parameters, [[900.0], [500.0]], [gaussian_band(1.3)],
                      SHAPE)
    return data + np.random.default_rng(3).standard_normal(data.shape)


def _no_light(band, rows, ix, iy, side):
    return np.zeros((len(rows), side, side))


def _encoded(fitter, sources, snr, own_light=_no_light, **options):
    shapes = fitter.default_shapes(sources)
    return encode_both_ways(fitter, sources, snr, shapes, own_light,
                            **options)[0]


def _back(places):
    return [(SHAPE[1] - 1 - x, SHAPE[0] - 1 - y) for x, y in places]


def test_a_turned_image_gives_turned_sources(scene, image):
    snr = np.array([[50.0], [30.0]])
    one = _encoded(*scene(image, PLACES), snr)
    other = _encoded(*scene(image[:, ::-1, ::-1], _back(PLACES)), snr)
    np.testing.assert_allclose(other.mean[:, 2:], one.mean[:, 2:], atol=1e-5)
    np.testing.assert_allclose(_back(other.mean[:, :2].numpy()),
                               one.mean[:, :2], atol=1e-4)
    np.testing.assert_allclose(other.precision, one.precision, rtol=1e-4)


def test_a_plane_of_the_sky_is_turned_with_the_rest(scene, image):
    snr = np.array([[50.0], [30.0]])
    plane = 0.2 * np.arange(SHAPE[1]) - 0.1 * np.arange(SHAPE[0])[:, None]
    flat, tilted = (_encoded(*scene(data, PLACES, background='plane'), snr)
                    for data in (image, image + plane))
    np.testing.assert_allclose(tilted.mean, flat.mean, atol=1e-4)


def test_own_light_is_turned_with_the_rest(scene, image):
    # own light that marks its place must land on the same pixels both ways
    seen = []

    def own_light(image, band, rows, ix, iy, side):
        padded = np.pad(image[band], side)
        cut = np.stack([padded[y + side:y + 2 * side, x + side:x + 2 * side]
                        for x, y in zip(ix, iy, strict=True)])
        seen.append(cut.sum())
        return cut
    snr = np.array([[50.0], [30.0]])
    turned = image[:, ::-1, ::-1]
    results = []
    for data, places in ((image, PLACES), (turned, _back(PLACES))):
        fitter, sources = scene(data, places)
        results.append(_encoded(fitter, sources, snr,
                                partial(own_light, data),
                                image=np.zeros_like(data), alone=True))
    assert seen
    np.testing.assert_allclose(results[1].mean[:, 2:],
                               results[0].mean[:, 2:], atol=1e-5)
