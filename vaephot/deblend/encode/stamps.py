# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Amortised start: the second autoencoder looks at every source at once.

Each source gets a stamp per band, cut around it, with the model of the guess
so far. Stamps are binned until the PSF is as narrow, and a large galaxy as
small, as those of the training. The evidence of the bands is pooled with the
prior to a posterior of position, size, shear and latent.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.spatial import KDTree

from vaephot.models.encoder import Evidence, Gaussian, combine, limit_guess
from vaephot.models.normalization import bin_factor, bin_psf, psf_numbers
from vaephot.models.vae import StampBatch

__all__ = ['BandView', 'Targets', 'band_evidence', 'bin_factors', 'encode']

# neighbours that are marked on a stamp
MAX_MARKED = 8
# largest half-light radius in binned pixels
MAX_RADIUS = 4.0
# stamps that the encoder sees at once, on a processor and elsewhere; always
# as many, so that rounding does not depend on who else is there
ENCODER_BATCH = {'cpu': 32, 'other': 1024}
# stamps that are cut at once
CUT_AT_ONCE = 1024


class BandView(NamedTuple):
    """
    One band as the encoder is shown it.

    ``data``, ``mask`` ``(ny, nx)``, True for bad pixels; ``variance`` of
    the sky ``(ny, nx)`` or ``(1, 1)``; ``psf``: image and samples per
    pixel; ``fwhm`` in pixels; ``numbers``: those that tell of the PSF, by
    binning, as far as they are known.
    """

    data: np.ndarray
    mask: np.ndarray
    variance: np.ndarray
    psf: tuple
    fwhm: float
    numbers: dict


@dataclass(frozen=True, kw_only=True)
class Targets:
    """
    What is known of the sources before a look.

    Parameters
    ----------
    x, y : `numpy.ndarray`, (n,)
        Where they were found, in pixels of the image.
    guess : `numpy.ndarray`, (n, n_parameters)
        Parameters so far, positions and sizes in pixels of the image.
    own_light : callable
        Gives the models of the guesses, called as ``own_light(band, rows,
        ix, iy, side)``.
    alone : bool
        Whether the light of all sources has been taken away.
    kept_light : callable, optional
        Gives back what others keep of it, likewise.
    """

    x: np.ndarray
    y: np.ndarray
    guess: np.ndarray
    own_light: Callable
    alone: bool = False
    kept_light: Callable | None = None

    @property
    def radius(self):
        """Half-light radii so far, in pixels, (n,)."""
        return np.exp(self.guess[:, 2])


def bin_factors(radius, fwhm):
    """
    Pixels that are summed to one of the encoder.

    Parameters
    ----------
    radius : `numpy.ndarray`, (n,)
        Half-light radii of the sources in pixels.
    fwhm : float
        Width of the PSF in pixels.

    Returns
    -------
    `numpy.ndarray` of int
        At least 1.
    """
    return np.maximum(bin_factor(fwhm),
                      np.ceil(np.asarray(radius) / MAX_RADIUS).astype(int))


def _windows(array, iy, ix, side):
    """Windows of a 2D array, and which of their pixels lie inside it."""
    rows = iy[:, None] + np.arange(side)
    columns = ix[:, None] + np.arange(side)
    ny, nx = array.shape
    inside = (((rows >= 0) & (rows < ny))[:, :, None]
              & ((columns >= 0) & (columns < nx))[:, None, :])
    return array[np.clip(rows, 0, ny - 1)[:, :, None],
                 np.clip(columns, 0, nx - 1)[:, None, :]], inside


def _blocks(images, factor):
    """Square blocks of the pixels of images: last axes 2 and 4."""
    n, side = len(images), images.shape[-1] // factor
    return images.reshape(n, side, factor, side, factor)


def _binned(data, good, factor):
    """Sum pixels; the sum counts as good if most of it is."""
    if factor == 1:
        return np.where(good, data, 0), good
    good = _blocks(good, factor)
    share = good.mean((2, 4))
    total = (_blocks(data, factor) * good).sum((2, 4))
    keep = share > 0.5
    return np.where(keep, total / np.maximum(share, 0.5), 0), keep


