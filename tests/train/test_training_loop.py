# Licensed under a 3-clause BSD style license - see LICENSE.rst
import copy
import dataclasses
import json
import math
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from vaephot.exceptions import TrainingError
from vaephot.models.bundle import build_vaes
from vaephot.models.config import ModelConfig
from vaephot.models.render import Renderer
from vaephot.models.vae import VAE
from vaephot.train import asymmetry_training, training_loop
from vaephot.train.release import release_weights
from vaephot.train.stopping import FIGURE
from vaephot.train.store import read_store
from vaephot.train.training_config import STAGES, TrainingConfig
from vaephot.train.training_loop import Trainer, train
from vaephot.weights import load_weights

MODEL = ModelConfig(n_latent=2, n_components=4, decoder_width=8,
                    prior_width=8, head_width=16, encoder_channels=(4, 8),
                    stamp_size=16)
CONFIG = TrainingConfig(model=MODEL, batch_size=8, n_psfs=2, seed=5,
                        n_steps={'isolated': 6, 'blended': 7},
                        n_validation=16, family_steps=4,
                        elbo_start={'isolated': 0.3, 'blended': 0.3})


def _changed(**values):
    return TrainingConfig.from_dict({**CONFIG.to_dict(), **values})


def _equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(
        a.state_dict().values(), b.state_dict().values(), strict=True))


def _interrupted(tiny_store, path, monkeypatch, ticks, config=CONFIG):
    """Train by calls that last a few ticks of a clock each."""
    count = 0
    for calls in range(1, 60):
        now = iter(range(10 ** 6))
        clock = SimpleNamespace(monotonic=lambda now=now: next(now))
        with monkeypatch.context() as patch:
            patch.setattr(training_loop, 'time', clock)
            vaes, finished, curves = train(
                tiny_store, path, config, max_seconds=ticks,
                validate_every=2, checkpoint_every=3)
        count = calls
        if finished:
            break
    return vaes, curves, count


@pytest.mark.parametrize('ticks', [9])
def test_interrupted_run_equals_an_uninterrupted_one(tiny_store, tmp_path,
                                                     monkeypatch, ticks):
    whole, finished, curves = train(tiny_store, tmp_path / 'a', CONFIG,
                                    validate_every=2)
    assert finished
    pieces, resumed, calls = _interrupted(tiny_store, tmp_path / 'b',
                                          monkeypatch, ticks)
    assert calls > 2
    for stage in STAGES:
        assert _equal(whole[stage], pieces[stage])
    # NaN equals NaN as text
    assert json.dumps(curves) == json.dumps(resumed)


@pytest.fixture
def best_at_four(monkeypatch):
    """Let step 4 be the best look; return the networks of all looks."""
    seen = {}

    def validate(trainer):
        seen[trainer.stage, trainer.step] = copy.deepcopy(trainer.vae)
        return {FIGURE: abs(trainer.step - 4.0)}
    monkeypatch.setattr(Trainer, 'validate', validate)
    return seen


PATIENT = _changed(n_steps={'isolated': 7, 'blended': 40}, patience=2)


def test_stage_stops_and_ends_with_the_best_networks(tiny_store, tmp_path,
                                                     best_at_four):
    vaes, finished, curves = train(tiny_store, tmp_path, PATIENT,
                                   validate_every=2)
    assert finished
    # all steps of the first are done before its patience is over
    assert [row['step'] for row in curves['isolated']] == [2, 4, 6, 7]
    assert [row['step'] for row in curves['blended']] == [2, 4, 6, 8]
    for stage in STAGES:
        assert _equal(vaes[stage], best_at_four[stage, 4])
        assert not _equal(vaes[stage], best_at_four[stage, 6])
    # the second begins with the best of the first
    assert _equal(vaes['blended'].decoder, vaes['isolated'].decoder)
    # and both are the same when the run is read again
    again, finished, same = train(tiny_store, tmp_path, PATIENT,
                                  validate_every=2, max_seconds=0)
    assert finished
    assert same == curves
    assert all(_equal(vaes[stage], again[stage]) for stage in STAGES)


