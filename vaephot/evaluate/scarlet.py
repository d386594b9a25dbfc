# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
scarlet (Melchior et al. 2018), if it is installed.

The version meant is that of https://github.com/pmelchior/scarlet, with its
submodule ``scarlet.lite``; the package called ``scarlet`` on PyPI is
something else.
"""

import numpy as np

from vaephot.exceptions import MissingDependencyError

__all__ = ['scarlet_lite']

# Gaussian of the model frame in pixels, as scarlet recommends
MODEL_SIGMA = 0.8
MIN_STEPS = 20


def scarlet_lite(observed, *, max_steps=100, tolerance=1e-4):
    """
    Measure told positions with ``scarlet.lite``.

    It gets the positions, the PSFs at the pixels and the noise of sky and
    photons of the data. Sources outside of the image, and blends that it
    fails on, are NaN.

    Parameters
    ----------
    observed : `~vaephot.evaluate.observed.ObservedBlends`
        The blends.
    max_steps : int, optional
        Steps of each fit.
    tolerance : float, optional
        Relative change of the likelihood that ends a fit.

    Returns
    -------
    list of dict
        One per blend, in the order of the positions.

    Raises
    ------
    MissingDependencyError
        If scarlet is not installed.
    """
    try:
        import scarlet.lite as lite
    except ImportError as err:
        msg = ('the method scarlet needs scarlet with scarlet.lite from '
               'https://github.com/pmelchior/scarlet; it is not on PyPI.')
        raise MissingDependencyError(msg, package='scarlet') from err
    psf = _pixel_psf(observed)
    return [_fit(lite, observed, k, psf, max_steps, tolerance)
            for k in range(len(observed))]


scarlet_lite.uses_positions = True


def _pixel_psf(observed):
    """PSFs sampled at the pixels, of sum 1."""
    step, middle = observed.oversampling, observed.psf.shape[-1] // 2
    psf = observed.psf[:, middle % step::step, middle % step::step]
    return (psf / psf.sum((1, 2), keepdims=True)).astype(np.float32)


def _fit(lite, observed, k, psf, max_steps, tolerance):
    """Row of one blend."""
    xy, (ny, nx) = observed.positions[k], observed.shape
    flux = np.full((len(xy), len(observed.bands)), np.nan)
    inside = [i for i, (x, y) in enumerate(xy)
              if 0.5 <= x < nx - 0.5 and 0.5 <= y < ny - 0.5]
    try:
        images = _measure(lite, observed, k, psf, xy[inside], max_steps,
                          tolerance)
    except (ArithmeticError, LookupError, RuntimeError, TypeError,
            ValueError):  # what a fit that diverges ends in
        images = [None] * len(inside)
    for i, image in zip(inside, images, strict=True):
        if image is not None:
            flux[i] = image.sum((1, 2))
    return {'xy': xy, 'flux': flux}


def _measure(lite, observed, k, psf, xy, max_steps, tolerance):
    """Model of each source on the image, None where there is none."""
    image = np.asarray(observed.image[k], np.float32)
    photons = np.maximum(image, 0) / observed.gain[:, None, None]
    variance = (observed.sky_rms[:, None, None] ** 2
                + photons).astype(np.float32)
    weights = (~observed.mask[k] / variance).astype(np.float32)
    model_psf = lite.integrated_circular_gaussian(sigma=MODEL_SIGMA)
    observation = lite.LiteObservation(image, variance, weights, psf,
                                       model_psf[None].astype(np.float32))
    centers = [(int(round(y)), int(round(x))) for x, y in xy]
    sources = lite.init_all_sources_main(observation, centers)

    def component(*args, **keywords):
        return lite.init_adaprox_component(
            *args, bg_thresh=0.25, max_prox_iter=2, **keywords)

    sources = lite.parameterize_sources(sources, observation, component)
    blend = lite.LiteBlend(sources, observation).fit_spectra()
    blend.fit(max_steps, e_rel=tolerance, min_iter=MIN_STEPS, resize=10,
              reweight=True)
    return [observation.convolve(source.get_model(bbox=observation.bbox))
            if source.components else None for source in blend.sources]
