# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
from numpy.testing import assert_allclose

from vaephot.deblend.inputs.psf.extent import centroid, measure_fwhm


def gaussian(shape, x, y, fwhm):
    yy, xx = np.mgrid[:shape[0], :shape[1]]
    sigma = fwhm / 2.354820045
    return np.exp(-0.5 * ((xx - x)**2 + (yy - y)**2) / sigma**2)


def test_the_width_of_a_sampled_gaussian_is_measured():
    for fwhm in (1.2, 1.6, 4.0, 11.0):
        image = gaussian((61, 61), 30, 30, fwhm)
        assert_allclose(measure_fwhm(image), fwhm, rtol=0.1)


def test_the_centroid_is_the_middle_of_the_light():
    for x, y in ((10.0, 12.0), (10.3, 11.8), (9.5, 12.5)):
        got = centroid(gaussian((25, 21), x, y, 3.0))
        assert_allclose(got, (x, y), atol=1e-3)