def test_interrupted_run_stops_at_the_same_step(tiny_store, tmp_path,
                                                monkeypatch, best_at_four):
    whole, _, curves = train(tiny_store, tmp_path / 'a', PATIENT,
                             validate_every=2)
    pieces, resumed, calls = _interrupted(tiny_store, tmp_path / 'b',
                                          monkeypatch, 9, PATIENT)
    assert calls > 2
    assert curves == resumed
    assert all(_equal(whole[stage], pieces[stage]) for stage in STAGES)


def test_without_patience_the_last_networks_are_kept(tiny_store, tmp_path,
                                                     best_at_four):
    config = _changed(n_steps={'isolated': 5, 'blended': 12}, patience=0)
    vaes, _, curves = train(tiny_store, tmp_path, config, validate_every=2)
    assert curves['blended'][-1]['step'] == 12
    assert _equal(vaes['blended'], best_at_four['blended', 12])


def test_stopped_run_is_released_with_the_figures_of_its_best(
        tiny_store, tmp_path, best_at_four):
    vaes, _, curves = train(tiny_store, tmp_path / 'run', PATIENT,
                            validate_every=2)
    record = release_weights(tmp_path / 'a.safetensors', vaes, PATIENT,
                             curves, tiny_store)
    assert record.training['validation']['blended']['step'] == 4
    # eight steps of eight stamps, 20 galaxies
    assert record.training['n_passes']['blended'] == 3.2


def test_lessons_are_held_once(tiny_store, tmp_path, monkeypatch):
    train(tiny_store, tmp_path, CONFIG, max_seconds=0)
    with monkeypatch.context() as patch:
        patch.setattr(training_loop, 'teach_family', lambda *_, **__: 1 / 0)
        again, _, _ = train(tiny_store, tmp_path, CONFIG)
    fresh, _, _ = train(tiny_store, tmp_path / 'b', CONFIG)
    assert all(_equal(again[stage], fresh[stage]) for stage in STAGES)


def test_threads_do_not_change_the_result(tiny_store, tmp_path):
    a, b = (train(tiny_store, tmp_path / str(n), CONFIG, n_workers=n)[0]
            for n in (0, 3))
    assert all(_equal(a[stage], b[stage]) for stage in STAGES)


def test_finished_run_is_read_not_repeated(tiny_store, tmp_path):
    first, _, curves = train(tiny_store, tmp_path, CONFIG)
    again, finished, same = train(tiny_store, tmp_path, CONFIG,
                                  max_seconds=0)
    assert finished
    assert same == curves
    assert all(_equal(first[stage], again[stage]) for stage in STAGES)


def test_no_time_means_no_step(tiny_store, tmp_path):
    vaes, finished, curves = train(tiny_store, tmp_path, CONFIG,
                                   max_seconds=0)
    assert not finished
    assert list(vaes) == ['isolated']
    assert curves == {'isolated': []}


def test_seed_sets_the_weights(tiny_store, tmp_path):
    def run(name, seed):
        return train(tiny_store, tmp_path / name,
                     _changed(seed=seed))[0]['blended']
    a, b, c = run('a', 1), run('b', 1), run('c', 2)
    assert _equal(a, b)
    assert not _equal(a, c)


def test_second_stage_keeps_decoder_and_prior(tiny_store, tmp_path):
    vaes, _, _ = train(tiny_store, tmp_path, CONFIG)
    isolated, blended = (vaes[stage] for stage in STAGES)
    assert _equal(isolated.decoder, blended.decoder)
    assert _equal(isolated.prior, blended.prior)
    assert not _equal(isolated.encoder, blended.encoder)


def test_first_stage_trains_all_three_networks(tiny_store, tmp_path):
    short, _, _ = train(tiny_store, tmp_path / 'a', CONFIG, max_seconds=0)
    done, _, _ = train(tiny_store, tmp_path / 'b', CONFIG)
    for part in ('encoder', 'decoder', 'prior'):
        assert not _equal(getattr(short['isolated'], part),
                          getattr(done['isolated'], part))


def test_other_settings_in_the_same_folder_are_refused(tiny_store, tmp_path):
    train(tiny_store, tmp_path, CONFIG, max_seconds=0)
    with pytest.raises(TrainingError, match='other settings') as caught:
        train(tiny_store, tmp_path, _changed(seed=6))
    assert caught.value.path == tmp_path


