# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Train the two autoencoders, in pieces if need be.

A run is a folder. It holds the settings, what the noise-free lessons
taught, the last checkpoint of each stage and the curves. Calling `train`
again goes on where it stopped: the same seed and store give the same
weights, however often it was interrupted.
"""

import copy
import json
import logging
import math
import time
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch.nn.functional import huber_loss

from vaephot.exceptions import TrainingError
from vaephot.models.bundle import (
    SHARED_SIZES,
    build_vaes,
    load_shared,
    with_structure,
)
from vaephot.models.config import ModelConfig
from vaephot.models.losses import supervised_loss
from vaephot.models.vae import VAE
from vaephot.train.asymmetry_training import learn_structure
from vaephot.train.checkpoints import read_checkpoint, write_checkpoint
from vaephot.train.dataset import BlendSampler
from vaephot.train.encoder_passes import run_encoder
from vaephot.train.family import Shapes, latents_of, teach_family
from vaephot.train.metrics import validation_metrics
from vaephot.train.precision import convolutions_in
from vaephot.train.stopping import has_stopped, kept_row
from vaephot.train.store import read_store, store_hash
from vaephot.train.stream import BatchStream
from vaephot.train.training_config import STAGES, TrainingConfig
from vaephot.utils.atomic import atomic_write
from vaephot.utils.device import resolve_device
from vaephot.weights import load_weights

__all__ = ['Trainer', 'train']

log = logging.getLogger(__name__)

# a reconstruction this many nats above that of the truth counts as failed:
# beyond it the loss grows as a logarithm
FAILED_NATS = 300.0
# known parameters keep this weight beside the evidence lower bound, whose
# own weight rises over this share of the steps
SUPERVISED_REST = 0.3
ELBO_RISE = 0.05
# at first the values of the evidence are learned whatever its precision: over
# this share of the steps the weight of that falls to zero
FIRST_SHARE = 0.1
# the decoder knows its galaxies already: its rate over that of the encoder
DECODER_RATE = 0.05
RATE_WARMUP_SHARE = 0.03
FINAL_RATE = 0.01
VALIDATION_BATCH = 256
# others lack float64, in which the decoder keeps its widths
DEVICES = ('cpu', 'cuda')
_SPLITS = ('train', 'validation')


def _rate_factor(step, n_steps):
    """Rise linearly, then fall along a cosine."""
    warmup = max(1, RATE_WARMUP_SHARE * n_steps)
    if step < warmup:
        return (step + 1) / warmup
    phase = (step - warmup) / max(1, n_steps - warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1, phase)))
    return FINAL_RATE + (1 - FINAL_RATE) * cosine


class Trainer:
    """
    One stage of a training run.

    Parameters
    ----------
    vae : `~vaephot.models.vae.VAE`
        Networks, trained in place.
    stage : {'isolated', 'blended'}
        In ``'blended'`` decoder and prior stay as they are.
    config : `~vaephot.train.training_config.TrainingConfig`
        Settings.
    stream : `~vaephot.train.stream.BatchStream`
        Training stamps.
    validation : list of `~vaephot.train.dataset.TrainingBatch`
        Held-out stamps.
    """

    def __init__(self, vae, stage, config, stream, validation):
        self.vae = vae
        self.stage = stage
        self.config = config
        self.stream = stream
        self.validation = validation
        self.n_steps = config.n_steps[stage]
        self.step = 0
        self.curves = []
        self.best = None
        self._sums = {}
        # on the CPU, so that all devices get the same numbers
        self.generator = torch.Generator().manual_seed(
            config.seed + STAGES.index(stage))
        frozen = stage == 'blended' or config.decoder_frozen
        for part in (vae.decoder, vae.prior):
            part.requires_grad_(not frozen)
        self.optimizer = torch.optim.Adam(
            [{'params': list(part.parameters()), 'share': share}
             for part, share in ((vae.encoder, 1.0), (vae.prior, 1.0),
                                 (vae.decoder, DECODER_RATE))
             if share == 1.0 or not frozen], lr=config.learning_rate)

    @property
    def finished(self):
        """Whether all steps are done, or patience is over."""
        return (self.step >= self.n_steps
                or has_stopped(self.curves, self.config))

    def _known(self, batch, last_pass):
        """Loss of the known parameters, of posterior and prior."""
        counts = batch.is_galaxy[:, None].expand(batch.truth.shape).float()
        counts[:, :3] = 1
        # latents of real galaxies are not known
        counts = counts * torch.isfinite(batch.truth)
        truth = torch.nan_to_num(batch.truth)
        loss = supervised_loss(last_pass.posterior, truth, counts)
        if self.stage == 'isolated' and not self.config.decoder_frozen:
            loss = loss + supervised_loss(last_pass.prior, truth, counts
                                          * batch.is_galaxy[:, None])
        first = 1 - self.step / (FIRST_SHARE * self.n_steps)
        if first > 0 and self.config.n_steps['isolated']:
            error = (last_pass.evidence.mean - truth) * torch.sqrt(
                last_pass.prior.precision.detach())
            loss = loss + first * (counts * huber_loss(
                error, torch.zeros_like(error), reduction='none')).sum(1)
        return loss

    def _elbo(self, batch, last_pass):
        """
        Minus the evidence lower bound, less that of the truth.

        Returns
        -------
        excess, kl : `torch.Tensor`, (n,)
            Of the reconstruction, and of the posterior over the prior.
        """
        reconstruction, kl = self.vae.elbo_terms(
            last_pass.posterior, last_pass.known, batch.target, batch.weight,
            batch.renderer, batch.n_psfs, self.generator)
        excess = reconstruction - batch.floor
        failed = FAILED_NATS * torch.log1p(excess.clamp(min=0) / FAILED_NATS)
        excess = torch.where(excess > 0, failed, excess)
        return excess, kl.sum(1)

    def _elbo_share(self, stamps):
        """Weight of the evidence lower bound of each stamp, or None."""
        progress = (self.step / self.n_steps
                    - self.config.elbo_start[self.stage])
        share = min(1.0, max(0.0, progress / ELBO_RISE))
        if not share:
            return None
        faintness = self.config.elbo_snr * torch.exp(-stamps.log_snr)
        return share / (1 + faintness ** 2)

    def _loss(self, batch):
        """Mean loss of a batch, and its parts for the curves."""
        n_looks = 1 + int(torch.randint(self.config.n_looks, (),
                                        generator=self.generator))
        with convolutions_in(self.config.precision, self.vae.encoder):
            last_pass = run_encoder(self.vae, batch, n_looks,
                                    self.generator, others=True)
        known = self._known(batch, last_pass)
        share = self._elbo_share(batch.stamps)
        loss = known
        parts = {'known': known.detach().mean()}
        if share is not None:
            excess, kl = self._elbo(batch, last_pass)
            loss = (known * (1 - share * (1 - SUPERVISED_REST))
                    + share * (excess + kl))
            parts['reconstruction'] = excess.detach().mean()
            parts['kl'] = kl.detach().mean()
        loss = loss.mean()
        return loss, parts

    def advance(self):
        """
        Take one step.

        Returns
        -------
        dict
            Losses; reconstruction and divergence in nats.

        Raises
        ------
        TrainingError
            If the loss is not finite.
        """
        for group in self.optimizer.param_groups:
            group['lr'] = (self.config.learning_rate * group['share']
                           * _rate_factor(self.step, self.n_steps))
        loss, parts = self._loss(self.stream.batch(self.step))
        if not torch.isfinite(loss):
            msg = (f'loss is {float(loss.detach())} at step {self.step} of '
                   f'stage {self.stage!r}; lower learning_rate and resume '
                   f'from the last checkpoint')
            raise TrainingError(msg, step=self.step, stage=self.stage)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.vae.parameters(),
                                       self.config.max_gradient)
        self.optimizer.step()
        self.step += 1
        parts = {name: float(value) for name, value in parts.items()}
        figures = {'loss': float(loss.detach()), **parts}
        for name, value in figures.items():
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = (total + value, count + 1)
        return figures

    def validate(self):
        """
        Score the held-out stamps.

        Returns
        -------
        dict
            See `~vaephot.train.metrics.validation_metrics`.
        """
        return validation_metrics(self.vae, self.validation,
                                  self.config.n_looks)

    def look(self):
        """
        Add a row to the curves, and keep networks better than before.

        Returns
        -------
        dict
            The row: step, means of the losses since the last look, over
            those steps that had them, and what `validate` returned.
        """
        means = {name: total / count
                 for name, (total, count) in self._sums.items()}
        row = {'step': self.step, **means, **self.validate()}
        self.curves.append(row)
        self._sums = {}
        if self.config.patience and kept_row(self.curves, self.config) is row:
            self.best = {name: tensor.detach().cpu().clone() for name, tensor
                         in self.vae.state_dict().items()}
        return row

    def conclude(self):
        """Give the networks the state that a finished stage ends with."""
        if self.finished and self.best is not None:
            self.vae.load_state_dict(self.best)

    def state(self):
        """
        All that is needed to go on.

        Returns
        -------
        dict
            Plain tensors, numbers, lists and dictionaries.
        """
        return {'stage': self.stage, 'step': self.step,
                'vae': self.vae.state_dict(),
                'optimizer': self.optimizer.state_dict(),
                'best': self.best,
                'curves': self.curves,
                'sums': self._sums,
                'generator': self.generator.get_state()}

    def restore(self, state):
        """
        Go back to a saved state.

        Parameters
        ----------
        state : dict
            What `state` returned.
        """
        self.step = state['step']
        self.vae.load_state_dict(state['vae'])
        self.optimizer.load_state_dict(state['optimizer'])
        self.best = state.get('best')
        self.curves = list(state['curves'])
        self._sums = dict(state.get('sums', {}))
        self.generator.set_state(state['generator'])


def _make_trainer(vae, stage, config, shards, latents, *, device='cpu',
                  n_workers=0):
    """Trainer of a stage with its streams of stamps."""
    number, size = STAGES.index(stage), config.model.stamp_size
    sampler, held_out = (BlendSampler(
        shards[split], size, [config.seed, number, i],
        latents=latents[split], blended=stage == 'blended',
        template_error=config.template_error, device=device)
        for i, split in enumerate(_SPLITS))
    stream = BatchStream(sampler, [config.seed, number],
                         config.n_steps[stage], config.batch_size,
                         config.n_psfs, n_workers)
    n_batches = max(1, config.n_validation // VALIDATION_BATCH)
    n_stamps = min(config.n_validation, VALIDATION_BATCH)
    validation = [held_out.draw(n_stamps, config.n_psfs)
                  for _ in range(n_batches)]
    return Trainer(vae.to(device), stage, config, stream, validation)


def _new_network(config):
    """Untrained networks, the same for the same seed."""
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        return VAE(config.model)


def _adds_asymmetry(config, theirs):
    """Whether the settings add orders of asymmetry to those of weights."""
    ours, first = config.model.structure_orders, theirs.structure_orders
    return (len(ours) > len(first) and ours[:len(first)] == first
            and not config.encoders_new)


def _with_new_orders(theirs, ours):
    """Model settings of weights with the orders of asymmetry of ours."""
    changes = {'structure_orders': ours.structure_orders}
    if not theirs.structure_orders:
        changes['structure_sigma'] = ours.structure_sigma
    return replace(theirs, **changes)


def _check_sizes(config, theirs, name):
    """Raise unless the networks of weights fit the settings."""
    theirs, ours = theirs.to_dict(), config.model.to_dict()
    names = SHARED_SIZES if config.encoders_new else theirs
    other = {key: theirs[key] for key in names if theirs[key] != ours[key]}
    if other:
        msg = (f'the networks of the weights {name!r} have {other}, those of '
               'the settings have not; set "model" in the settings to these '
               'sizes')
        raise TrainingError(msg, start=name)


def _first_networks(config, weights):
    """Networks that the stages begin with, None where the last one ended."""
    if weights is None:
        return {'isolated': _new_network(config), 'blended': None}
    theirs = ModelConfig.from_dict(weights.record.model_config)
    adds = _adds_asymmetry(config, theirs)
    if adds:
        theirs = _with_new_orders(theirs, config.model)
    _check_sizes(config, theirs, weights.record.name)
    if config.encoders_new:
        vae = _new_network(config)
        load_shared(vae, weights)
        return {'isolated': vae, 'blended': None}
    vaes = build_vaes(weights)
    if adds:
        vaes = {stage: with_structure(vae, config.model.structure_orders,
                                      config.model.structure_sigma)
                for stage, vae in vaes.items()}
    for vae in vaes.values():
        vae.requires_grad_(True)
    if config.n_steps['isolated'] and not config.decoder_frozen:
        # the decoder that the second one knew will not stay
        vaes['blended'] = None
    return vaes


def _known_latents(latents, config):
    """Latents of galaxies, and amplitudes that nobody knows."""
    unknown = latents.new_full((len(latents), config.model.n_structure),
                               torch.nan)
    return torch.cat([latents, unknown], 1)


def _teach_decoder(decoder, config, shards, *, frozen):
    """Noise-free lessons of the decoder; latents of all galaxies."""
    columns = zip(*[shard.shapes for shard in shards['train']], strict=True)
    encoder, losses = teach_family(decoder, Shapes(*map(torch.cat, columns)),
                                   config.seed, config.family_steps,
                                   frozen=frozen)
    log.info('family steps %d loss %.4g', len(losses),
             sum(losses[-100:]) / max(1, len(losses[-100:])))
    if (decoder.structure is not None
            and not decoder.structure.radial.any(1).all()):
        learned = learn_structure(decoder, shards['train'])
        log.info('structure of %d galaxies, power %s', learned['n_galaxies'],
                 ' '.join(f'{power:.2g}' for power in learned['power']))
    return {split: [_known_latents(latents_of(encoder, shard.shapes), config)
                    for shard in some] for split, some in shards.items()}


def _lessons(path, decoder, config, shards, *, frozen):
    """What the noise-free lessons taught, held once for a run."""
    if path.exists():
        state = read_checkpoint(path)
        decoder.load_state_dict(state['decoder'])
        return state['latents']
    latents = _teach_decoder(decoder, config, shards, frozen=frozen)
    write_checkpoint(path, {'decoder': decoder.state_dict(),
                            'latents': latents})
    return latents


def _run_stage(trainer, save, deadline, validate_every, checkpoint_every):
    """Train until the stage or the time is over."""
    saved = time.monotonic()
    while not trainer.finished and time.monotonic() < deadline:
        trainer.advance()
        if trainer.step % validate_every == 0 or trainer.finished:
            row = trainer.look()
            log.info('%s %s', trainer.stage, ' '.join(
                f'{name} {value:.4g}' for name, value in row.items()))
            if trainer.finished and trainer.step < trainer.n_steps:
                log.info('%s stops: the best look was at step %d',
                         trainer.stage,
                         kept_row(trainer.curves, trainer.config)['step'])
        if time.monotonic() - saved > checkpoint_every:
            save()
            saved = time.monotonic()
    save()
    trainer.conclude()


def _save(path, trainer, curves, watch):
    """Write a checkpoint and the curves so far."""
    write_checkpoint(path / f'{trainer.stage}.pt', trainer.state())
    with atomic_write(path / 'curves.json', overwrite=True) as temporary:
        temporary.write_text(json.dumps(curves, indent=1), encoding='utf-8')
    if watch is not None:
        watch(curves)


def _find_device(device):
    """Device to train on; ``'auto'`` is CUDA or else the CPU."""
    found = resolve_device(None if device == 'auto' else device)
    if found.type in DEVICES:
        return found
    if device == 'auto':
        return resolve_device('cpu')
    msg = (f"device is {device!r}; networks are trained on one of {DEVICES} "
           f"or 'auto'")
    raise ValueError(msg)


def _check_settings(path, record):
    """Write the settings of a new run, or check those of an old one."""
    record = json.loads(json.dumps(record))
    file = path / 'run.json'
    if file.exists():
        before = json.loads(file.read_text(encoding='utf-8'))
        # settings that the run was begun without have their defaults
        config = {**TrainingConfig().to_dict(), **before['config']}
        if {**record, **before, 'config': config} != record:
            msg = (f'{file} was made with other settings, another store or '
                   f'another start; resume with the same ones or choose an '
                   f'empty folder')
            raise TrainingError(msg, path=path)
    else:
        path.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(record, indent=1), encoding='utf-8')


def train(store, path, config, *, start=None, device='auto',
          n_workers=0, max_seconds=math.inf, validate_every=200,
          checkpoint_every=120.0, watch=None):
    """
    Train both autoencoders, or go on with a run.

    Parameters
    ----------
    store : str or path-like
        Store of simulated galaxies.
    path : str or path-like
        Folder of the run.
    config : `~vaephot.train.training_config.TrainingConfig`
        Settings; those of a run cannot change.
    start : str or path-like, optional
        Weights to go on from: a name or a file. Their decoder gets no
        noise-free lessons; if it is frozen or the first stage has no steps
        it stays as it is, and the second stage begins with their second
        encoder. Waves that they have not are learned.
    device : str or `torch.device`, optional
        Where to train; ``'auto'`` is CUDA where there is one, else the
        CPU. A run may go on on another device.
    n_workers : int, optional
        Threads that draw stamps ahead while the networks are trained. The
        result does not depend on it.
    max_seconds : float, optional
        Stop after this time; call again to go on.
    validate_every : int, optional
        Steps between two looks at the held-out stamps, part of the
        settings of a run: stages may end with the networks of a look.
    checkpoint_every : float, optional
        Seconds between two checkpoints.
    watch : callable, optional
        Called with the curves after each checkpoint.

    Returns
    -------
    vaes : dict
        `~vaephot.models.vae.VAE` of each stage, as far as it came, on the
        CPU.
    finished : bool
        Whether both stages are complete.
    curves : dict
        Rows of each stage: step, training and validation figures.

    Raises
    ------
    TrainingError
        If the folder belongs to another run, the weights have not the
        sizes of the settings or the loss diverges.
    ValueError
        If there is no such device.
    """
    path, device = Path(path), _find_device(device)
    weights = None if start is None else load_weights(start)
    first = _first_networks(config, weights)
    _check_settings(path, {
        'config': config.to_dict(), 'store': store_hash(store),
        'start': None if weights is None else weights.record.sha256,
        'validate_every': validate_every})
    deadline = time.monotonic() + max_seconds
    shards = {split: read_store(store, split) for split in _SPLITS}
    latents = _lessons(path / 'lessons.pt', first['isolated'].decoder,
                       config, shards, frozen=start is not None)
    if first['blended'] is not None:
        first['blended'].decoder.load_state_dict(
            first['isolated'].decoder.state_dict())
    vae, vaes, curves = None, {}, {}
    for stage in STAGES:
        vae = copy.deepcopy(vae) if first[stage] is None else first[stage]
        trainer = _make_trainer(vae, stage, config, shards, latents,
                                device=device, n_workers=n_workers)
        checkpoint = path / f'{stage}.pt'
        if checkpoint.exists():
            trainer.restore(read_checkpoint(checkpoint))
        vaes[stage], curves[stage] = vae, trainer.curves
        with closing(trainer.stream), torch.backends.cudnn.flags(
                enabled=True, deterministic=True, allow_tf32=False):
            _run_stage(trainer, partial(_save, path, trainer, curves, watch),
                       deadline, validate_every, checkpoint_every)
        vae.cpu()
        if not trainer.finished:
            return vaes, False, curves
    return vaes, True, curves
