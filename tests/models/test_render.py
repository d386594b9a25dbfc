# Licensed under a 3-clause BSD style license - see LICENSE.rst
import math

import numpy as np
import pytest
import torch
from scipy.special import erf

from vaephot.models.decoder import Mixture
from vaephot.models.render import (
    BandRenderer,
    Renderer,
    Transfer,
    make_transfer,
    padded_size,
)

PSF_SIGMA = 1.3


def _mixture(weight, covariances):
    """Mixture of one source from 2x2 matrices."""
    matrices = np.asarray(covariances, float)
    mean = (matrices[:, 0, 0] + matrices[:, 1, 1]) / 2
    plus = (matrices[:, 0, 0] - matrices[:, 1, 1]) / 2
    return Mixture(*[torch.as_tensor(np.asarray(a, float)[None])
                     for a in (weight, mean, plus, matrices[:, 0, 1])])


def _gaussian(covariance, x, y, size):
    """Unit-flux Gaussian at the pixels' centres."""
    inverse = np.linalg.inv(covariance)
    dy, dx = np.mgrid[:size, :size].astype(float)
    dx, dy = dx - x, dy - y
    square = (inverse[0, 0] * dx ** 2 + 2 * inverse[0, 1] * dx * dy
              + inverse[1, 1] * dy ** 2)
    return np.exp(-0.5 * square) / (2 * np.pi * math.sqrt(
        np.linalg.det(covariance)))


def _pixel_gaussian(sigma, x, y, size):
    """Round unit-flux Gaussian integrated over the pixels."""
    edges = np.arange(size + 1) - 0.5
    row, column = (np.diff(0.5 * erf((edges - c) / sigma / math.sqrt(2)))
                   for c in (y, x))
    return row[:, None] * column


def _renderer(size, psfs, oversampling=1, **options):
    return Renderer(size, [make_transfer([psf], oversampling,
                                         padded_size(size), **options)
                           for psf in psfs])


def _xy(x, y):
    return torch.tensor([[x, y]], dtype=torch.float64)


SKEW = np.array([[6.0, 1.5], [1.5, 2.0]])


@pytest.mark.parametrize('size', [24, 25])
@pytest.mark.parametrize(('x', 'y'), [(12.0, 12.0), (10.3, 13.6),
                                      (12.5, 9.75)])
def test_gaussian_through_a_gaussian_is_a_gaussian(gaussian_psf, size, x, y):
    renderer = _renderer(size, [gaussian_psf(PSF_SIGMA)])
    image = renderer.templates(_mixture([1.0], [SKEW]), _xy(x, y))[0, 0]
    expected = _gaussian(SKEW + PSF_SIGMA ** 2 * np.eye(2), x, y, size)
    np.testing.assert_allclose(image, expected, atol=3e-5 * expected.max())


def test_x_is_the_column_and_y_the_row(gaussian_psf):
    renderer = _renderer(24, [gaussian_psf(PSF_SIGMA)])
    long_x = np.diag([9.0, 0.5])
    image = renderer.templates(_mixture([1.0], [long_x]), _xy(8, 15))[0, 0]
    iy, ix = np.unravel_index(int(image.argmax()), image.shape)
    assert (ix, iy) == (8, 15)
    assert image[15, 10] > 2 * image[17, 8]
    assert image[15, 11] > 5 * image[18, 8]


@pytest.mark.parametrize('oversampling', [1, 2, 3, 4])
def test_oversampling_of_the_psf_makes_no_difference(gaussian_psf,
                                                     oversampling):
    psf = gaussian_psf(PSF_SIGMA, oversampling)
    renderer = _renderer(20, [psf], oversampling, reach=oversampling)
    image = renderer.templates(_mixture([1.0], [SKEW]), _xy(9.7, 10.4))[0, 0]
    expected = _gaussian(SKEW + PSF_SIGMA ** 2 * np.eye(2), 9.7, 10.4, 20)
    np.testing.assert_allclose(image, expected, atol=2e-4 * expected.max())


@pytest.mark.parametrize(('x', 'y'), [(10.0, 10.0), (9.65, 10.4),
                                      (10.5, 10.25)])
