# Licensed under a 3-clause BSD style license - see LICENSE.rst
import dataclasses

import numpy as np
import pytest
import torch

from vaephot.train import dataset
from vaephot.train.dataset import BlendSampler, BlendSettings
from vaephot.train.store import read_store

# nothing but the sources: no bad pixels, no correlation, no background
CLEAN = {'correlated_share': 0.0, 'masked_share': 0.0, 'background': 0.0,
         'log10_poisson': (-9.0, -9.0)}


@pytest.fixture(scope='session')
def shards(tiny_store):
    """Return the training galaxies of the store."""
    return read_store(tiny_store, 'train')


def _draw(shards, n=24, n_psfs=2, *, size=32, seed=3, blended=True,
          **settings):
    sampler = BlendSampler(shards, size, seed, blended=blended,
                           settings=BlendSettings(**settings))
    return sampler.draw(n, n_psfs)


def _tensors(batch):
    return [*batch.stamps, *batch[1:10]]


def test_equal_seeds_give_equal_batches(shards):
    a, b, c = (_draw(shards, seed=s) for s in (3, 3, 4))
    assert all(torch.equal(x, y)
               for x, y in zip(_tensors(a), _tensors(b), strict=True))
    assert not torch.equal(a.stamps.data, c.stamps.data)


def test_stream_goes_on_from_a_saved_state(shards):
    first, second = (BlendSampler(shards, 32, s) for s in (3, 99))
    first.draw(8, 2)
    second.rng.bit_generator.state = first.rng.bit_generator.state
    assert torch.equal(first.draw(8, 2).stamps.data,
                       second.draw(8, 2).stamps.data)


@pytest.mark.parametrize('size', [31, 32])
def test_shapes_and_dtypes_are_those_of_the_networks(shards, size):
    batch = _draw(shards, 12, size=size)
    assert batch.stamps.data.shape == (12, size, size)
    assert batch.stamps.neighbours.shape == (12, 4, 2)
    assert batch.truth.shape == (12, 5)
    assert all(t.dtype in (torch.float32, torch.bool)
               for t in _tensors(batch))


def test_nothing_is_nan(shards):
    batch = _draw(shards, 200, masked_share=1.0, correlated_share=1.0)
    assert all(torch.isfinite(t.float()).all() for t in _tensors(batch))
    assert (batch.weight >= 0).all()
    assert (batch.flux > 0).all()


def _template(batch, shards, sigma_scale=2 ** 0.5):
    """Round Gaussians of the store at the true places."""
    size = batch.target.shape[-1]
    fwhm = torch.exp(batch.stamps.log_fwhm).numpy()
    sigma = (fwhm / 2.3548 * sigma_scale)[:, None]
    grid = np.arange(size) - size // 2
    column, row = (np.exp(-0.5 * ((grid - batch.truth[:, k:k + 1].numpy())
                                  / sigma) ** 2) for k in (0, 1))
    image = row[:, :, None] * column[:, None, :]
    return image / (2 * np.pi * sigma[..., None] ** 2)


def test_target_is_the_galaxy_of_the_truth_at_its_place(shards):
    batch = _draw(shards, 60, blended=False, star_share=0.0, **CLEAN)
    expected = _template(batch, shards) * batch.flux.numpy()[:, None, None]
    residual = batch.target.numpy() - expected
    assert residual.std() == pytest.approx(1, abs=0.02)
    # no trace of the galaxies is left, whatever their brightness
    bright = batch.flux.numpy() > 2000
    scale = expected[bright].max((1, 2))
    assert (abs(residual[bright]).max((1, 2)) < 0.02 * scale + 6).all()


def test_stars_are_the_psf_at_their_place(shards):
    batch = _draw(shards, 60, blended=False, star_share=1.0, **CLEAN)
    assert not batch.is_galaxy.any()
    expected = _template(batch, shards, 1.0) * batch.flux.numpy()[
        :, None, None]
    residual = batch.target.numpy() - expected
    scale = expected.max((1, 2))
    assert (abs(residual).max((1, 2)) < 0.02 * scale + 6).all()


