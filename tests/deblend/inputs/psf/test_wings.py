# Licensed under a 3-clause BSD style license - see LICENSE.rst
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from vaephot.deblend.inputs.psf import make_band_psfs, with_wings
from vaephot.deblend.inputs.psf.wings import fit_outskirts, fit_rings


def stamp(fields, half, fwhm=3.0, beta=1.5):
    steps = np.arange(-half, half + 1)
    return fields.moffat(steps, steps[:, None], fwhm, beta, 0.0)


def bright_image(peak):
    image = np.random.default_rng(0).normal(0, 1, (60, 60))
    image[30, 30] = peak
    return image


def extend(fields, peak, **options):
    (psf,) = make_band_psfs(stamp(fields, 10, **options), ['r'], (60, 60))
    return psf, with_wings(psf, bright_image(peak), 1.0)


def test_the_slope_of_a_stamp_is_that_of_its_profile(fields):
    law = fit_outskirts(stamp(fields, 30))
    assert_allclose(law.slope, 3.0, rtol=0.05)
    assert_allclose(law(40), fields.moffat(40, 0, 3.0, 1.5, 0.0), rtol=0.05)


def test_a_bright_source_gets_wings_like_the_true_ones(fields):
    _, psf = extend(fields, 3e4)
    sample, oversampling = psf.sample(0, 0)
    assert oversampling == 1
    assert_allclose(sample.sum(), 1)
    half = len(sample) // 2
    assert half > 20
    truth = stamp(fields, half)
    inside = np.hypot(*np.mgrid[-half:half + 1, -half:half + 1]) <= half
    truth = np.where(inside, truth, 0) / truth[inside].sum()
    assert_allclose(sample[half, half], truth.max(), rtol=0.03)
    near = np.hypot(*np.mgrid[-half:half + 1, -half:half + 1]) <= 20
    assert_allclose(sample[near], truth[near], rtol=0.2)
    assert 0.01 < psf.stamp.wings < 0.2
    assert_allclose(psf.stamp.slope, 3, rtol=0.15)
    assert 'wings of slope' in psf.describe()


def test_faint_sources_and_stamps_that_end_in_nothing_need_none(fields):
    for given, made in (extend(fields, 30.0),
                        extend(fields, 3e4, fwhm=2.5, beta=12.0)):
        assert made is given or made.stamp.wings < 1e-3


@pytest.mark.parametrize('psf', [3.0, lambda x, y, band: 3.0])
def test_what_is_no_stamp_stays_as_it_is(psf):
    (made,) = make_band_psfs(psf, ['r'], (60, 60))
    assert with_wings(made, bright_image(1e6), 1.0) is made


@pytest.mark.parametrize('sky', [0.0, 0.05])
def test_rings_around_stars_tell_the_slope(fields, sky):
    rng = np.random.default_rng(2)
    image = rng.normal(sky, 1, (200, 200))
    places = np.array([(60.0, 60.0), (140.0, 60.0), (100.0, 140.0)])
    for x, y in places:
        fields.add(image, x, y, 2e4, lambda dx, dy: fields.moffat(
            dx, dy, 3.0, 1.5, 0.0))
    stars = SimpleNamespace(x=places[:, 0], y=places[:, 1],
                            flux=np.full(3, 2e4))
    law = fit_rings(image, 1.0, np.zeros(image.shape, bool), stars,
                    np.geomspace(8, 40, 9))
    assert_allclose(law.slope, 3.0, atol=0.25)
    assert_allclose(law(15), fields.moffat(15, 0, 3.0, 1.5, 0.0), rtol=0.1)
