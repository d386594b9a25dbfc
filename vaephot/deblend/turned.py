# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Look at sources both ways up.

A network trained on galaxies at all angles may still take one that is turned
by 180 degrees for a little different. The mean of the image as it is and of
the turned one has no such preference: mirrored sources get mirrored shapes.
"""

from dataclasses import replace

import torch

from vaephot.deblend.start import encode
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


def _turned_light(own_light, shape):
    """Own light of sources, turned."""
    def turned(band, rows, ix, iy, side):
        return _turn(own_light(band, rows, shape[1] - ix - side,
                               shape[0] - iy - side, side))
    return turned


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
    sources : `~vaephot.deblend.groups.SourceList`
        Sources.
    snr : `numpy.ndarray`, (n, n_bands)
        Point-source signal-to-noise ratios.
    shapes : `~vaephot.models.encoder.Gaussian`, optional
        Shapes so far; by default nothing is known.
    alone : optional
        What is left without the light of all sources, ``(n_bands, ny,
        nx)``, and what gives a source's own light back: see
        `~vaephot.deblend.start.encode`. By default the sources are looked
        at as they are.

    Returns
    -------
    posterior, prior : `~vaephot.models.encoder.Gaussian`
        Positions in the image.
    """
    if not len(sources):
        return fitter.default_shapes(sources), fitter.default_shapes(sources)
    ny, nx = fitter.observation.data.shape[1:]
    rest, own_light = (None, None) if alone is None else alone
    views = fitter.views(rest)
    known = {'device': fitter.device,
             'radius': (None if shapes is None
                        else torch.exp(shapes.mean[:, 2]).numpy())}
    first, prior = encode(fitter.vae, views, sources, snr,
                          own_light=own_light, **known)
    second, _ = encode(
        fitter.vae, [_turned_view(view) for view in views],
        replace(sources, x=nx - 1 - sources.x, y=ny - 1 - sources.y), snr,
        own_light=(None if own_light is None
                   else _turned_light(own_light, (ny, nx))), **known)
    mean = second.mean.clone()
    mean[:, 0] = nx - 1 - mean[:, 0]
    mean[:, 1] = ny - 1 - mean[:, 1]
    return _mean(first, Gaussian(mean, second.precision)), prior
