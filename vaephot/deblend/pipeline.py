# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""From candidates to the sources of an image: the story."""

from vaephot.deblend.encode.posterior import network_fit
from vaephot.deblend.select.loop import select_sources
from vaephot.deblend.select.score import with_probability

__all__ = ['deblend']


def deblend(engine, chosen, search, progress=None):
    """
    Fit candidates, and tell which of them are sources.

    Parameters
    ----------
    engine : `~vaephot.deblend.fit.engine.Engine`
        Images, networks and settings.
    chosen : `~vaephot.deblend.detect.candidates.Chosen`
        Candidates; those that the caller gave all stay.
    search : `~vaephot.deblend.settings.SearchSettings`
        How much evidence is asked for.
    progress : callable, optional
        Called with the number of sources measured.

    Returns
    -------
    `~vaephot.deblend.scene.Scene`
        With ``p_source``.
    """
    start = None
    if engine.settings.refine == 'network':
        start = network_fit(engine, chosen.sources)
    scene = engine.fit(chosen.sources, start=start, progress=progress)
    if chosen.given:
        scene = engine.settle(scene)
    else:
        scene = select_sources(engine, scene, search)
    scene = engine.fit_asymmetry(scene)
    return scene if scene.p_source is not None else with_probability(
        engine, scene)
