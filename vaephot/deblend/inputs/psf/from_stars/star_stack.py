# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Fit the PSF to stars: their positions, fluxes and what all share."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.ndimage import binary_dilation

from vaephot.deblend.inputs.psf.from_stars.star_choice import cut_stamps
from vaephot.deblend.inputs.psf.from_stars.star_model import (
    CORE_FWHM,
    Moffat,
    StarModel,
    make_basis,
)
from vaephot.deblend.inputs.psf.wings import SKY_ERROR
from vaephot.utils.rows import Rows

__all__ = ['StarStamps', 'cut_stars', 'fit_model', 'fit_stars',
           'prediction_error']

# half the side of the stamps of stars in FWHM, and in pixels
STAMP_FWHM, MIN_HALF, MAX_HALF = 5.0, 8, 30
# relative error of every pixel of a star, which bounds the weight of the
# brightest ones: of the profile alone, and with splines
PROFILE_ERROR, MODEL_ERROR = 0.05, 0.01
# what a PSF lacks is no smaller where it is fainter than this share of its
# peak: else the wings would make the profile
FAINT = 0.5
# pixels this much above what the model says, in units of their errors, are
# of neighbours, if farther out than this many FWHM
NEIGHBOUR, NEIGHBOUR_FWHM = 4.0, 1.0
# prior of the splines: 1-sigma in units of a power of the profile close by,
# wings being less certain than the core; the stars choose among the scales
PRIOR_SCALES, PRIOR_POWER = (0.01, 0.03), 0.5
# prior of polynomial terms beyond the constant, in units of that of the
# constant
TERM_PRIOR = 0.5
# a star whose chi-square per core pixel is so many times the median is none
MISFIT, LEAST_MISFIT = 5.0, 4.0
# FWHM of the profile over that of the Gaussian that matches the stars: wings
# make that of a Gaussian larger, rings that of the profile smaller
MIN_PROFILE, MAX_PROFILE = 0.65, 1.2
# a star has not moved by more than so many pixels from its peak
MAX_MOVED = 1.5
# steps of the profile's fit, rounds of splines, and steps of a position in
# each
N_PROFILE, N_ROUNDS, N_POSITION = 30, 3, 3
# exponent of the profile at first: that of seeing
START_BETA = 3.0
DIFFERENCE = 1e-3
# parts of the stars that are left out in turn
N_FOLDS = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class StarStamps(Rows):
    """
    Pixels around stars.

    ``data, weight`` (n, p), weight the inverse variance of the sky; ``dx,
    dy`` (n, p) from the centre pixels ``ix, iy`` (n,); ``x, y, flux, sky``
    (n,): position, peak of the profile and level.
    """

    data: np.ndarray
    weight: np.ndarray
    ix: np.ndarray
    iy: np.ndarray
    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray
    sky: np.ndarray

    def __len__(self):
        return len(self.x)

    def offsets(self):
        """Offsets dx, dy (n, p) of the pixels from the stars."""
        side = int(np.sqrt(self.data.shape[1]))
        steps = np.arange(side) - side // 2
        dx = np.tile(steps, side) + (self.ix - self.x)[:, None]
        dy = np.repeat(steps, side) + (self.iy - self.y)[:, None]
        return dx, dy


def cut_stars(image, noise, bad, candidates, fwhm):
    """Stamps of candidates from an image; other sources weigh nothing."""
    half = int(np.clip(np.ceil(STAMP_FWHM * fwhm), MIN_HALF, MAX_HALF))
    ix, iy = (np.rint(value).astype(int)
              for value in (candidates.x, candidates.y))
    data = cut_stamps(image, ix, iy, half, 0.0)
    good = ~cut_stamps(bad, ix, iy, half, True)
    noise = np.broadcast_to(noise, image.shape)
    sigma = cut_stamps(noise, ix, iy, half, 1.0)
    # a star is symmetric: brighter than on the other side is a neighbour
    other = data[:, ::-1, ::-1]
    radius = np.hypot(*np.mgrid[-half:half + 1, -half:half + 1])
    excess = data - other > NEIGHBOUR * np.hypot(
        1.5 * sigma, PROFILE_ERROR * 4 * np.abs(other))
    excess &= radius > NEIGHBOUR_FWHM * fwhm
    good &= ~np.stack([binary_dilation(mask) for mask in excess])
    n = len(ix)
    return StarStamps(
        data=data.reshape(n, -1), weight=(good / sigma ** 2).reshape(n, -1),
        ix=ix, iy=iy, x=candidates.x.astype(float),
        y=candidates.y.astype(float), flux=candidates.peak.astype(float),
        sky=np.zeros(n))


