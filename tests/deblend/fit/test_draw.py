# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
import torch

from vaephot.deblend.fit.draw import FrequencyGrid, make_drawer
from vaephot.deblend.fit.transfer import BandTransfer
from vaephot.models.decoder import Mixture

SHAPE = (70, 110)
# size, shear and latent of galaxies, and amplitudes of their asymmetry
GALAXIES = np.array([[10.3, 8.6, 0.7, 0.3, -0.2, 0.4, -0.8, .8, -.5, .6, .4],
                     [7.8, 9.1, 0.9, -0.5, 0.4, -1, 0.3, -.3, .9, -.7, .2]])
MATRIX = np.array([[[0.8, 0.3], [-0.25, 0.9]], [[1.1, -0.2], [0.1, 0.7]]])
KINDS = ('concentric', 'asymmetric', 'point')


def _drawer(side, period, oversampling=1, binning=1, reach=None):
    return make_drawer(side, binning, period, reach or oversampling,
                       oversampling, 'cpu')


def _transfer(psf, drawer, n=1):
    found = BandTransfer(psf, SHAPE).at((0.0, 0.0), drawer.grid)
    return found.expand(n, -1, -1)


def _tensor(values):
    return torch.as_tensor(np.array(values, float))


def _round(sigma, weight=None):
    """Round Gaussians of some widths, one source."""
    variance = torch.tensor(sigma)[None] ** 2
    weight = torch.ones_like(variance) if weight is None else torch.tensor(
        weight)[None]
    return Mixture(weight / weight.sum(), variance, 0 * variance,
                   0 * variance)


def _gaussian(x, y, sigma, shape):
    iy, ix = np.mgrid[:shape[0], :shape[1]]
    return np.exp(-0.5 * ((ix - x) ** 2 + (iy - y) ** 2) / sigma ** 2) / (
        2 * np.pi * sigma ** 2)


def _shapes(decoder, values, kind, matrix):
    """Gaussians, slopes and places of galaxies as `Entries` makes them."""
    values = _tensor(values)
    n = decoder.config.n_concentric
    numbers = values if kind == 'asymmetric' else values[:, :n]
    mixture, slope = decoder.jacobian(numbers.float())
    place = values[:, :2]
    if matrix is not None:
        place = (_tensor(matrix) @ place[..., None])[..., 0] + 2
        mixture, slope = (part.transformed(_tensor(matrix).float())
                          for part in (mixture, slope))
    return (None, None, place) if kind == 'point' else (mixture, slope,
                                                        place)


@pytest.fixture(scope='module')
def decoder(structured_vae):
    """Return the decoder of galaxies with asymmetry."""
    return structured_vae.decoder


@pytest.fixture(scope='module', params=[None, MATRIX], ids=['plain', 'map'])
def matrix(request):
    """Return affine maps, or None."""
    return request.param


def _float(matrix):
    return None if matrix is None else _tensor(matrix).float()


