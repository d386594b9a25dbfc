# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
import torch

from vaephot.deblend.band_fit import BandBatch, GroupBatch
from vaephot.deblend.columns import StampColumns, WindowColumns, spread
from vaephot.deblend.refine import FitSettings, fit_groups, linear_fluxes
from vaephot.deblend.windows import MAX_OUTSIDE, Windows, grid_length
from vaephot.models.encoder import Gaussian
from vaephot.models.render import BandRenderer, make_transfer

SIZE = 96
SIGMA = 1.4
# x, y, log size, shear, latent of sources of a stamp: the first is bright
GROUP = np.array([[47.3, 50.2, 1.6, 0.3, -0.2, 0.0, 0.0],
                  [61.1, 40.4, 0.5, -0.2, 0.4, 0.0, 0.0],
                  [30.2, 70.8, 0.2, 0.1, 0.2, 0.0, 0.0]])
FLUX = np.array([40_000.0, 150.0, 90.0])


def _wing(psf):
    offset = np.arange(len(psf)) - len(psf) // 2
    ring = np.hypot(offset[:, None], offset).astype(int).ravel()
    top = np.zeros(ring.max() + 1)
    np.maximum.at(top, ring, psf.ravel())
    return torch.as_tensor(np.maximum.accumulate(top[::-1])[::-1].copy())


@pytest.fixture
def make(gaussian_band):
    """Return a function that makes the renderer of windows of a side."""
    psf = gaussian_band(SIGMA).sample(0, 0)[0]

    def renderer(side, n_grid=None):
        n_grid = grid_length(side) if n_grid is None else n_grid
        return BandRenderer(side, make_transfer([psf], 1, n_grid), n_grid)
    return renderer


@pytest.fixture
def windows(make, gaussian_band):
    """Return a function that makes windows for known fluxes."""
    wing = _wing(gaussian_band(SIGMA).sample(0, 0)[0])

    def windows(flux, size=SIZE):
        return Windows(size, make, wing, SIGMA,
                       torch.as_tensor(np.asarray(flux, float)))
    return windows


def _seen(decoder, bright, rows=GROUP):
    values = torch.as_tensor(rows)
    return (decoder.from_parameters(values), torch.exp(values[:, 2]),
            torch.as_tensor(np.asarray(bright, float)), values[:, :2])


@pytest.mark.parametrize('bright', [10.0, 100.0, 1000.0])
def test_windows_hold_the_light_that_matters(tiny_decoder, windows, make,
                                             bright):
    choice = windows(FLUX[None])
    seen = _seen(tiny_decoder, [bright] * 3)
    number, corner = choice.choose(*seen)
    assert (number < len(choice) - 1).any()
    images = bright * make(SIZE, 160).templates(seen[0], seen[3])
    for image, i, (x, y) in zip(images, number, corner.tolist(),
                                strict=True):
        side = int(choice.sides[i])
        image[y:y + side, x:x + side] = 0
        assert image.abs().max() <= MAX_OUTSIDE


def test_brighter_and_larger_sources_get_larger_windows(tiny_decoder,
                                                        windows):
    choice = windows(FLUX[None])
    numbers = [choice.choose(*_seen(tiny_decoder, [b] * 3))[0]
               for b in (1.0, 1e2, 1e4)]
    assert (numbers[0] <= numbers[1]).all()
    assert (numbers[1] <= numbers[2]).all()
    assert (numbers[0] < numbers[2]).any()
    assert (numbers[1][0] >= numbers[1][1:]).all()
    # what lies at infinity is drawn on the stamp
    last = len(choice) - 1
    assert choice.choose(*_seen(tiny_decoder, [1e12] * 3))[0].tolist() == (
        [last] * 3)


def test_windows_lie_inside_the_stamp(tiny_decoder, windows):
    choice = windows(FLUX[None])
    corners = GROUP.copy()
    corners[:, :2] = [[2, 3], [92, 1], [50, 94]]
    number, corner = choice.choose(*_seen(tiny_decoder, [50] * 3, corners))
    side = choice.sides[number][:, None]
    assert (corner >= 0).all()
    assert (corner + side <= SIZE).all()


def test_sources_outgrow_their_windows(tiny_decoder, windows):
    choice = windows(FLUX[None])
    chosen = choice.choose(*_seen(tiny_decoder, [50] * 3))

    def outgrown(bright, rows):
        return choice.outgrown(*_seen(tiny_decoder, bright, rows), *chosen)
    assert not outgrown([50] * 3, GROUP).any()
    assert outgrown([50, 5e4, 50], GROUP).tolist() == [False, True, False]
    moved, grown = GROUP.copy(), GROUP.copy()
    moved[2, 0] += 8
    grown[1, 2] += 1.5
    assert outgrown([50] * 3, moved).tolist() == [False, False, True]
    assert outgrown([50] * 3, grown).tolist() == [False, True, False]


