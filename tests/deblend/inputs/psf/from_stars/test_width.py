# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from numpy.testing import assert_allclose

from vaephot.deblend.inputs.psf.from_stars.width import (
    DEFAULT_FWHM,
    estimate_width,
)


def test_without_sources_the_default_is_given():
    assert estimate_width(np.zeros(0)) == DEFAULT_FWHM


def test_of_few_sources_the_smallest_counts():
    assert estimate_width(np.array([6.0, 3.0])) == 3.0


def test_a_width_that_many_share_is_that_of_stars():
    rng = np.random.default_rng(5)
    stars = 2.5 * np.exp(rng.normal(0, 0.02, 7))
    galaxies = 2.5 * np.exp(rng.uniform(0.35, 1.2, 42))
    got = estimate_width(np.concatenate([galaxies, stars]))
    assert_allclose(got, 2.5, rtol=0.02)


@pytest.mark.parametrize('smoothing', [0.0, 2.4])
def test_without_stars_it_is_narrower_than_all_galaxies(smoothing):
    widths = 2.5 * np.exp(np.random.default_rng(5).uniform(0.35, 1.2, 49))
    got = estimate_width(widths, smoothing)
    # better too narrow than too wide, but no narrower than the smoothing
    assert max(0.7 * 2.5, smoothing) < got < widths.min()
