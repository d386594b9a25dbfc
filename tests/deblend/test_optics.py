# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
import torch

from vaephot.deblend import optics as module
from vaephot.deblend.optics import COARSE_MAX, SINGLE_MAX, Optics

SHAPE = (70, 110)


@pytest.fixture
def bands(gaussian_band):
    """Return the PSFs of two bands."""
    return [gaussian_band(1.2), gaussian_band(1.6)]


@pytest.fixture
def optics(bands):
    """Return what these PSFs do to light."""
    return Optics(bands, SHAPE)


def test_core_of_the_psf_holds_its_light(optics, gaussian_band):
    assert 4 <= optics.core_reach <= 6  # 2.8 of 1.6 px
    fine = [gaussian_band(1.2, oversampling=3),
            gaussian_band(1.6, oversampling=3)]
    assert 4 <= Optics(fine, SHAPE).core_reach <= 6


def test_psfs_that_vary_are_looked_at_in_the_middle(gaussian_band):
    psf = gaussian_band(1.2, slope=0.008)
    (image, _), = Optics([psf], SHAPE).samples
    np.testing.assert_array_equal(image, psf.sample(54.5, 34.5)[0])
    assert (image != psf.sample(0, 0)[0]).any()


@pytest.mark.parametrize('oversampling', [1, 3])
def test_point_error_is_that_of_the_matched_filter(gaussian_band,
                                                   oversampling):
    found = Optics([gaussian_band(1.6, oversampling=oversampling)],
                   SHAPE).point_error
    # sum of the squares of a Gaussian of sigma 1.6
    np.testing.assert_allclose(found, 2 * np.sqrt(np.pi) * 1.6, rtol=1e-3)


@pytest.mark.parametrize('bright', [0.0, 1.0, 10.0, 1e3])
def test_light_matters_where_it_exceeds_a_tenth_of_the_noise(
        bands, optics, bright):
    reach = optics.wing_reach(np.full((1, 2), bright))[0]
    row = bright * np.max([band.sample(0, 0)[0][10, 10:]
                           for band in bands], axis=0)
    assert row[reach] <= 0.1
    assert (reach > 0) == (row[0] > 0.1)
    assert reach == 0 or row[reach - 1] > 0.1


def test_wings_of_bright_sources_are_not_folded_back(
        draw_frame, gaussian_band, tiny_decoder):
    # a PSF as wide as the stamp: its light comes in on the other side
    band = gaussian_band(9.0, half=40)
    place = np.array([[30.0, 8.0, -3.5, 0, 0, 0, 0]])
    data = draw_frame(place, np.array([[1.0]]), [band], SHAPE)
    optics = Optics([band], SHAPE)
    values = torch.as_tensor(place)
    mixture = tiny_decoder.from_parameters(values)

    def difference(reach):
        renderer = optics.renderer(48, [(0, 0)], reach)
        image = renderer.templates(mixture, values[:, :2])[0, 0].numpy()
        return np.abs(image - data[0, :48, :48]).max() / data.max()
    assert difference(32) < 1e-3
    assert difference(0) > 0.02


def test_single_precision_will_do_unless_a_pixel_is_bright(optics):
    flux, sharp = np.full((1, 2), 1.0), optics.wings[0][0]
    point, wide = np.zeros(1), np.full(1, 20.0)
    assert optics.fine_enough(0.9 * flux * SINGLE_MAX / sharp,
                              point) is optics.single
    bright = 1.1 * flux * SINGLE_MAX / sharp
    assert optics.fine_enough(bright, point) is optics.fine
    assert optics.fine_enough(bright, wide) is optics.single
    assert optics.single.tensor(flux).dtype == torch.float32
    assert optics.tensor(flux).dtype == torch.float64


def test_glaring_sources_are_drawn_with_all_frequencies(gaussian_band):
    optics = Optics([gaussian_band(0.9, oversampling=3)], SHAPE)
    sharp = optics.wings[0][0]
    found = optics.are_glaring(COARSE_MAX / sharp * np.array([[0.9], [1.1]]))
    assert found.tolist() == [False, True]
    coarse, fine = (one.renderer(48, [(0, 0)]).bands[0].n_points
                    for one in (optics, optics.fine))
    assert fine > coarse
    single = optics.single.fine.renderer(48, [(0, 0)]).bands[0]
    assert single.n_points == fine
    assert optics.single.fine.tensor([1.0]).dtype == torch.float32


def test_renderers_are_kept_as_long_as_there_is_room(optics, monkeypatch):
    one, other = (optics.renderer(size, [(0, 0)]) for size in (32, 48))
    assert optics.renderer(32, [(9, 9)]).bands[0] is one.bands[0]
    assert optics.single.renderer(32, [(0, 0)]).bands[0] is not one.bands[0]
    # those of latest use stay
    monkeypatch.setattr(module, 'KEPT_POINTS', one.bands[1].n_points)
    optics.renderer(40, [(0, 0)])
    assert optics.renderer(48, [(0, 0)]).bands[0] is not other.bands[0]


def test_renderers_of_psfs_that_vary_are_not_kept(gaussian_band):
    optics = Optics([gaussian_band(1.2, slope=0.008)], SHAPE)
    near, far = (optics.renderer(32, [place]).bands[0]
                 for place in ((0, 0), (100, 60)))
    assert near is not far


def test_windows_are_for_known_fluxes_on_a_processor(bands, optics):
    flux = torch.ones(1, 1, dtype=torch.float64)
    assert optics.windows(0, [(0, 0)], 96, None) is None
    windows = optics.windows(1, [(0, 0)], 96, flux)
    assert windows.renderer(0).size < 96
    np.testing.assert_allclose(windows.sigma, 1.6, rtol=0.01)
    elsewhere = Optics(bands, SHAPE, device='cuda')
    assert elsewhere.windows(0, [(0, 0)], 96, flux) is None
