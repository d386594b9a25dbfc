# Licensed under a 3-clause BSD style license - see LICENSE.rst
import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from vaephot.models.config import ModelConfig
from vaephot.models.decoder import Decoder
from vaephot.models.render import Renderer, make_transfer, padded_size
from vaephot.train import asymmetry_training
from vaephot.train.asymmetry_training import (
    fit_galaxies,
    learn_structure,
    principal_waves,
)
from vaephot.train.family import Shapes
from vaephot.train.store import GalaxyShard

SIZE, PSF_SIGMA = 32, 1.1
SIGMA = (0.5, 1.0)
CONFIG = ModelConfig(n_latent=1, n_components=6, decoder_width=8,
                     structure_orders=(1, 2), structure_sigma=SIGMA)
RADIAL = torch.tensor([[0.15, 0.1], [-0.05, 0.2]], dtype=torch.float64)


def _psf():
    step = np.arange(-12, 13)
    psf = np.exp(-0.5 * (step ** 2 + step[:, None] ** 2) / PSF_SIGMA ** 2)
    return psf / psf.sum()


@pytest.fixture(scope='module')
def renderer():
    """Return what draws stamps."""
    return Renderer(SIZE, [make_transfer([_psf()], 1, padded_size(SIZE))])


def _decoder(config):
    """A seeded decoder with a marked effect of the latent."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        decoder = Decoder(config).requires_grad_(False)
    decoder.network[-1].weight.mul_(10)
    return decoder


@pytest.fixture(scope='module')
def decoder():
    """Return a decoder with known waves."""
    decoder = _decoder(CONFIG).double()
    decoder.structure.radial.copy_(RADIAL)
    return decoder


def _parameters(n, seed, *, waves=1.0):
    rng = np.random.default_rng(seed)
    values = np.column_stack([
        SIZE / 2 - 0.5 + rng.uniform(-0.5, 0.5, (n, 2)),
        rng.uniform(0.9, 1.3, n), rng.normal(0, 0.2, (n, 2)),
        rng.normal(0, 1, (n, 1)), waves * rng.normal(0, 1, (n, 4))])
    return torch.as_tensor(values)


def _draw(decoder, renderer, values):
    return renderer.templates(decoder.from_parameters(values),
                              values[:, :2])[:, 0]


def _start(values):
    start = torch.zeros_like(values)
    start[:, :2] = SIZE / 2 - 0.5
    start[:, 2] = 1.0
    return start


def _precision(rest=1e-6):
    precision = torch.full((CONFIG.n_parameters,), rest, dtype=torch.float64)
    precision[:3] = 0
    return precision


@pytest.mark.parametrize('waves', [0.0, 1.0])
def test_drawn_galaxies_are_recovered(decoder, renderer, waves):
    values = _parameters(4, 1, waves=waves)
    images = 3 * _draw(decoder, renderer, values)
    found, flux, left = fit_galaxies(decoder, renderer, images,
                                     _start(values), _precision())
    np.testing.assert_allclose(found, values, atol=5e-3)
    np.testing.assert_allclose(flux, 3, rtol=1e-3)
    assert (left < 1e-8).all()


def test_concentric_decoder_recovers_its_galaxies(renderer):
    config = replace(CONFIG, structure_orders=())
    decoder, n = _decoder(config).double(), config.n_parameters
    values = _parameters(4, 2)[:, :n]
    found, _, left = fit_galaxies(
        decoder, renderer, _draw(decoder, renderer, values), _start(values),
        _precision()[:n])
    np.testing.assert_allclose(found, values, atol=5e-3)
    assert (left < 1e-8).all()


def test_fit_is_never_worse_than_its_start(decoder, renderer):
    images = _draw(decoder, renderer, _parameters(6, 3))
    rng = np.random.default_rng(5)
    # starts that first steps go astray from
    start = _parameters(6, 4) + torch.as_tensor(
        rng.normal(0, 1, (6, CONFIG.n_parameters)) * 0.8)
    precision = _precision(0.0)
    left = [fit_galaxies(decoder, renderer, images, start, precision, n)
            for n in (0, 1, 3, 10)]
    assert torch.equal(left[0][0], start)
    left = torch.stack([column[2] for column in left])
    assert (left.diff(dim=0) <= 0).all()
    assert (left[-1] < left[0]).all()


def test_galaxies_are_fitted_each_by_itself(decoder, renderer):
    values = _parameters(3, 6)
    images = _draw(decoder, renderer, values)
    together, alone = (
        fit_galaxies(decoder, renderer, images[rows], _start(values)[rows],
                     _precision(1.0), 5)[0]
        for rows in (slice(None), slice(1, 2)))
    np.testing.assert_allclose(together[1:2], alone, atol=1e-8)


def test_parameters_stay_where_they_can_be_drawn(decoder, renderer):
    values = _parameters(2, 7)
    images = _draw(decoder, renderer, values)
    start = _start(values)
    start[:, 2] = asymmetry_training.LIMIT_SIZE
    start[:, 5] = -asymmetry_training.LIMIT_LATENT
    found, _, _ = fit_galaxies(decoder, renderer, images, start,
                               _precision(1.0))
    assert torch.isfinite(found).all()
    assert (found[:, 2].abs() <= asymmetry_training.LIMIT_SIZE).all()
    assert (found[:, 5].abs() <= asymmetry_training.LIMIT_LATENT).all()


# ---------------------------------------------------------------- components
WAVE = np.array([0.2, -0.1, 0.3])
RING_SIGMA = np.array([0.4, 0.7, 1.3])


def _rings(n=400, seed=8, noise=1e-3):
    """Rings of galaxies that all have one wave, of two orders."""
    rng = np.random.default_rng(seed)
    amplitude = rng.normal(0, 1, (n, 2, 1, 2))
    rings = amplitude * np.stack([WAVE, 0.5 * WAVE[::-1]])[:, :, None]
    return amplitude, rings + noise * rng.normal(0, 1, rings.shape)


def test_first_component_is_the_wave():
    _, rings = _rings()
    power, waves = principal_waves(rings, (1, 3), RING_SIGMA)
    assert power.shape == (2, 3)
    assert waves.shape == (2, 3, 3)
    for wave, expected in zip(waves[:, 0], (WAVE, 0.5 * WAVE[::-1]),
                              strict=True):
        wave = wave * np.sign(wave @ expected)
        np.testing.assert_allclose(wave, expected, rtol=0.05)
    assert (np.diff(power, axis=1) <= 0).all()
    assert (power >= 0).all()
    # the noise has next to none
    assert (power[:, 1] < 1e-3 * power[:, 0]).all()


def test_amplitudes_of_components_have_unit_scatter():
    amplitude, rings = _rings()
    _, waves = principal_waves(rings, (1, 3), RING_SIGMA)
    for i in range(2):
        found = np.linalg.solve(waves[i].T, rings[:, i])
        np.testing.assert_allclose((found ** 2).mean((0, 2)), 1, rtol=1e-3)
        # cosines and sines of the first are those of the galaxies
        ratio = found[:, 0] / amplitude[:, i, 0]
        assert abs(np.median(ratio)) == pytest.approx(1, rel=0.05)


def test_components_do_not_depend_on_the_angle_of_galaxies():
    _, rings = _rings()
    angle = np.random.default_rng(9).uniform(0, 2 * np.pi, len(rings))
    cosine, sine = np.cos(angle), np.sin(angle)
    turn = np.array([[cosine, -sine], [sine, cosine]])
    turned = np.einsum('nmrp,pqn->nmrq', rings, turn)
    for a, b in zip(principal_waves(rings, (1, 3), RING_SIGMA),
                    principal_waves(turned, (1, 3), RING_SIGMA),
                    strict=True):
        np.testing.assert_allclose(abs(a), abs(b), rtol=1e-6, atol=1e-9)


def test_waves_of_order_zero_have_one_amplitude():
    _, rings = _rings()
    rings[:, 0, :, 1] = 0
    _, waves = principal_waves(rings, (0, 3), RING_SIGMA)
    found = np.linalg.solve(waves[0].T, rings[:, 0])
    np.testing.assert_allclose((found[..., 0] ** 2).mean(0), 1, rtol=1e-3)
    wave = waves[0, 0] * np.sign(waves[0, 0] @ WAVE)
    np.testing.assert_allclose(wave, WAVE, rtol=0.08)


def test_one_odd_galaxy_does_not_make_the_waves():
    _, rings = _rings()
    _, before = principal_waves(rings, (1, 3), RING_SIGMA)
    rings[5, :, :, 0] += 30 * np.array([1.0, 1.0, -1.0])
    _, after = principal_waves(rings, (1, 3), RING_SIGMA)
    for old, new in zip(before[:, 0], after[:, 0], strict=True):
        likeness = old @ new / np.linalg.norm(old) / np.linalg.norm(new)
        assert abs(likeness) > 0.95


# --------------------------------------------------------------------- waves
def _shard(decoder, renderer, n=24, seed=10):
    """Noise-free galaxies as they are read from a store."""
    values = _parameters(n, seed)
    images = _draw(decoder, renderer, values)
    truth = values[:, :5].clone()
    truth[:, :2] -= (SIZE - 1) / 2
    zeros = torch.zeros(n)
    return GalaxyShard(
        image=images.float(), truth=truth.float(), snr=torch.ones(n),
        shapes=Shapes(*[zeros] * len(Shapes._fields)), psf=_psf(),
        oversampling=1, psf_fwhm=2.3548 * PSF_SIGMA, psf_shape=np.zeros(3),
        point_error=1.0)


@pytest.fixture(scope='module')
def learned(decoder, renderer):
    """Return a decoder that learned, and what of."""
    taught = _decoder(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asymmetry_training, 'N_STEPS', 12)
        patch.setattr(asymmetry_training, 'GALAXIES_PER_SHARD', 16)
        record = learn_structure(taught, [
            _shard(decoder, renderer, seed=seed) for seed in (10, 11)])
    return taught, record


def test_learned_waves_are_those_of_the_galaxies(learned):
    taught, record = learned
    assert record['n_galaxies'] == 32
    assert len(record['power']) == 2
    assert min(record['power']) > 0
    for wave, expected in zip(taught.structure.radial.double(), RADIAL,
                              strict=True):
        assert wave.any()
        likeness = wave @ expected / wave.norm() / expected.norm()
        assert abs(likeness) > 0.9
        assert 0.6 < wave.norm() / expected.norm() < 1.4


def test_only_the_waves_are_learned(learned):
    taught, _ = learned
    for (name, a), b in zip(taught.state_dict().items(),
                            _decoder(CONFIG).state_dict().values(),
                            strict=True):
        assert torch.equal(a, b) == (name != 'structure.radial')
        assert a.dtype == b.dtype
    assert taught.config == CONFIG


def test_learned_waves_explain_other_galaxies(decoder, renderer, learned):
    values = _parameters(8, 12)
    images = _draw(decoder, renderer, values)
    start = _start(values)
    dark, bright = (
        fit_galaxies(some.double(), renderer, images, start,
                     _precision(1.0))[2]
        for some in (_decoder(CONFIG), copy.deepcopy(learned[0])))
    assert bright.median() < 0.05 * dark.median()
    assert (bright < dark).all()


def test_order_that_is_given_twice_has_two_waves(decoder, renderer,
                                                 monkeypatch):
    monkeypatch.setattr(asymmetry_training, 'N_STEPS', 6)
    monkeypatch.setattr(asymmetry_training, 'GALAXIES_PER_SHARD', 10)
    taught = _decoder(replace(CONFIG, structure_orders=(2, 1, 2)))
    record = learn_structure(taught, [_shard(decoder, renderer, 10)])
    first, _, second = taught.structure.radial
    assert first.any()
    assert second.any()
    assert not torch.allclose(first, second)
    assert record['power'][0] >= record['power'][2]


def test_waves_that_are_known_stay(decoder, renderer, monkeypatch):
    monkeypatch.setattr(asymmetry_training, 'N_STEPS', 4)
    monkeypatch.setattr(asymmetry_training, 'GALAXIES_PER_SHARD', 8)
    taught = _decoder(replace(CONFIG, structure_orders=(1, 2, 0)))
    taught.structure.radial[1] = torch.tensor([0.4, 0.3])
    learn_structure(taught, [_shard(decoder, renderer, 8)])
    assert taught.structure.radial.any(1).all()
    torch.testing.assert_close(taught.structure.radial[1],
                               torch.tensor([0.4, 0.3]).double())


def test_shard_without_resolved_galaxies_is_passed_over(decoder, renderer,
                                                        monkeypatch):
    monkeypatch.setattr(asymmetry_training, 'N_STEPS', 3)
    monkeypatch.setattr(asymmetry_training, 'GALAXIES_PER_SHARD', 4)
    shard, taught = _shard(decoder, renderer, 8), _decoder(CONFIG)
    wide = replace(shard, psf_fwhm=20.0)
    record = learn_structure(taught, [wide, shard])
    assert record['n_galaxies'] == 4
    assert taught.structure.radial.any()


def test_unresolved_galaxies_teach_nothing(decoder, renderer, monkeypatch):
    monkeypatch.setattr(asymmetry_training, 'N_STEPS', 3)
    shard = _shard(decoder, renderer, 8)
    radius = torch.exp(shard.truth[:, 2])
    edge = float(radius.median()) / asymmetry_training.LEAST_RADIUS
    record = learn_structure(_decoder(CONFIG),
                             [replace(shard, psf_fwhm=edge)])
    assert record['n_galaxies'] == int((radius > radius.median()).sum())
