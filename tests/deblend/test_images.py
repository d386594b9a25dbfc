# Licensed under a 3-clause BSD style license - see LICENSE.rst
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from vaephot.deblend.images import (
    MAX_DRAW_SIZE,
    MIN_ENCLOSED,
    draw_scene,
    draw_sources,
    redraw,
)
from vaephot.models.render import Renderer, make_transfer, padded_size

SHAPE = (90, 120)


@pytest.fixture
def fitter(tiny_decoder, gaussian_band):
    """Return what `draw_sources` needs of a fitter, of two bands."""
    bands = [gaussian_band(1.2), gaussian_band(2.0)]

    def renderer(size, centres):
        return Renderer(size, [
            make_transfer([b.sample(*centres[0])[0]], 1, padded_size(size))
            for b in bands])
    optics = SimpleNamespace(
        renderer=renderer, dtype=torch.float64, core_reach=6,
        fine_enough=lambda *known: optics,
        wing_reach=lambda bright, limit: np.zeros(len(bright), int))
    optics.fine = optics
    return SimpleNamespace(
        decoder=tiny_decoder, device='cpu', optics=optics,
        sky_rms=lambda xy: np.full((len(xy), 2), 1e3))


def _parameters(*rows):
    values = np.zeros((len(rows), 7))
    values[:, :len(rows[0])] = rows
    return values


def _draw(fitter, parameters, flux=None):
    flux = np.ones((len(parameters), 2)) if flux is None else flux
    return draw_sources(fitter, parameters, np.asarray(flux, float), SHAPE)


@pytest.mark.parametrize('log_size', [-3.5, 0.0, 1.3, 1.9])
def test_boxes_hold_nearly_all_the_light_of_every_band(fitter, log_size):
    boxes, models, truncated = _draw(
        fitter, _parameters([60.2, 44.7, log_size, 0.4, -0.2]),
        [[100.0, 3.0]])
    share = models[0].sum((1, 2)) / [100, 3]
    assert (share >= MIN_ENCLOSED).all()
    assert (share <= 1 + 1e-6).all()
    assert not truncated[0]
    assert models[0].shape[1:] == boxes[0].shape


def test_boxes_are_no_larger_than_needed(fitter):
    small, large = (_draw(fitter, _parameters([60, 44, s]))[0][0]
                    for s in (-3.0, 2.0))
    assert small.shape[0] <= 15
    assert small.shape[0] < large.shape[0]


def test_box_is_centred_on_the_nearest_pixel(fitter):
    (bbox,), (model,), _ = _draw(fitter, _parameters([60.3, 43.6, 0.5]))
    assert (bbox.ixmin + bbox.ixmax - 1) / 2 == 60
    assert (bbox.iymin + bbox.iymax - 1) / 2 == 44
    iy, ix = np.mgrid[bbox.iymin:bbox.iymax, bbox.ixmin:bbox.ixmax]
    for image in model:
        assert (image * ix).sum() / image.sum() == pytest.approx(60.3,
                                                                 abs=0.01)
        assert (image * iy).sum() / image.sum() == pytest.approx(43.6,
                                                                 abs=0.01)


def test_models_agree_with_a_large_stamp(fitter, tiny_decoder):
    parameters = _parameters([60.3, 43.6, 1.0, 0.5, 0.2, 0.3, -0.4])
    (bbox,), (model,), _ = _draw(fitter, parameters, [[7.0, 3.0]])
    values = torch.as_tensor(parameters)
    whole = fitter.optics.renderer(120, [(0, 0)]).templates(
        tiny_decoder.from_parameters(values), values[:, :2])[0].numpy()
    whole = whole * np.array([7.0, 3.0])[:, None, None]
    np.testing.assert_allclose(
        model, whole[:, bbox.iymin:bbox.iymax, bbox.ixmin:bbox.ixmax],
        atol=2e-4 * whole.max())


@pytest.mark.parametrize(('x', 'y'), [(0, 0), (119, 89), (60, 0), (0, 40),
                                      (119, 40), (60, 89)])
def test_boxes_are_clipped_at_the_edges(fitter, x, y):
    (bbox,), (model,), _ = _draw(fitter, _parameters([x, y, 0.5]))
    assert 0 <= bbox.ixmin < bbox.ixmax <= SHAPE[1]
    assert 0 <= bbox.iymin < bbox.iymax <= SHAPE[0]
    assert model.shape[1:] == bbox.shape
    iy, ix = np.unravel_index(model[0].argmax(), model[0].shape)
    assert (ix + bbox.ixmin, iy + bbox.iymin) == (x, y)


def test_source_outside_the_frame_has_an_empty_model(fitter):
    (bbox,), (model,), _ = _draw(fitter, _parameters([-80, 300, 0.5]))
    assert (bbox.ixmin, bbox.iymin) == (0, SHAPE[0] - 1)
    assert model.shape == (2, 1, 1)
    assert (model == 0).all()


def test_gigantic_source_is_marked_as_truncated(fitter):
    (bbox,), (model,), truncated = _draw(fitter, _parameters([60, 44, 5.9]))
    assert truncated[0]
    assert bbox.shape == SHAPE
    assert np.isfinite(model).all()
    assert 2 * np.exp(5.9) > MAX_DRAW_SIZE


