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

from vaephot.models.asymmetry import frames

__all__ = ['may_be_asymmetric', 'radii_within']

# sources of this signal-to-noise ratio as a point source in some band may
# have asymmetry; nothing can be seen of that of others
LEAST_SNR = 20.0
# half-light radii within which there must be no other source
FREE_RADII = 3.0
# excess of the chi-square of a concentric galaxy, in units of its noise, that
# asks for asymmetry
LEAST_EXCESS = 4.0
# light of a model, over the noise, from which on pixels count
LEAST_LIGHT = 0.2


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


def _without_sky(residual, use, kind):
    """A residual (n_bands, ny, nx) without a level, or a plane, of the sky."""
    y, x = np.mgrid[:residual.shape[1], :residual.shape[2]]
    terms = np.stack([np.ones(x.shape), x, y][:1 if kind == 'constant' else 3])
    out = residual.copy()
    for band, some in zip(out, use, strict=True):
        if some.sum() > len(terms):
            best = np.linalg.lstsq(terms[:, some].T, band[some])[0]
            band -= np.einsum('t,tyx->yx', best, terms)
    return out


def _excess(pixels, scene, k, background):
    """Excess of the chi-square where a source shines, over its noise."""
    box = scene.boxes[k]
    rows, columns = (slice(box.iymin, box.iymax),
                     slice(box.ixmin, box.ixmax))
    model = scene.model_image[:, rows, columns]
    weight = pixels.weight(model, rows, columns)
    own = scene.models[k]
    lit = own * np.sqrt(weight) > LEAST_LIGHT
    share = np.where(lit, np.clip(own / np.maximum(model, 1e-300), 0, 1), 0)
    residual, good = pixels.data[:, rows, columns] - model, weight > 0
    if background is not None:
        residual = _without_sky(residual, good & ~lit, background)
    chi2 = weight * residual ** 2
    noise = np.sqrt(2 * (share ** 2 * good).sum())
    return (share * (chi2 - good)).sum() / max(noise, 1e-300)


def may_be_asymmetric(engine, scene, fixed):
    """Galaxies (n,) that a concentric profile does not describe."""
    fit = scene.fit
    out = np.zeros(len(scene), bool)
    rows = np.flatnonzero((fit.snr.max(1) > LEAST_SNR) & ~scene.is_point
                          & ~fixed)
    if not (len(rows) and engine.config.n_structure):
        return out
    rows = rows[_alone(fit.parameters, rows)]
    background = engine.settings.background
    out[rows] = [_excess(engine.pixels, scene, k, background) > LEAST_EXCESS
                 for k in rows]
    return out
