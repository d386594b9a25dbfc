# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest

from vaephot.deblend.fit.common import POINT_LOG_SIZE
from vaephot.deblend.fit.render import MIN_ENCLOSED
from vaephot.deblend.fit.windows import SIDES

SHAPE = (90, 120)


@pytest.fixture(scope='module')
def psfs(gaussian_band):
    """Return the PSFs of two bands, one of which would be binned."""
    return [gaussian_band(1.2), gaussian_band(2.0)]


def _drawer(make_engine, make_observation, psfs, rms):
    """Return a function that draws sources in some noise."""
    engine = make_engine(make_observation(np.zeros((2, *SHAPE)), psfs,
                                          rms=rms))

    def make(parameters, flux=None):
        flux = np.ones((len(parameters), 2)) if flux is None else flux
        if parameters.ndim == 2:
            parameters = np.repeat(parameters[:, None], 2, 1)
        return engine.drawer.draw(parameters, np.asarray(flux, float))
    return make


@pytest.fixture(scope='module')
def draw(psfs, make_engine, make_observation):
    """Return a function that draws sources far below the noise."""
    return _drawer(make_engine, make_observation, psfs, 1e3)


@pytest.fixture(scope='module')
def draw_bright(psfs, make_engine, make_observation):
    """Return a function that draws sources far above the noise."""
    return _drawer(make_engine, make_observation, psfs, 1e-4)


def _parameters(*rows):
    values = np.zeros((len(rows), 7))
    values[:, :len(rows[0])] = rows
    return values


@pytest.mark.parametrize('log_size', [POINT_LOG_SIZE, 0.0, 1.3, 1.9])
def test_boxes_hold_nearly_all_the_light_of_every_band(draw, log_size):
    drawn = draw(_parameters([60.2, 44.7, log_size, 0.4, -0.2]),
                 [[100.0, 3.0]])
    share = drawn.models[0].sum((1, 2)) / [100, 3]
    assert (share >= MIN_ENCLOSED - 1e-3).all()
    assert (share <= 1 + MIN_ENCLOSED / 100).all()
    assert not drawn.truncated[0]
    assert drawn.models[0].shape[1:] == drawn.boxes[0].shape


def test_boxes_are_no_larger_than_needed(draw):
    small, large = (draw(_parameters([60, 44, s])).boxes[0]
                    for s in (-3.0, 2.0))
    assert small.shape[0] <= 24
    assert small.shape[0] < large.shape[0]


def test_centre_of_the_light_is_where_the_source_is(draw):
    drawn = draw(_parameters([60.3, 43.6, 0.5]))
    box, = drawn.boxes
    iy, ix = np.mgrid[box.iymin:box.iymax, box.ixmin:box.ixmax]
    for image in drawn.models[0]:
        for axis, place in ((ix, 60.3), (iy, 43.6)):
            assert (image * axis).sum() / image.sum() == pytest.approx(
                place, abs=0.02)


@pytest.mark.parametrize('row', [[60.3, 43.6, 1.0, 0.5, 0.2, 0.3, -0.4],
                                 [61.0, 30.5, POINT_LOG_SIZE, 0, 0, 0, 0],
                                 [119.4, 2.3, 0.3, 0.5, 0.2, 0.3, -0.4]])
def test_models_agree_with_the_plain_renderer(draw_bright, draw_frame, psfs,
                                              row):
    drawn = draw_bright(_parameters(row), [[7.0, 3.0]])
    wanted = draw_frame([row], [[7.0, 3.0]], psfs, SHAPE)
    box = drawn.boxes[0]
    cut = np.s_[:, box.iymin:box.iymax, box.ixmin:box.ixmax]
    np.testing.assert_allclose(drawn.models[0], wanted[cut],
                               atol=1e-3 * wanted.max())


@pytest.mark.parametrize(('x', 'y'), [(0, 0), (119, 89), (60, 0), (0, 40),
                                      (119, 40), (60, 89)])
def test_boxes_are_clipped_at_the_edges(draw, x, y):
    drawn = draw(_parameters([x, y, 0.5]))
    (box,), (model,) = drawn.boxes, drawn.models
    assert 0 <= box.ixmin < box.ixmax <= SHAPE[1]
    assert 0 <= box.iymin < box.iymax <= SHAPE[0]
    assert model.shape[1:] == box.shape
    iy, ix = np.unravel_index(model[0].argmax(), model[0].shape)
    assert (ix + box.ixmin, iy + box.iymin) == (x, y)


def test_source_outside_the_frame_has_an_empty_model(draw):
    drawn = draw(_parameters([-80, 300, 0.5]))
    (box,), (model,) = drawn.boxes, drawn.models
    assert (box.ixmin, box.iymin) == (0, SHAPE[0] - 1)
    assert model.shape == (2, 1, 1)
    assert (model == 0).all()


def test_gigantic_source_is_marked_as_truncated(draw):
    drawn = draw(_parameters([60, 44, 5.9]))
    assert drawn.truncated[0]
    assert drawn.boxes[0].shape == SHAPE
    assert np.isfinite(drawn.models[0]).all()
    assert 2 * np.exp(5.9) > SIDES[-1]


def test_sources_are_drawn_in_their_order(draw):
    sizes = [2.0, -1.0, 0.5, 2.1, -1.2]
    rows = _parameters(*[[20 * i + 15, 40, s] for i, s in enumerate(sizes)])
    flux = np.arange(10.0).reshape(5, 2) + 1
    together = draw(rows, flux)
    for k in range(5):
        alone = draw(rows[[k]], flux[[k]])
        assert together.boxes[k] == alone.boxes[0]
        np.testing.assert_allclose(together.models[k], alone.models[0],
                                   rtol=1e-5, atol=1e-8)


