# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""From candidates to the sources of an image: the story."""

from dataclasses import replace

from vaephot.deblend.encode.posterior import network_fit
from vaephot.deblend.select.loop import drop_impossible, select_sources
from vaephot.deblend.select.points import fit_points
from vaephot.deblend.select.score import Scorer

__all__ = ['deblend']


def deblend(engine, chosen, search, classifier, progress=None):
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
    classifier : `~vaephot.models.classifier.SourceClassifier`
        What tells sources, and points among them.
    progress : callable, optional
        Called with the number of sources measured.

    Returns
    -------
    `~vaephot.deblend.scene.Scene`
        With its scores.
    """
    find = _measure if chosen.given else _select
    scene = find(engine, chosen, search, classifier, progress)
    return engine.fit_asymmetry(fit_points(engine, scene))


def _start(engine, chosen):
    """What the networks see, where they alone are asked."""
    if engine.settings.refine == 'network':
        return network_fit(engine, chosen.sources)
    return None


def _measure(engine, chosen, search, classifier, progress):
    """Fit sources that were given; all of them stay."""
    scene = engine.settle(engine.fit(
        chosen.sources, start=_start(engine, chosen), progress=progress))
    return replace(scene, scores=Scorer(engine, classifier).first_look(scene))


def _select(engine, chosen, search, classifier, progress):
    """Tell sources by quick fits of candidates, then fit what is left."""
    quick = engine.quick()
    scene = quick.fit(chosen.sources, start=_start(engine, chosen),
                      progress=progress)
    if engine.settings.refine is not True:
        search = search.without_rounds()
    scene = select_sources(quick, scene, search, Scorer(quick, classifier))
    scene = engine.finish(scene)
    return drop_impossible(engine, scene)
