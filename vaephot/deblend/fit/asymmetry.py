# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Which galaxies have asymmetry: lopsidedness, bars, arms.

While sources are searched, asymmetry would fit what may be another source
as arms or lopsidedness of its neighbour. So candidates are judged by
concentric galaxies, and what these leave over is explained afterwards.
Galaxies with another source in them stay concentric.
"""

import numpy as np
import torch

from vaephot.deblend.fit.goodness import make_residual, sum_sources
from vaephot.deblend.inputs.noise import sky_image
from vaephot.models.asymmetry import frames

__all__ = ['may_be_asymmetric', 'radii_within']

# sources of this signal-to-noise ratio as a point source in some band may
# have asymmetry; nothing can be seen of that of others
LEAST_SNR = 20.0
# half-light radii within which there must be no other source
FREE_RADII = 3.0
# excess of the chi-square of a concentric galaxy, in units of its noise, that
# asks for asymmetry: of one alone in its group, and of one in company, whose
# neighbours may have left it
LEAST_EXCESS, LEAST_IN_COMPANY = 8.0, 80.0


def radii_within(parameters, places):
    """
    Distances (n, m) from galaxies (n, p) along their ellipses.

    In units of their half-light radii; ``places`` ``(n, m, 2)`` of each, or
    ``(1, m, 2)`` of all.
    """
    values = torch.as_tensor(parameters)
    frame, _ = frames(values[:, 2], values[:, 3:5])
    apart = torch.as_tensor(places) - values[:, None, :2]
    return torch.linalg.solve(frame, apart.transpose(1, 2)).norm(
        dim=1).numpy()


def _alone(parameters, rows):
    """Which of some sources have no other one in them."""
    radii = radii_within(parameters[rows], parameters[None, :, :2])
    radii[np.arange(len(rows)), rows] = np.inf
    return radii.min(1) > FREE_RADII


def _excess(pixels, scene, rows, background):
    """Excess of the chi-square of some sources over its noise, (m,)."""
    data = pixels.data
    if background is not None:
        data = data - np.stack([
            sky_image(image - model, mask, background) for image, model, mask
            in zip(data, scene.model_image, pixels.mask, strict=True)])
    residual = make_residual(data, scene.model_image, pixels.variance,
                             pixels.mask, pixels.gain, pixels.fwhm)
    sums = sum_sources([scene.boxes[k] for k in rows],
                       [scene.models[k] for k in rows], residual)
    noise = np.sqrt(np.maximum(sums.excess_variance.sum(1), 1e-300))
    return sums.excess.sum(1) / noise


def may_be_asymmetric(engine, scene, fixed):
    """Galaxies (n,) that a concentric profile does not describe."""
    fit = scene.fit
    out = np.zeros(len(scene), bool)
    rows = np.flatnonzero((fit.snr.max(1) > LEAST_SNR) & ~scene.is_point
                          & ~fixed)
    if not (len(rows) and engine.config.n_structure):
        return out
    rows = rows[_alone(fit.parameters, rows)]
    if len(rows):
        limit = np.full(len(scene), LEAST_IN_COMPANY)
        limit[[group.core[0] for group in scene.groups
               if len(group.members) == 1]] = LEAST_EXCESS
        out[rows] = _excess(engine.pixels, scene, rows,
                            engine.settings.background) > limit[rows]
    return out
