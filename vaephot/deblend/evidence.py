# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
What speaks for each fitted source being one of its own.

`measure_evidence` turns a solution into a few numbers per source; see
`vaephot.deblend.decisions` for what becomes of them.
"""

import numpy as np

from vaephot.deblend.labels import sum_by_label
from vaephot.stamps import overlap

__all__ = ['FEATURES', 'chi2_gain', 'measure_evidence']

# names of the columns of `measure_evidence`, all of order one
FEATURES = ('log_drop', 'log_snr', 'log_share', 'log_purity', 'log_central',
            'log_distance', 'log_ratio', 'log_size_ratio', 'log_axis_ratio',
            'log_misfit', 'born_late', 'log_gain', 'beside_masked', 'alone')
# distances and sizes count from this on, in FWHM of the sharpest band
SOFTENING = 0.5
# values beyond these powers of ten tell nothing more
LOG_LIMITS = (-4.0, 4.0)


def _log(values):
    """Logarithm to the base of 10 within limits."""
    low, high = LOG_LIMITS
    values = np.maximum(np.nan_to_num(values, nan=0.0), 10.0 ** low)
    return np.clip(np.log10(values), low, high)


def _window(outer, inner):
    """Index of the overlap of two boxes in each of them, or None."""
    y = overlap(outer.iymin, outer.iymax, inner.iymin, inner.iymax)
    x = overlap(outer.ixmin, outer.ixmax, inner.ixmin, inner.ixmax)
    if y.stop <= y.start or x.stop <= x.start:
        return None

    def index(box):
        return np.s_[:, y.start - box.iymin:y.stop - box.iymin,
                     x.start - box.ixmin:x.stop - box.ixmin]
    return index(outer), index(inner)


def _frame(box):
    return np.s_[:, box.iymin:box.iymax, box.ixmin:box.ixmax]


def _products(solution, weight, members):
    """Weighted products of the models of a piece, (n_bands, n, n)."""
    n = len(members)
    out = np.zeros((len(weight), n, n))
    for a in range(n):
        box = solution.boxes[members[a]]
        weighted = solution.models[members[a]] * weight[_frame(box)]
        for b in range(a, n):
            windows = _window(box, solution.boxes[members[b]])
            if windows is None:
                continue
            one, two = windows
            value = (weighted[one]
                     * solution.models[members[b]][two]).sum((1, 2))
            out[:, a, b] = out[:, b, a] = value
    return out


def _drop_costs(solution, weight):
    """
    Chi-square that each source saves, the fluxes of the others adapted.

    Shapes and positions of the others stay as they are; only bands in
    which the source is bright count.
    """
    cost = np.zeros(len(solution.sources))
    for piece in solution.pieces:
        members = list(piece.members)
        products = _products(solution, weight, members)
        scale = np.sqrt(np.maximum(
            np.diagonal(products, axis1=1, axis2=2), 1e-300))
        unit = products / (scale[:, :, None] * scale[:, None, :])
        inverse = np.linalg.pinv(unit, rcond=1e-9, hermitian=True)
        free = np.maximum(np.diagonal(inverse, axis1=1, axis2=2), 1.0)
        bright = solution.fit.flux[members].T > 0
        value = (bright * scale ** 2 / free).sum(0)
        core = list(piece.core)
        cost[core] = value[:len(core)]
    return cost


def _light(solution, weight):
    """
    How much of the light under each source's profile is its own.

    Returns
    -------
    purity : `numpy.ndarray`, (n,)
        Share of the source in the light of all models, weighted by its
        own profile and the noise.
    central : `numpy.ndarray`, (n,)
        Its share at its brightest pixel, in units of the noise.
    """
    own, both, central = np.zeros((3, len(solution.sources)))
    for k, (box, model) in enumerate(zip(solution.boxes, solution.models,
                                         strict=True)):
        w = weight[_frame(box)]
        total = solution.model_image[_frame(box)]
        own[k] = (w * model * model).sum()
        both[k] = (w * model * np.maximum(total, 0)).sum()
        root = np.sqrt(w)
        stack = (root * model).sum(0)
        top = np.unravel_index(np.argmax(stack), stack.shape)
        behind = (root * total)[:, top[0], top[1]].sum()
        central[k] = stack[top] / behind if behind > 0 else 0
    purity = np.divide(own, both, out=np.zeros_like(own), where=both > 0)
    return np.clip(purity, 0, 1), np.clip(central, 0, 1)


def _nearest_brighter(xy, parent, bright):
    """Index of the nearest brighter source of the same parent, or -1."""
    index = np.full(len(xy), -1)
    order = np.argsort(parent, kind='stable')
    cuts = np.flatnonzero(np.diff(parent[order])) + 1
    for rows in np.split(order, cuts):
        if len(rows) < 2:
            continue
        distance = np.hypot(*(xy[rows][:, None] - xy[rows]).T)
        larger = bright[rows][None, :] > bright[rows][:, None]
        distance = np.where(larger, distance.T, np.inf)
        best = distance.argmin(1)
        some = np.isfinite(distance[np.arange(len(rows)), best])
        index[rows[some]] = rows[best[some]]
    return index


def _axis_ratio(parameters):
    """Minor to major axis of the intrinsic ellipse."""
    return np.exp(-np.hypot(parameters[:, 3], parameters[:, 4]))


def _misfit(solution, fitter, weight):
    """Reduced chi-square over the box of each source."""
    out = np.ones(len(solution.sources))
    data = fitter.observation.data
    for k, box in enumerate(solution.boxes):
        w = weight[_frame(box)]
        count = (w > 0).sum()
        if count:
            residual = data[_frame(box)] - solution.model_image[_frame(box)]
            out[k] = (w * residual ** 2).sum() / count
    return out


def _beside_masked(solution, fitter):
    """Whether good pixels lack at the middle of the nearest brighter."""
    mask = fitter.observation.mask.any(0)
    ny, nx = mask.shape
    xy = solution.fit.parameters[:, :2]
    ix, iy = (np.clip(np.rint(c).astype(int), 0, n - 1)
              for c, n in zip(xy.T, (nx, ny), strict=True))
    return mask[iy, ix]


def measure_evidence(fitter, solution, gain=None):
    """
    Measure what speaks for each source.

    Parameters
    ----------
    fitter : `~vaephot.deblend.scene.SceneFitter`
        Data and noise.
    solution : `~vaephot.deblend.pipeline.Solution`
        Fitted sources.
    gain : `numpy.ndarray`, (n,), optional
        Gain in chi-square when the source was added to a fit without it;
        NaN for sources that were there from the start. `None`: all were.

    Returns
    -------
    `numpy.ndarray`, (n, n_features)
        Columns as in `FEATURES`.
    """
    fit, parent = solution.fit, solution.sources.parent
    n = len(parent)
    if not n:
        return np.zeros((0, len(FEATURES)))
    gain = np.full(n, np.nan) if gain is None else gain
    weight = fitter.weight(solution.model_image)
    xy, fwhm = fit.parameters[:, :2], fitter.fwhm.min()
    bright = np.maximum(fit.flux / fitter.sky_rms(xy), 0).sum(1)
    error = np.maximum(fit.flux_err, 1e-300)
    snr = np.sqrt((np.maximum(fit.flux / error, 0) ** 2).sum(1))
    other = _nearest_brighter(xy, parent, bright)
    first = other < 0
    size = np.hypot(np.exp(fit.parameters[:, 2]), SOFTENING * fwhm)
    distance = np.hypot(*(xy - xy[other]).T)
    purity, central = _light(solution, weight)
    late = np.isfinite(gain)
    masked = _beside_masked(solution, fitter)
    columns = {
        'log_drop': _log(_drop_costs(solution, weight)), 'log_snr': _log(snr),
        'log_share': _log(bright / np.maximum(sum_by_label(parent, bright),
                                              1e-300)),
        'log_purity': _log(purity), 'log_central': _log(central),
        'log_distance': np.where(first, 1.0, _log(
            distance / np.hypot(size, size[other]))),
        'log_ratio': np.where(first, 0.0, _log(
            bright / np.maximum(bright[other], 1e-300))),
        'log_size_ratio': np.where(first, 0.0, _log(size / size[other])),
        'log_axis_ratio': _log(_axis_ratio(fit.parameters)),
        'log_misfit': _log(_misfit(solution, fitter, weight)),
        'born_late': late.astype(float),
        'log_gain': np.where(late, _log(np.where(late, gain, 1.0)), 0.0),
        'beside_masked': np.where(first, False, masked[other]) * 1.0,
        'alone': (sum_by_label(parent) == 1) * 1.0}
    return np.column_stack([columns[name] for name in FEATURES])


def chi2_gain(fitter, before, after, n_old):
    """
    What the sources that were added gain in chi-square.

    Parameters
    ----------
    fitter : `~vaephot.deblend.scene.SceneFitter`
        Data and noise.
    before, after : `~vaephot.deblend.pipeline.Solution`
        Fit without and with the sources.
    n_old : int
        Sources of ``after`` that were in ``before``; the others are new.

    Returns
    -------
    `numpy.ndarray`, (n_new,)
        The gain of each pixel of a piece goes to the nearest new source.
    """
    data = fitter.observation.data
    weight = fitter.weight(after.model_image)
    xy = after.fit.parameters[:, :2]
    gain = np.zeros(len(xy) - n_old)
    for piece in after.pieces:
        new = np.array([i for i in piece.core if i >= n_old], int)
        if not len(new):
            continue
        rows = overlap(piece.iy, piece.iy + piece.size, 0, data.shape[1])
        columns = overlap(piece.ix, piece.ix + piece.size, 0, data.shape[2])
        box = (slice(None), rows, columns)
        square = [weight[box] * (data[box] - s.model_image[box]) ** 2
                  for s in (before, after)]
        saved = (square[0] - square[1]).sum(0)
        y, x = np.mgrid[rows, columns]
        distance = [(x - xy[i, 0]) ** 2 + (y - xy[i, 1]) ** 2 for i in new]
        nearest = np.argmin(distance, axis=0)
        gain[new - n_old] = np.bincount(nearest.ravel(), saved.ravel(),
                                        len(new))
    return gain
