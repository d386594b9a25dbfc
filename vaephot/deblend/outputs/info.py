# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What was estimated or went another way, for the ``info`` of the labels."""

import numpy as np

__all__ = ['add_info']


def _estimates(observation):
    """What had to be estimated of each band, by name."""
    out = {}
    if observation.error_estimated:
        noise = np.sqrt(observation.variance.ravel())
        out['noise'] = (noise if observation.unit is None
                        else noise << observation.unit)
        out['smoothing_fwhm'] = np.where(
            np.isfinite(observation.smoothing), observation.smoothing, 0.0)
    if observation.psf_estimated:
        out['psf_fwhm'] = np.array([p.fwhm for p in observation.psfs])
    return out


def add_info(segmentation_image, observation, fallback, empty=()):
    """
    Say in the ``info`` of a segmentation what was estimated and went wrong.

    ``info['estimated']`` has one dictionary for each band: ``noise``, the
    1-sigma noise of a pixel, and ``smoothing_fwhm``, with what Gaussian the
    image was smoothed before, 0 for none, where no error was given;
    ``psf_fwhm`` where no PSF was given. Widths are in pixels.
    ``info['fallback_labels']`` and ``info['empty_labels']`` are labels of
    parents: those that could not be modelled, and those in which nothing was
    found. None of these is there if there is nothing to say.
    """
    info = dict(getattr(segmentation_image, 'info', None) or {})
    estimated = {}
    for layer in getattr(observation, 'layers', (observation,)):
        columns = _estimates(layer)
        for i, band in enumerate(layer.bands if columns else ()):
            estimated[band] = {name: value[i]
                               for name, value in columns.items()}
    if estimated:
        info['estimated'] = estimated
    if fallback.labels:
        info['fallback_labels'] = np.array(fallback.labels)
    if len(empty):
        info['empty_labels'] = np.array(empty)
    segmentation_image.info = info
