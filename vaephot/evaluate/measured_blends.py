# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""From what a method returned to arrays in the order of the truth."""

import time
import warnings

import numpy as np

from vaephot.evaluate.baselines import solve_templates
from vaephot.evaluate.detection import detect_truth
from vaephot.evaluate.floors import FLOORS, flux_floors
from vaephot.evaluate.image_metrics import (
    IMAGE_METRICS,
    image_metrics,
    true_segmentation,
)
from vaephot.evaluate.matching import match_positions, match_segments
from vaephot.evaluate.observed import paste_models
from vaephot.evaluate.profiles import ProfileRenderer
from vaephot.evaluate.properties import difficulty
from vaephot.exceptions import EvaluationError

__all__ = ['describe_truth', 'measure_blends']

# side in pixels of the pictures of the best and the worst source
PICTURE_SIZE = 48


def describe_truth(observed, n_floors=0, psf=None):
    """
    Collect what is known about the true sources.

    Parameters
    ----------
    observed : `~vaephot.evaluate.observed.ObservedBlends`
        The blends.
    n_floors : int, optional
        Number of blends whose floors are computed.
    psf : `~numpy.ndarray` or None, optional
        True PSFs for the floors. `None` takes those that are told.

    Returns
    -------
    dict of `~numpy.ndarray`
        ``blend, xy, flux, mags, is_star, is_scored, half_light_radius,
        eta1, eta2`` of the truth, those of
        `~vaephot.evaluate.properties.difficulty`, ``oracle`` (n, n_bands;
        fluxes with the true templates) and ``floor`` (n, 3, n_bands); NaN
        where not known or not wanted.
    """
    truth, n_bands = observed.truth, len(observed.bands)
    out = {name: getattr(truth, name) for name in
           ('blend', 'xy', 'flux', 'is_star', 'is_scored',
            'half_light_radius', 'eta1', 'eta2')}
    out['mags'] = observed.true_mags
    out.update(difficulty(observed))
    out['oracle'] = np.full((len(truth), n_bands), np.nan)
    out['floor'] = np.full((len(truth), len(FLOORS), n_bands), np.nan)
    if truth.models is None:
        return out
    for k in range(len(observed)):
        out['oracle'][truth.rows(k)] = solve_templates(observed, k)[0]
    if n_floors:
        renderer = ProfileRenderer(observed.psf if psf is None else psf,
                                   observed.oversampling, observed.shape)
        for k in range(min(n_floors, len(observed))):
            out['floor'][truth.rows(k)] = flux_floors(observed, k, renderer)
    return out


def measure_blends(observed, method, settings):
    """
    Run a method and bring what it measured into the order of the truth.

    Parameters
    ----------
    observed : `~vaephot.evaluate.observed.ObservedBlends`
        The blends.
    method : `~vaephot.evaluate.methods.Method`
        The method.
    settings : `~vaephot.evaluate.evaluation_config.MatchSettings`
        Who belongs to whom.

    Returns
    -------
    dict of `~numpy.ndarray`
        In the order of the truth, NaN where missed: ``flux, flux_err, xy,
        half_light_radius, eta1, eta2``, ``residual, cosine, ssim, iou``
        (scored sources, first band), ``detected, split, merged``; of the
        measured sources ``found_blend, found_flux, found_real``; pictures
        of the best and the worst scored source, ``picture`` (2, 3, S, S)
        with data, measured and true source, ``picture_error`` and
        ``picture_mag``; ``seconds`` of the run.

    Raises
    ------
    EvaluationError
        If matching by segments is wanted and there are none.
    """
    start = time.perf_counter()
    with warnings.catch_warnings():
        # trouble of single sources shows in the figures
        warnings.simplefilter('ignore')
        rows = method(observed)
    seconds = time.perf_counter() - start
    out = _empty(observed)
    out['seconds'] = np.array(seconds)
    found, pictures = [], []
    for k, row in enumerate(rows):
        true, own = _pair(observed, k, row, method, settings)
        for name in ('flux', 'flux_err', 'xy', 'half_light_radius', 'eta1',
                     'eta2'):
            out[name][true] = row[name][own]
        found.append(_detect(observed, k, row, method, settings, out))
        pictures += _score_images(observed, k, row, true, own, out)
    for name in ('found_blend', 'found_flux', 'found_real'):
        out[name] = np.concatenate([item[name] for item in found])
    out.update(_best_and_worst(pictures))
    return out