def test_image_is_the_sum_of_the_models(draw):
    rows = _parameters([20, 30, 0.5], [24, 33, 1.0], [118, 88, 0.7])
    drawn = draw(rows, [[5.0, 1], [2, 3], [4, 4]])
    total = np.zeros((2, *SHAPE))
    for box, model in zip(drawn.boxes, drawn.models, strict=True):
        total[:, box.iymin:box.iymax, box.ixmin:box.ixmax] += model
    np.testing.assert_allclose(drawn.image, total, atol=1e-6)


def test_negative_fluxes_are_drawn(draw):
    model, = draw(_parameters([60, 44, 0.5]), [[-5.0, 2.0]]).models
    np.testing.assert_allclose(model.sum((1, 2)), [-5, 2], rtol=0.02)


def test_each_band_is_drawn_with_its_own_parameters(draw_bright):
    common = _parameters([60.3, 43.6, 0.5], [30.1, 40.2, 1.0])
    own = np.stack([common, common], 1)
    own[:, 1, 2] += 0.4
    own[0, 1, 0] += 1.0
    before = own.copy()
    flux = np.array([[5.0, 3.0], [2.0, 4.0]])
    both = draw_bright(own, flux).image
    np.testing.assert_array_equal(own, before)
    for band in range(2):
        alone = draw_bright(own[:, band], flux).image
        np.testing.assert_allclose(both[band], alone[band],
                                   atol=1e-3 * alone.max())


def test_no_sources_make_an_empty_image(draw):
    drawn = draw(np.zeros((0, 7)))
    assert drawn.boxes == drawn.models == []
    assert (drawn.image == 0).all()


# --------------------------------------------------------- sets of models
@pytest.fixture
def three(draw):
    """Return three sources that overlap."""
    rows = _parameters([20, 30, 0.5], [24, 33, 1.0], [40, 38, 0.7])
    return rows, draw(rows, [[5.0, 1], [2, 3], [4, 4]])


def test_others_are_all_but_some(draw, three):
    rows, drawn = three
    rest = draw(rows[[1]], [[2, 3]])
    found = drawn.others(1, [0, 2], 10, 25, (20, 16))
    np.testing.assert_allclose(found, rest.image[1, 25:45, 10:26],
                               atol=1e-6)


@pytest.mark.parametrize('corner', [(-6, -3), (115, 80), (300, 5)])
def test_light_beyond_the_frame_is_none(three, corner):
    _, drawn = three
    x, y = corner
    found = drawn.others(0, [1], x, y, (12, 10))
    iy, ix = np.mgrid[y:y + 12, x:x + 10]
    inside = (iy >= 0) & (iy < SHAPE[0]) & (ix >= 0) & (ix < SHAPE[1])
    assert (found[~inside] == 0).all()
    if inside.any():
        wanted = drawn.others(0, [1], 0, 0, SHAPE)[iy[inside], ix[inside]]
        np.testing.assert_allclose(found[inside], wanted)


def test_sets_are_taken_joined_and_renewed(draw, three):
    rows, drawn = three
    keep = np.array([True, False, True])
    some = drawn.take(keep)
    again = some.join(draw(rows[[1]], [[2, 3]]))
    np.testing.assert_allclose(again.image, drawn.image, atol=1e-6)
    assert again.boxes == [drawn.boxes[k] for k in (0, 2, 1)]
    brighter = draw(rows[[1]], [[20, 30]])
    renewed = drawn.merged(brighter, [1])
    np.testing.assert_allclose(
        renewed.image, draw(rows, [[5.0, 1], [20, 30], [4, 4]]).image,
        atol=1e-5)
    # nothing was changed in place
    np.testing.assert_allclose(drawn.image, draw(
        rows, [[5.0, 1], [2, 3], [4, 4]]).image, atol=1e-6)


def test_stamps_are_cut_from_the_same_models(make_engine, make_observation,
                                             draw_frame, psfs):
    engine = make_engine(make_observation(np.zeros((2, *SHAPE)), psfs))
    xy = np.array([[30.3, 40.6], [60.5, 20.1]])
    found = engine.draw_points(xy, 25, np.array([[18, 28], [50, 10]]))
    for stamp, (x, y), (x0, y0) in zip(found, xy, [(18, 28), (50, 10)],
                                       strict=True):
        wanted = draw_frame([[x, y, -9, 0, 0, 0, 0]], [[1.0, 1.0]], psfs,
                            SHAPE)[:, y0:y0 + 25, x0:x0 + 25]
        np.testing.assert_allclose(stamp, wanted, atol=1e-3 * wanted.max())


def test_bright_points_leave_no_ripples(make_engine, make_observation,
                                        moffat_psf):
    # a star of a million sigma as a point source
    shape = (301, 301)
    engine = make_engine(make_observation(np.zeros((1, *shape)),
                                          [moffat_psf]))
    error = engine.fitter.bands.point_error[0]
    flux = 1e6 * error
    image = engine.point_image(np.array([[150.0, 150.0]]), [[flux]])[0]
    psf = moffat_psf.image[::2, ::2] * 4 * flux
    wanted = np.zeros(shape)
    wanted[150 - 40:151 + 40, 150 - 40:151 + 40] = psf
    y, x = np.mgrid[:301, :301] - 150
    apart = np.abs(image - wanted)
    core = np.hypot(x, y) < 5
    assert apart[~core].max() < 1
    assert apart[core].max() < 1e-5 * wanted.max()
