# Licensed under a 3-clause BSD style license - see LICENSE.rst
import pytest
import torch

from vaephot.models.config import ModelConfig
from vaephot.models.encoder import Encoder
from vaephot.models.normalization import N_CHANNELS
from vaephot.models.vae import StampBatch
from vaephot.train.precision import convolutions_in

MODEL = ModelConfig(n_latent=2, head_width=16, encoder_channels=(4, 8),
                    stamp_size=16)


@pytest.fixture
def encoder():
    with torch.random.fork_rng():
        torch.manual_seed(4)
        return Encoder(MODEL)


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(5)
    images = torch.randn(6, N_CHANNELS, 16, 16, generator=generator)
    ones = torch.ones(6)
    stamps = StampBatch(
        images[:, 0], ones[:, None, None], images[:, 1], torch.zeros(6, 2),
        torch.zeros(6, 1, 2), ones[:, None], 1.1 * ones, 3 * ones,
        torch.zeros(6, 3), torch.zeros(6, 7), images[:, 5])
    return images, stamps, 0.3 * ones, 2 * ones, torch.zeros(6, 6)


def test_full_precision_changes_nothing(encoder, inputs):
    expected = encoder(*inputs)
    with convolutions_in('float32', encoder):
        found = encoder(*inputs)
    assert torch.equal(expected.mean, found.mean)


def test_half_precision_is_near_and_its_results_are_not_half(encoder,
                                                             inputs):
    expected = encoder(*inputs)
    kinds = []
    handle = encoder.stages[0].down.register_forward_hook(
        lambda module, given, out: kinds.append(out.dtype))
    with convolutions_in('bfloat16', encoder):
        found = encoder(*inputs)
    handle.remove()
    assert kinds == [torch.bfloat16]
    for a, b in zip(expected, found, strict=True):
        assert b.dtype == torch.float32
        torch.testing.assert_close(a, b, rtol=0.03, atol=0.03)
        assert not torch.equal(a, b)
        # more digits than bfloat16 has
        assert not torch.equal(b, b.to(torch.bfloat16).float())


def test_gradients_of_half_precision_are_near(encoder, inputs):
    gradients = []
    for precision in ('float32', 'bfloat16'):
        encoder.zero_grad()
        with convolutions_in(precision, encoder):
            found = encoder(*inputs)
        (found.mean ** 2).sum().backward()
        gradients.append(encoder.stages[0].down.weight.grad.clone())
    assert gradients[1].dtype == torch.float32
    similar = torch.cosine_similarity(*[g.ravel() for g in gradients], dim=0)
    assert similar > 0.99


def test_encoder_is_afterwards_as_before(encoder, inputs):
    before = encoder.stages
    names = list(encoder.state_dict())
    with pytest.raises(RuntimeError, match='stop'), \
            convolutions_in('bfloat16', encoder):
        assert list(encoder.state_dict()) == names
        raise RuntimeError('stop')
    assert encoder.stages is before
    assert not torch.is_autocast_enabled('cpu')