def _weights(stamps, model, gain, error):
    """
    Inverse variances with those of the stars' own light, (n, p).

    What a PSF lacks is a part of its peak rather than of each pixel.
    """
    light = np.maximum(model, 0)
    peak = np.maximum(stamps.flux, 0)[:, None]
    extra = error ** 2 * np.maximum(light, FAINT * peak) * peak
    if gain is not None:
        extra = extra + light / gain
    weight = stamps.weight
    return weight / (1 + weight * extra)


def _local_columns(evaluate, stamps):
    """Template and its derivatives along x and y, (3, n, p)."""
    dx, dy = stamps.offsets()
    value = evaluate(dx, dy)
    h = 10 * DIFFERENCE
    return np.stack([value,
                     (evaluate(dx - h, dy) - evaluate(dx + h, dy)) / (2 * h),
                     (evaluate(dx, dy - h) - evaluate(dx, dy + h)) / (2 * h)])


def _design(evaluate, stamps):
    """Columns of flux, sky, x, y (n, 4, p) and the model (n, p)."""
    value, along_x, along_y = _local_columns(evaluate, stamps)
    flux = stamps.flux[:, None]
    columns = np.stack([value, np.ones_like(value), flux * along_x,
                        flux * along_y], 1)
    return columns, flux * value + stamps.sky[:, None]


def _normal(columns, weight, residual, stamps):
    """Normal matrices (n, 4, 4) and vectors (n, 4); the sky has a prior."""
    weighted = columns * weight[:, None]
    matrix = weighted @ columns.swapaxes(1, 2)
    vector = (weighted @ residual[:, :, None])[..., 0]
    prior = stamps.weight.max(1) / SKY_ERROR ** 2
    matrix[:, 1, 1] += prior
    vector[:, 1] -= prior * stamps.sky
    index = np.arange(4)
    matrix[:, index, index] *= 1 + 1e-6
    matrix[:, index, index] += 1e-200
    return matrix, vector


def _stepped(stamps, step):
    """Stamps with fluxes, levels and positions (n, 4) moved on."""
    step = np.where(np.isfinite(step).all(1)[:, None], step, 0.0)
    moved = np.clip(step[:, 2:], -0.5, 0.5)
    values = {'flux': stamps.flux + step[:, 0], 'sky': stamps.sky + step[:, 1],
              'x': stamps.x + moved[:, 0], 'y': stamps.y + moved[:, 1]}
    return replace(stamps, **values)


def fit_positions(evaluate, stamps, gain, error, n_steps=N_POSITION):
    """Stamps with fluxes, levels and positions fitted to a PSF."""
    for _ in range(n_steps):
        columns, model = _design(evaluate, stamps)
        weight = _weights(stamps, model, gain, error)
        matrix, vector = _normal(columns, weight, stamps.data - model, stamps)
        step = np.linalg.solve(matrix, vector[..., None])[..., 0]
        stamps = _stepped(stamps, step)
    return stamps


def fit_profile(stamps, fwhm, gain):
    """Moffat profile that all stars share, and the stamps fitted to it."""
    moffat = Moffat(theta=np.array([np.log(fwhm), 0, 0, np.log(START_BETA)]))
    stamps = fit_positions(moffat, stamps, gain, PROFILE_ERROR)
    best, damping = np.inf, 1e-2
    kept = stamps, moffat
    for _ in range(N_PROFILE):
        columns, model = _design(moffat, stamps)
        weight = _weights(stamps, model, gain, PROFILE_ERROR)
        residual = stamps.data - model
        chi2 = (weight * residual ** 2).sum() - np.log(
            weight[weight > 0]).sum()
        if chi2 < best:
            done = best - chi2 < 1e-4 * max(len(stamps), 1)
            best, damping, kept = chi2, damping / 5, (stamps, moffat)
            equations = _shared_equations(moffat, stamps, columns, weight,
                                          residual)
            if done:
                break
        else:
            damping *= 10
        if damping > 1e4:
            break
        stamps, moffat = _shared_step(*kept, *equations, damping)
        moffat = moffat.limited(MIN_PROFILE * fwhm, MAX_PROFILE * fwhm)
    return kept[1], kept[0]


