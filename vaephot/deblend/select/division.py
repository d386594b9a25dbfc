# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Divide parents without a fit of shapes.

Most parents of a field hold one candidate and stay whole: what they look like
does not matter, and their pixels are hidden. The others are seen by the
encoder a few times, their fluxes are linear, and what is known then tells
which candidates are sources, and who owns which pixel. Nothing is added to
the candidates: shapes that are not fitted leave too much over.
"""

from dataclasses import dataclass, replace

import numpy as np

from vaephot.deblend.detect.candidates import Chosen
from vaephot.deblend.encode.looks import reference_fitter
from vaephot.deblend.outputs.assign import find_owners
from vaephot.deblend.pipeline import solve
from vaephot.deblend.select.loop import drop_doubtful
from vaephot.utils.labels import sum_by_label

__all__ = ['Division', 'divide', 'look_at_candidates']


@dataclass(frozen=True, kw_only=True)
class Division:
    """
    Parents that were divided, and those that were not.

    Parameters
    ----------
    chosen : `~vaephot.deblend.detect.candidates.Chosen`
        The sources: of the divided parents first, then the others.
    p_source : `numpy.ndarray`
        Probabilities of those of the divided parents.
    owners : dict
        Of the pixels of the divided parents.
    rejected : tuple of int
        Parents that lost a candidate.
    """

    chosen: Chosen
    p_source: np.ndarray
    owners: dict
    rejected: tuple

    def with_division(self, solution):
        """
        Give measured sources what the division knows of them.

        Parameters
        ----------
        solution : `~vaephot.deblend.pipeline.Solution`
            Sources as chosen, with their probabilities.

        Returns
        -------
        `~vaephot.deblend.pipeline.Solution`
        """
        p_source = solution.p_source.copy()
        p_source[:len(self.p_source)] = self.p_source
        return replace(solution, p_source=p_source, owners=self.owners,
                       rejected=self.rejected)


def _in_company(chosen):
    """Candidates in parents with several of them."""
    parent = chosen.sources.parent
    return (sum_by_label(parent) > 1) & (parent > 0)


def look_at_candidates(fitter, segm, chosen, *, progress=None):
    """
    See and measure the candidates of parents with several of them.

    Parameters
    ----------
    fitter : `~vaephot.deblend.scene.SceneFitter`
        Observation and networks; the bands on the grid of the parents are
        looked at.
    segm : `~photutils.segmentation.SegmentationImage`
        Parents.
    chosen : `~vaephot.deblend.detect.candidates.Chosen`
        Candidates.
    progress : callable, optional
        Called with the number of candidates just measured.

    Returns
    -------
    fitter : `~vaephot.deblend.scene.SceneFitter`
        That of the quick way.
    solution : `~vaephot.deblend.pipeline.Solution`
        All of them, none is dropped.
    """
    some = chosen.take(_in_company(chosen))
    hidden = (segm.data > 0) & ~np.isin(segm.data, some.sources.parent)
    quick = reference_fitter(fitter).dividing(hidden)
    return quick, solve(quick, segm, some.sources, some.is_point,
                        settled=False, progress=progress)


def divide(deblender, fitter, segm, chosen, *, progress=None):
    """
    Tell which candidates are sources, and who owns which pixel.

    Parameters
    ----------
    deblender : `~vaephot.deblend.deblender.VAEDeblender`
        Settings.
    fitter, segm, chosen, progress
        As for `look_at_candidates`.

    Returns
    -------
    division : Division
        What is known now.
    solution : `~vaephot.deblend.pipeline.Solution`
        The sources of the divided parents as they were seen.
    """
    several = _in_company(chosen)
    quick, solution = look_at_candidates(fitter, segm, chosen,
                                         progress=progress)
    solution = drop_doubtful(quick, segm, solution, deblender)
    noise = quick.sky_rms(solution.fit.parameters[:, :2])
    solution = replace(solution, owners=find_owners(
        segm, solution.sources.parent, solution.boxes, solution.models,
        noise, deblender.n_pixels, connectivity=deblender.connectivity))
    rest = chosen.take(~several)
    chosen = replace(
        chosen, sources=solution.sources.join(rest.sources),
        is_point=np.concatenate([solution.is_point, rest.is_point]))
    return Division(
        chosen=chosen, p_source=solution.p_source, owners=solution.owners,
        rejected=solution.rejected), solution
