# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Errors of colours, positions and shapes, and what makes a source hard."""

import numpy as np

from vaephot.evaluate.observed import clean_image

__all__ = ['colour_errors', 'difficulty', 'shape_errors']


def colour_errors(measured, true):
    """
    Errors of the colours between the first band and the others.

    Parameters
    ----------
    measured, true : array_like, (n, n_bands)
        Fluxes.

    Returns
    -------
    `~numpy.ndarray`, (n, n_bands - 1)
        Measured minus true colour (first band minus the other one) in
        mag; NaN where a flux is not positive.

    Examples
    --------
    >>> from vaephot.evaluate.properties import colour_errors
    >>> colour_errors([[1, 10]], [[1, 1]]).tolist()
    [[2.5]]
    """
    measured, true = np.asarray(measured, float), np.asarray(true, float)
    positive = (measured > 0) & (true > 0)
    ratio = np.where(positive, measured, np.nan) / np.where(positive, true,
                                                            1)
    mags = -2.5 * np.log10(ratio)
    return mags[:, :1] - mags[:, 1:]


def shape_errors(measured, true, pixel_scale):
    """
    Errors of positions and shapes.

    Parameters
    ----------
    measured, true : mapping
        ``xy`` (n, 2) and ``half_light_radius``, ``eta1``, ``eta2`` (n,) in
        pixels.
    pixel_scale : float
        Arcsec.

    Returns
    -------
    dict of `~numpy.ndarray`, (n,)
        ``x`` and ``y`` in arcsec, ``log_radius`` (natural logarithm),
        ``eta1`` and ``eta2``; NaN where unknown, and for the shapes of
        stars.
    """
    shift = (np.asarray(measured['xy']) - true['xy']) * pixel_scale
    radius = np.asarray(true['half_light_radius'], float)
    galaxy = radius > 0
    ratio = np.full(radius.shape, np.nan)
    found = np.asarray(measured['half_light_radius'], float)
    np.divide(found, radius, out=ratio, where=galaxy & (found > 0))
    out = {'x': shift[:, 0], 'y': shift[:, 1], 'log_radius': np.log(ratio)}
    for name in ('eta1', 'eta2'):
        difference = np.asarray(measured[name], float) - true[name]
        out[name] = np.where(galaxy, difference, np.nan)
    return out


def difficulty(observed):
    """
    Measure how hard each true source is to measure.

    Parameters
    ----------
    observed : `~vaephot.evaluate.observed.ObservedBlends`
        The blends.

    Returns
    -------
    dict of `~numpy.ndarray`, (n,)
        ``separation`` from the nearest other source of the blend [arcsec;
        infinite without one], ``delta_mag`` (magnitude of that source
        minus the own one), and, from the noiseless sources if they are
        known, in the first band: ``blendedness`` (1 - sum of m squared over
        sum of m times all models) and ``snr`` (root of the sum of m
        squared over the variance).
    """
    truth = observed.truth
    mag = observed.true_mags[:, 0]
    out = {name: np.full(len(truth), np.nan) for name in
           ('separation', 'delta_mag', 'blendedness', 'snr')}
    for k in range(len(observed)):
        rows = truth.rows(k)
        distance = np.hypot(*(truth.xy[rows][:, None]
                              - truth.xy[rows][None]).transpose(2, 0, 1))
        np.fill_diagonal(distance, np.inf)
        if len(distance) > 1:
            nearest = distance.argmin(axis=1)
            out['delta_mag'][rows] = mag[rows][nearest] - mag[rows]
        out['separation'][rows] = (distance.min(axis=1, initial=np.inf)
                                   * observed.pixel_scale)
        if truth.models is not None:
            _model_difficulty(observed, k, rows, out)
    return out


def _model_difficulty(observed, k, rows, out):
    """Blendedness and signal to noise of the sources of a blend."""
    total = clean_image(observed, k)[0]
    variance = (observed.sky_rms[0] ** 2
                + np.maximum(total, 0) / observed.gain[0])
    for i in range(rows.start, rows.stop):
        box, model = observed.truth.models[i]
        own = np.s_[box.iymin:box.iymax, box.ixmin:box.ixmax]
        m = np.asarray(model[0], float)
        light = (m * total[own]).sum()
        out['blendedness'][i] = (1 - (m * m).sum() / light if light > 0
                                 else np.nan)
        out['snr'][i] = np.sqrt((m * m / variance[own]).sum())
