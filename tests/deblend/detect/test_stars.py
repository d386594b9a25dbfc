# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from photutils.segmentation import SegmentationImage

from vaephot.deblend.detect import stars as stars_module
from vaephot.deblend.detect.pixels import Pixels
from vaephot.deblend.detect.stars import (
    PointSources,
    find_stars,
    recognize_stars,
)

SHAPE = (64, 96)
SIGMA = np.array([1.3, 2.0])
STAR, FLUX = np.array([25.4, 31.3]), np.array([50_000.0, 80_000.0])
SEGM = np.zeros(SHAPE, int)
SEGM[20:43, 12:40] = 4


def gaussians(xy, shape, corner, sigma=SIGMA):
    """Round Gaussians of unit flux, (n, n_bands, *shape)."""
    yy, xx = np.mgrid[:shape[0], :shape[1]]
    x, y = (np.asarray(xy, float) - corner).T[:, :, None, None, None]
    v = 2 * np.asarray(sigma)[:, None, None] ** 2
    return np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / v) / (np.pi * v)


def points(data, mask=None, gain=None):
    """Pixels of unit noise, and what draws stars on them."""
    def draw_image(xy, flux):
        images = gaussians(xy, SHAPE, np.zeros(2))
        return np.einsum('nb,nbyx->byx', flux, images)
    pixels = Pixels(
        data=data, variance=np.ones((len(data), 1, 1)), gain=gain,
        mask=np.zeros(data.shape, bool) if mask is None else mask,
        fwhm=2.3548 * SIGMA)
    return PointSources(
        pixels=pixels, draw_image=draw_image,
        draw=lambda xy, size, corner: gaussians(xy, (size, size), corner))


def scene(sigma=SIGMA, flux=FLUX, seed=2):
    image = gaussians(STAR[None], SHAPE, np.zeros(2), sigma)[0]
    noise = np.random.default_rng(seed).standard_normal((2, *SHAPE))
    return flux[:, None, None] * image + noise


def stack(seen):
    return np.where(seen.pixels.mask.all(0), np.nan,
                    seen.pixels.data.sum(0) / 2 ** 0.5)


def find(seen):
    return find_stars(seen, SegmentationImage(SEGM), stack(seen),
                      np.array([4]))


@pytest.mark.parametrize('saturated', [(), (0,), (0, 1)])
@pytest.mark.parametrize('gain', [None, np.array([2.0, 1.0])])
def test_bright_stars_are_found_at_their_places(saturated, gain):
    y, x = np.mgrid[:SHAPE[0], :SHAPE[1]]
    mask = np.zeros((2, *SHAPE), bool)
    mask[list(saturated)] = np.hypot(x - 26, y - 31) < 1.5
    seen = points(scene(), mask, gain)
    found = find(seen)
    assert len(found) == 1
    assert_allclose(found.xy, [STAR], atol=0.01)
    assert_allclose(found.flux, [FLUX], rtol=2e-3)
    assert found.parent.tolist() == [4]
    assert found.saturated.tolist() == [len(saturated) > 0]
    left = seen.pixels.data - seen.draw_image(found.xy, found.flux)
    assert left[~mask].std() < 1.1
    # a given position is enough, and others stay as they were given
    xy, is_star = recognize_stars(seen, stack(seen),
                                  np.array([[80.0, 10], [25.8, 31.0]]))
    assert is_star.tolist() == [False, True]
    assert_allclose(xy, [[80, 10], STAR], atol=0.05)


def test_the_fit_ends_at_the_least_squares_solution():
    seen = points(scene())
    found = find(seen)

    def chi2(x, y):
        image = gaussians([(x, y)], SHAPE, np.zeros(2))[0]
        flux = ((seen.pixels.data * image).sum((1, 2))
                / (image ** 2).sum((1, 2)))
        model = flux[:, None, None] * image
        return ((seen.pixels.data - model) ** 2).sum()
    best = chi2(found.x[0], found.y[0])
    for step in ((3e-3, 0), (-3e-3, 0), (0, 3e-3), (0, -3e-3)):
        assert chi2(found.x[0] + step[0], found.y[0] + step[1]) > best


def test_how_many_are_fitted_at_once_does_not_matter(monkeypatch):
    data = scene()
    data[:, :, 40:] += scene(seed=3)[:, :, :56]
    places = np.array([STAR + 0.3, STAR + (40.2, -0.1), (5.0, 5.0)])
    want = recognize_stars(points(data), data.sum(0), places)
    monkeypatch.setattr(stars_module, 'CHUNK_PIXELS', 1)
    got = recognize_stars(points(data), data.sum(0), places)
    assert want[1].tolist() == [True, True, False]
    assert_array_equal(got[1], want[1])
    assert_allclose(got[0], want[0], atol=1e-12)


def test_places_without_a_good_pixel_are_no_stars():
    mask = np.ones((2, *SHAPE), bool)
    mask[:, :, 60:] = False
    seen = points(scene(), mask)
    places = np.array([[10.0, 31], [-400, 9000]])
    xy, is_star = recognize_stars(seen, stack(seen), places)
    assert not is_star.any()
    assert_array_equal(xy, places)


@pytest.mark.parametrize('sigma', [1.2 * SIGMA, 1.5 * SIGMA])
def test_galaxies_are_no_stars(sigma):
    seen = points(scene(sigma, 3 * FLUX))
    assert len(find(seen)) == 0
    _, is_star = recognize_stars(seen, stack(seen), STAR[None])
    assert not is_star.any()


def test_faint_stars_are_not_looked_for():
    assert len(find(points(scene(flux=FLUX / 100)))) == 0
