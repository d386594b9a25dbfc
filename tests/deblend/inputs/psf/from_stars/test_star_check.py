# Licensed under a 3-clause BSD style license - see LICENSE.rst
import warnings

import numpy as np
import pytest
from photutils.psf import ImagePSF

from vaephot.deblend.inputs.psf import check_width, make_band_psfs
from vaephot.exceptions import VaephotWarning


def check(fields, psf, **options):
    image, _ = fields.star_field(2.6, **options)
    (made,) = make_band_psfs(psf, ['r'], image.shape)
    check_width(made, image, 1.0, np.zeros(image.shape, bool))


def sampled(fields, step):
    steps = np.arange(-30, 31) * step
    return fields.moffat(steps, steps[:, None], 2.6)


def test_the_right_width_is_passed(fields):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        check(fields, sampled(fields, 1))
        check(fields, ImagePSF(sampled(fields, 1 / 3), oversampling=3))


def test_samples_taken_for_pixels_are_told(fields):
    with pytest.warns(VaephotWarning, match='times as wide as .* stars'):
        check(fields, sampled(fields, 1 / 3))


def test_a_psf_of_larger_pixels_is_told(fields):
    with pytest.warns(VaephotWarning, match='of another pixel scale'):
        check(fields, sampled(fields, 2))


def test_without_stars_nothing_is_said(fields):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        check(fields, 9.0, n_stars=0)
