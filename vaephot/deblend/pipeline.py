# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""From candidates to the sources of an image: the story."""

from dataclasses import replace

from vaephot.deblend.encode.posterior import network_fit
from vaephot.deblend.select.loop import select_sources
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
    start, scorer = None, Scorer(engine, classifier)
    if engine.settings.refine == 'network':
        start = network_fit(engine, chosen.sources)
    scene = engine.fit(chosen.sources, start=start, progress=progress)
    if chosen.given:
        scene = engine.settle(scene)
        scene = replace(scene, scores=scorer.first_look(scene))
    else:
        scene = select_sources(engine, scene, search, scorer)
    return engine.fit_asymmetry(fit_points(engine, scene))
