# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from numpy.testing import assert_allclose
from photutils.psf import ImagePSF

from vaephot.deblend.inputs.psf.given import make_band_psfs
from vaephot.deblend.inputs.psf.samples import normalized, samples_per_pixel
from vaephot.exceptions import PSFError

SHAPE = (60, 80)


def gaussian(shape, x, y, fwhm):
    yy, xx = np.mgrid[:shape[0], :shape[1]]
    sigma = fwhm / 2.354820045
    return np.exp(-0.5 * ((xx - x)**2 + (yy - y)**2) / sigma**2)


def noise_and_sources():
    image = np.abs(np.random.default_rng(0).normal(0, 1, (40, 40)))
    return {'flat': np.ones((21, 21)), 'noise': image,
            'two stars': sum(gaussian((41, 41), x, x, 3.0) for x in (8, 30)),
            'too wide': gaussian((11, 11), 5, 5, 30.0)}


@pytest.mark.parametrize('kind', noise_and_sources())
@pytest.mark.parametrize('convert', [np.array, ImagePSF])
def test_an_array_that_cannot_be_a_psf_raises(kind, convert):
    match = {'flat': 'same everywhere', 'too wide': 'wider'}.get(kind,
                                                                 'apart')
    with pytest.raises(PSFError, match=match):
        make_band_psfs(convert(noise_and_sources()[kind]), ['r'], SHAPE)


def test_ellipses_rings_and_spikes_are_psfs():
    y, x = np.mgrid[-20:21, -20:21]
    ellipse = np.exp(-0.5 * ((x / 4)**2 + (y / 1)**2))
    ring = np.exp(-0.5 * ((np.hypot(x, y) - 6) / 1.5)**2)
    spikes = ellipse + ellipse.T + 0.1 * gaussian((41, 41), 20, 20, 20.0)
    for data in (ellipse, ring, spikes):
        make_band_psfs(data, ['r'], SHAPE)


def test_a_normalised_image_is_a_copy_of_sum_1():
    image = gaussian((9, 9), 4, 4, 3.0)
    assert_allclose(normalized(image, 'r').sum(), 1)
    assert image.max() == 1


@pytest.mark.parametrize(('fwhm', 'want'), [(1.0, 4), (2.1, 2), (9.0, 1)])
def test_narrow_psfs_are_sampled_finely(fwhm, want):
    assert samples_per_pixel(fwhm) == want