@pytest.mark.parametrize('size', [1e-3, 0.2, 0.6])
def test_undersampled_psf_is_exact_at_any_shift(size, x, y):
    # a Gaussian PSF of FWHM 1.4 pixels, integrated over pixels: its power
    # beyond the Nyquist frequency may not be lost
    optics, factor, half = 0.6, 5, 12
    grid = np.arange(-half * factor, half * factor + 1) / factor
    row = 0.5 * (erf((grid + 0.5) / optics / math.sqrt(2))
                 - erf((grid - 0.5) / optics / math.sqrt(2)))
    psf = row[:, None] * row
    renderer = _renderer(21, [psf / psf.sum()], factor)
    assert renderer.bands[0].transfer.oversampling > 1
    image = renderer.templates(
        _mixture([1.0], [size ** 2 * np.eye(2)]), _xy(x, y))[0, 0]
    expected = _pixel_gaussian(math.hypot(optics, size), x, y, 21)
    np.testing.assert_allclose(image, expected, atol=2e-3 * expected.max())
    assert float(image.sum()) == pytest.approx(1, abs=1e-3)


def test_pixel_sampled_psf_would_be_wrong_where_undersampled():
    # the claim behind the oversampling: without it shifts go wrong
    optics = 0.6
    psf = _pixel_gaussian(optics, 12, 12, 25)
    renderer = _renderer(21, [psf / psf.sum()])
    image = renderer.templates(_mixture([1.0], [1e-6 * np.eye(2)]),
                               _xy(10.5, 10.5))[0, 0]
    expected = _pixel_gaussian(optics, 10.5, 10.5, 21)
    assert abs(image.numpy() - expected).max() > 0.02 * expected.max()


def test_point_source_is_the_psf(gaussian_psf):
    psf = gaussian_psf(PSF_SIGMA, half=10)
    psf[8, 13] += 0.01  # nothing symmetric
    psf /= psf.sum()
    renderer = _renderer(32, [psf])
    image = renderer.templates(_mixture([1.0], [1e-12 * np.eye(2)]),
                               _xy(14, 17))[0, 0]
    np.testing.assert_allclose(image[7:28, 4:25], psf, atol=1e-12)


@pytest.mark.parametrize('size', [20, 21, 32])
def test_flux_is_kept(gaussian_psf, size):
    renderer = _renderer(size, [gaussian_psf(PSF_SIGMA, half=8)])
    mixture = _mixture([0.3, 0.7], [0.01 * np.eye(2), [[1.5, 0.4],
                                                       [0.4, 0.8]]])
    image = renderer.templates(mixture, _xy(size / 2 - 0.4, size / 2 + 0.2))
    assert float(image.sum()) == pytest.approx(1, abs=1e-5)


def test_whole_shifts_move_the_image(gaussian_psf):
    renderer = _renderer(24, [gaussian_psf(PSF_SIGMA)])
    mixture = _mixture([1.0], [SKEW])
    a, b = (renderer.templates(mixture, _xy(*p))[0, 0]
            for p in ((9.3, 12.8), (11.3, 11.8)))
    np.testing.assert_allclose(a[4:20, 3:18], b[3:19, 5:20], atol=1e-12)


def test_components_add_up_by_their_weights(gaussian_psf):
    renderer = _renderer(24, [gaussian_psf(PSF_SIGMA)])
    both = renderer.templates(_mixture([0.2, 0.8], [SKEW, np.eye(2)]),
                              _xy(11.2, 12.1))
    first, second = (renderer.templates(_mixture([1.0], [c]), _xy(11.2, 12.1))
                     for c in (SKEW, np.eye(2)))
    torch.testing.assert_close(both, 0.2 * first + 0.8 * second)


def _sources(decoder, n, size, seed=2):
    rng = np.random.default_rng(seed)
    rows = np.concatenate([
        rng.uniform(size / 2 - 2, size / 2 + 2, (n, 2)),
        rng.normal(0.5, 0.3, (n, 1)), rng.normal(0, 0.4, (n, 2)),
        rng.normal(0, 1, (n, decoder.config.n_latent))], axis=1)
    return torch.as_tensor(rows)


@pytest.fixture
def two_bands(gaussian_psf):
    """Return a function that makes bands of different reach and PSF."""
    def make(size, n_groups):
        wide = [gaussian_psf(1.6 + 0.1 * i) for i in range(n_groups)]
        sharp = [gaussian_psf(0.5 + 0.05 * i, 3) for i in range(n_groups)]
        n_grid = padded_size(size)
        return Renderer(size, [make_transfer(wide, 1, n_grid),
                               make_transfer(sharp, 3, n_grid)])
    return make