def _sky_rms(variance, iy, ix, side):
    """Median noise of the sky on windows."""
    if variance.size == 1:
        return np.full(len(iy), np.sqrt(variance.ravel()[0]))
    values, _ = _windows(variance, iy, ix, side)
    return np.sqrt(np.median(values.reshape(len(iy), -1)[:, ::7], axis=1))


def _marks(targets, rows, corner, factor, size):
    """Positions of the nearest other sources on stamps."""
    places = np.column_stack([targets.x, targets.y])
    n = len(places)
    marks = np.zeros((len(rows), MAX_MARKED, 2))
    if n < 2:
        return marks, np.zeros(marks.shape[:2])
    count = min(MAX_MARKED + 1, n)
    reach = factor * size / np.sqrt(2)
    distance, index = KDTree(places).query(places[rows], k=count,
                                           distance_upper_bound=reach)
    near = np.isfinite(distance) & (index != rows[:, None])
    found = (places[np.minimum(index, n - 1)] - corner[:, None]) / factor
    order = np.argsort(~near, axis=1, kind='stable')[:, :MAX_MARKED]
    row = np.arange(len(rows))[:, None]
    kept = near[row, order]
    marks[:, :order.shape[1]] = np.where(kept[..., None],
                                         found[row, order], 0)
    present = np.zeros(marks.shape[:2])
    present[:, :order.shape[1]] = kept
    return marks, present


def _in_stamp(guess, corner, factor):
    """Parameters relative to the middle of stamps, in binned pixels."""
    out = guess.copy()
    out[:, :2] = (out[:, :2] - corner) / factor
    out[:, 2] -= np.log(factor)
    return out


