# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Look at sources both ways up.

A network trained on galaxies at all angles may still take one that is turned
by 180 degrees for a little different. The mean of the image as it is and of
the turned one has no such preference: mirrored sources get mirrored shapes.
"""

import numpy as np
import torch

from vaephot.deblend.encode.stamps import Targets, encode, prior_of_sources
from vaephot.deblend.waves import LEAST_SIGNIFICANCE, without_weak_waves
from vaephot.models.asymmetry import turn_signs
from vaephot.models.encoder import Gaussian

__all__ = ['encode_both_ways']


def _turn(image):
    """Turn the last two axes by 180 degrees."""
    return image[..., ::-1, ::-1]


def _turned_view(view):
    """A band as the encoder is shown it, turned."""
    image, factor = view.psf
    return view._replace(
        data=_turn(view.data), mask=_turn(view.mask),
        variance=_turn(view.variance), psf=(_turn(image), factor))


def _turned_light(light, shape):
    """Light of sources in an image of some shape, turned."""
    def turned(band, rows, ix, iy, side):
        return _turn(light(band, rows, shape[1] - ix - side,
                           shape[0] - iy - side, side))
    return None if light is None else turned


def _mean(first, second):
    """Weighted mean of two estimates that share their noise."""
    total = first.precision + second.precision
    mean = (first.precision * first.mean
            + second.precision * second.mean) / total
    return Gaussian(mean, total / 2)


def _turned_shapes(values, shape, config):
    """Parameters of sources in an image of some shape, turned with it."""
    turned = values * values.new_tensor(turn_signs(config))
    turned[:, 0] += shape[1] - 1
    turned[:, 1] += shape[0] - 1
    return turned


def _turned_targets(targets, shape, config):
    """Sources of an image of some shape as they are in the turned one."""
    ny, nx = shape
    guess = _turned_shapes(torch.as_tensor(targets.guess), shape, config)
    return Targets(x=nx - 1 - targets.x, y=ny - 1 - targets.y,
                   guess=guess.numpy(),
                   own_light=_turned_light(targets.own_light, shape),
                   kept_light=_turned_light(targets.kept_light, shape),
                   alone=targets.alone)


def encode_both_ways(fitter, sources, snr, shapes, own_light, *, image=None,
                     alone=False, kept_light=None):
    """
    Shapes and prior of sources from two looks of the encoder.

    Parameters
    ----------
    fitter : `~vaephot.deblend.scene.SceneFitter`
        Fitter of the grid that the sources were found on.
    sources : `~vaephot.deblend.groups.SourceList`
        Sources.
    snr : `numpy.ndarray`, (n, n_bands)
        Point-source signal-to-noise ratios.
    shapes : `~vaephot.models.encoder.Gaussian`
        Shapes so far.
    own_light : callable
        Models of these, see `~vaephot.deblend.encode.stamps.Targets`.
    image : `numpy.ndarray`, (n_bands, ny, nx), optional
        Frame that they are looked at in; by default the data.
    alone : bool, optional
        Whether it is what is left without the light of all of them: then
        each gets its own back.
    kept_light : callable, optional
        Light of others that each source is seen with nevertheless.

    Returns
    -------
    posterior, prior : `~vaephot.models.encoder.Gaussian`
        Positions in the image.
    """
    if not len(sources):
        return fitter.default_shapes(sources), fitter.default_shapes(sources)
    shape = fitter.observation.data.shape[1:]
    views, device = fitter.views(image), fitter.device
    prior = prior_of_sources(fitter.vae, fitter.fwhm, sources, snr,
                             device=device)
    targets = Targets(x=sources.x, y=sources.y, guess=shapes.mean.numpy(),
                      own_light=own_light, alone=alone, kept_light=kept_light)
    first = encode(fitter.vae, views, targets, prior, snr, device=device)
    config = fitter.vae.config

    def turned(gaussian):
        """Shapes as they are in the turned image."""
        return gaussian._replace(mean=_turned_shapes(gaussian.mean, shape,
                                                     config))
    second = encode(fitter.vae, [_turned_view(view) for view in views],
                    _turned_targets(targets, shape, config), turned(prior),
                    snr, device=device)
    posterior = _mean(first, turned(second))
    least = LEAST_SIGNIFICANCE if fitter.waves else np.inf
    return without_weak_waves(posterior, config, least), prior
