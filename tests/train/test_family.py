# Licensed under a 3-clause BSD style license - see LICENSE.rst
import copy
import math

import numpy as np
import pytest
import torch
from scipy.special import gammainc, gammaincinv

from vaephot.models.config import ModelConfig
from vaephot.models.vae import VAE
from vaephot.train import family
from vaephot.train.family import (
    INDEX_GRID,
    TRUNCATION,
    TRUTH_SIGMA,
    Shapes,
    latents_of,
    relative_residual,
    sersic_weights,
    teach_family,
)

MODEL = ModelConfig(n_latent=2, n_components=8, decoder_width=16,
                    prior_width=8, head_width=16, encoder_channels=(4, 8),
                    stamp_size=16)


def _enclosed(weight, radius):
    """Share of the light of round Gaussians within a radius."""
    return weight @ (1 - np.exp(-0.5 * (radius / TRUTH_SIGMA) ** 2))


@pytest.mark.parametrize('index', [0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize('truncated', [True, False])
def test_weights_are_shares_of_the_flux(index, truncated):
    weight = sersic_weights(index, TRUTH_SIGMA, truncated=truncated)
    assert (weight >= 0).all()
    assert weight.sum() == pytest.approx(1)


@pytest.mark.parametrize('index', [0.5, 1.0, 1.5, 2.0])
def test_whole_profiles_hold_the_light_of_the_law(index):
    weight = sersic_weights(index, TRUTH_SIGMA, truncated=False)
    scale = gammaincinv(2 * index, 0.5)
    for radius in (0.3, 0.7, 1.0, 2.0, 3.0):
        law = gammainc(2 * index, scale * radius ** (1 / index))
        assert _enclosed(weight, radius) == pytest.approx(law, abs=0.01)


@pytest.mark.parametrize('index', INDEX_GRID[::3])
def test_truncated_profiles_hold_the_light_of_the_law(index):
    # the radius is that of half the light within the truncation
    weight = sersic_weights(index, TRUTH_SIGMA)
    scale = gammaincinv(2 * index, 0.5)
    shrink = family._truncated_scale(index)

    def law(radius):
        return gammainc(2 * index, scale * (shrink * radius) ** (1 / index))
    assert law(1.0) == pytest.approx(0.5 * law(TRUNCATION), rel=1e-6)
    for radius in (0.3, 0.7, 1.0, 2.0, 3.0):
        assert _enclosed(weight, radius) == pytest.approx(
            law(radius) / law(TRUNCATION), abs=0.02)


def test_truncation_makes_steep_profiles_smaller():
    ratio = [family._truncated_scale(n) for n in (0.5, 1.0, 2.0, 4.0)]
    assert ratio[0] == pytest.approx(1, abs=1e-6)
    assert (np.diff(ratio) < 0).all()


def _shapes(n=60, seed=4):
    """Bulges with disks, and single laws, as a store may hold them."""
    rng = np.random.default_rng(seed)
    single = np.arange(n) % 2 == 0
    columns = (np.where(single, 0, rng.uniform(0.1, 0.8, n)),
               np.where(single, 1, rng.uniform(0.8, 1.6, n)),
               np.where(single, 1, rng.uniform(0.3, 0.9, n)),
               rng.uniform(0.3, 1, n), rng.uniform(0.6, 1, n),
               np.where(single, rng.choice(INDEX_GRID, n), 0),
               rng.uniform(0, 0.8, n))
    return Shapes(*[torch.as_tensor(c, dtype=torch.float32)
                    for c in columns])


@pytest.fixture(scope='module')
def truth():
    """Return what turns shapes into ellipses."""
    return family._Truth()


def _pixels(ellipses, blur, step, half):
    """Image of aligned Gaussians under a Gaussian PSF."""
    grid = np.arange(-half, half + step / 2, step)
    image = 0.0
    for weight, major, minor in zip(*[np.asarray(e, float)
                                      for e in ellipses], strict=True):
        a, b = major + blur ** 2, minor + blur ** 2
        row = np.exp(-0.5 * grid ** 2 / a)
        column = np.exp(-0.5 * grid ** 2 / b)
        image = image + weight * column[:, None] * row / (
            2 * math.pi * math.sqrt(a * b))
    return image


@pytest.mark.parametrize('blur', [0.3, 0.7])
def test_scalar_product_is_a_sum_over_pixels(truth, blur):
    ellipses = truth(_shapes(4))
    first, second = (type(ellipses)(*[e[rows] for e in ellipses])
                     for rows in ([0, 1, 1], [1, 2, 1]))
    found = family._product(first, second, torch.full((3,), blur))
    step = blur / 3
    for k in range(3):
        a, b = (_pixels([e[k] for e in side], blur, step, 30)
                for side in (first, second))
        assert float(found[k]) == pytest.approx((a * b).sum() * step ** 2,
                                                rel=1e-3)


def test_galaxies_have_unit_flux_and_the_axis_ratios_of_their_parts(truth):
    shapes = _shapes()
    ellipses = truth(shapes)
    torch.testing.assert_close(ellipses.weight.sum(1), torch.ones(60))
    n = len(TRUTH_SIGMA)
    ratio = torch.sqrt(ellipses.minor / ellipses.major)
    torch.testing.assert_close(ratio[:, 0], shapes.bulge_axis_ratio)
    torch.testing.assert_close(ratio[:, n], shapes.disk_axis_ratio)
    share = torch.where(shapes.sersic_index > 0, 0, shapes.bulge_fraction)
    torch.testing.assert_close(ellipses.weight[:, :n].sum(1), share)


def test_single_laws_have_half_their_light_in_their_radius(truth):
    shapes = _shapes()
    ellipses = truth(shapes._replace(
        disk_axis_ratio=torch.ones(60), bulge_axis_ratio=torch.ones(60)))
    radius = shapes.disk_radius[:, None]
    inside = (ellipses.weight * (1 - torch.exp(
        -0.5 * radius ** 2 / ellipses.major))).sum(1)
    single = shapes.sersic_index > 0
    np.testing.assert_allclose(inside[single], 0.5, atol=0.02)


def _decoder(model=MODEL):
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return VAE(model).decoder


def test_residual_of_a_template_from_itself_is_zero():
    decoder, shapes = _decoder(), _shapes()
    latent = torch.zeros(60, 2)

    def itself(some):
        eta = torch.stack([some.eta, 0 * some.eta], 1)
        mixture = decoder(0 * some.eta, eta, latent)
        return family._Ellipses(mixture.weight, mixture.mean + mixture.plus,
                                mixture.mean - mixture.plus)
    blur = torch.full((60,), 0.3)
    with torch.no_grad():
        same = relative_residual(decoder, itself, shapes, latent, blur)
        other = relative_residual(decoder, itself, shapes._replace(
            eta=shapes.eta), latent + 3, blur)
    np.testing.assert_allclose(same, 0, atol=2e-6)
    assert (other > 0).all()


@pytest.fixture(scope='module')
def taught():
    """Return a decoder that was taught, its encoder and the losses."""
    decoder = _decoder()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(family, 'N_BATCH', 48)
        return decoder, *teach_family(decoder, _shapes(200), 3, 150)


def _residual(decoder, truth, latent, shapes):
    with torch.no_grad():
        return relative_residual(decoder, truth, shapes, latent,
                                 torch.full_like(shapes.eta, 0.3))


def test_lessons_lower_the_residual(taught, truth):
    decoder, encoder, losses = taught
    shapes = _shapes(seed=9)  # others than those of the lessons
    before = _residual(_decoder(), truth, torch.zeros(60, 2), shapes)
    after = _residual(decoder, truth, latents_of(encoder, shapes), shapes)
    assert after.median() < 0.7 * before.median()
    # and each galaxy is told by its own latent, not by one for all
    middle = latents_of(encoder, shapes).mean(0).expand(60, -1)
    assert after.mean() < 0.7 * _residual(decoder, truth, middle,
                                          shapes).mean()
    assert np.isfinite(losses).all()
    assert np.mean(losses[-20:]) < np.mean(losses[:20])


def test_latents_have_a_row_a_galaxy_and_no_gradient(taught):
    _, encoder, _ = taught
    shapes = _shapes(7)
    latents = latents_of(encoder, shapes)
    assert latents.shape == (7, 2)
    assert not latents.requires_grad
    assert latents.std() > 0.1
    # each by itself
    rows = torch.tensor([5, 2])
    torch.testing.assert_close(latents_of(encoder, shapes.take(rows)),
                               latents[rows])


def test_size_of_a_taught_decoder_is_exact(taught):
    decoder, encoder, _ = taught
    latents = latents_of(encoder, _shapes()).double()
    with torch.no_grad():
        weight, sigma, _ = decoder.profile(latents)
    inside = (weight * (1 - torch.exp(-0.5 / sigma ** 2))).sum(1)
    np.testing.assert_allclose(inside, 0.5, atol=1e-6)


def test_lessons_are_the_same_for_the_same_seed():
    decoders = [_decoder() for _ in range(3)]
    losses = [teach_family(decoder, _shapes(), seed, 3)[1]
              for decoder, seed in zip(decoders, (1, 1, 2), strict=True)]
    assert losses[0] == losses[1] != losses[2]
    states = [decoder.state_dict() for decoder in decoders]
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name])


