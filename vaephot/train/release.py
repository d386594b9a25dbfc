# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Turn a finished training run into a weights file with its record."""

import math
import subprocess
from pathlib import Path

from vaephot import __version__
from vaephot.exceptions import TrainingError
from vaephot.models.bundle import pack_vaes
from vaephot.train.curves import thin_curves
from vaephot.train.stopping import has_stopped, kept_row
from vaephot.train.store import read_store, store_hash
from vaephot.weights import save_weights

__all__ = ['NORMALIZATION', 'find_commit', 'release_weights']

LICENCE = 'BSD-3-Clause'
DESCRIPTION = 'galaxies and stars, any band, well or critically sampled'
NORMALIZATION = ('asinh(data / sky_rms) of one band on a stamp about the '
                 'target; the conditions are the logarithms of the FWHM of '
                 'the PSF in pixels and of the signal-to-noise ratio as a '
                 'point source')


def find_commit(folder=None):
    """
    Commit of the source tree that the package is imported from.

    Parameters
    ----------
    folder : path-like or None, optional
        Folder inside the tree; `None` means that of the package.

    Returns
    -------
    str
        The hash, with ``+`` if files were changed; ``'unknown'`` without
        git or outside a repository.
    """
    folder = Path(__file__).parent if folder is None else Path(folder)
    try:
        commit = _git(folder, 'rev-parse', 'HEAD')
        changed = _git(folder, 'status', '--porcelain', '-uno', '.')
    except (OSError, subprocess.SubprocessError):
        return 'unknown'
    return commit + ('+' if changed else '')


def _git(folder, *arguments):
    done = subprocess.run(['git', *arguments], cwd=folder, text=True,
                          capture_output=True, check=True, timeout=20)
    return done.stdout.strip()


def _ranges(store):
    """Range of PSFs and of signal-to-noise ratios of the training."""
    shards = read_store(store, 'train')
    fwhm = [shard.psf_fwhm for shard in shards]
    snr = [(float(shard.snr.min()), float(shard.snr.max()))
           for shard in shards]
    return {'psf_fwhm_range': (min(fwhm), max(fwhm)),
            'snr_range': (min(low for low, _ in snr),
                          max(high for _, high in snr))}


def _last_step(curves, stage):
    """Step at which the curves of a stage end."""
    rows = curves.get(stage)
    return rows[-1]['step'] if rows else 0


def _passes(config, curves, store):
    """How often each galaxy of the store was a target, per stage."""
    n_galaxies = sum(len(shard.image) for shard in read_store(store, 'train'))
    return {stage: round(_last_step(curves, stage) * config.batch_size
                         / n_galaxies, 2) for stage in config.n_steps}


def _final_figures(config, curves):
    """Figures of the networks of each stage; JSON knows no NaN."""
    return {stage: {name: value for name, value
                    in kept_row(rows, config).items() if math.isfinite(value)}
            for stage, rows in curves.items() if rows}


def _check_finished(config, curves):
    for stage, steps in config.n_steps.items():
        step = _last_step(curves, stage)
        if step < steps and not has_stopped(curves.get(stage, []), config):
            msg = (f'stage {stage!r} is at step {step} of {steps}; finish '
                   'the training before its weights are released.')
            raise TrainingError(msg, stage=stage, step=step)


def release_weights(path, vaes, config, curves, store_path, *,
                    benchmark=None, version=__version__,
                    description=DESCRIPTION, reference='', commit=None,
                    overwrite=False):
    """
    Write the weights of a finished run and their record.

    Parameters
    ----------
    path : path-like
        File to write, ``NAME.safetensors``; the record gets the same name
        with ``.json``.
    vaes : dict
        `~vaephot.models.vae.VAE` by stage.
    config : `~vaephot.train.training_config.TrainingConfig`
        Settings of the run.
    curves : dict
        Rows of each stage.
    store_path : path-like
        Store that the run was trained on.
    benchmark : dict or None, optional
        Scores to be recorded.
    version, description, reference : str, optional
        Entries of the record.
    commit : str or None, optional
        Commit of the training code; `None` asks git for that of now.
    overwrite : bool, optional
        Whether existing files may be replaced.

    Returns
    -------
    `~vaephot.weights.records.WeightsRecord`

    Raises
    ------
    TrainingError
        If the run is not finished.
    OutputExistsError
        If a file exists and ``overwrite`` is False.
    """
    _check_finished(config, curves)
    size = config.model.stamp_size
    training = {'commit': commit or find_commit(), 'seed': config.seed,
                'config': config.to_dict(), 'store': store_hash(store_path),
                'n_passes': _passes(config, curves, store_path),
                'validation': _final_figures(config, curves),
                'curves': thin_curves(curves)}
    fields = {'version': version, 'stamp_shape': (size, size),
              **_ranges(store_path), 'normalization': NORMALIZATION,
              'model_config': config.model.to_dict(), 'training': training,
              'licence': LICENCE, 'benchmark': benchmark or {},
              'description': description, 'reference': reference}
    return save_weights(path, pack_vaes(vaes), fields, overwrite=overwrite)
