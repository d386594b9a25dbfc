# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Train the two autoencoders, in pieces if need be.

A run is a folder. It holds the settings, the last checkpoint of each
stage, the curves and, at the end, the weights. Calling `train` again goes
on where it stopped: the same seed and store give the same weights, however
often it was interrupted.
"""

import copy
import json
import logging
import math
import time
from pathlib import Path

import torch

from vaephot.exceptions import TrainingError
from vaephot.models.bundle import build_vaes
from vaephot.models.losses import supervised_loss
from vaephot.models.vae import VAE
from vaephot.train.checkpoints import read_checkpoint, write_checkpoint
from vaephot.train.config import STAGES
from vaephot.train.dataset import BlendSampler
from vaephot.train.family import Shapes, latents_of, teach_family
from vaephot.train.metrics import validation_metrics
from vaephot.train.store import read_store, store_hash
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
# the decoder knows its galaxies already: its rate over that of the encoder
DECODER_RATE = 0.05
RATE_WARMUP_SHARE = 0.03
FINAL_RATE = 0.01
VALIDATION_BATCH = 256
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
    config : `~vaephot.train.config.TrainingConfig`
        Settings.
    sampler : `~vaephot.train.dataset.BlendSampler`
        Training stamps.
    validation : list of `~vaephot.train.dataset.TrainingBatch`
        Held-out stamps.
    """

    def __init__(self, vae, stage, config, sampler, validation):
        self.vae = vae
        self.stage = stage
        self.config = config
        self.sampler = sampler
        self.validation = validation
        self.n_steps = config.n_steps[stage]
        self.step = 0
        self.curves = []
        self.generator = torch.Generator().manual_seed(
            config.seed + STAGES.index(stage))
        frozen = stage == 'blended'
        for part in (vae.decoder, vae.prior):
            part.requires_grad_(not frozen)
        self.optimizer = torch.optim.Adam(
            [{'params': list(part.parameters()), 'share': share}
             for part, share in ((vae.encoder, 1.0), (vae.prior, 1.0),
                                 (vae.decoder, DECODER_RATE))
             if share == 1.0 or not frozen], lr=config.learning_rate)

    @property
    def finished(self):
        """Whether all steps are done."""
        return self.step >= self.n_steps

    def _known(self, batch, posterior, prior):
        """Loss of the known parameters, of posterior and prior."""
        counts = batch.is_galaxy[:, None].expand(batch.truth.shape).float()
        counts[:, :3] = 1
        # latents of real galaxies are not known
        counts = counts * torch.isfinite(batch.truth)
        truth = torch.nan_to_num(batch.truth)
        loss = supervised_loss(posterior, truth, counts)
        if self.stage == 'isolated':
            loss = loss + supervised_loss(prior, truth, counts
                                          * batch.is_galaxy[:, None])
        return loss.mean()

    def _elbo(self, batch, posterior, prior):
        """Minus the evidence lower bound, less that of the truth."""
        reconstruction, kl = self.vae.elbo_terms(
            posterior, prior, batch.target, batch.weight, batch.renderer,
            batch.n_psfs, self.generator)
        excess = reconstruction - batch.floor
        failed = FAILED_NATS * torch.log1p(excess.clamp(min=0) / FAILED_NATS)
        excess = torch.where(excess > 0, failed, excess)
        return excess.mean(), kl.sum(1).mean()

    def _loss(self, batch):
        """Mean loss of a batch, and its parts for the curves."""
        posterior, prior, _ = self.vae.posterior(batch.stamps)
        known = self._known(batch, posterior, prior)
        progress = (self.step / self.n_steps
                    - self.config.elbo_start[self.stage])
        share = min(1.0, max(0.0, progress / ELBO_RISE))
        loss = known * (1 - share * (1 - SUPERVISED_REST))
        parts = {'known': float(known.detach())}
        if share > 0:
            excess, kl = self._elbo(batch, posterior, prior)
            loss = loss + share * (excess + kl)
            parts['reconstruction'] = float(excess.detach())
            parts['kl'] = float(kl.detach())
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
        batch = self.sampler.draw(self.config.batch_size, self.config.n_psfs)
        loss, parts = self._loss(batch)
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
        return {'loss': float(loss.detach()), **parts}

    def validate(self):
        """
        Score the held-out stamps.

        Returns
        -------
        dict
            See `~vaephot.train.metrics.validation_metrics`.
        """
        return validation_metrics(self.vae, self.validation)

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
                'curves': self.curves,
                'generator': self.generator.get_state(),
                'sampler': self.sampler.rng.bit_generator.state}

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
        self.curves = list(state['curves'])
        self.generator.set_state(state['generator'])
        self.sampler.rng.bit_generator.state = state['sampler']