def test_another_store_in_the_same_folder_is_refused(tiny_store, tmp_path):
    train(tiny_store, tmp_path / 'run', CONFIG, max_seconds=0)
    store = shutil.copytree(tiny_store, tmp_path / 'store')
    (store / 'manifest.json').write_text('{"seed": 2}', encoding='utf-8')
    with pytest.raises(TrainingError, match='another store'):
        train(store, tmp_path / 'run', CONFIG)


def test_curves_are_written_for_every_stage(tiny_store, tmp_path):
    _, _, curves = train(tiny_store, tmp_path, CONFIG, validate_every=3)
    written = json.loads((tmp_path / 'curves.json').read_text(
        encoding='utf-8'))
    assert written == json.loads(json.dumps(curves))
    assert [row['step'] for row in curves['isolated']] == [3, 6]
    assert [row['step'] for row in curves['blended']] == [3, 6, 7]
    first, *_, last = curves['blended']
    assert {'loss', 'known', 'excess', 'flux_bias'} <= set(first)
    # the evidence lower bound begins later
    assert 'kl' not in first
    assert {'kl', 'reconstruction'} <= set(last)


def test_losses_are_averaged_over_the_steps_that_had_them(tiny_store):
    trainer = _trainer(tiny_store)
    figures = [trainer.advance() for _ in range(4)]
    row = trainer.look()
    # two of the four steps had the evidence lower bound
    for name, rows in (('known', figures), ('kl', figures[2:])):
        assert row[name] == pytest.approx(
            sum(figure[name] for figure in rows) / len(rows))
    trainer.advance()
    assert trainer.look()['step'] == 5


def test_curves_are_shown_at_each_checkpoint(tiny_store, tmp_path):
    shown = []

    def watch(curves):
        written = (tmp_path / 'curves.json').read_text(encoding='utf-8')
        assert written == json.dumps(curves, indent=1)
        shown.append({stage: len(rows) for stage, rows in curves.items()})
    train(tiny_store, tmp_path, CONFIG, validate_every=1,
          checkpoint_every=0, watch=watch)
    assert shown[:2] == [{'isolated': 1}, {'isolated': 2}]
    assert shown[-1] == {'isolated': 6, 'blended': 7}


def test_looks_are_part_of_the_settings(tiny_store, tmp_path):
    train(tiny_store, tmp_path, CONFIG, validate_every=2, max_seconds=0)
    with pytest.raises(TrainingError, match='other settings'):
        train(tiny_store, tmp_path, CONFIG, validate_every=3)


def test_run_begun_before_a_setting_existed_goes_on(tiny_store, tmp_path):
    config = _changed(patience=TrainingConfig().patience)
    train(tiny_store, tmp_path, config, max_seconds=0)
    file = tmp_path / 'run.json'
    record = json.loads(file.read_text(encoding='utf-8'))
    del record['config']['patience'], record['validate_every']
    file.write_text(json.dumps(record), encoding='utf-8')
    train(tiny_store, tmp_path, config, max_seconds=0)
    with pytest.raises(TrainingError, match='other settings'):
        train(tiny_store, tmp_path, _changed(patience=3), max_seconds=0)


def test_run_folder_records_its_settings(tiny_store, tmp_path):
    train(tiny_store, tmp_path / 'new' / 'run', CONFIG, max_seconds=0)
    record = json.loads((tmp_path / 'new' / 'run' / 'run.json').read_text(
        encoding='utf-8'))
    assert TrainingConfig.from_dict(record['config']) == CONFIG


def _trainer(tiny_store, config=CONFIG, stage='isolated'):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        vae = VAE(config.model)
    shards = {split: read_store(tiny_store, split)
              for split in ('train', 'validation')}
    latents = training_loop._teach_decoder(vae.decoder, config, shards,
                                           frozen=False)
    return training_loop._make_trainer(vae, stage, config, shards, latents)