def test_window_columns_are_stamp_columns_in_the_dark():
    rng = np.random.default_rng(8)
    size, corners = 20, [(1, 2), (5, 6), (0, 0), (12, 11), (10, 3), (0, 0)]
    sides = [8, 10, None, 7, 8, None]
    images = [None if side is None
              else torch.as_tensor(rng.normal(0, 1, (3, side, side)))
              for side in sides]
    stamps = torch.zeros(6, 3, size, size, dtype=torch.float64)
    for stamp, image, (x, y), side in zip(stamps, images, corners, sides,
                                          strict=True):
        if image is not None:
            stamp[:, y:y + side, x:x + side] = image
    weight = torch.as_tensor(rng.uniform(0, 2, (2, size ** 2)))
    values = torch.as_tensor(rng.normal(0, 1, (2, size ** 2)))
    whole = StampColumns(stamps.reshape(2, 9, -1), weight)
    parts = WindowColumns(images, corners, weight, size)
    torch.testing.assert_close(parts.gram(), whole.gram())
    torch.testing.assert_close(parts.project(values), whole.project(values))
    torch.testing.assert_close(spread(images, corners, size), stamps[:, 0])


def _fits(decoder, make, windows, background=None):
    """The same group, drawn on whole stamps and on windows."""
    rng = np.random.default_rng(3)
    truth = torch.as_tensor(GROUP)
    stamp = make(SIZE, 160)
    image = torch.einsum('k,kyx->yx', torch.as_tensor(FLUX), stamp.templates(
        decoder.from_parameters(truth), truth[:, :2]))
    data = image + torch.as_tensor(rng.normal(0, 1, image.shape))
    prior = Gaussian(truth[None], torch.full_like(truth[None], 4.0))
    for choice in (None, windows(FLUX[None])):
        band = BandBatch(data[None], torch.ones_like(data[None]),
                         torch.ones_like(data[None], dtype=torch.bool), 3.0,
                         stamp, choice)
        batch = GroupBatch((band,), torch.ones(1, 3).double(), prior,
                           torch.eye(7).double() * 1e3)
        yield batch, fit_groups(batch, truth[None] + 0.1, decoder,
                                FitSettings(max_steps=40, tolerance=1e-4,
                                            background=background))


@pytest.mark.parametrize('background', [None, 'plane'])
def test_windows_change_fluxes_by_far_less_than_their_errors(
        tiny_decoder, make, windows, background):
    (_, whole), (_, part) = _fits(tiny_decoder, make, windows, background)
    error = torch.diagonal(whole.covariance[0])[:3].sqrt()
    assert ((part.flux - whole.flux)[0, :, 0].abs() < 0.05 * error).all()
    torch.testing.assert_close(
        torch.diagonal(part.covariance[0])[:3].sqrt(), error, rtol=0.02,
        atol=0)


def test_linear_fluxes_and_templates_hardly_feel_the_windows(
        tiny_decoder, make, windows):
    (first, _), (second, _) = _fits(tiny_decoder, make, windows)
    whole, part = (linear_fluxes(batch, tiny_decoder)
                   for batch in (first, second))
    torch.testing.assert_close(part[0], whole[0], rtol=2e-3, atol=0)
    torch.testing.assert_close(part[1], whole[1], rtol=2e-3, atol=0)
    change = (part[2][0] - whole[2][0]).abs().amax((2, 3))[0]
    assert (change * torch.as_tensor(FLUX) <= MAX_OUTSIDE).all()


def test_a_source_far_larger_than_expected_is_fitted_as_well(
        tiny_decoder, make, windows):
    truth = torch.as_tensor(GROUP[:1])
    stamp = make(SIZE, 160)
    image = 5000 * stamp.templates(tiny_decoder.from_parameters(truth),
                                   truth[:, :2])
    start = truth.clone()
    start[0, 2] -= 1.5
    band = BandBatch(image, torch.ones_like(image),
                     torch.ones_like(image, dtype=torch.bool), None, stamp,
                     windows([[20.0]]))
    batch = GroupBatch((band,), torch.ones(1, 1).double(),
                       Gaussian(truth[None], torch.full_like(start[None],
                                                             1e-6)),
                       torch.eye(7).double() * 1e3)
    fit = fit_groups(batch, start[None], tiny_decoder,
                     FitSettings(max_steps=60, tolerance=1e-8))
    np.testing.assert_allclose(fit.flux, 5000, rtol=2e-3)
    np.testing.assert_allclose(fit.parameters[0, 0, :5], truth[0, :5],
                               atol=5e-3)
