# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Draw or read the blends of a set, chunk by chunk."""

import os
from dataclasses import replace

import numpy as np

from vaephot.evaluate.observed import (
    observe_blends,
    observe_field,
    read_observed,
)
from vaephot.evaluate.observing_conditions import apply_conditions

__all__ = ['chunk_seed', 'draw_chunk']


def chunk_seed(seed, chunk):
    """
    Seed of a chunk of a set.

    Parameters
    ----------
    seed, chunk : int
        Seed of the set and number of the chunk.

    Returns
    -------
    int
        Sets of different seeds share no chunk.
    """
    return int(np.random.SeedSequence([seed, chunk]).generate_state(1)[0])


def draw_chunk(config, chunk):
    """
    Draw or read a chunk of a set.

    Parameters
    ----------
    config : `~vaephot.evaluate.evaluation_config.SetConfig`
        The set.
    chunk : int
        Number of the chunk.

    Returns
    -------
    observed : `~vaephot.evaluate.observed.ObservedBlends`
        What methods get.
    psf : `~numpy.ndarray`
        The true PSFs in the bands of the set.
    """
    seed = chunk_seed(config.seed, chunk)
    clean = _draw(config, chunk, seed)
    conditions = config.conditions
    true_psf = apply_conditions(
        clean, replace(conditions, psf_factor=1.0, psf_shear=0.0,
                       correlation=1, background=0.0), seed=seed).psf
    return apply_conditions(clean, conditions, seed=seed), true_psf


def _draw(config, chunk, seed):
    """Blends of a chunk without trouble."""
    if config.file is not None:
        return read_observed(config.file, score=config.score,
                             position_sigma=config.position_sigma)
    if config.field is not None:
        return _draw_field(config, seed)
    from vaephot.simulate import draw_blends

    n = min(config.chunk, config.n - chunk * config.chunk)
    keywords = dict(config.draw)
    if config.real_galaxies is not None:
        from vaephot.simulate import RealGalaxies

        folder = os.path.expandvars(config.real_galaxies)
        keywords['population'] = RealGalaxies(folder, split='test')
    blends = draw_blends(_make_case(config.case), n, survey=config.survey,
                         seed=seed, **keywords)
    return observe_blends(blends, score=config.score,
                          position_sigma=config.position_sigma)


def _draw_field(config, seed):
    """One field with its noiseless sources."""
    from vaephot.simulate import FieldConfig, draw_field

    settings = {'survey': config.survey, **_tuples(config.field)}
    field = draw_field(FieldConfig(**settings), seed=seed)
    return observe_field(field, position_sigma=config.position_sigma)


def _make_case(case):
    """Case by its name, or an own one from its settings."""
    if isinstance(case, str):
        return case
    from vaephot.simulate import BlendCase

    settings = _tuples(case)
    if 'cluster' in settings:
        from vaephot.simulate import Cluster

        settings['cluster'] = Cluster(**settings['cluster'])
    return BlendCase(**settings)


def _tuples(settings):
    """Settings with tuples for the lists of the file."""
    return {key: tuple(value) if isinstance(value, list) else value
            for key, value in settings.items()}