def test_loss_that_is_not_finite_stops_the_run(tiny_store):
    trainer = _trainer(tiny_store)
    with torch.no_grad():
        trainer.vae.encoder.head[-1].bias[0] = math.nan
    before = trainer.vae.encoder.head[0].weight.clone()
    with pytest.raises(TrainingError, match='learning_rate') as caught:
        trainer.advance()
    assert caught.value.step == 0
    assert torch.equal(trainer.vae.encoder.head[0].weight, before)


def test_training_makes_templates_fit_better(tiny_store):
    config = _changed(batch_size=32, learning_rate=5e-3,
                      n_steps={'isolated': 60, 'blended': 1})
    trainer = _trainer(tiny_store, config)
    before = trainer.validate()
    for _ in range(60):
        trainer.advance()
    assert trainer.finished
    after = trainer.validate()
    assert after['excess'] < before['excess']


def test_restored_trainer_takes_the_same_steps(tiny_store):
    first, second = _trainer(tiny_store), _trainer(tiny_store)
    first.advance()
    second.restore(copy.deepcopy(first.state()))
    assert isinstance(second, Trainer)
    assert first.advance() == second.advance()
    assert _equal(first.vae, second.vae)


def test_rate_rises_then_falls_to_a_hundredth():
    rates = [training_loop._rate_factor(step, 1000) for step in range(1000)]
    top = rates.index(max(rates))
    assert max(rates) == pytest.approx(1)
    assert 25 < top < 35
    assert rates[0] < 0.05
    assert rates[-1] == pytest.approx(training_loop.FINAL_RATE, rel=0.01)
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_bound_takes_over_from_the_known_parameters(tiny_store):
    trainer = _trainer(tiny_store)
    names = []
    while not trainer.finished:
        names.append(set(trainer.advance()))
    # it begins after three tenths of six steps
    assert names == [{'loss', 'known'}] * 2 + [
        {'loss', 'known', 'reconstruction', 'kl'}] * 4


def test_loss_is_that_of_its_parts(tiny_store):
    trainer = _trainer(tiny_store)
    first = trainer.advance()
    assert first['loss'] == pytest.approx(first['known'])
    while not trainer.finished:
        last = trainer.advance()
    # the bound has its full weight
    assert last['loss'] == pytest.approx(
        training_loop.SUPERVISED_REST * last['known'] + last['reconstruction']
        + last['kl'], rel=1e-4)


def test_bound_takes_over_less_of_faint_sources(tiny_store):
    trainer = _trainer(tiny_store, _changed(elbo_snr=30.0))
    log_snr = torch.log(torch.tensor([1e-3, 30.0, 1e4]))
    stamps = SimpleNamespace(log_snr=log_snr)
    assert trainer._elbo_share(stamps) is None
    trainer.step = trainer.n_steps
    torch.testing.assert_close(trainer._elbo_share(stamps),
                               torch.tensor([0.0, 0.5, 1.0]), atol=1e-4,
                               rtol=0)
    trainer.step = 4
    last = trainer.advance()
    equal = _trainer(tiny_store)
    equal.step = 4
    first = equal.advance()
    assert last['known'] == pytest.approx(first['known'])
    assert last['loss'] != pytest.approx(first['loss'], rel=1e-3)


def test_latents_of_the_lessons_are_the_truth_of_the_stamps(tiny_store):
    # the galaxies of the store are all alike, so are their latents
    trainer = _trainer(tiny_store)
    batch = trainer.stream.batch(0)
    assert batch.truth.shape[1] == MODEL.n_parameters
    latent = batch.truth[batch.is_galaxy, 5:]
    torch.testing.assert_close(latent, latent[:1].expand(latent.shape))
    assert latent.abs().max() > 0


def test_lessons_are_needed_for_nothing_else(tiny_store):
    config = _changed(family_steps=0)
    assert _trainer(tiny_store, config).advance()['loss'] < math.inf


def test_decoder_learns_more_slowly_than_the_encoder(tiny_store):
    trainer = _trainer(tiny_store)
    before = copy.deepcopy(trainer.vae.state_dict())
    while not trainer.finished:
        trainer.advance()
    moved = {name: float((value - before[name]).abs().max())
             for name, value in trainer.vae.state_dict().items()}
    decoder, encoder = (max(v for n, v in moved.items() if n.startswith(p))
                        for p in ('decoder', 'encoder'))
    assert 0 < decoder < 0.2 * encoder


