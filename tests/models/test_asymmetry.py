# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of the structure of galaxies."""

import math

import numpy as np
import pytest
import torch

from vaephot.models.asymmetry import frames
from vaephot.models.config import ModelConfig
from vaephot.models.decoder import Decoder
from vaephot.models.render import (
    BandRenderer,
    Renderer,
    make_transfer,
    padded_size,
)

SIZE = 40
ORDERS = (1, 2, 3, 4, 0)
CONFIG = ModelConfig(n_latent=2, n_components=6, decoder_width=16,
                     structure_orders=ORDERS, structure_sigma=(0.5, 1.0))


@pytest.fixture
def decoder():
    with torch.random.fork_rng():
        torch.manual_seed(2)
        decoder = Decoder(CONFIG).double()
    generator = torch.Generator().manual_seed(3)
    decoder.structure.radial.copy_(
        0.1 * torch.randn(5, 2, generator=generator))
    return decoder.requires_grad_(False)


def _parameters(n=5):
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(n, CONFIG.n_parameters, generator=generator,
                         dtype=torch.float64)
    values[:, :2] = SIZE // 2 + 0.8 * values[:, :2]
    values[:, 2] = 1.1 + 0.2 * values[:, 2]
    values[:, 3:5] *= 0.4
    return values


def _renderer(affine=None, dtype=torch.float64):
    step = np.arange(-20, 21) / 3
    psf = np.exp(-0.5 * (step ** 2 + step[:, None] ** 2) / 1.1 ** 2)
    transfer = make_transfer([psf / psf.sum()], 3, padded_size(SIZE),
                             dtype=dtype)
    return BandRenderer(SIZE, transfer, padded_size(SIZE), affine)


def test_frame_of_round_galaxy_is_its_size():
    frame, _ = frames(torch.tensor([math.log(3.0)]), torch.zeros(1, 2))
    torch.testing.assert_close(frame[0], 3 * torch.eye(2))


def test_frame_is_root_of_covariance():
    values = _parameters()
    frame, _ = frames(values[:, 2], values[:, 3:5])
    length = values[:, 3:5].norm(dim=1)
    size = torch.exp(2 * values[:, 2])
    mean = size * torch.cosh(length)
    turned = (size * torch.sinh(length) / length)[:, None] * values[:, 3:5]
    square = frame @ frame
    torch.testing.assert_close(square[:, 0, 0], mean + turned[:, 0])
    torch.testing.assert_close(square[:, 1, 1], mean - turned[:, 0])
    torch.testing.assert_close(square[:, 0, 1], turned[:, 1])


