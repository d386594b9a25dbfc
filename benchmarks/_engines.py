# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The fit engine of the package, set up for mosaics of blends."""

from mosaic import vaephot_inputs

from vaephot.deblend.detect.candidates import choose_sources
from vaephot.deblend.detect.stars import PointSources
from vaephot.deblend.fit.engine import Engine
from vaephot.deblend.fit.problem import FitSettings
from vaephot.deblend.inputs.read import prepare_observation
from vaephot.deblend.select.loop import search_residual
from vaephot.deblend.settings import SearchSettings
from vaephot.models.bundle import build_vaes
from vaephot.weights import load_weights

__all__ = ['find_all', 'make_engine', 'make_search', 'place_sources']

N_PIXELS = 5


def make_engine(mosaic, segm, vae=None, **settings):
    """`Engine` of a mosaic and its segments; the default networks."""
    vae = vae or build_vaes(load_weights(None))['blended']
    observation = prepare_observation(mosaic.data, **vaephot_inputs(mosaic))
    return Engine(observation, segm, vae, FitSettings(**settings))


def make_search(finder=None, contrast=0.001):
    """Settings of a search."""
    return SearchSettings(n_pixels=N_PIXELS, contrast=contrast, n_levels=32,
                          mode='exponential', connectivity=8, finder=finder)


def place_sources(engine, search, positions=None):
    """Candidates of a search, or those at positions (n, 2)."""
    return choose_sources(search, engine.observation.reference,
                          engine.parents, positions, None,
                          points=PointSources.of(engine))


def find_all(engine, search):
    """Candidates, and a scene of all that may be a source of its own."""
    chosen = place_sources(engine, search)
    scene = engine.fit(chosen.sources)
    return chosen, search_residual(engine, scene, search)
