# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Give sources structure once it is settled which sources there are.

While sources are searched, waves would fit what may be another source as
arms or lopsidedness of its neighbour. So candidates are judged by concentric
galaxies, and what these leave over is explained afterwards. Galaxies with
another source in them stay concentric: its light would be a wave of theirs.
"""

from dataclasses import replace

import numpy as np
import torch

from vaephot.deblend.detect.candidates import FIXED_SIGMA
from vaephot.deblend.encode.looks import look_again
from vaephot.deblend.images import redraw
from vaephot.deblend.outputs.goodness import make_residual, sum_sources
from vaephot.deblend.pipeline import image_without, reference_view, settle
from vaephot.deblend.waves import has_waves, radii_within
from vaephot.models.encoder import Gaussian

__all__ = ['add_structure']

# sources of this signal-to-noise ratio as a point source in some band may
# have structure; nothing can be seen of that of others
LEAST_SNR = 20.0
# half-light radii within which there must be no other source
FREE_RADII = 3.0
# excess of the chi-square of a concentric galaxy, in units of its noise, that
# asks for structure whatever the encoder says; of the smoothed residual of
# real galaxies it is 3.2 times that of single pixels
LEAST_EXCESS = 80.0


def _free_of_others(parameters, rows):
    """Which of some sources have no other one in them."""
    radii = radii_within(parameters[rows], parameters[None, :, :2])
    radii[np.arange(len(rows)), rows] = np.inf
    return radii.min(1) > FREE_RADII


def _misfit(fitter, solution):
    """Sources that a concentric profile does not describe."""
    first, seen = reference_view(fitter, solution)
    # without the sky, where it is free
    data = np.stack([view.data for view in first.views()])
    known = first.observation
    sums = sum_sources(seen.boxes, seen.models, make_residual(
        data, seen.model_image, known.variance, known.mask, known.gain,
        [psf.fwhm for psf in known.psfs]))
    return (sums.excess.sum(1)
            > LEAST_EXCESS * np.sqrt(sums.excess_variance.sum(1)))


def add_structure(fitter, solution):
    """
    Fit sources with structure where the encoder sees any.

    Parameters
    ----------
    fitter : `~vaephot.deblend.scene.SceneFitter`
        Observation, networks and settings.
    solution : `~vaephot.deblend.pipeline.Solution`
        Stars and concentric galaxies.

    Returns
    -------
    `~vaephot.deblend.pipeline.Solution`
        The same where no shapes are fitted.
    """
    config, fit = fitter.vae.config, solution.fit
    rows = np.flatnonzero(
        (fit.snr.max(1) > LEAST_SNR) & ~solution.is_point
        & (solution.sources.position_sigma > FIXED_SIGMA))
    if not (config.n_structure and fitter.waves and len(rows)
            and fitter.settings.max_steps):
        return solution
    rows = rows[_free_of_others(fit.parameters, rows)]
    if not len(rows):
        return solution
    start = Gaussian(torch.as_tensor(fit.parameters.copy()),
                     solution.prior.precision)
    seen = set(rows.tolist())
    pieces = [piece for piece in solution.pieces if seen & set(piece.core)]
    rest = fitter.observation.data - image_without(solution, rows)
    shapes, _, _, _ = look_again(
        fitter, solution.sources.take(rows), pieces, solution.is_point[rows],
        start, fit.snr, rest, rows=rows)
    start.mean[rows, config.n_concentric:] = shapes.mean[
        :, config.n_concentric:]
    free = np.zeros(len(fit.snr), bool)
    free[rows] = (has_waves(start, config) | _misfit(fitter, solution))[rows]
    again = [piece for piece in pieces if free[list(piece.members)].any()]
    if not again:
        return solution
    fitted = fitter.fit(solution.sources, again, start, solution.prior,
                        fit.snr, foreign=solution.foreign, structured=free)
    fit = fit.merge(fitted, sorted(i for piece in again for i in piece.core))
    return settle(fitter, replace(
        solution, fit=fit, foreign=None,
        **redraw(fitter, fit, solution.fit, solution.drawn)))