def test_noise_has_unit_variance_far_from_the_target(shards):
    batch = _draw(shards, 200, blended=False, **CLEAN)
    corner = batch.stamps.data[:, :6, :6]
    assert float(corner.std()) == pytest.approx(1, abs=0.05)


def test_correlated_noise_keeps_its_variance(shards):
    settings = {**CLEAN, 'correlated_share': 1.0}
    batch = _draw(shards, 200, blended=False, **settings)
    corner = batch.stamps.data[:, :6, :6]
    assert float(corner.std()) == pytest.approx(1, abs=0.08)
    next_ = (corner[..., 1:] * corner[..., :-1]).mean()
    assert float(next_) > 0.2
    # and the weights know that sums of such pixels are noisier
    plain = _draw(shards, 200, blended=False, **CLEAN)
    assert batch.weight[:, 0, 0].mean() < 0.8 * plain.weight[:, 0, 0].mean()


def test_stamp_of_an_isolated_source_is_its_target(shards):
    batch = _draw(shards, blended=False)
    assert torch.equal(batch.stamps.data, batch.target)
    assert batch.stamps.present.abs().max() == 0


def test_stamp_is_target_plus_neighbours(shards):
    settings = {**CLEAN, 'subtracted_share': 0.0, 'missed_share': 0.0,
                'star_share': 0.0, 'position_error': 0.0}
    batch = _draw(shards, 60, **settings)
    rest = (batch.stamps.data - batch.target).numpy()
    scale = rest.max((1, 2))
    assert (rest.min((1, 2)) >= -1e-4 * (1 + scale)).all()
    number = batch.stamps.present.sum(1).numpy()
    assert set(number) == {0, 1, 2, 3, 4}
    assert (rest[number == 0] == 0).all()
    one = number == 1
    # the light of a single neighbour is centred where the network is told
    grid = np.arange(32) - 16
    for image, place in zip(rest[one], batch.stamps.neighbours[one, 0],
                            strict=True):
        if abs(place).max() < 8:
            total = image.sum()
            x = (image.sum(0) * grid).sum() / total
            y = (image.sum(1) * grid).sum() / total
            np.testing.assert_allclose([x, y], place, atol=0.05)


def test_neighbours_that_are_gone_are_not_told(shards):
    whole = _draw(shards, 100, subtracted_share=0.0, missed_share=0.0)
    gone = _draw(shards, 100, subtracted_share=1.0, missed_share=0.0)
    missed = _draw(shards, 100, subtracted_share=0.0, missed_share=1.0)
    assert whole.stamps.present.sum() > 0
    assert gone.stamps.present.sum() == 0
    assert missed.stamps.present.sum() == 0
    light = [float((b.stamps.data - b.target).abs().sum())
             for b in (whole, gone, missed)]
    assert light[1] < 0.3 * light[0]
    assert light[2] > 0.5 * light[0]


def test_told_positions_are_near_the_truth(shards):
    batch = _draw(shards, 400, position_error=0.25)
    error = batch.stamps.target - batch.truth[:, :2]
    assert float(error.std()) == pytest.approx(0.25, rel=0.15)
    assert abs(float(error.mean())) < 0.05
    assert batch.truth[:, :2].abs().max() <= 1.01


def test_told_brightness_is_near_the_truth(shards):
    batch = _draw(shards, 400)
    fwhm = batch.stamps.log_fwhm
    errors = torch.tensor([s.point_error for s in shards])
    kinds = torch.tensor([s.psf_fwhm for s in shards])
    which = (fwhm.exp()[:, None] - kinds).abs().argmin(1)
    truth = torch.log((batch.flux / errors[which]).clamp(min=1))
    error = batch.stamps.log_snr - truth
    width = (4 * torch.exp(-truth / 2)).clamp(0.12, 0.5)
    assert float((error / width).std()) == pytest.approx(1, rel=0.15)
    assert abs(float(error.mean())) < 0.05


