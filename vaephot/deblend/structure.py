# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Give bright sources structure once it is settled which sources there are.

While sources are searched, waves would fit what may be another source as
arms or lopsidedness of its neighbour. So candidates are judged by concentric
galaxies, and what these leave over is explained afterwards.
"""

from dataclasses import replace

import numpy as np
import torch

from vaephot.deblend.looks import look_again
from vaephot.deblend.pipeline import settle
from vaephot.deblend.waves import has_waves
from vaephot.models.encoder import Gaussian

__all__ = ['add_structure']

# the encoder looks at sources of this signal-to-noise ratio as a point source
# in some band; nothing can be seen of the structure of others
LEAST_SNR = 20.0


def add_structure(fitter, solution):
    """
    Fit sources with structure where the encoder sees any.

    Parameters
    ----------
    fitter : `~vaephot.deblend.scene.SceneFitter`
        Observation, networks and settings.
    solution : `~vaephot.deblend.pipeline.Solution`
        Concentric galaxies and stars.

    Returns
    -------
    `~vaephot.deblend.pipeline.Solution`
        The same where no shapes are fitted.
    """
    config, fit = fitter.vae.config, solution.fit
    rows = np.flatnonzero((fit.snr.max(1) > LEAST_SNR) & ~solution.is_point)
    if not (config.n_structure and fitter.settings.max_steps and len(rows)):
        return solution
    start = Gaussian(torch.as_tensor(fit.parameters.copy()),
                     solution.prior.precision)
    seen = set(rows.tolist())
    pieces = [piece for piece in solution.pieces if seen & set(piece.core)]
    others = solution.model_image.copy()
    for k in rows:
        box = solution.boxes[k]
        others[:, box.iymin:box.iymax, box.ixmin:box.ixmax] -= (
            solution.models[k])
    shapes, _, _, _ = look_again(
        fitter, solution.sources.take(rows), pieces, solution.is_point[rows],
        start, fit.snr, fitter.observation.data - others, rows=rows)
    start.mean[rows, config.n_concentric:] = shapes.mean[
        :, config.n_concentric:]
    structured = set(np.flatnonzero(has_waves(start, config)).tolist())
    again = [piece for piece in pieces if structured & set(piece.members)]
    if not again:
        return solution
    new = fitter.fit(solution.sources, again, start, solution.prior, fit.snr,
                     foreign=solution.foreign)
    fit = fit.merge(new, sorted(i for piece in again for i in piece.core))
    return settle(fitter, replace(
        solution, fit=fit, foreign=None,
        **fitter.draw(fit.band_parameters, fit.flux)))
