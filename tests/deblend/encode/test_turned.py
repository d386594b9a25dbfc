# Licensed under a 3-clause BSD style license - see LICENSE.rst
from functools import partial

import numpy as np
import pytest
import torch

from vaephot.deblend.encode.turned import _turned_shapes, encode_both_ways
from vaephot.deblend.waves import has_waves
from vaephot.models.asymmetry import turn_signs
from vaephot.models.config import ModelConfig

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


# ---------------------------------------------------------------- structure
def test_signs_of_a_turn():
    config = ModelConfig(n_latent=2, structure_orders=(1, 0, 2, 3))
    assert turn_signs(config) == [-1, -1, 1, 1, 1, 1, 1, -1, -1, 1, 1, 1,
                                  -1, -1]
    assert turn_signs(ModelConfig(n_latent=1)) == [-1, -1, 1, 1, 1, 1]


WAVES = [[0.8, -0.5, 0.6, 0.4], [-0.3, 0.9, -0.7, 0.2]]
STRUCTURED = np.array([[*PLACES[0], 0.9, 0.3, -0.1, 0.5, -1.0, *WAVES[0]],
                       [*PLACES[1], 0.5, -0.2, 0.3, 0, 0, *WAVES[1]]])


def _drawn(draw_frame, gaussian_band, decoder, parameters):
    return draw_frame(parameters, [[900.0], [500.0]], [gaussian_band(1.3)],
                      SHAPE, decoder)


def test_turned_shapes_are_those_of_the_turned_image(
        draw_frame, gaussian_band, structured_vae, structured_decoder):
    image, turned = (
        _drawn(draw_frame, gaussian_band, structured_decoder, values)
        for values in (STRUCTURED, _turned_shapes(
            torch.as_tensor(STRUCTURED), SHAPE, structured_vae.config)))
    np.testing.assert_allclose(turned, image[:, ::-1, ::-1], atol=1e-6)
    # the waves matter, and those of odd order do not look the same
    wrong = _turned_shapes(torch.as_tensor(STRUCTURED), SHAPE,
                           structured_vae.config)
    wrong[:, 7:] = torch.as_tensor(WAVES)
    other = _drawn(draw_frame, gaussian_band, structured_decoder, wrong)
    assert abs(other - turned).max() > 1


def test_two_turns_are_none(structured_vae):
    values = torch.as_tensor(STRUCTURED)
    config = structured_vae.config
    twice = _turned_shapes(_turned_shapes(values, SHAPE, config), SHAPE,
                           config)
    torch.testing.assert_close(twice, values)


@pytest.mark.parametrize('waves', [True, False])
def test_a_turned_image_gives_turned_waves(
        scene, draw_frame, gaussian_band, structured_vae, structured_decoder,
        monkeypatch, waves):
    monkeypatch.setattr(
        'vaephot.deblend.encode.turned.LEAST_SIGNIFICANCE', 0.0)
    image = _drawn(draw_frame, gaussian_band, structured_decoder, STRUCTURED)
    snr, found = np.array([[50.0], [30.0]]), []
    for data, places in ((image, PLACES),
                         (image[:, ::-1, ::-1], _back(PLACES))):
        fitter, sources = scene(data, places, networks=(structured_vae,
                                                        structured_decoder))
        if not waves:
            fitter = fitter.without_waves()
        found.append(_encoded(fitter, sources, snr))
    one, other = found
    config = structured_vae.config
    np.testing.assert_allclose(
        _turned_shapes(other.mean, SHAPE, config), one.mean, atol=1e-4)
    np.testing.assert_allclose(other.precision, one.precision, rtol=1e-4)
    assert has_waves(one, config).all() == waves
    assert has_waves(one, config).any() == waves