def test_the_brightness_of_faint_sources_is_told_less_well(shards):
    exact, told = (
        _draw(shards, 400, star_share=0.0, log_snr_error=error).stamps.log_snr
        for error in ((0.0, 0.0), (0.01, 2.0)))
    error, faint = (told - exact).abs(), exact < exact.median()
    assert error[faint].median() > 1.2 * error[~faint].median()


class _MetaDraw(dataset._Draw):
    """Random numbers without values."""

    def __init__(self, seed, device):
        self._where = {'device': device}


def test_all_of_a_batch_is_drawn_on_the_device(shards, monkeypatch):
    monkeypatch.setattr(dataset, 'Renderer', lambda size, transfers:
                        transfers[0].values)
    monkeypatch.setattr(dataset, '_Draw', _MetaDraw)
    # which stamps have stars or correlated noise is not known: none
    monkeypatch.setattr(torch, 'nonzero', lambda values: torch.zeros(
        0, 1, dtype=torch.long, device=values.device))
    sampler = BlendSampler(shards, 32, 3, device='meta')
    table = [t for t in vars(sampler._galaxies).values()
             if torch.is_tensor(t)]
    batch = sampler.draw(4, 2)
    assert {t.device.type for t in (*_tensors(batch), batch.renderer,
                                    *table)} == {'meta'}


def test_windows_are_those_of_their_shard(shards):
    # shards of different sides share one table
    large = [shards[0], dataclasses.replace(
        shards[1], image=shards[1].image[:, 3:-2, 3:-2].contiguous())]
    galaxies = BlendSampler(large, 32, 3)._galaxies
    shard = torch.tensor([0, 1, 1])
    rows = galaxies.first[shard] + torch.tensor([4, 0, 7])
    corner = torch.tensor([[5, 9], [-3, 2], [40, -200]])
    found = galaxies.windows(shard, rows, corner, 16)
    for image, k, (x, y), number in zip(found, shard, corner.tolist(),
                                        (4, 0, 7), strict=True):
        whole = np.pad(large[k].image[number].numpy(), 300)
        expected = whole[300 + y:316 + y, 300 + x:316 + x]
        np.testing.assert_array_equal(image, expected)


def test_stamps_without_known_neighbours_are_nearly_the_target(shards):
    options = {'missed_share': 0.0, 'subtracted_share': 0.0}
    rough, fine = (_draw(shards, 200, leftover=(r, r), **options)
                   for r in (1.0, 0.01))
    light = (rough.stamps.data - rough.target).abs().sum((1, 2))
    left, less = ((b.alone - b.target).abs().sum((1, 2))
                  for b in (rough, fine))
    some = light > 0
    assert some.sum() > 100
    assert (left[some] / light[some]).median() < 0.3
    torch.testing.assert_close(less, 0.01 * left, rtol=0.01, atol=1e-2)


def test_faint_neighbours_are_subtracted_less_well(shards):
    sampler = BlendSampler(shards, 32, 3,
                           settings=BlendSettings(leftover=(1.0, 1.0)))
    draws = [dataset._Draw(seed, 'cpu') for seed in (5, 5)]
    image = torch.ones(500, 1, 8, 8)
    # no gradient: only errors of the flux
    equal, faint = (sampler._leftover(draw, image, torch.full((500, 1), r))
                    for draw, r in zip(draws, (1.0, 10.0), strict=True))
    assert float(equal[:, 0, 0, 0].std()) == pytest.approx(0.06, rel=0.15)
    assert float(faint[:, 0, 0, 0].std()) == pytest.approx(0.24, rel=0.15)


