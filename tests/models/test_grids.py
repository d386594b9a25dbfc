# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
import torch

from vaephot.deblend.fluxes import background_columns
from vaephot.models.decoder import Mixture
from vaephot.models.grids import GridRenderer, Layer, transform_mixture
from vaephot.models.render import Renderer, make_transfer, padded_size

TURN = np.deg2rad(20)
TO_COARSE = np.array([[np.cos(TURN), -np.sin(TURN)],
                      [-np.sin(TURN), -np.cos(TURN)]]) / 2.5


def tensor(values):
    return torch.as_tensor(np.asarray(values, float))


@pytest.fixture
def renderer(gaussian_psf):
    """Two bands on pixels, a third on larger ones, turned and mirrored."""
    def plain(size, sigmas):
        return Renderer(size, [make_transfer([gaussian_psf(s)], 1,
                                             padded_size(size))
                               for s in sigmas])
    eye = np.stack([np.eye(2)] * 2)
    return GridRenderer(32, [
        Layer(renderer=plain(32, (1.2, 1.5)), bands=(0, 2),
              matrix=tensor(eye), offset=tensor(np.zeros((2, 2)))),
        Layer(renderer=plain(20, (1.1,)), bands=(1,),
              matrix=tensor([TO_COARSE, TO_COARSE]),
              offset=tensor([[6.0, 18.0], [6.3, 17.5]]))])


def parameters(seed=1, n=4):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, 7)) * 0.4
    values[:, :2] = 16 + rng.uniform(-3, 3, (n, 2))
    values[:, 2] = np.log(2.0)
    return tensor(values)


def test_covariances_follow_the_map():
    rng = np.random.default_rng(3)
    root = rng.normal(size=(5, 2, 2))
    cov = root @ root.transpose(0, 2, 1)
    matrix = rng.normal(size=(5, 2, 2))
    mixture = Mixture(*[tensor(v)[:, None] for v in (
        np.ones(5), (cov[:, 0, 0] + cov[:, 1, 1]) / 2,
        (cov[:, 0, 0] - cov[:, 1, 1]) / 2, cov[:, 0, 1])])
    want = matrix @ cov @ matrix.transpose(0, 2, 1)
    got = transform_mixture(mixture, tensor(matrix))
    np.testing.assert_allclose(got.mean + got.plus, want[:, :1, 0])
    np.testing.assert_allclose(got.mean - got.plus, want[:, 1:, 1])
    np.testing.assert_allclose(got.cross, want[:, 0, 1:])
    np.testing.assert_array_equal(got.weight, mixture.weight)


def test_flux_and_place_are_kept_on_every_grid(renderer, decoder):
    values = parameters()
    images = renderer.templates(decoder.from_parameters(values),
                                values[:, :2], 2).numpy()
    assert images.shape == (4, 3, 32 * 32)
    np.testing.assert_allclose(images.sum(-1), 1, atol=0.01)
    assert not images[:, 1, 400:].any()
    coarse = images[:, 1, :400].reshape(4, 20, 20)
    y, x = np.mgrid[:20, :20]
    offsets = np.repeat(renderer.layers[1].offset.numpy(), 2, 0)
    for image, place, offset in zip(coarse, values[:, :2].numpy(), offsets,
                                    strict=True):
        got = [(image * axis).sum() / image.sum() for axis in (x, y)]
        np.testing.assert_allclose(got, TO_COARSE @ place + offset,
                                   atol=0.05)


def test_reference_layer_is_what_the_plain_renderer_draws(renderer, decoder):
    values = parameters(2)
    plain = renderer.layers[0].renderer.templates(
        decoder.from_parameters(values), values[:, :2]).numpy()
    images = renderer.templates(decoder.from_parameters(values),
                                values[:, :2], 2).numpy()
    np.testing.assert_allclose(images[:, [0, 2]], plain.reshape(4, 2, -1),
                               atol=1e-12)


def test_gradients_are_those_by_the_reference_parameters(renderer, decoder):
    values, step = parameters(4), 1e-5
    gradients = renderer.gradients(*decoder.jacobian(values), values[:, :2],
                                   2).numpy()
    assert gradients.shape == (4, 8, 3, 32 * 32)

    def draw(where):
        return renderer.templates(decoder.from_parameters(where),
                                  where[:, :2], 2).numpy()
    np.testing.assert_allclose(gradients[:, 0], draw(values), atol=1e-12)
    for i in range(values.shape[1]):
        shift = torch.zeros_like(values)
        shift[:, i] = step
        want = (draw(values + shift) - draw(values - shift)) / (2 * step)
        np.testing.assert_allclose(gradients[:, 1 + i], want, atol=2e-6)


def test_subsets_keep_their_own_maps(renderer, decoder):
    values = parameters(5)
    everything = renderer.templates(decoder.from_parameters(values),
                                    values[:, :2], 2)
    second = renderer.subset(torch.tensor([1]))
    images = second.templates(decoder.from_parameters(values[2:]),
                              values[2:, :2], 1)
    torch.testing.assert_close(images, everything[2:])


def test_backgrounds_stay_on_their_stamps(renderer):
    images = renderer.background(
        lambda size, n: background_columns('plane', size, n, device='cpu',
                                           dtype=torch.float64))
    assert images.shape == (3, 3, 32 * 32)
    assert (images[[0, 2], 0] == 1).all()
    assert (images[1, 0, :400] == 1).all()
    assert not images[1, :, 400:].any()