def test_bands_of_different_reach_are_each_as_if_alone(decoder, two_bands):
    renderer = two_bands(20, 1)
    assert len({b.transfer.oversampling for b in renderer.bands}) == 2
    sources = _sources(decoder, 3, 20)
    mixture = decoder.from_parameters(sources)
    images = renderer.templates(mixture, sources[:, :2])
    for band, part in enumerate(renderer.bands):
        alone = Renderer(20, [part.transfer]).templates(mixture,
                                                        sources[:, :2])
        torch.testing.assert_close(images[:, band], alone[:, 0], rtol=0,
                                   atol=1e-7)


def test_gradients_agree_with_differences(decoder, two_bands):
    renderer = two_bands(20, 1)
    sources = _sources(decoder, 3, 20)
    found = renderer.gradients(*decoder.jacobian(sources), sources[:, :2])

    def draw(values):
        return renderer.templates(decoder.from_parameters(values),
                                  values[:, :2])
    torch.testing.assert_close(found[:, 0], draw(sources))
    step = 1e-5
    for k in range(sources.shape[1]):
        shift = torch.zeros_like(sources)
        shift[:, k] = step
        numeric = (draw(sources + shift) - draw(sources - shift)) / (2 * step)
        scale = float(numeric.abs().max())
        torch.testing.assert_close(found[:, k + 1], numeric, rtol=0,
                                   atol=1e-5 * scale)


@pytest.mark.parametrize('n_groups', [1, 3])
def test_batches_equal_one_source_at_a_time(decoder, two_bands, n_groups,
                                            monkeypatch):
    renderer = two_bands(20, n_groups)
    sources = _sources(decoder, 6, 20)
    groups = torch.tensor([0, 2, 1, 1, 0, 2]) % n_groups
    whole = renderer.templates(decoder.from_parameters(sources),
                               sources[:, :2], groups)
    steep = renderer.gradients(*decoder.jacobian(sources), sources[:, :2],
                               groups)
    for points in (1, 5000):  # chunks of a source, or of a few
        monkeypatch.setattr('vaephot.models.render.CACHE_POINTS', points)
        for i in range(6):
            row, own = sources[i:i + 1], groups[i:i + 1]
            image = renderer.templates(decoder.from_parameters(row),
                                       row[:, :2], own)
            torch.testing.assert_close(whole[i:i + 1], image, rtol=0,
                                       atol=1e-12)
            slope = renderer.gradients(*decoder.jacobian(row), row[:, :2],
                                       own)
            torch.testing.assert_close(steep[i:i + 1], slope, rtol=0,
                                       atol=1e-11)
        torch.testing.assert_close(
            whole, renderer.templates(decoder.from_parameters(sources),
                                      sources[:, :2], groups),
            rtol=0, atol=1e-12)


def test_each_group_has_its_own_psf(decoder, two_bands):
    renderer = two_bands(20, 3)
    source = _sources(decoder, 1, 20).expand(3, -1)
    mixture = decoder.from_parameters(source)
    one_each = renderer.templates(mixture, source[:, :2])
    numbered = renderer.templates(mixture, source[:, :2],
                                  torch.tensor([2, 0, 1]))
    torch.testing.assert_close(numbered, one_each[[2, 0, 1]], rtol=0,
                               atol=1e-12)
    assert (one_each[0] - one_each[2]).abs().max() > 1e-3


@pytest.mark.parametrize('mapped', [False, True])
def test_a_window_is_a_part_of_the_stamp(decoder, gaussian_psf, mapped):
    sources = _sources(decoder, 3, 40)
    mixture = decoder.from_parameters(sources)
    affine = None
    if mapped:
        affine = (torch.tensor([[[0.9, 0.1], [0.0, 1.1]]]).double(),
                  torch.tensor([[1.0, -2.0]]).double())
    stamp, window = (BandRenderer(size, make_transfer(
        [gaussian_psf(PSF_SIGMA)], 1, 72), 72, affine=affine)
        for size in (40, 24))
    corner = torch.tensor([[7, 8], [10, 6], [9, 9]])
    for method, shapes in (('templates', (mixture,)),
                           ('gradients', decoder.jacobian(sources))):
        whole = getattr(stamp, method)(*shapes, sources[:, :2])
        part = getattr(window, method)(*shapes, sources[:, :2], None, corner)
        for image, own, (x, y) in zip(whole, part, corner.tolist(),
                                      strict=True):
            torch.testing.assert_close(
                own, image[..., y:y + 24, x:x + 24], rtol=0, atol=1e-12)


