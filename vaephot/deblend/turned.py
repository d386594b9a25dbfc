# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Look at sources both ways up.

A network trained on galaxies at all angles may still take one that is turned
by 180 degrees for a little different. The mean of the image as it is and of
the turned one has no such preference: mirrored sources get mirrored shapes.
"""

import copy
from dataclasses import replace
from types import SimpleNamespace

from vaephot.models.encoder import Gaussian

__all__ = ['encode_both_ways']


def _turn(image):
    """Turn the last two axes by 180 degrees."""
    return image[..., ::-1, ::-1]


def _turned_fitter(fitter):
    """Fitter whose encoder sees the image turned."""
    observation = fitter.observation
    turned = copy.copy(fitter)
    turned.observation = SimpleNamespace(
        data=_turn(observation.data), mask=_turn(observation.mask))
    turned.variance = _turn(fitter.variance)
    turned._psf_samples = [(_turn(image), factor)
                           for image, factor in fitter._psf_samples]
    return turned


def _turned_alone(alone, shape):
    """Rest and own light of sources, turned."""
    rest, own_light = alone

    def turned_light(band, rows, ix, iy, side):
        return _turn(own_light(band, rows, shape[1] - ix - side,
                               shape[0] - iy - side, side))
    return _turn(rest), turned_light


def _mean(first, second):
    """Weighted mean of two estimates that share their noise."""
    total = first.precision + second.precision
    mean = (first.precision * first.mean
            + second.precision * second.mean) / total
    return Gaussian(mean, total / 2)


def encode_both_ways(fitter, sources, snr, *, shapes=None, alone=None):
    """
    Start values and prior of sources from two looks of the encoder.

    Parameters
    ----------
    fitter : `~vaephot.deblend.scene.SceneFitter`
        Fitter of the grid that the sources were found on.
    sources, snr, shapes, alone
        As for `~vaephot.deblend.scene.SceneFitter.encode`.

    Returns
    -------
    posterior, prior : `~vaephot.models.encoder.Gaussian`
        Positions in the image.
    """
    first, prior = fitter.encode(sources, snr, shapes=shapes, alone=alone)
    if not len(sources):
        return first, prior
    ny, nx = fitter.observation.data.shape[1:]
    known = {'shapes': shapes}
    if alone is not None:
        known['alone'] = _turned_alone(alone, (ny, nx))
    second, _ = _turned_fitter(fitter).encode(
        replace(sources, x=nx - 1 - sources.x, y=ny - 1 - sources.y), snr,
        **known)
    mean = second.mean.clone()
    mean[:, 0] = nx - 1 - mean[:, 0]
    mean[:, 1] = ny - 1 - mean[:, 1]
    return _mean(first, Gaussian(mean, second.precision)), prior