def _shared_equations(moffat, stamps, columns, weight, residual):
    """Normal equations of stars and profile: blocks of a Schur system."""
    dx, dy = stamps.offsets()
    shared = []
    for k in range(4):
        low, high = moffat.theta.copy(), moffat.theta.copy()
        low[k] -= DIFFERENCE
        high[k] += DIFFERENCE
        shared.append((Moffat(theta=high)(dx, dy) - Moffat(theta=low)(dx, dy))
                      / (2 * DIFFERENCE))
    shared = np.stack(shared, 1) * stamps.flux[:, None, None]
    own, own_vector = _normal(columns, weight, residual, stamps)
    weighted = shared * weight[:, None]
    return (own, own_vector, weighted @ columns.swapaxes(1, 2),
            (weighted @ shared.swapaxes(1, 2)).sum(0),
            np.einsum('nkp,np->k', weighted, residual))


def _shared_step(stamps, moffat, own, own_vector, cross, shared, vector,
                 damping):
    """One damped Gauss-Newton step of all."""
    index = np.arange(4)
    own = own.copy()
    own[:, index, index] *= 1 + damping
    shared = shared + damping * np.diag(np.diag(shared)) + 1e-9 * np.eye(4)
    solved = np.linalg.solve(own, np.concatenate(
        [own_vector[..., None], cross.swapaxes(1, 2)], 2))
    schur = shared - (cross @ solved[..., 1:]).sum(0)
    step = np.linalg.solve(
        schur, vector - np.einsum('nkl,nl->k', cross, solved[..., 0]))
    step = np.clip(step, -0.3, 0.3)
    local = solved[..., 0] - solved[..., 1:] @ step
    return (_stepped(stamps, local),
            Moffat(theta=moffat.theta + step))


def _core(stamps, fwhm, reach):
    """Which pixels are within so many FWHM of their stars, (n, p)."""
    return np.hypot(*stamps.offsets()) < reach * fwhm


def misfits(evaluate, stamps, fwhm, gain, error):
    """Chi-square per good pixel of the cores of stars, (n,)."""
    dx, dy = stamps.offsets()
    model = stamps.flux[:, None] * evaluate(dx, dy)
    weight = _weights(stamps, model, gain, error) * _core(stamps, fwhm, 1.5)
    chi2 = weight * (stamps.data - model - stamps.sky[:, None]) ** 2
    return chi2.sum(1) / np.maximum((weight > 0).sum(1), 1)


def without_misfits(evaluate, stamps, fwhm, gain, error):
    """Stars that the PSF describes as well as most."""
    chi2 = misfits(evaluate, stamps, fwhm, gain, error)
    limit = max(LEAST_MISFIT, MISFIT * np.median(chi2))
    moved = np.hypot(stamps.x - stamps.ix, stamps.y - stamps.iy)
    keep = (chi2 <= limit) & (stamps.flux > 0) & (moved < MAX_MOVED)
    return stamps.take(np.flatnonzero(keep)) if keep.sum() > 2 else stamps


def without_neighbours(evaluate, stamps, fwhm, gain, error):
    """Stamps without the pixels that are far too bright for a star."""
    dx, dy = stamps.offsets()
    model = stamps.flux[:, None] * evaluate(dx, dy)
    weight = _weights(stamps, model, gain, error)
    pull = (stamps.data - model - stamps.sky[:, None]) * np.sqrt(weight)
    side = int(np.sqrt(pull.shape[1]))
    far = np.abs(pull) > NEIGHBOUR
    far &= ~_core(stamps, fwhm, NEIGHBOUR_FWHM)
    far = np.stack([binary_dilation(mask) for mask in far.reshape(
        -1, side, side)]).reshape(far.shape)
    return replace(stamps, weight=np.where(far, 0, stamps.weight))


