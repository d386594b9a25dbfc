# Licensed under a 3-clause BSD style license - see LICENSE.rst
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from vaephot.exceptions import WeightsError
from vaephot.models.bundle import (
    build_vaes,
    fit_decoder,
    load_shared,
    pack_vaes,
    with_structure,
)
from vaephot.models.render import Renderer, make_transfer, padded_size

ORDERS, SIGMA = (1, 2), (0.5, 1.0)


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


# ---------------------------------------------------------------- structure
@pytest.fixture
def wide(vae):
    """Return the tiny autoencoder with waves."""
    return with_structure(vae, ORDERS, SIGMA).eval().requires_grad_(False)


def _widened(stamps, config, amplitude=0.0):
    """The same stamps with a guess of the amplitudes."""
    waves = stamps.guess.new_full((len(stamps.guess), config.n_structure),
                                  amplitude)
    return stamps._replace(guess=torch.cat([stamps.guess, waves], 1))


@pytest.mark.parametrize('amplitude', [0.0, 0.8])
def test_structure_leaves_what_was_known_as_it_is(vae, wide, make_stamps,
                                                  amplitude):
    stamps, n = make_stamps(), vae.config.n_parameters
    assert wide.config.n_concentric == n
    assert wide.config.n_structure == 4
    for new, old in zip(
            wide.posterior(_widened(stamps, wide.config, amplitude)),
            vae.posterior(stamps), strict=True):
        torch.testing.assert_close(new.mean[:, :n], old.mean)
        torch.testing.assert_close(new.precision[:, :n], old.precision)


@pytest.mark.parametrize('log_snr', [1.0, 5.0])
def test_new_amplitudes_have_weak_evidence(vae, wide, make_stamps, log_snr):
    stamps = _widened(make_stamps(log_snr=log_snr), wide.config, 0.3)
    evidence = wide.evidence(stamps)
    n = vae.config.n_parameters
    # where the guess was, with a small share of the signal-to-noise ratio
    torch.testing.assert_close(evidence.mean[:, n:], stamps.guess[:, n:])
    assert (evidence.precision[:, n:] < 0.06 * math.exp(log_snr)).all()
    assert (evidence.precision[:, n:] > 0).all()


def test_prior_of_new_amplitudes_is_a_standard_normal(vae, wide,
                                                      make_stamps):
    _, prior, _ = wide.posterior(_widened(make_stamps(), wide.config))
    n = vae.config.n_parameters
    assert (prior.mean[:, n:] == 0).all()
    assert (prior.precision[:, n:] == 1).all()


def test_decoder_with_dark_waves_draws_the_same(vae, wide, gaussian_psf):
    assert wide.decoder.structure.orders == ORDERS
    assert not wide.decoder.structure.radial.any()
    values = torch.tensor([[8.2, 7.6, 0.8, 0.3, -0.2, 0.5, -1.0],
                           [7.9, 8.3, 0.5, 0.0, 0.1, 0.0, 0.3]])
    waves = torch.full((2, 4), 0.7)
    renderer = Renderer(16, [make_transfer(
        [gaussian_psf(1.2)], 1, padded_size(16), dtype=torch.float32)])
    plain, dark = (
        renderer.templates(network.decoder.from_parameters(shapes),
                           shapes[:, :2])
        for network, shapes in ((vae, values),
                                (wide, torch.cat([values, waves], 1))))
    torch.testing.assert_close(dark, plain, atol=1e-7, rtol=1e-5)


def test_structure_leaves_the_given_autoencoder_alone(make_vae):
    vae = make_vae()
    before = {name: tensor.clone()
              for name, tensor in vae.state_dict().items()}
    wide = with_structure(vae, ORDERS, SIGMA)
    with torch.no_grad():
        for tensor in wide.state_dict().values():
            tensor.fill_(1)
    for name, tensor in vae.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_structure_is_packed_and_built_again(pair, make_stamps):
    wide = {stage: with_structure(vae, ORDERS, SIGMA)
            for stage, vae in pair.items()}
    radial = torch.tensor([[0.1, 0.2], [0.0, 0.25]], dtype=torch.float64)
    for vae in wide.values():
        vae.decoder.structure.radial.copy_(radial)
    config = wide['isolated'].config
    built = build_vaes(_weights(pack_vaes(wide), config))
    stamps = _widened(make_stamps(), config, 0.2)
    for stage, vae in wide.items():
        new = built[stage]
        assert new.config == config
        assert torch.equal(new.decoder.structure.radial, radial)
        with torch.no_grad():
            old = vae.posterior(stamps)
        for a, b in zip(new.posterior(stamps), old, strict=True):
            assert torch.equal(a.mean, b.mean)
            assert torch.equal(a.precision, b.precision)
    exact = fit_decoder(built['blended']).structure
    assert torch.equal(exact.radial, radial)


def test_further_waves_leave_the_first_as_they_are(wide, make_stamps):
    wide.decoder.structure.radial.copy_(torch.tensor([[0.1, 0.2],
                                                      [0.0, 0.25]]))
    more = with_structure(wide, (*ORDERS, 0, 1), SIGMA).eval()
    radial = more.decoder.structure.radial
    assert torch.equal(radial[:2], wide.decoder.structure.radial)
    assert not radial[2:].any()
    stamps, n = make_stamps(), wide.config.n_parameters
    assert more.config.n_parameters == n + 3
    # the encoder knows the guess of the first amplitudes
    short = _widened(stamps, wide.config, 0.4)
    added = short.guess.new_full((len(stamps.guess), 3), -0.7)
    long = short._replace(guess=torch.cat([short.guess, added], 1))
    with torch.no_grad():
        found, expected = more.posterior(long), wide.posterior(short)
    for new, old in zip(found, expected, strict=True):
        torch.testing.assert_close(new.mean[:, :n], old.mean)
        torch.testing.assert_close(new.precision[:, :n], old.precision)
    torch.testing.assert_close(found[2].mean[:, n:], added)


def test_structure_where_outputs_are_as_many_as_hidden_units(make_vae,
                                                             config):
    vae = make_vae(settings=replace(config, n_latent=1))
    wide = with_structure(vae, (1,), SIGMA)
    assert 2 * wide.config.n_parameters == config.head_width