def _stamps(view, band, targets, rows, factor, size):
    """What `StampBatch` asks for, as arrays, and the stamps' corners."""
    side, half = size * factor, factor * (size // 2)
    x, y = targets.x[rows], targets.y[rows]
    # halves go up, also in turned images: no rounding to even numbers
    ix, iy = (np.floor(v - (factor - 2) / 2).astype(int) - half
              for v in (x, y))
    corner = np.column_stack([ix, iy]) + half + (factor - 1) / 2
    data, inside = _windows(view.data, iy, ix, side)
    bad, _ = _windows(view.mask, iy, ix, side)
    light = targets.own_light(band, rows, ix, iy, side)
    if targets.alone:
        data = data + light
    if targets.kept_light is not None:
        data = data + targets.kept_light(band, rows, ix, iy, side)
    stamp, good = _binned(data, inside & ~bad, factor)
    model = _blocks(light, factor).sum((2, 4)) if factor > 1 else light
    rms = _sky_rms(view.variance, iy, ix, side) * factor
    marks, present = _marks(targets, rows, corner, factor, size)
    own = (np.column_stack([x, y]) - corner) / factor
    guess = _in_stamp(targets.guess[rows], corner, factor)
    return (stamp, rms[:, None, None], good, own, marks, present, guess,
            model, corner)


def band_evidence(vae, view, band, targets, snr, *, device):
    """
    Evidence of one band on all sources.

    Parameters
    ----------
    vae : `~vaephot.models.vae.VAE`
        The second autoencoder.
    view : BandView
        The band.
    band : int
        Its number.
    targets : Targets
        The sources.
    snr : `numpy.ndarray`, (n,)
        Their point-source signal-to-noise ratios in this band.
    device : str
        Where the network runs.

    Returns
    -------
    `~vaephot.models.encoder.Evidence`
        Each entry ``(n, n_parameters)``, float64, on the CPU; positions
        and sizes in pixels of the image.
    """
    n, n_par = len(snr), vae.config.n_parameters
    mean = torch.zeros(n, n_par, dtype=torch.float64)
    precision = torch.zeros_like(mean)
    factors = bin_factors(targets.radius, view.fwhm)
    # stamps of the same binning are cut together
    order = np.argsort(factors, kind='stable')
    step = ENCODER_BATCH['cpu' if device == 'cpu' else 'other']
    for start in range(0, n, CUT_AT_ONCE):
        some = order[start:start + CUT_AT_ONCE]
        stamps, corner = _binned_stamps(view, band, targets, some,
                                        factors[some], vae.config.stamp_size)
        known = _optics(view, factors[some])
        for first in range(0, len(some), step):
            part = np.arange(first, min(first + step, len(some)))
            filled = np.resize(part, step)
            rows = some[part]
            found = _look(vae, [column[filled] for column in stamps],
                          [column[filled] for column in known],
                          snr[some[filled]], device)
            found = Gaussian(*[value[:len(part)] for value in found])
            mean[rows], precision[rows] = _to_image(found, corner[part],
                                                    factors[rows])
    return Evidence(mean, precision)


def _binned_stamps(view, band, targets, rows, factors, size):
    """What `_stamps` returns, of sources in the order of their binning."""
    parts = [_stamps(view, band, targets, rows[factors == factor],
                     int(factor), size) for factor in np.unique(factors)]
    *stamps, corner = (np.concatenate(column)
                       for column in zip(*parts, strict=True))
    return stamps, corner


def _optics(view, factors):
    """Width of the PSF in binned pixels and its numbers, for each stamp."""
    some, index = np.unique(factors, return_inverse=True)
    for factor in set(some.tolist()) - set(view.numbers):
        view.numbers[factor] = psf_numbers(*bin_psf(*view.psf, factor),
                                           view.fwhm / factor)
    numbers = np.array([view.numbers[factor] for factor in some.tolist()])
    return view.fwhm / factors, numbers[index]


def _look(vae, stamps, optics, snr, device):
    """Evidence of stamps."""
    *pixels, guess, model = stamps
    fwhm, shape = optics
    batch = StampBatch(*[
        torch.as_tensor(values, dtype=torch.float32, device=device)
        for values in (*pixels, np.log(fwhm), np.log(np.maximum(snr, 1.0)),
                       shape, guess, model)])
    with torch.no_grad():
        found = vae.evidence(batch)
    return Gaussian(*[value.double().cpu() for value in found])


def _to_image(gaussian, corner, factors):
    """From binned pixels about the stamps' centres to the image."""
    factor = torch.as_tensor(factors, dtype=torch.float64)[:, None]
    mean, precision = gaussian.mean.clone(), gaussian.precision.clone()
    mean[:, :2] = mean[:, :2] * factor + torch.as_tensor(corner)
    mean[:, 2] += torch.log(factor[:, 0])
    precision[:, :2] /= factor ** 2
    return Gaussian(mean, precision)


def encode(vae, views, targets, prior, snr, *, device):
    """
    What sources look like, from a look in all bands.

    Parameters
    ----------
    vae : `~vaephot.models.vae.VAE`
        The second autoencoder.
    views : sequence of BandView
        The bands.
    targets : Targets
        The sources.
    prior : `~vaephot.models.encoder.Gaussian`
        Their prior, positions in the image.
    snr : `numpy.ndarray`, (n, n_bands)
        Point-source signal-to-noise ratios.
    device : str
        Where the network runs.

    Returns
    -------
    `~vaephot.models.encoder.Gaussian`
        The posterior, positions in the image.
    """
    found = [band_evidence(vae, view, band, targets, snr[:, band],
                           device=device)
             for band, view in enumerate(views)]
    evidence = Evidence(*[torch.stack(column, 1)
                          for column in zip(*found, strict=True)])
    posterior = combine(prior, evidence, axis=1)
    return posterior._replace(mean=_limited(vae, views, targets,
                                            posterior.mean))


def _limited(vae, views, targets, mean):
    """Shapes that can be drawn."""
    fwhm = min(view.fwhm for view in views)
    half = 0.5 * vae.config.stamp_size * bin_factors(targets.radius, fwhm)
    place = np.column_stack([targets.x, targets.y])
    return limit_guess(mean, torch.as_tensor(place),
                       torch.full_like(mean[:, 0], np.log(fwhm)),
                       torch.as_tensor(half))