@pytest.fixture(scope='module')
def start(tiny_store, tmp_path_factory):
    """Return weights to go on from, and their networks."""
    folder = tmp_path_factory.mktemp('start')
    vaes, _, curves = train(tiny_store, folder / 'run', CONFIG)
    release_weights(folder / 'first.safetensors', vaes, CONFIG, curves,
                    tiny_store)
    return folder / 'first.safetensors', vaes


SECOND_ONLY = _changed(n_steps={'isolated': 0, 'blended': 5}, seed=8)


def test_run_from_weights_trains_their_second_encoder_only(
        start, tiny_store, tmp_path):
    path, before = start
    vaes, finished, curves = train(tiny_store, tmp_path, SECOND_ONLY,
                                   start=path)
    assert finished
    assert curves['isolated'] == []
    assert [row['step'] for row in curves['blended']] == [5]
    assert _equal(vaes['isolated'], before['isolated'])
    for part in ('decoder', 'prior'):
        assert _equal(getattr(vaes['blended'], part),
                      getattr(before['blended'], part))
    assert not _equal(vaes['blended'].encoder, before['blended'].encoder)


def test_run_from_weights_begins_where_they_ended(start, tiny_store,
                                                  tmp_path):
    path, before = start
    config = _changed(n_steps={'isolated': 0, 'blended': 1},
                      learning_rate=1e-9)
    vaes, _, _ = train(tiny_store, tmp_path, config, start=path)
    for a, b in zip(vaes['blended'].state_dict().values(),
                    before['blended'].state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)


def test_run_from_weights_may_train_both_stages(start, tiny_store, tmp_path):
    path, before = start
    vaes, finished, curves = train(tiny_store, tmp_path, CONFIG, start=path)
    assert finished
    assert all(curves[stage] for stage in STAGES)
    assert not _equal(vaes['isolated'].decoder, before['isolated'].decoder)
    assert _equal(vaes['blended'].decoder, vaes['isolated'].decoder)


def test_weights_of_other_sizes_are_no_start(start, tiny_store, tmp_path):
    model = {**MODEL.to_dict(), 'head_width': 24}
    with pytest.raises(TrainingError, match="'head_width': 16") as caught:
        train(tiny_store, tmp_path / 'run', _changed(model=model),
              start=start[0])
    assert caught.value.start == 'first'
    assert not (tmp_path / 'run').exists()


def _state(part):
    return {name: tensor.clone() for name, tensor
            in part.state_dict().items()}


def test_new_encoders_take_decoder_and_prior_of_a_start(start, tiny_store,
                                                        tmp_path):
    path = start[0]
    before = build_vaes(load_weights(path))['isolated']
    config = _changed(model={**MODEL.to_dict(), 'head_width': 24},
                      encoders_new=True, decoder_frozen=True)
    vaes, finished, _ = train(tiny_store, tmp_path, config, start=path)
    assert finished
    for vae in vaes.values():
        for part in ('decoder', 'prior'):
            mine, theirs = (_state(getattr(v, part)) for v in (vae, before))
            assert all(torch.equal(mine[name], theirs[name])
                       for name in theirs)
        assert vae.encoder.head[0].out_features == 24


def test_new_encoders_need_a_decoder_of_the_same_sizes(start, tiny_store,
                                                       tmp_path):
    config = _changed(model={**MODEL.to_dict(), 'decoder_width': 24},
                      encoders_new=True)
    with pytest.raises(TrainingError, match='decoder_width'):
        train(tiny_store, tmp_path, config, start=start[0])


def test_frozen_decoder_stays_in_the_first_stage(tiny_store, tmp_path):
    config = _changed(decoder_frozen=True)
    first, _, _ = train(tiny_store, tmp_path / 'none', config, max_seconds=0)
    after, _, _ = train(tiny_store, tmp_path / 'all', config)
    for part in ('decoder', 'prior'):
        mine, theirs = (_state(getattr(v['isolated'], part))
                        for v in (after, first))
        assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert not torch.equal(after['isolated'].encoder.direct.weight,
                           first['isolated'].encoder.direct.weight)


