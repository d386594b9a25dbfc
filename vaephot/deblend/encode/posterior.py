# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Shapes of sources from the second autoencoder alone.

The first guess is the prior. The encoder sees the sources as they are and
what that guess leaves, and corrects it; after that each source is seen
without the light that the others were found to have.
"""

from dataclasses import replace

import numpy as np
import torch

from vaephot.deblend.encode.stamps import BandView, Targets, encode
from vaephot.deblend.inputs.noise import sky_image
from vaephot.deblend.scene import empty_result
from vaephot.models.encoder import Gaussian
from vaephot.utils.boxes import overlap

__all__ = ['network_fit']

# encoder passes over all sources
N_PASSES = 3
# half-light radius of the first guess in FWHM of the sharpest band, and its
# flux over the noise of a pixel
FIRST_RADIUS, FIRST_FLUX = 1.2, 100.0


def _first_guess(engine, sources):
    """Small round galaxies of some flux where sources were found."""
    n, n_bands = len(sources), len(engine.fwhm)
    fit = empty_result(n, n_bands, engine.config.n_parameters)
    fit.parameters[:, 0], fit.parameters[:, 1] = sources.x, sources.y
    fit.parameters[:, 2] = np.log(FIRST_RADIUS * engine.fwhm.min())
    fit.flux[:] = FIRST_FLUX * engine.sky_rms(fit.parameters[:, :2])
    return _with_shapes(engine, sources, fit, fit.parameters)


def _with_shapes(engine, sources, fit, parameters):
    """A fit with other parameters (n, p), the same in all bands."""
    points = engine.point_parameters(np.stack([sources.x, sources.y], 1))
    parameters = np.where(sources.is_point[:, None], points[:, 0], parameters)
    parameters[:, engine.config.n_concentric:] = 0
    return replace(fit, parameters=parameters, band_parameters=np.repeat(
        parameters[:, None], fit.flux.shape[1], 1))


def _own_light(scene):
    """Models of sources on windows around them, as `Targets` asks."""
    def light(band, rows, ix, iy, side):
        """Models of the sources ``rows`` in a band, (n, side, side)."""
        out = np.zeros((len(rows), side, side))
        for image, k, x0, y0 in zip(out, rows, ix, iy, strict=True):
            box = scene.boxes[k]
            x = overlap(x0, x0 + side, box.ixmin, box.ixmax)
            y = overlap(y0, y0 + side, box.iymin, box.iymax)
            image[y.start - y0:y.stop - y0, x.start - x0:x.stop - x0] = (
                scene.models[k][band, y.start - box.iymin:y.stop - box.iymin,
                                x.start - box.ixmin:x.stop - box.ixmin])
        return out
    return light


def _views(engine, image):
    """Bands of an image (n_bands, ny, nx) as the encoder is shown them."""
    pixels, kind = engine.pixels, engine.settings.background
    transfers = [engine.fitter.bands.transfer[b] for b in engine.image_bands]
    ny, nx = image.shape[1:]
    views = []
    for i, band in enumerate(transfers):
        data = image[i]
        if kind is not None:
            data = data - sky_image(pixels.data[i], pixels.mask[i], kind)
        views.append(BandView(
            data, pixels.mask[i], pixels.variance[i],
            band.psf.sample((nx - 1) / 2, (ny - 1) / 2), band.fwhm, {}))
    return views


def network_fit(engine, sources):
    """
    Fit whose shapes are the posterior means of the second autoencoder.

    Parameters
    ----------
    engine : `~vaephot.deblend.fit.engine.Engine`
        Images and networks; its fit takes shapes as they are.
    sources : `~vaephot.deblend.scene.Sources`
        Where they were found.

    Returns
    -------
    `~vaephot.deblend.scene.FitResult`
        Linear fluxes at the shapes of the last pass but one.
    """
    fit = _first_guess(engine, sources)
    if not len(sources):
        return fit
    rows = engine.image_bands
    for number in range(N_PASSES):
        scene = engine.fit(sources, start=fit)
        fit = scene.fit
        image = engine.pixels.data
        if number:
            image = image - scene.model_image
        targets = Targets(x=sources.x, y=sources.y, guess=fit.parameters,
                          own_light=_own_light(scene), alone=number > 0)
        prior = Gaussian(*map(torch.as_tensor, (fit.prior_mean,
                                                fit.prior_precision)))
        found = encode(engine.vae, _views(engine, image), targets, prior,
                       fit.snr[:, rows], device=engine.fitter.device)
        fit = _with_shapes(engine, sources, fit, found.mean.numpy())
    return fit