def test_a_map_of_the_grid_is_a_map_of_the_image(decoder, gaussian_psf):
    # pixels three times as large, turned by a quarter, and mirrored
    sources = _sources(decoder, 3, 20)
    mixture = decoder.from_parameters(sources)
    band = Renderer(20, [make_transfer([gaussian_psf(2.0)], 1, 40)],
                    40).bands[0]
    turn = torch.tensor([[[0.0, 1.0], [-1.0, 0.0]]], dtype=torch.float64)
    shift = torch.tensor([[0.0, 19.0]], dtype=torch.float64)
    turned = BandRenderer(20, band.transfer, 40, affine=(turn, shift))
    expected = band.templates(mixture, sources[:, :2]).rot90(1, (1, 2))
    found = turned.templates(mixture, sources[:, :2])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_gradients_through_a_map_agree_with_differences(decoder,
                                                        gaussian_psf):
    matrix = torch.tensor([[[0.4, 0.1], [-0.05, 0.3]]], dtype=torch.float64)
    offset = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    transfer = make_transfer([gaussian_psf(1.2)], 1, 24)
    band = BandRenderer(16, transfer, 24, affine=(matrix, offset))
    sources = _sources(decoder, 3, 20)
    found = band.gradients(*decoder.jacobian(sources), sources[:, :2])

    def draw(values):
        return band.templates(decoder.from_parameters(values), values[:, :2])
    for i in range(sources.shape[1]):
        step = torch.zeros_like(sources)
        step[:, i] = 1e-5
        slope = (draw(sources + step) - draw(sources - step)) / 2e-5
        torch.testing.assert_close(found[:, 1 + i], slope, rtol=1e-5,
                                   atol=1e-8)


def test_single_precision_is_close_to_double(decoder, gaussian_psf):
    sources = _sources(decoder, 3, 20)
    mixture = decoder.from_parameters(sources)
    psf = gaussian_psf(PSF_SIGMA)
    double = _renderer(20, [psf]).templates(mixture, sources[:, :2])
    single = _renderer(20, [psf], dtype=torch.float32).templates(
        mixture.to(torch.float32), sources[:, :2].float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), double, rtol=0, atol=1e-6)


def test_reach_is_no_longer_than_the_psf_needs(gaussian_psf):
    sampled = make_transfer([gaussian_psf(1.5, 4)], 4, 40)
    sharp = make_transfer([gaussian_psf(0.4, 4)], 4, 40)
    assert sampled.oversampling == 1
    assert sharp.oversampling > 1
    assert sampled.values.shape == (1, 40, 21)
    assert sharp.values.shape == (1, 40 * sharp.oversampling,
                                  20 * sharp.oversampling + 1)
    assert isinstance(sharp, Transfer)


def test_all_frequencies_leave_no_ripples(gaussian_psf):
    # a PSF with a sharp core, beside which nothing is seen of its end
    size, x, y = 48, 20.3, 24.6
    expected = _gaussian(0.8 ** 2 * np.eye(2), x, y, size)
    star = _mixture([1.0], [1e-4 * np.eye(2)])

    def error(fine):
        image = _renderer(size, [gaussian_psf(0.8, 3)], 3, fine=fine)
        image = image.templates(star, _xy(x, y))[0, 0].numpy()
        return np.abs(image - expected).max() / expected.max()
    assert error(fine=False) > 5e-5
    assert error(fine=True) < 5e-6


def test_transfer_is_one_at_zero_frequency(gaussian_psf):
    for factor in (1, 3):
        transfer = make_transfer([gaussian_psf(0.7, factor)], factor, 32)
        assert complex(transfer.values[0, 0, 0]) == pytest.approx(1)


@pytest.mark.parametrize('size', [1, 7, 16, 25, 32, 200])
def test_padded_grid_leaves_a_quarter(size):
    n_grid = padded_size(size)
    assert n_grid % 8 == 0
    assert 1.25 * size <= n_grid < 1.25 * size + 8