@pytest.mark.parametrize('eta', [(0.0, 0.0), (1e-3, 0.0), (0.4, -0.7)])
def test_slope_of_frame(eta):
    start = torch.tensor([[0.5, *eta]], dtype=torch.float64)
    _, slope = frames(start[:, 0], start[:, 1:])
    numeric = torch.autograd.functional.jacobian(
        lambda v: frames(v[:, 0], v[:, 1:])[0][0], start)[:, :, 0]
    torch.testing.assert_close(slope[0], numeric.permute(2, 0, 1),
                               atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize('order', [1, 2, 3, 4])
@pytest.mark.parametrize('part', [0, 1])
def test_wave_is_that_of_its_definition(decoder, order, part):
    # round, two pixels large, with one wave of one ring, behind a PSF of
    # known width: a harmonic polynomial times a wider Gaussian
    decoder.structure.radial.zero_()
    decoder.structure.radial[order - 1, 1] = 1
    values = torch.zeros(1, CONFIG.n_parameters, dtype=torch.float64)
    values[:, :2], values[:, 2] = SIZE // 2, math.log(2.0)
    plain = values.clone()
    values[0, CONFIG.n_concentric + 2 * (order - 1) + part] = 1
    renderer = _renderer()
    wave, = (renderer.templates(decoder.from_parameters(values),
                                values[:, :2])
             - renderer.templates(decoder.from_parameters(plain),
                                  plain[:, :2]))
    step = torch.arange(SIZE, dtype=torch.float64) - SIZE // 2
    z = torch.complex(step.expand(SIZE, -1), step[:, None].expand(-1, SIZE))
    wide = 2.0 ** 2 + 1.1 ** 2
    expected = ((2 * z / wide) ** order * (math.e / order) ** (order / 2)
                * torch.exp(-0.5 * z.abs() ** 2 / wide)
                / (2 * math.pi * wide))
    expected = expected.imag if part else expected.real
    torch.testing.assert_close(wave, expected, rtol=0,
                               atol=2e-3 * float(expected.abs().max()))


def test_central_wave_is_that_of_its_definition(decoder):
    decoder.structure.radial.zero_()
    decoder.structure.radial[4, 1] = 1
    values = torch.zeros(1, CONFIG.n_parameters, dtype=torch.float64)
    values[:, :2], values[:, 2] = SIZE // 2, math.log(2.0)
    plain = values.clone()
    values[0, -1] = 1
    renderer = _renderer()
    wave, = (renderer.templates(decoder.from_parameters(values),
                                values[:, :2])
             - renderer.templates(decoder.from_parameters(plain),
                                  plain[:, :2]))
    step = torch.arange(SIZE, dtype=torch.float64) - SIZE // 2
    square = step ** 2 + step[:, None] ** 2
    wide = 2.0 ** 2 + 1.1 ** 2
    expected = (0.5 * 2.0 ** 2 / wide * (2 - square / wide)
                * torch.exp(-0.5 * square / wide) / (2 * math.pi * wide))
    torch.testing.assert_close(wave, expected, rtol=0,
                               atol=2e-3 * float(expected.abs().max()))


def test_structure_has_no_flux(decoder):
    values = _parameters()
    values[:, 2] -= 0.5
    plain = values[:, :CONFIG.n_concentric]
    renderer = _renderer()
    flux, expected = (renderer.templates(
        decoder.from_parameters(v), v[:, :2]).sum((1, 2))
        for v in (values, plain))
    torch.testing.assert_close(flux, expected, atol=2e-4, rtol=0)


def test_centroid_is_that_of_the_light(decoder):
    values = _parameters()
    values[:, 2] -= 0.5
    image = _renderer().templates(decoder.from_parameters(values),
                                  values[:, :2])
    step = torch.arange(SIZE, dtype=torch.float64)
    flux = image.sum((1, 2))
    expected = torch.stack([(image.sum(1) * step).sum(1) / flux,
                            (image.sum(2) * step).sum(1) / flux], 1)
    found = decoder.centroids(values)
    assert (found - values[:, :2]).abs().amax(1).min() > 0.02
    torch.testing.assert_close(found, expected, atol=0.03, rtol=0)
    plain = values[:, :CONFIG.n_concentric]
    assert torch.equal(decoder.centroids(plain), plain[:, :2])


def test_no_amplitude_is_no_structure(decoder):
    values = _parameters()
    values[:, CONFIG.n_concentric:] = 0
    assert decoder.from_parameters(values).structure is None
    assert decoder.from_parameters(
        values[:, :CONFIG.n_concentric]).structure is None


@pytest.mark.parametrize('turned', [False, True])
def test_gradients_are_derivatives(decoder, turned):
    affine = None
    if turned:
        affine = (torch.tensor([[[0.7, 0.3], [-0.2, 0.8]]],
                               dtype=torch.float64),
                  torch.tensor([[4.0, 6.0]], dtype=torch.float64))
    renderer, values = _renderer(affine), _parameters()
    found = renderer.gradients(*decoder.jacobian(values), values[:, :2])

    def draw(values):
        return renderer.templates(decoder.from_parameters(values),
                                  values[:, :2])
    torch.testing.assert_close(found[:, 0], draw(values))
    for i in range(CONFIG.n_parameters):
        step = torch.zeros_like(values)
        step[:, i] = 1e-4
        slope = (draw(values + step) - draw(values - step)) / 2e-4
        torch.testing.assert_close(found[:, 1 + i], slope, rtol=1e-4,
                                   atol=1e-6 * float(slope.abs().max()))


def test_sources_without_structure_are_drawn_as_before(decoder):
    values = _parameters()
    plain = values[:, :CONFIG.n_concentric]
    zero = values.clone()
    zero[:, CONFIG.n_concentric:] = 0
    renderer = _renderer()
    short = renderer.gradients(*decoder.jacobian(plain), plain[:, :2])
    long = renderer.gradients(*decoder.jacobian(zero), zero[:, :2])
    torch.testing.assert_close(long[:, :short.shape[1]], short)


def test_single_precision(decoder):
    values = _parameters()
    mixture = decoder.from_parameters(values).to(torch.float32)
    exact = _renderer().templates(decoder.from_parameters(values),
                                  values[:, :2])
    found = _renderer(dtype=torch.float32).templates(mixture, values[:, :2])
    torch.testing.assert_close(found.double(), exact, rtol=0,
                               atol=1e-5 * float(exact.max()))


def test_some_sources(decoder):
    values = _parameters()
    mixture = decoder.from_parameters(values)
    renderer = Renderer.from_bands([_renderer()])
    whole = renderer.templates(mixture, values[:, :2])
    rows = torch.tensor([3, 1])
    torch.testing.assert_close(
        renderer.templates(mixture.take(rows), values[rows, :2]),
        whole[rows])


def test_bad_orders():
    with pytest.raises(ValueError, match='structure_orders'):
        ModelConfig(structure_orders=(-1, 1))
