# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What a fitter offers to the search for stars."""

import numpy as np

from vaephot.deblend.detect.pixels import Pixels
from vaephot.deblend.detect.stars import PointSources
from vaephot.deblend.images import draw_scene, draw_stamps
from vaephot.deblend.scene import POINT_LOG_SIZE

__all__ = ['point_parameters', 'point_sources']


def point_parameters(fitter, xy):
    """Parameters (n, n_parameters) of point sources at places (n, 2)."""
    parameters = np.zeros((len(xy), fitter.vae.config.n_parameters))
    parameters[:, :2] = xy
    parameters[:, 2] = POINT_LOG_SIZE
    return parameters


def point_sources(fitter):
    """Pixels of a fitter, and its drawing of point sources."""
    def draw(xy, size, corner):
        return draw_stamps(fitter, point_parameters(fitter, xy), size,
                           corner)

    def draw_image(xy, flux):
        return draw_scene(fitter, point_parameters(fitter, xy),
                          flux)['model_image']
    return PointSources(pixels=Pixels.of_fitter(fitter), draw=draw,
                        draw_image=draw_image,
                        free_sky=fitter.settings.background is not None)
