# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
import torch
from photutils.aperture import BoundingBox

from vaephot.deblend.encode import looks
from vaephot.deblend.groups import Piece
from vaephot.models.encoder import Gaussian

PLACES = [(20.3, 22.6), (28.1, 25.2)]


def _piece(core, halo=()):
    return Piece(core=tuple(core), halo=tuple(halo), ix=0, iy=0, size=60,
                 cropped=False)


def test_only_much_fainter_members_of_the_piece_stay():
    brightness = np.array([100.0, 60.0, 30.0, 5.0, 1.0])
    pieces = [_piece([0, 1, 2]), _piece([3], [0]), _piece([4])]
    rows = np.arange(5)
    assert looks._fainter(pieces, rows, brightness) == [[2], [], [], [], []]
    # the faint one of another piece is seen with nobody
    pieces = [_piece([0, 1], [3])]
    assert looks._fainter(pieces, rows, brightness)[:2] == [[3], [3]]


def test_sources_that_are_not_looked_at_do_not_count():
    pieces = [_piece([0, 1, 2])]
    found = looks._fainter(pieces, np.array([0, 2]), np.array([100.0, 5.0]))
    assert found == [[1], []]


def test_light_of_others_lies_where_it_was():
    boxes = [BoundingBox(3, 6, 2, 4), BoundingBox(5, 7, 3, 6)]
    models = [np.full((2, 2, 3), 1.0), np.full((2, 3, 2), 10.0)]
    light = looks._Light(boxes, models, [[0, 1], []])
    one, none = light(1, [0, 1], np.array([0, 0]), np.array([0, 0]), 10)
    expected = np.zeros((10, 10))
    expected[2:4, 3:6] += 1
    expected[3:6, 5:7] += 10
    np.testing.assert_array_equal(one, expected)
    assert (none == 0).all()
    # a window that ends within a model
    moved, = light(0, [0], np.array([4]), np.array([1]), 2)
    np.testing.assert_array_equal(moved, expected[1:3, 4:6])


@pytest.fixture
def blend(gaussian_band, draw_frame, make_observation, make_fitter,
          make_sources):
    """Return a bright galaxy, a faint one beside it, and their fitter."""
    parameters = [[*PLACES[0], 0.9, 0.3, -0.1, 0, 0],
                  [*PLACES[1], 0.5, -0.2, 0.3, 0, 0]]
    data = draw_frame(parameters, [[9000.0], [500.0]], [gaussian_band(1.3)],
                      (50, 61))
    fitter = make_fitter(make_observation(data, [gaussian_band(1.3)]))
    shapes = Gaussian(torch.as_tensor(parameters, dtype=torch.float64),
                      torch.ones(2, 7, dtype=torch.float64))
    return fitter, make_sources(PLACES, [1, 1]), shapes, parameters


@pytest.mark.parametrize('others', ['all', 'fainter', 'none'])
def test_what_of_the_others_is_seen(blend, monkeypatch, others):
    fitter, sources, shapes, _ = blend
    data = fitter.observation.data
    seen = {}

    def encode(first, some, snr, known, own_light, *, image, alone,
               kept_light=None):
        window = np.zeros(2, int), np.zeros(2, int), data.shape[2]
        rows = np.arange(2)
        image = np.pad(image[0], ((0, 11), (0, 0)))
        out = np.stack([image, image])
        if alone:
            out += own_light(0, rows, *window)
        if kept_light is not None:
            out += kept_light(0, rows, *window)
        seen['stamps'] = out[:, :50]
        return known, known
    monkeypatch.setattr(looks, 'encode_both_ways', encode)
    pieces = [_piece([0, 1])]
    looks.look_again(fitter, sources, pieces, np.zeros(2, bool), shapes,
                     np.full((2, 1), 100.0), data, others=others)
    bright, faint = (fitter.draw(shapes.mean.numpy()[[k]],
                                 np.array([[flux]]))['model_image'][0]
                     for k, flux in enumerate((9000.0, 500.0)))
    expected = {'all': (bright + faint, bright + faint),
                'fainter': (bright + faint, faint),
                'none': (bright, faint)}[others]
    for image, truth in zip(seen['stamps'], expected, strict=True):
        np.testing.assert_allclose(image, truth, atol=0.02 * faint.max())


def test_the_first_guess_is_the_prior_of_the_brightness(blend):
    fitter, sources, _, _ = blend
    points = np.array([False, True])
    guess = looks.first_guess(fitter, sources, points,
                              np.array([[100.0], [5.0]]))
    np.testing.assert_allclose(guess.mean[:, :2], PLACES)
    assert guess.mean[0, 2] > -1
    # a point source stays one
    assert guess.mean[1, 2] == pytest.approx(-3.5)