@pytest.mark.parametrize('n_latent', [1, 3])
def test_no_lessons_leave_the_decoder_as_it_is(n_latent):
    model = ModelConfig(**{**MODEL.to_dict(), 'n_latent': n_latent})
    decoder = _decoder(model)
    encoder, losses = teach_family(decoder, _shapes(), 1, 0)
    assert losses == []
    assert latents_of(encoder, _shapes(5)).shape == (5, n_latent)
    for a, b in zip(decoder.state_dict().values(),
                    _decoder(model).state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_frozen_decoder_stays_and_its_latents_are_found(taught):
    decoder = copy.deepcopy(taught[0])
    _, losses = teach_family(decoder, _shapes(200), 4, 60, frozen=True)
    for a, b in zip(decoder.state_dict().values(),
                    taught[0].state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:10])


def test_features_tell_shapes_apart_and_ignore_unused_bulges():
    shapes = _shapes()
    features = shapes.features()
    assert features.shape == (60, 6)
    assert torch.isfinite(features).all()
    single = shapes.sersic_index > 0
    changed = shapes._replace(bulge_fraction=torch.where(
        single, 0.9, shapes.bulge_fraction)).features()
    assert torch.equal(changed, features)


def test_taking_galaxies_takes_all_their_numbers():
    shapes = _shapes(10)
    rows = torch.tensor([4, 1])
    for name in Shapes._fields:
        assert torch.equal(getattr(shapes.take(rows), name),
                           getattr(shapes, name)[rows])