def _empty(observed):
    """Arrays of the truth's length, with nothing found."""
    n, n_bands = len(observed.truth), len(observed.bands)
    out = {'flux': np.full((n, n_bands), np.nan),
           'flux_err': np.full((n, n_bands), np.nan),
           'xy': np.full((n, 2), np.nan)}
    for name in ('half_light_radius', 'eta1', 'eta2', *IMAGE_METRICS):
        out[name] = np.full(n, np.nan)
    for name in ('detected', 'split', 'merged'):
        out[name] = np.zeros(n, bool)
    return out


def _pair(observed, k, row, method, settings):
    """Rows of the truth, and the rows measured that belong to them."""
    rows = observed.truth.rows(k)
    if method.uses_positions:
        given = observed.given[k]
        return rows.start + given, np.arange(len(given))
    if settings.by == 'segments':
        match = _match_segments(observed, k, row, method)
    else:
        match = match_positions(
            observed.truth.xy[rows], row['xy'],
            settings.max_distance / observed.pixel_scale,
            rule=settings.rule)
    return rows.start + match.reference, match.measured


def _match_segments(observed, k, row, method):
    """Pairs of rows by the pixels of the first band."""
    truth = observed.truth
    if row['segmentation'] is None or truth.models is None:
        msg = (f'{method.name} cannot be matched by segments: it returns no '
               'segmentation, or the truth has no noiseless sources.')
        raise EvaluationError(msg, method=method.name)
    shape = (1, *observed.shape)
    models = [paste_models([(box, model[:1])], shape)[0]
              for box, model in truth.models[truth.rows(k)]]
    match = match_segments(true_segmentation(models, observed.sky_rms[0]),
                           row['segmentation'])
    return type(match)(reference=match.reference - 1,
                       measured=match.measured - 1, distance=match.distance)


def _detect(observed, k, row, method, settings, out):
    """Fill in what was detected; return the list of measured sources."""
    rows = observed.truth.rows(k)
    n = len(row['xy'])
    if method.uses_positions:  # nothing was searched
        real = np.ones(n, bool)
        out['detected'][rows][observed.given[k]] = True
    else:
        result = detect_truth(
            observed.truth.xy[rows], row['xy'],
            max_distance=settings.detection_distance / observed.pixel_scale,
            merge_distance=settings.merge_distance / observed.pixel_scale,
            segmentation=row['segmentation'])
        real = result.real
        for name in ('detected', 'split', 'merged'):
            out[name][rows] = getattr(result, name)
    return {'found_blend': np.full(n, k), 'found_flux': row['flux'],
            'found_real': real}


def _source_image(observed, k, row, j):
    """Measured image of a source in the first band, or None."""
    if row['models'] is not None:
        box, model = row['models'][j]
        return paste_models([(box, np.asarray(model)[:1])],
                            (1, *observed.shape))[0]
    if row['segmentation'] is not None:
        return np.where(row['segmentation'] == j + 1, observed.image[k, 0],
                        0)
    return None


def _score_images(observed, k, row, true, own, out):
    """Fill in image metrics; return pictures of the scored sources."""
    truth, pictures = observed.truth, []
    if truth.models is None:
        return pictures
    for i, j in zip(true, own, strict=True):
        image = _source_image(observed, k, row, j) \
            if truth.is_scored[i] else None
        if image is None or not np.isfinite(image).all():
            continue
        box, model = truth.models[i]
        clean = paste_models([(box, model[:1])], (1, *observed.shape))[0]
        # only where one of the two can have light
        window = _window(truth.xy[i], observed.shape)
        metrics = image_metrics(clean[window], image[window],
                                observed.sky_rms[0])
        for name, value in metrics.items():
            out[name][i] = value
        error = row['flux'][j, 0] / truth.flux[i, 0] - 1
        if np.isfinite(error):
            pictures.append((abs(error), i, observed.true_mags[i, 0],
                             np.array(
                                 [observed.image[k, 0][window],
                                  image[window], clean[window]],
                                 np.float32)))
    return pictures


def _window(xy, shape):
    """Window of pixels around a source, inside the image."""
    out = []
    for center, size in zip(xy[::-1], shape, strict=True):
        side = min(PICTURE_SIZE, size)
        low = int(np.clip(round(float(center)) - side // 2, 0, size - side))
        out.append(slice(low, low + side))
    return tuple(out)


def _best_and_worst(pictures):
    """Pictures of the sources with the smallest and the largest error."""
    if not pictures:
        return {'picture': np.zeros((0, 3, 1, 1), np.float32),
                'picture_error': np.zeros(0), 'picture_mag': np.zeros(0)}
    order = sorted(pictures, key=lambda item: item[:2])
    chosen = [order[0], order[-1]]
    return {'picture': np.array([item[3] for item in chosen]),
            'picture_error': np.array([item[0] for item in chosen]),
            'picture_mag': np.array([item[2] for item in chosen])}
