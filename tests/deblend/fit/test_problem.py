# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
import torch

from vaephot.deblend.fit.batches import FIXED_SIGMA
from vaephot.deblend.fit.problem import MARGIN_FWHM, MIN_MARGIN, MIN_SIDE
from vaephot.deblend.fit.steps import HELD
from vaephot.deblend.fit.windows import SIDES

SHAPE = (70, 120)
PLACES = np.array([[22.3, 30.6], [27.1, 33.2], [90.4, 60.8]])
GROUPS = ((0, 1), (2,))


@pytest.fixture
def problem(make_fitter, make_sources, make_groups_of, gaussian_band):
    """Return a function that makes groups of two and one sources."""
    def make(sigma=0.5, is_point=False, psfs=None, light=None, **given):
        psfs = psfs or [gaussian_band(1.2), gaussian_band(2.2)]
        data = np.random.default_rng(1).normal(size=(2, *SHAPE))
        fitter = make_fitter(data, psfs, **given)
        sources = make_sources(PLACES, sigma=sigma, is_point=is_point)
        return fitter.problem(make_groups_of(sources, GROUPS), sources,
                              light=light)
    return make


def _ones(problem):
    return torch.ones(2, 2, 2).double()


def test_brightness_is_the_flux_over_the_point_source_error(problem):
    found = problem(rms=[2.0, 0.5])
    noise = found.noise(found.xy)
    # in units of the noise of its band
    assert (noise == 1).all()
    wanted = 1 / (2 * np.sqrt(np.pi) * np.array([1.2, 2.2]))
    snr = found.point_snr(_ones(found), noise)
    np.testing.assert_allclose(snr[0, :, 0], wanted, rtol=1e-3)


def test_sky_noise_is_read_at_the_row_of_y(problem):
    found = problem()
    plane = found.planes[0]
    variance = np.arange(1.0, plane.data.size + 1).reshape(SHAPE)
    object.__setattr__(plane, 'variance', variance)
    noise = found.noise(found.xy)
    np.testing.assert_allclose(noise[0, 0, 1] ** 2, variance[33, 27])


def test_points_and_fixed_positions_are_held(problem):
    sigma = np.array([0.5, FIXED_SIGMA, 0.5])
    found = problem(sigma=sigma, is_point=np.array([False, False, True]))
    local = torch.zeros(2, 2, 7).double() + 0.3
    mean, precision = found.prior_of(_ones(found),
                                     found.noise(found.xy), local)
    free = found.batch.free
    assert free[0, 0].all()
    assert free[0, 1].tolist() == [False] * 2 + [True] * 5
    assert free[1, 0].tolist() == [True] * 2 + [False] * 5
    assert not free[1, 1].any()
    assert (precision[~free] == HELD).all()
    assert (precision[free] < HELD).all()
    assert (mean[~free] == 0.3).all()


def test_regions_hold_the_footprints_with_sky_around(problem):
    found = problem()
    low, size = found.regions()
    bins = found.bands.binning.numpy()[:, None]
    for g, (x0, x1, y0, y1) in enumerate(found.spans):
        first, last = np.array([x0, y0]), np.array([x1, y1])
        for b in range(2):
            margin = max(MIN_MARGIN, MARGIN_FWHM * found.fwhm[b]) - 1
            high = low[g, b] + size[g, b] * bins[b]
            assert (low[g, b] <= np.maximum(first - margin, 0)).all()
            assert (high >= np.minimum(last + margin,
                                       SHAPE[::-1])).all()
            assert (size[g, b] * bins[b] >= SIDES[0]).all()
            # a group in the middle of the image has a least side
            if g == 0:
                assert (size[g, b] * bins[b] >= MIN_SIDE).all()


def test_regions_of_several_sources_are_square(problem):
    size = problem().regions()[1]
    assert (size[0, :, 0] == size[0, :, 1]).all()


def test_bands_that_are_not_used_have_no_pixels(problem):
    found = problem()
    used = torch.tensor([[True, False], [True, True]])
    canvas = found.canvas(used)
    assert (canvas.size.prod(2) > 0).tolist() == used.tolist()


def test_size_is_the_shorter_side_with_sky(problem):
    found = problem()
    margin = 2 * max(MIN_MARGIN, MARGIN_FWHM * found.fwhm.min())
    x0, x1, y0, y1 = found.spans[0]
    assert float(found.size[0]) == pytest.approx(
        max(x1 - x0, y1 - y0) + margin)


def test_light_of_others_is_that_of_sources_outside_of_the_group(problem):
    asked = []

    def light(band, members, x, y, shape):
        asked.append((band, members.tolist()))
        return np.full(shape, 7.0, np.float32)
    found = problem(light=light)
    bare = problem()
    used = torch.ones(2, 2, dtype=torch.bool)
    apart = bare.canvas(used).data - found.canvas(used).data
    assert sorted(asked) == [(0, [0, 1]), (0, [2]), (1, [0, 1]), (1, [2])]
    assert set(np.round(apart.unique().tolist(), 3)) <= {0, 7, 28}


def test_some_groups_of_a_problem_are_taken(problem):
    found = problem()
    some = found.take(torch.tensor([1]))
    assert some.batch.members.tolist() == [[2, -1]]
    np.testing.assert_array_equal(some.spans, found.spans[[1]])
    torch.testing.assert_close(some.xy, found.xy[[1]])