# ---------------------------------------------------------------- structure
WAVY = {**MODEL.to_dict(), 'structure_orders': [1, 2],
        'structure_sigma': [0.5, 1.0]}


@pytest.fixture(scope='module')
def lopsided_store(tiny_store, tmp_path_factory):
    """Return the same galaxies, resolved and with companions."""
    store = shutil.copytree(tiny_store,
                            tmp_path_factory.mktemp('lopsided') / 'store')
    rng = np.random.default_rng(7)
    for path in store.glob('shard-*.npz'):
        with np.load(path) as file:
            arrays = dict(file)
        moves = rng.integers(-2, 3, (len(arrays['image']), 2))
        arrays['image'] = np.stack([
            0.75 * image + 0.25 * np.roll(image, move, (0, 1))
            for image, move in zip(arrays['image'], moves, strict=True)])
        arrays['half_light_radius'] = 1.4 * arrays['half_light_radius']
        np.savez(path, **arrays)
    return store


@pytest.fixture(scope='module', autouse=True)
def _few_steps():
    """Let little be learned of structure."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asymmetry_training, 'N_STEPS', 3)
        patch.setattr(asymmetry_training, 'GALAXIES_PER_SHARD', 4)
        yield


def _radial(vae):
    return vae.decoder.structure.radial


@pytest.mark.parametrize('n_steps', [
    {'isolated': 0, 'blended': 3}, {'isolated': 3, 'blended': 3}])
def test_run_from_weights_without_structure_learns_waves(
        start, lopsided_store, tmp_path, n_steps):
    path, before = start
    config = _changed(model=WAVY, n_steps=n_steps)
    vaes, finished, curves = train(lopsided_store, tmp_path / 'run', config,
                                   start=path)
    assert finished
    for stage, steps in n_steps.items():
        assert [row['step'] for row in curves[stage]] == [steps] * (steps > 0)
    for vae in vaes.values():
        assert vae.config == config.model
        assert _radial(vae).any(1).all()
        assert torch.isfinite(_radial(vae)).all()
    assert _equal(vaes['blended'].decoder, vaes['isolated'].decoder)
    if not n_steps['isolated']:
        assert _equal(vaes['blended'].decoder.network,
                      before['blended'].decoder.network)
    # the run goes on with the same waves
    again, _, _ = train(lopsided_store, tmp_path / 'run', config, start=path,
                        max_seconds=0)
    assert all(_equal(vaes[stage], again[stage]) for stage in STAGES)


def test_first_networks_with_structure_say_what_the_weights_do(start):
    path, before = start
    config = _changed(model=WAVY, n_steps={'isolated': 0, 'blended': 1})
    first = training_loop._first_networks(config, load_weights(path))
    latent = torch.tensor([[0.3, -1.0]])
    for stage in STAGES:
        assert not _radial(first[stage]).any()
        assert all(p.requires_grad for p in first[stage].parameters())
        for a, b in zip(first[stage].decoder.profile(latent),
                        before[stage].decoder.profile(latent), strict=True):
            torch.testing.assert_close(a, b)


@pytest.fixture(scope='module')
def wavy_start(start, lopsided_store, tmp_path_factory):
    """Return weights with structure, and their networks."""
    folder = tmp_path_factory.mktemp('wavy')
    config = _changed(model=WAVY, n_steps={'isolated': 0, 'blended': 2})
    vaes, _, curves = train(lopsided_store, folder / 'run', config,
                            start=start[0])
    release_weights(folder / 'wavy.safetensors', vaes, config, curves,
                    lopsided_store)
    return folder / 'wavy.safetensors', vaes


def test_weights_with_structure_are_a_start(wavy_start, lopsided_store,
                                            tmp_path, monkeypatch):
    path, before = wavy_start
    # waves are not learned twice
    monkeypatch.setattr(training_loop, 'learn_structure', lambda *_: 1 / 0)
    config = _changed(model=WAVY, n_steps={'isolated': 2, 'blended': 2})
    vaes, finished, _ = train(lopsided_store, tmp_path / 'run', config,
                              start=path)
    assert finished
    for vae in vaes.values():
        assert torch.equal(_radial(vae), _radial(before['blended']))
    assert not _equal(vaes['blended'].encoder, before['blended'].encoder)


def test_weights_with_structure_may_get_more(wavy_start, lopsided_store,
                                             tmp_path):
    path, before = wavy_start
    model = {**WAVY, 'structure_orders': [1, 2, 1, 0]}
    config = _changed(model=model, n_steps={'isolated': 0, 'blended': 2})
    vaes, finished, _ = train(lopsided_store, tmp_path / 'run', config,
                              start=path)
    assert finished
    for vae in vaes.values():
        assert torch.equal(_radial(vae)[:2], _radial(before['blended']))
        assert _radial(vae)[2:].any(1).all()
    assert _equal(vaes['blended'].decoder, vaes['isolated'].decoder)


@pytest.mark.parametrize('model', [
    MODEL.to_dict(), {**WAVY, 'structure_orders': [2, 1]},
    {**WAVY, 'structure_orders': [2, 1, 3]},
    {**WAVY, 'structure_sigma': [0.5, 1.1]},
    {**WAVY, 'structure_orders': [1, 2, 3],
     'structure_sigma': [0.5, 1.1]}])
def test_weights_with_other_waves_are_no_start(wavy_start, model):
    with pytest.raises(TrainingError, match='structure_') as caught:
        training_loop._first_networks(_changed(model=model),
                             load_weights(wavy_start[0]))
    assert caught.value.start == 'wavy'


def test_new_waves_need_the_other_sizes_of_the_start(start, tiny_store,
                                                     tmp_path):
    model = {**WAVY, 'head_width': 24}
    with pytest.raises(TrainingError, match="'head_width': 16") as caught:
        train(tiny_store, tmp_path / 'run', _changed(model=model),
              start=start[0])
    assert 'structure' not in str(caught.value)
    assert not (tmp_path / 'run').exists()


def test_new_encoders_need_a_decoder_with_the_same_waves(start, tiny_store,
                                                         tmp_path):
    config = _changed(model=WAVY, encoders_new=True)
    with pytest.raises(TrainingError, match='structure_orders'):
        train(tiny_store, tmp_path, config, start=start[0])


def test_first_run_may_have_structure(lopsided_store, tmp_path):
    config = _changed(model=WAVY, n_steps={'isolated': 2, 'blended': 2})
    vaes, finished, _ = train(lopsided_store, tmp_path / 'a', config)
    assert finished
    assert all(_radial(vae).any(1).all() for vae in vaes.values())
    again, _, _ = train(lopsided_store, tmp_path / 'b', config)
    assert all(_equal(vaes[stage], again[stage]) for stage in STAGES)


def test_amplitudes_of_galaxies_are_not_known(lopsided_store):
    config = _changed(model=WAVY)
    trainer = _trainer(lopsided_store, config)
    batch = trainer.stream.batch(0)
    n = config.model.n_concentric
    assert batch.truth.shape[1] == config.model.n_parameters
    assert torch.isnan(batch.truth[batch.is_galaxy, n:]).all()
    assert torch.isfinite(batch.truth[:, :n]).all()
    while not trainer.finished:
        assert math.isfinite(trainer.advance()['loss'])


def test_run_remembers_its_start(start, tiny_store, tmp_path):
    path = start[0]
    train(tiny_store, tmp_path, SECOND_ONLY, start=path, max_seconds=0)
    record = json.loads((tmp_path / 'run.json').read_text(encoding='utf-8'))
    assert record['start'] == load_weights(path).record.sha256
    with pytest.raises(TrainingError, match='another start'):
        train(tiny_store, tmp_path, SECOND_ONLY)
    train(tiny_store, tmp_path, SECOND_ONLY, start=path, max_seconds=0)


def test_stage_without_steps_is_released_and_drawn(start, tiny_store,
                                                   tmp_path):
    vaes, _, curves = train(tiny_store, tmp_path, SECOND_ONLY,
                            start=start[0])
    record = release_weights(tmp_path / 'a.safetensors', vaes, SECOND_ONLY,
                             curves, tiny_store)
    assert record.training['curves']['isolated'] == {}
    assert list(record.training['validation']) == ['blended']
    assert record.training['n_passes']['isolated'] == 0


def test_half_precision_stays_close_and_is_another_run(tiny_store, tmp_path):
    vaes, curves = zip(*[
        train(tiny_store, tmp_path / precision,
              _changed(precision=precision))[::2]
        for precision in ('float32', 'bfloat16')], strict=True)
    first, second = (vae['blended'].encoder for vae in vaes)
    assert not _equal(first, second)
    assert {p.dtype for p in second.parameters()} == {torch.float32}
    losses = [rows['isolated'][-1]['known'] for rows in curves]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


def test_unknown_devices_are_refused_before_the_work(tiny_store, tmp_path,
                                                     monkeypatch):
    with pytest.raises(ValueError, match='abacus'):
        train(tiny_store, tmp_path / 'run', CONFIG, device='abacus')
    # a device without float64, and the best of a machine that has it
    monkeypatch.setattr(training_loop, 'resolve_device',
                        lambda device: torch.device(device or 'mps'))
    with pytest.raises(ValueError, match="'mps'"):
        train(tiny_store, tmp_path / 'run', CONFIG, device='mps')
    assert training_loop._find_device('auto').type == 'cpu'
    assert not (tmp_path / 'run').exists()


def test_numbers_of_a_checkpoint_are_on_the_cpu(tiny_store):
    trainer = _trainer(tiny_store)
    trainer.look()
    assert all(tensor.device.type == 'cpu'
               for tensor in trainer.state()['best'].values())


@pytest.mark.gpu
@pytest.mark.parametrize('precision', ['float32', 'bfloat16'])
def test_run_on_a_gpu_is_repeatable(tiny_store, tmp_path, precision):
    config = _changed(precision=precision)
    a, b = (train(tiny_store, tmp_path / name, config, device='cuda')
            for name in ('first', 'second'))
    for stage in STAGES:
        assert _equal(a[0][stage], b[0][stage])
    assert math.isfinite(a[2]['blended'][-1]['known'])


def _moved(batch, device):
    """The same batch on another device."""
    band = batch.renderer.bands[0]
    transfer = dataclasses.replace(band.transfer,
                                   values=band.transfer.values.to(device))
    tensors = {name: value.to(device) for name, value
               in batch._asdict().items() if torch.is_tensor(value)}
    stamps = type(batch.stamps)(*[t.to(device) for t in batch.stamps])
    return batch._replace(**tensors, stamps=stamps,
                          renderer=Renderer(band.size, [transfer]))


@pytest.mark.parametrize('device', [
    'cpu', pytest.param('cuda', marks=pytest.mark.gpu)])
@pytest.mark.parametrize('precision', ['float32', 'bfloat16'])
def test_losses_of_a_batch_are_near_those_of_the_cpu(tiny_store, device,
                                                     precision):
    losses = []
    for where, digits in (('cpu', 'float32'), (device, precision)):
        trainer = _trainer(tiny_store, _changed(precision=digits))
        trainer.step = trainer.n_steps - 1
        batch = _moved(trainer.stream.batch(0), where)
        trainer.vae.to(where)
        losses.append(trainer._loss(batch)[1])
    one, other = losses
    assert set(one) == set(other) == {'known', 'reconstruction', 'kl'}
    for name, value in one.items():
        assert float(other[name]) == pytest.approx(float(value), rel=0.05)


@pytest.mark.gpu
def test_run_begun_on_a_gpu_ends_on_the_cpu(tiny_store, tmp_path,
                                            monkeypatch):
    clock = SimpleNamespace(monotonic=iter(range(10 ** 6)).__next__)
    with monkeypatch.context() as patch:
        patch.setattr(training_loop, 'time', clock)
        _, finished, _ = train(tiny_store, tmp_path, CONFIG, device='cuda',
                               max_seconds=9)
    assert not finished
    vaes, finished, _ = train(tiny_store, tmp_path, CONFIG, device='cpu')
    assert finished
    assert next(vaes['blended'].parameters()).device.type == 'cpu'