def fit_splines(model, stamps, gain):
    """
    A `StarModel` with splines fitted to stamps as they are.

    The scale of their prior is that of the model, or found.
    """
    dx, dy = stamps.offsets()
    dx, dy = dx + model.centre[0], dy + model.centre[1]
    near = (np.hypot(dx, dy) < (CORE_FWHM + 0.5) * model.moffat.fwhm)
    profile = model.moffat(dx, dy)
    flux = stamps.flux[:, None]
    star = np.nonzero(near)[0]
    weight = _weights(stamps, flux * profile, gain, MODEL_ERROR)[near]
    residual = (stamps.data - flux * profile - stamps.sky[:, None])[near]
    design = model.basis.design(dx[near], dy[near])
    terms = model.terms(stamps.x, stamps.y)[star] * stamps.flux[star, None]
    size, n_terms = model.basis.size, terms.shape[1]
    matrix = np.zeros((n_terms, size, n_terms, size))
    vector = np.zeros((n_terms, size))
    for j in range(n_terms):
        vector[j] = design.T @ (weight * terms[:, j] * residual)
        for k in range(j, n_terms):
            scaled = design.multiply((weight * terms[:, j] * terms[:, k])
                                     [:, None]).tocsr()
            matrix[j, :, k] = (design.T @ scaled).toarray()
            matrix[k, :, j] = matrix[j, :, k]
    scale, found = _most_likely(
        matrix.reshape(n_terms * size, -1), vector.ravel(),
        _spline_prior(model, n_terms).ravel(),
        PRIOR_SCALES if model.scale is None else (model.scale,))
    return replace(model, scale=scale,
                   coefficients=found.reshape(n_terms, size))


def _most_likely(matrix, vector, prior, scales):
    """Scale of the prior of most evidence, and its ridge solution (m,)."""
    best, found = -np.inf, None
    for scale in scales:
        factor = cho_factor(matrix + np.diag(prior / scale ** 2), lower=True)
        solution = cho_solve(factor, vector)
        evidence = (0.5 * vector @ solution - len(vector) * np.log(scale)
                    - np.log(np.diag(factor[0])).sum())
        if evidence > best:
            best, found = evidence, (scale, solution)
    return found


def _spline_prior(model, n_terms):
    """Inverse variances of coefficients, (n_terms, n_splines)."""
    dy, dx = model.basis.centres()
    radius = np.hypot(dx, dy)
    inner = np.maximum(1 - 0.5 * model.moffat.fwhm / np.maximum(radius, 1e-9),
                       0)
    sigma = model.moffat(inner * dx, inner * dy) ** PRIOR_POWER
    scale = np.where(np.arange(n_terms) == 0, 1, TERM_PRIOR)
    return 1 / (scale[:, None] * sigma) ** 2


def fit_stars(stamps, fwhm, shape, gain):
    """
    Fit a `StarModel` to stamps of stars; it, and the stamps that were used.

    ``fwhm`` is a first guess in pixels; ``gain`` may be None.
    """
    for _ in range(2):
        moffat, stamps = fit_profile(stamps, fwhm, gain)
        stamps = without_misfits(moffat, stamps, moffat.fwhm, gain,
                                 PROFILE_ERROR)
        stamps = without_neighbours(moffat, stamps, moffat.fwhm, gain,
                                    PROFILE_ERROR)
    return fit_model(StarModel(moffat=moffat, basis=make_basis(fwhm),
                               shape=shape, coefficients=np.zeros((1, 1))),
                     stamps, gain, 1)


def fit_model(model, stamps, gain, n_terms):
    """Fit splines with some polynomial terms to stamps, as `fit_stars`."""
    model = model.without_splines(n_terms)
    for _ in range(N_ROUNDS):
        model = fit_splines(model, stamps, gain)
        stamps = fit_positions(model.at(stamps.x, stamps.y), stamps, gain,
                               MODEL_ERROR)
    return model, stamps


def prediction_error(model, stamps, gain, n_terms):
    """Chi-square per pixel of stars that a fit has not seen, the mean."""
    model = model.without_splines(n_terms)
    fold = np.arange(len(stamps)) % N_FOLDS
    found = []
    for k in range(N_FOLDS):
        seen, unseen = (stamps.take(np.flatnonzero(rows))
                        for rows in (fold != k, fold == k))
        fitted = fit_splines(model, seen, gain)
        evaluate = fitted.at(unseen.x, unseen.y)
        unseen = fit_positions(evaluate, unseen, gain, MODEL_ERROR, 1)
        found.append(misfits(evaluate, unseen, model.moffat.fwhm, gain,
                             MODEL_ERROR))
    return float(np.mean(np.concatenate(found)))