def _make_trainer(vae, stage, config, shards, latents):
    """Trainer of a stage with its streams of stamps."""
    size = config.model.stamp_size
    number = STAGES.index(stage)
    sampler, held_out = (BlendSampler(
        shards[split], size, [config.seed, number, i],
        latents=latents[split], blended=stage == 'blended',
        template_error=config.template_error)
        for i, split in enumerate(_SPLITS))
    n_batches = max(1, config.n_validation // VALIDATION_BATCH)
    n_stamps = min(config.n_validation, VALIDATION_BATCH)
    validation = [held_out.draw(n_stamps, config.n_psfs)
                  for _ in range(n_batches)]
    return Trainer(vae, stage, config, sampler, validation)


def _first_networks(config, weights):
    """Networks that the stages begin with, None where the last one ended."""
    if weights is None:
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            return {'isolated': VAE(config.model), 'blended': None}
    vaes = build_vaes(weights)
    theirs = vaes['isolated'].config.to_dict()
    other = {name: value for name, value in theirs.items()
             if value != config.model.to_dict()[name]}
    if other:
        msg = (f'the networks of the weights {weights.record.name!r} have '
               f'{other}, those of the settings have not; set "model" in the '
               f'settings to these sizes')
        raise TrainingError(msg, start=weights.record.name)
    for vae in vaes.values():
        vae.requires_grad_(True)
    if config.n_steps['isolated']:
        # the decoder that the second one knew will not stay
        vaes['blended'] = None
    return vaes


def _teach_decoder(decoder, config, shards, *, frozen):
    """Noise-free lessons of the decoder; latents of all galaxies."""
    columns = zip(*[shard.shapes for shard in shards['train']], strict=True)
    encoder, losses = teach_family(decoder, Shapes(*map(torch.cat, columns)),
                                   config.seed, config.family_steps,
                                   frozen=frozen)
    log.info('family steps %d loss %.4g', len(losses),
             sum(losses[-100:]) / max(1, len(losses[-100:])))
    return {split: [latents_of(encoder, shard.shapes) for shard in some]
            for split, some in shards.items()}


def _run_stage(trainer, path, deadline, validate_every, checkpoint_every):
    """Train until the stage or the time is over; return when done."""
    saved = time.monotonic()
    sums, count = {}, 0
    while not trainer.finished and time.monotonic() < deadline:
        for name, value in trainer.advance().items():
            sums[name] = sums.get(name, 0) + value
        count += 1
        if trainer.step % validate_every == 0 or trainer.finished:
            row = {'step': trainer.step,
                   **{name: total / count for name, total in sums.items()},
                   **trainer.validate()}
            trainer.curves.append(row)
            log.info('%s %s', trainer.stage, ' '.join(
                f'{name} {value:.4g}' for name, value in row.items()))
            sums, count = {}, 0
        if time.monotonic() - saved > checkpoint_every:
            write_checkpoint(path, trainer.state())
            saved = time.monotonic()
    write_checkpoint(path, trainer.state())


def _check_settings(path, config, store, weights):
    """Write the settings of a new run, or check those of an old one."""
    record = {'config': config.to_dict(), 'store': store_hash(store),
              'start': None if weights is None else weights.record.sha256}
    file = path / 'run.json'
    if file.exists():
        before = json.loads(file.read_text(encoding='utf-8'))
        if before != json.loads(json.dumps(record)):
            msg = (f'{file} was made with other settings, another store or '
                   f'another start; resume with the same ones or choose an '
                   f'empty folder')
            raise TrainingError(msg, path=path)
    else:
        path.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(record, indent=1), encoding='utf-8')


def train(store, path, config, *, start=None, max_seconds=math.inf,
          validate_every=200, checkpoint_every=120.0):
    """
    Train both autoencoders, or go on with a run.

    Parameters
    ----------
    store : str or path-like
        Store of simulated galaxies.
    path : str or path-like
        Folder of the run.
    config : `~vaephot.train.config.TrainingConfig`
        Settings; those of a run cannot change.
    start : str or path-like, optional
        Weights to go on from: a name or a file. Their decoder gets no
        noise-free lessons; without steps of the first stage it stays as
        it is, and the second stage begins with their second encoder.
    max_seconds : float, optional
        Stop after this time; call again to go on.
    validate_every : int, optional
        Steps between two looks at the held-out stamps.
    checkpoint_every : float, optional
        Seconds between two checkpoints.

    Returns
    -------
    vaes : dict
        `~vaephot.models.vae.VAE` of each stage, as far as it came.
    finished : bool
        Whether both stages are complete.
    curves : dict
        Rows of each stage: step, training and validation figures.

    Raises
    ------
    TrainingError
        If the folder belongs to another run, the weights have not the
        sizes of the settings or the loss diverges.
    """
    path = Path(path)
    weights = None if start is None else load_weights(start)
    first = _first_networks(config, weights)
    _check_settings(path, config, store, weights)
    deadline = time.monotonic() + max_seconds
    shards = {split: read_store(store, split) for split in _SPLITS}
    latents = _teach_decoder(first['isolated'].decoder, config, shards,
                             frozen=start is not None)
    vae, vaes, curves = None, {}, {}
    for stage in STAGES:
        vae = copy.deepcopy(vae) if first[stage] is None else first[stage]
        trainer = _make_trainer(vae, stage, config, shards, latents)
        checkpoint = path / f'{stage}.pt'
        if checkpoint.exists():
            trainer.restore(read_checkpoint(checkpoint))
        _run_stage(trainer, checkpoint, deadline, validate_every,
                   checkpoint_every)
        vaes[stage], curves[stage] = vae, trainer.curves
        (path / 'curves.json').write_text(json.dumps(curves, indent=1),
                                          encoding='utf-8')
        if not trainer.finished:
            return vaes, False, curves
    return vaes, True, curves