def test_bad_pixels_have_no_weight(shards):
    batch = _draw(shards, 60, masked_share=1.0)
    bad = batch.stamps.good == 0
    assert bad.any()
    assert (batch.weight[bad] == 0).all()
    assert (batch.weight[~bad] > 0).all()


def test_weights_allow_for_poisson_noise_and_template_errors(shards):
    quiet = _draw(shards, 60, blended=False, **CLEAN)
    noisy = _draw(shards, 60, blended=False,
                  **{**CLEAN, 'log10_poisson': (-1.0, -1.0)})
    assert (noisy.weight <= quiet.weight * 1.0001).all()
    middle = quiet.weight[:, 16, 16]
    order = quiet.flux.argsort()
    assert middle[order[-1]] < middle[order[0]] <= 1


def test_floor_is_the_loss_of_the_noise(shards):
    batch = _draw(shards, 60, blended=False, star_share=0.0, **CLEAN)
    n_pixels = 32 ** 2
    # half a chi-square of as many degrees of freedom, bright cores aside
    faint = batch.flux < 200
    floor = batch.floor[faint] / n_pixels
    assert float(floor.mean()) == pytest.approx(0.5, abs=0.02)


def test_renderer_draws_with_the_psfs_of_the_batch(shards):
    batch = _draw(shards, 8, 2)
    values = batch.renderer.bands[0].transfer.values
    assert len(values) == batch.n_psfs == 2
    assert batch.renderer.size == 32
    fwhm = batch.stamps.log_fwhm.reshape(2, 4)
    assert (fwhm == fwhm[:, :1]).all()


def test_latents_of_galaxies_are_part_of_the_truth(shards):
    # the latent of a galaxy: its number in the shard, and the shard's own
    latents = [torch.stack([torch.arange(len(s.image)) + 1.0,
                            torch.full((len(s.image),), 9.0 + k)], 1)
               for k, s in enumerate(shards)]
    batch = BlendSampler(shards, 32, 3, blended=False, latents=latents,
                         settings=BlendSettings(star_share=0.3)
                         ).draw(60, 2)
    plain = BlendSampler(shards, 32, 3, blended=False,
                         settings=BlendSettings(star_share=0.3)).draw(60, 2)
    assert batch.truth.shape == (60, 7)
    assert torch.equal(batch.truth[:, :5], plain.truth)
    galaxy = batch.is_galaxy
    assert (batch.truth[~galaxy, 5:] == 0).all()
    widths = torch.tensor([s.psf_fwhm for s in shards])
    which = (batch.stamps.log_fwhm.exp()[:, None] - widths).abs().argmin(1)
    assert torch.equal(batch.truth[galaxy, 6], 9.0 + which[galaxy])
    # brightness tells which galaxy it is, to within its scatter
    for k, shard in enumerate(shards):
        rows = galaxy & (which == k)
        number = batch.truth[rows, 5].long() - 1
        expected = torch.log(shard.snr[number] * shard.point_error)
        error = torch.log(batch.flux[rows]) - expected
        assert (error.abs() < 6 * 0.15 * np.log(10)).all()


def test_encoder_is_told_the_shape_of_the_psf(shards):
    batch = _draw(shards, 8, 2)
    widths = torch.tensor([s.psf_fwhm for s in shards])
    which = (batch.stamps.log_fwhm.exp()[:, None] - widths).abs().argmin(1)
    shapes = np.array([s.psf_shape for s in shards])
    np.testing.assert_allclose(batch.stamps.psf_shape, shapes[which],
                               rtol=1e-6)


def test_flux_of_the_batch_is_that_of_the_target(shards):
    batch = _draw(shards, 60, seed=1, blended=False, star_share=0.0, **CLEAN)
    assert (batch.flux > 5000).sum() > 5
    # noise of 32^2 pixels of unit variance
    error = (batch.target.sum((1, 2)) - batch.flux) / 32
    assert error.abs().max() < 5
