# Licensed under a 3-clause BSD style license - see LICENSE.rst
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from vaephot.deblend.fit import transfer as module
from vaephot.deblend.fit.draw import FrequencyGrid
from vaephot.deblend.fit.transfer import BINNING_CUT, BandTransfer

SHAPE = (70, 110)


def _random_psf(sampled_psf, oversampling, n=11, seed=2):
    image = np.random.default_rng(seed).uniform(0, 1, (n, n))
    return sampled_psf(image / image.sum(), oversampling)


def _direct(psf, grid):
    """Plain sum over the samples of a PSF, and over the binned pixels."""
    n, b = len(psf.image), grid.binning
    place = (np.arange(n) - n // 2) / psf.oversampling
    off = np.arange(b) - (b - 1) / 2
    waves = [np.exp(-1j * np.outer(k, place))
             * np.exp(-1j * np.outer(k, off)).sum(1)[:, None]
             for k in (grid.ky.numpy(), grid.kx.numpy())]
    return np.einsum('ky,yx,lx->kl', waves[0], psf.image, waves[1])


@pytest.mark.parametrize('oversampling', [1, 2, 3, 5])
@pytest.mark.parametrize('binning', [1, 2])
def test_transfer_is_the_plain_sum_over_samples(sampled_psf, oversampling,
                                                binning):
    psf = _random_psf(sampled_psf, oversampling)
    grid = FrequencyGrid(16 * binning, oversampling, oversampling, binning)
    found = BandTransfer(psf, SHAPE).at((0, 0), grid).numpy()
    np.testing.assert_allclose(found, _direct(psf, grid), atol=1e-6)


@pytest.mark.parametrize('oversampling', [1, 3])
def test_point_error_is_that_of_the_matched_filter(gaussian_band,
                                                   oversampling):
    found = BandTransfer(gaussian_band(1.6, oversampling=oversampling),
                         SHAPE).point_error
    # sum of the squares of a Gaussian of sigma 1.6
    np.testing.assert_allclose(found, 2 * np.sqrt(np.pi) * 1.6, rtol=1e-3)


def test_psfs_that_vary_are_looked_at_in_the_middle(gaussian_band):
    psf = gaussian_band(1.2, slope=0.008)
    middle = gaussian_band(1.2 + 0.008 * 54.5)
    np.testing.assert_allclose(BandTransfer(psf, SHAPE).point_error,
                               BandTransfer(middle, SHAPE).point_error)


@pytest.mark.parametrize('oversampling', [1, 2, 3])
def test_wing_is_the_largest_pixel_beyond_a_distance(gaussian_band,
                                                     oversampling):
    wing = BandTransfer(gaussian_band(1.5, oversampling=oversampling),
                        SHAPE).wing
    for r in (0, 2, 5):
        np.testing.assert_allclose(
            wing[r], np.exp(-0.5 * (r / 1.5) ** 2) / (2 * np.pi * 1.5 ** 2),
            rtol=0.02)
    assert (np.diff(wing) <= 0).all()


@pytest.mark.parametrize('oversampling', [1, 3])
def test_spill_is_the_light_beyond_a_square(gaussian_band, oversampling):
    psf = gaussian_band(1.5, oversampling=oversampling)
    image, _ = psf.sample(0, 0)
    middle = len(image) // 2
    spill = BandTransfer(psf, SHAPE).spill
    for half in (0, 3):
        cut = np.s_[middle - half * oversampling:
                    middle + half * oversampling + 1]
        np.testing.assert_allclose(spill[half], 1 - image[cut, cut].sum(),
                                   atol=1e-12)


@pytest.mark.parametrize(('sigma', 'binning'), [(1.2, 1), (2.0, 2),
                                                (4.0, 4), (9.0, 4)])
def test_bands_are_binned_as_far_as_their_psf_allows(gaussian_band, sigma,
                                                     binning):
    band = BandTransfer(gaussian_band(sigma, half=30), SHAPE)
    assert band.binning == binning
    # a Gaussian of this width has lost all contrast at the new Nyquist's
    if binning > 1:
        assert np.exp(-0.5 * (np.pi / binning * sigma) ** 2) < BINNING_CUT


def test_decline_is_that_of_a_gaussian(gaussian_band):
    band = BandTransfer(gaussian_band(1.5, oversampling=2, half=12), SHAPE)
    for reach in (0.25, 0.5, 1.0):
        np.testing.assert_allclose(
            band.beyond(reach), np.exp(-0.5 * (reach * np.pi * 1.5) ** 2),
            rtol=0.02, atol=1e-6)


def test_places_are_whole_pixels_where_a_psf_varies(gaussian_band):
    xy = np.array([[3.4, 8.6], [50.5, 1.2]])
    fixed, varying = (BandTransfer(gaussian_band(1.2, slope=s), SHAPE)
                      for s in (0, 0.01))
    assert (fixed.places(xy) == 0).all()
    np.testing.assert_array_equal(varying.places(xy), np.rint(xy))


def test_transfers_are_kept_as_long_as_there_is_room(gaussian_band,
                                                     monkeypatch):
    monkeypatch.setattr(module, 'MAX_KEPT', 2)
    band = BandTransfer(gaussian_band(1.2, slope=0.01), SHAPE)
    grid = FrequencyGrid(16, 1, 1, 1)
    first = band.at((0, 0), grid)
    assert band.at((0, 0), grid) is first
    for x in (1, 2, 3):
        band.at((x, 0), grid)
    again = band.at((0, 0), grid)
    assert again is not first
    np.testing.assert_array_equal(again, first)


def test_several_threads_may_ask_at_once(gaussian_band, monkeypatch):
    monkeypatch.setattr(module, 'MAX_KEPT', 1)
    band = BandTransfer(gaussian_band(1.2, slope=0.01), SHAPE)
    grid = FrequencyGrid(8, 1, 1, 1)
    monkeypatch.setattr(band, '_make', lambda place, grid: place)
    places = [(float(i % 3), 0.0) for i in range(20_000)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda place: band.at(place, grid), places))
    assert found == places