# ------------------------------------------------------- independent paths
@pytest.mark.parametrize('oversampling', [1, 2, 3, 5])
@pytest.mark.parametrize('place', [(9.0, 7.0), (8.37, 10.81), (8.5, 7.5)])
def test_points_are_those_of_a_plain_transform(sampled_psf, oversampling,
                                               place):
    # white noise as a PSF: all frequencies matter, Nyquist's as well
    rng = np.random.default_rng(3)
    image = rng.uniform(0, 1, (9, 9))
    image /= image.sum()
    period, n = 24, 24 * oversampling
    fine = np.zeros((n, n))
    fine[:9, :9] = image
    fine = np.roll(fine, (-4, -4), (0, 1))
    k = 2 * np.pi * np.fft.fftfreq(n)

    def turned(shift):
        wave = np.exp(-1j * k * shift * oversampling)
        wave[n // 2] = wave[n // 2].real
        return wave
    wanted = np.fft.ifft2(np.fft.fft2(fine) * turned(place[1])[:, None]
                          * turned(place[0])).real
    wanted = (wanted[::oversampling, ::oversampling] * oversampling ** 2)
    drawer = _drawer(16, period, oversampling)
    found, _ = drawer.template(None, _transfer(
        sampled_psf(image, oversampling), drawer), _tensor([place]))
    np.testing.assert_allclose(found[0].view(16, 16), wanted[:16, :16],
                               atol=2e-6)


@pytest.mark.parametrize('oversampling', [1, 2, 3, 5])
@pytest.mark.parametrize('side', [24, 17])
def test_gaussians_are_those_of_the_formula(gaussian_band, oversampling,
                                            side):
    psf = gaussian_band(1.3, oversampling=oversampling)
    drawer = _drawer(side, 48, oversampling)
    mixture = _round([0.9, 2.0], [1.0, 3.0])
    found, _ = drawer.template(mixture, _transfer(psf, drawer),
                               _tensor([[10.3, 7.8]]))
    wanted = sum(w * _gaussian(10.3, 7.8, np.hypot(1.3, s), (side, side))
                 for w, s in ((0.25, 0.9), (0.75, 2.0)))
    np.testing.assert_allclose(found[0].view(side, side), wanted,
                               atol=1e-3 * wanted.max())


@pytest.mark.parametrize('place', [(0.2, 12.1), (-6.4, 30.5), (23.0, 23.0)])
def test_windows_may_lie_aside_of_their_source(gaussian_band, place):
    drawer = _drawer(24, 96)
    found, _ = drawer.template(_round([1.5]), _transfer(
        gaussian_band(1.3), drawer), _tensor([place]))
    wanted = _gaussian(*place, np.hypot(1.3, 1.5), (24, 24))
    peak = 1 / (2 * np.pi * (1.3 ** 2 + 1.5 ** 2))
    np.testing.assert_allclose(found[0].view(24, 24), wanted,
                               atol=1e-4 * peak)


def test_asymmetry_is_that_of_the_plain_renderer(decoder, gaussian_band,
                                                 draw_frame,
                                                 structured_decoder):
    psf = gaussian_band(1.3)
    drawer = _drawer(48, 64)
    values = GALAXIES + np.eye(11)[0] * 15 + np.eye(11)[1] * 15
    mixture, _, place = _shapes(decoder, values, 'asymmetric', None)
    found, _ = drawer.template(mixture, _transfer(psf, drawer, 2), place)
    for image, row in zip(found.view(2, 48, 48), values, strict=True):
        wanted = draw_frame([row], [[1.0]], [psf], (48, 48),
                            structured_decoder)[0]
        np.testing.assert_allclose(image, wanted, atol=2e-4 * wanted.max())


@pytest.mark.parametrize('binning', [2, 4])
@pytest.mark.parametrize('place', [(15.3, 17.9), (2.0, 30.2)])
def test_binned_pixels_are_sums_of_pixels(gaussian_band, binning, place):
    psf = gaussian_band(2.5, half=16)
    one, other = _drawer(32, 64), _drawer(32, 64, binning=binning)
    mixture = _round([1.5, 0.3])
    fine, coarse = (drawer.template(mixture, _transfer(psf, drawer),
                                    _tensor([place]))[0][0]
                    for drawer in (one, other))
    n = 32 // binning
    wanted = fine.view(n, binning, n, binning).sum((1, 3))
    np.testing.assert_allclose(coarse.view(n, n), wanted, atol=2e-6)


@pytest.mark.parametrize('binning', [1, 2])
def test_flux_of_a_template_is_one(gaussian_band, binning):
    drawer = _drawer(64, 96, binning=binning)
    found, _ = drawer.template(_round([2.5, 0.4]), _transfer(
        gaussian_band(2.5, half=20), drawer), _tensor([[31.3, 32.2]]))
    assert float(found.sum()) == pytest.approx(1, abs=1e-4)


@pytest.mark.galsim
@pytest.mark.parametrize('oversampling', [2, 3, 5])
@pytest.mark.parametrize('eta', [(0.0, 0.0), (0.6, -0.4)])
def test_galaxies_are_those_of_galsim(sampled_psf, shipped_vae, oversampling,
                                      eta):
    import galsim

    profile = galsim.Moffat(beta=3.0, fwhm=2.2, trunc=20).shear(g1=0.05)
    psf = galsim.Convolve(profile, galsim.Pixel(1.0))
    image = psf.drawImage(nx=81, ny=81, scale=1 / oversampling,
                          method='no_pixel').array.astype(float)
    band = sampled_psf(image / image.sum(), oversampling)
    values = torch.tensor([[47.3, 48.8, 0.8, *eta,
                            *[0.0] * shipped_vae.config.n_latent]])
    mixture = shipped_vae.decoder.from_parameters(values)
    drawer = _drawer(96, 128, oversampling)
    found, _ = drawer.template(mixture, _transfer(band, drawer),
                               values[:, :2].double())
    parts = []
    for w, m, p, c in zip(*(part[0].double().tolist()
                            for part in mixture[:4]), strict=True):
        root = np.sqrt(m ** 2 - p ** 2 - c ** 2)
        parts.append(galsim.Gaussian(sigma=np.sqrt(root), flux=w).shear(
            galsim.Shear(e1=p / m, e2=c / m)))
    galaxy = galsim.Convolve(galsim.Sum(parts), psf).shift(-0.2, 1.3)
    wanted = galaxy.drawImage(nx=96, ny=96, scale=1, method='no_pixel').array
    found = found[0].view(96, 96).numpy()
    assert found.sum() == pytest.approx(wanted.sum(), rel=2e-3)
    np.testing.assert_allclose(found, wanted, atol=5e-3 * wanted.max())


# ----------------------------------------------------------------- adjoints
@pytest.mark.parametrize(('side', 'binning', 'oversampling'),
                         [(16, 1, 1), (24, 2, 1), (17, 1, 3)])
def test_to_frequencies_is_the_transpose_of_to_pixels(side, binning,
                                                      oversampling):
    drawer = _drawer(side, 48, oversampling, binning)
    rng = np.random.default_rng(5)
    n_y, n_x = drawer.shape
    field = torch.as_tensor(rng.normal(size=(3, 1, n_y, 2, n_x))).float()
    image = torch.as_tensor(rng.normal(size=(3, drawer.side ** 2))).float()
    there = (drawer.to_pixels(field)[:, 0].double() * image).sum(1)
    back = (drawer.to_frequencies(image).double() * field[:, 0]).sum((1, 2,
                                                                      3))
    size = (field.norm() * image.norm() * float(drawer._to_x.abs().max()))
    np.testing.assert_allclose(back, there, atol=1e-5 * float(size))


def _image(n=2, side=24, seed=4):
    return torch.as_tensor(np.random.default_rng(seed).normal(
        size=(n, side ** 2))).float()


def _drawn(decoder, psf, values, kind, matrix):
    """Drawer, templates, what it kept, and shapes."""
    drawer = _drawer(24, 48, psf.oversampling)
    mixture, slope, place = _shapes(decoder, values, kind, matrix)
    transfer = _transfer(psf, drawer, len(values))
    image, kept = drawer.template(mixture, transfer, place)
    return drawer, image, kept, (mixture, slope, transfer, place)


@pytest.mark.parametrize('kind', KINDS)
def test_slope_is_that_of_the_columns(decoder, gaussian_band, kind, matrix):
    psf = gaussian_band(1.1, oversampling=2)
    drawer, image, kept, (mixture, slope, *rest) = _drawn(
        decoder, psf, GALAXIES, kind, matrix)
    columns = drawer.columns(mixture, slope, *rest, _float(matrix))
    torch.testing.assert_close(columns[:, 0], image, atol=1e-6, rtol=0)
    pull = _image()
    found = drawer.slope(kept, mixture, slope, pull, _float(matrix))
    wanted = (columns[:, 1:] @ pull[..., None])[..., 0]
    assert found.shape == wanted.shape == (2, {
        'point': 2, 'concentric': 7, 'asymmetric': 11}[kind])
    np.testing.assert_allclose(found, wanted, rtol=1e-3,
                               atol=1e-4 * float(wanted.abs().max()))


@pytest.mark.parametrize('kind', KINDS)
def test_columns_are_finite_differences(decoder, gaussian_band, kind,
                                        matrix):
    psf = gaussian_band(1.1, oversampling=2)
    drawer, _, _, (mixture, slope, *rest) = _drawn(
        decoder, psf, GALAXIES, kind, matrix)
    columns = drawer.columns(mixture, slope, *rest, _float(matrix))[:, 1:]
    step = 0.01
    for i in range(columns.shape[1]):
        move = step * np.eye(GALAXIES.shape[1])[i]
        up, down = (_drawn(decoder, psf, GALAXIES + s * move, kind,
                           matrix)[1].double() for s in (1, -1))
        wanted = (up - down) / (2 * step)
        np.testing.assert_allclose(
            columns[:, i], wanted,
            # rounding of single precision over the step comes on top
            atol=1e-6 + 3e-3 * float(columns[:, i].abs().max()))


@pytest.mark.parametrize('kind', KINDS)
def test_slope_is_a_finite_difference(decoder, gaussian_band, kind, matrix):
    psf = gaussian_band(1.1, oversampling=2)
    drawer, _, kept, (mixture, slope, *_) = _drawn(
        decoder, psf, GALAXIES, kind, matrix)
    pull = _image()
    found = drawer.slope(kept, mixture, slope, pull, _float(matrix))
    for i in range(found.shape[1]):
        move = 0.01 * np.eye(GALAXIES.shape[1])[i]
        up, down = (_drawn(decoder, psf, GALAXIES + s * move, kind,
                           matrix)[1].double() for s in (1, -1))
        wanted = ((up - down) * pull).sum(1) / 0.02
        np.testing.assert_allclose(found[:, i], wanted, rtol=0.02,
                                   atol=5e-3 * float(found.abs().max()))


# ------------------------------------------------------------- frequencies
def test_nyquist_counts_once_where_the_samples_end():
    whole, part = (FrequencyGrid(16, reach, 1, 1) for reach in (1.0, 0.5))
    assert len(whole.ky) == 17
    assert whole.weight_y.sum() == 16
    assert whole.weight_x.sum() == 16
    assert part.weight_y.sum() == len(part.ky) == 9


def test_reach_beyond_the_samples_is_cut():
    assert len(FrequencyGrid(16, 8.0, 3, 1).kx) == 25


def test_drawers_are_kept():
    assert _drawer(16, 24) is _drawer(16, 24)