def test_sources_are_drawn_in_their_order(fitter):
    sizes = [2.0, -1.0, 0.5, 2.1, -1.2]
    rows = _parameters(*[[20 * i + 15, 40, s] for i, s in enumerate(sizes)])
    flux = np.arange(10.0).reshape(5, 2) + 1
    boxes, models, _ = _draw(fitter, rows, flux)
    for i in range(5):
        one_box, one_model, _ = _draw(fitter, rows[i:i + 1], flux[i:i + 1])
        assert boxes[i] == one_box[0]
        np.testing.assert_allclose(models[i], one_model[0], rtol=1e-5,
                                   atol=1e-9)


def test_negative_fluxes_are_drawn(fitter):
    _, (model,), _ = _draw(fitter, _parameters([60, 44, 0.5]), [[-5.0, 2.0]])
    assert model[0].sum() == pytest.approx(-5, rel=0.01)
    assert model[1].sum() == pytest.approx(2, rel=0.01)


def test_no_sources_make_no_images(fitter):
    boxes, models, truncated = _draw(fitter, np.zeros((0, 7)))
    assert boxes == models == []
    assert len(truncated) == 0


def test_each_band_is_drawn_with_its_own_parameters(fitter):
    common = _parameters([60.3, 43.6, 0.5], [30.1, 40.2, 1.0])
    own = np.stack([common, common], 1)
    own[:, 1, 2] += 0.4
    own[0, 1, 0] += 1.0
    flux = np.array([[5.0, 3.0], [2.0, 4.0]])
    boxes, models, _ = _draw(fitter, own, flux)
    for band in range(2):
        alone, images, _ = _draw(fitter, own[:, band], flux)
        for k in range(2):
            whole = np.zeros((2, *SHAPE))
            for row, (b, m) in enumerate(((boxes[k], models[k][band]),
                                          (alone[k], images[k][band]))):
                whole[row, b.iymin:b.iymax, b.ixmin:b.ixmax] = m
            # but for the light that the smaller box cuts off
            assert abs(whole[0] - whole[1]).sum() < 0.02 * flux[k, band]


def test_parameters_are_left_unchanged(fitter):
    own = np.repeat(_parameters([60.3, 43.6, 0.5])[:, None], 2, 1)
    before = own.copy()
    _draw(fitter, own)
    np.testing.assert_array_equal(own, before)


# ------------------------------------------------------------ drawing again
@pytest.fixture
def drawer(fitter):
    """Return a fitter that counts what it draws, on two grids."""
    def draw(parameters, flux):
        drawer.n_drawn += len(flux)
        first, second = (draw_scene(fitter, parameters, scale * flux)
                         for scale in (1.0, 2.0))
        return {**first, 'layers': (second,)}
    shape = (2, *SHAPE)
    fitter.observation = SimpleNamespace(data=np.zeros(shape))
    drawer = SimpleNamespace(draw=draw, n_drawn=0)
    return drawer


def _fit(*rows):
    parameters = _parameters(*rows)
    flux = 100.0 + np.arange(2.0 * len(rows)).reshape(-1, 2)
    return SimpleNamespace(
        band_parameters=np.repeat(parameters[:, None], 2, 1), flux=flux)


def _assert_same(one, other):
    for a, b in zip((one, *one['layers']), (other, *other['layers']),
                    strict=True):
        assert a['boxes'] == b['boxes']
        np.testing.assert_array_equal(a['truncated'], b['truncated'])
        np.testing.assert_allclose(a['model_image'], b['model_image'],
                                   rtol=1e-5, atol=1e-8)


def test_only_what_changed_is_drawn_again(drawer):
    old = _fit([20, 20, 0.5], [60, 40, 1.0], [90, 60, 0.2])
    drawn = drawer.draw(old.band_parameters, old.flux)
    new = _fit([20, 20, 0.5], [61, 40, 1.0], [90, 60, 0.2])
    new.flux[2, 1] += 1
    drawer.n_drawn = 0
    again = redraw(drawer, new, old, drawn)
    assert drawer.n_drawn == 2
    _assert_same(again, drawer.draw(new.band_parameters, new.flux))


def test_sources_that_came_and_went_are_told_apart(drawer):
    old = _fit([20, 20, 0.5], [60, 40, 1.0], [90, 60, 0.2])
    drawn = drawer.draw(old.band_parameters, old.flux)
    new = _fit([0, 0, 0], [90, 60, 0.2], [40, 70, 0.3])
    new.band_parameters[:2] = old.band_parameters[[1, 2]]
    new.flux[:2] = old.flux[[1, 2]]
    drawer.n_drawn = 0
    again = redraw(drawer, new, old, drawn, [1, 2, -1])
    assert drawer.n_drawn == 1
    _assert_same(again, drawer.draw(new.band_parameters, new.flux))


def test_nothing_is_drawn_of_the_same_fit(drawer):
    fit = _fit([20, 20, 0.5], [60, 40, 1.0])
    drawn = drawer.draw(fit.band_parameters, fit.flux)
    drawer.n_drawn = 0
    _assert_same(redraw(drawer, fit, fit, drawn), drawn)
    assert drawer.n_drawn == 0
