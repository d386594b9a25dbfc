# Licensed under a 3-clause BSD style license - see LICENSE.rst
from types import SimpleNamespace

import pytest
import torch

from vaephot.exceptions import WeightsError
from vaephot.models.bundle import (
    build_vaes,
    fit_decoder,
    load_shared,
    pack_vaes,
)


@pytest.fixture
def pair(make_vae):
    """Return two autoencoders that share decoder and prior."""
    isolated, blended = make_vae(1), make_vae(2)
    blended.decoder.load_state_dict(isolated.decoder.state_dict())
    blended.prior.load_state_dict(isolated.prior.state_dict())
    return {'isolated': isolated, 'blended': blended}


def _weights(tensors, config):
    record = SimpleNamespace(name='tiny', model_config=config.to_dict())
    return SimpleNamespace(record=record, tensors=tensors)


def test_rebuilt_autoencoders_give_equal_outputs(pair, config, make_stamps):
    built = build_vaes(_weights(pack_vaes(pair), config))
    one, stamps = torch.ones(1), make_stamps()
    latent = torch.tensor([[0.3, -1.0]])
    for stage, vae in pair.items():
        new = built[stage]
        for a, b in zip(vae.evidence(stamps), new.evidence(stamps),
                        strict=True):
            assert torch.equal(a, b)
        for a, b in zip(vae.decoder.profile(latent),
                        new.decoder.profile(latent), strict=True):
            assert torch.equal(a, b)
        for a, b in zip(vae.prior(latent, one, one),
                        new.prior(latent, one, one), strict=True):
            assert torch.equal(a, b)


def test_shared_parts_are_stored_once(pair):
    tensors = pack_vaes(pair)
    assert len(tensors) == (2 * len(pair['isolated'].encoder.state_dict())
                            + len(pair['isolated'].decoder.state_dict())
                            + len(pair['isolated'].prior.state_dict()))
    assert not any('decoder' in name and name.startswith('isolated')
                   for name in tensors)


def test_decoder_and_prior_can_be_taken_alone(pair, config, make_vae):
    vae = make_vae(7)
    before = vae.encoder.state_dict()
    before = {name: tensor.clone() for name, tensor in before.items()}
    load_shared(vae, _weights(pack_vaes(pair), config))
    for part in ('decoder', 'prior'):
        theirs = getattr(pair['isolated'], part).state_dict()
        for name, tensor in getattr(vae, part).state_dict().items():
            assert torch.equal(tensor, theirs[name])
    for name, tensor in vae.encoder.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_encoders_are_kept_apart(pair, config):
    built = build_vaes(_weights(pack_vaes(pair), config))
    a, b = (built[s].encoder.stages[0].down.weight
            for s in ('isolated', 'blended'))
    assert not torch.equal(a, b)


def test_built_autoencoders_are_frozen(pair, config):
    for vae in build_vaes(_weights(pack_vaes(pair), config)).values():
        assert not vae.training
        assert not any(p.requires_grad for p in vae.parameters())


def test_missing_tensor_is_an_error_that_names_the_weights(pair, config):
    tensors = pack_vaes(pair)
    tensors.pop(next(n for n in tensors if n.startswith('decoder')))
    with pytest.raises(WeightsError, match='tiny') as caught:
        build_vaes(_weights(tensors, config))
    assert caught.value.name == 'tiny'


def test_tensor_of_another_shape_is_an_error(pair, config):
    tensors = pack_vaes(pair)
    name = next(n for n in tensors if n.startswith('blended.encoder'))
    tensors[name] = tensors[name][:1]
    with pytest.raises(WeightsError, match='do not fit'):
        build_vaes(_weights(tensors, config))


def test_decoder_of_the_fit_is_a_copy_in_double_precision(vae):
    before = vae.decoder.network[0].weight.clone()
    decoder = fit_decoder(vae)
    assert decoder.network[0].weight.dtype == torch.float64
    with torch.no_grad():
        decoder.network[0].weight.zero_()
    assert vae.decoder.network[0].weight.dtype == torch.float32
    assert torch.equal(vae.decoder.network[0].weight, before)
