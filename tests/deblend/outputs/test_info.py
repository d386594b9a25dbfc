# Licensed under a 3-clause BSD style license - see LICENSE.rst
from types import SimpleNamespace

import astropy.units as u
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from photutils.segmentation import SegmentationImage
from scipy.ndimage import gaussian_filter

from vaephot.deblend.inputs.read import prepare_observation
from vaephot.deblend.outputs.fallback import Fallback
from vaephot.deblend.outputs.info import add_info

NOTHING = Fallback(owners={})


def say(*observations, fallback=NOTHING, **before):
    segm = SegmentationImage(np.eye(3, dtype=int))
    if before:
        segm.info = before
    seen = (observations[0] if len(observations) == 1
            else SimpleNamespace(layers=observations))
    add_info(segm, seen, fallback)
    return segm.info


@pytest.fixture
def image():
    return np.random.default_rng(3).normal(0, 2.0, (120, 120))


def test_what_was_estimated_is_told_with_its_unit(image):
    info = say(prepare_observation(image << u.MJy / u.sr))
    (said,) = info['estimated'].values()
    assert_allclose(said['noise'].to_value(u.MJy / u.sr), 2, rtol=0.05)
    assert said['smoothing_fwhm'] == 0
    assert said['psf_fwhm'] > 0
    image = gaussian_filter(image, 1.5)
    (said,) = say(prepare_observation(image))['estimated'].values()
    assert_allclose(said['smoothing_fwhm'], 1.5 * 2.3548, rtol=0.1)


def test_each_band_is_told_by_name(image):
    data = np.stack([image, 3 * image])
    info = say(prepare_observation(data, bands=('r', 'i'), psf=3.0))
    assert list(info['estimated']) == ['r', 'i']
    assert_allclose(info['estimated']['i']['noise'],
                    3 * info['estimated']['r']['noise'])
    assert 'psf_fwhm' not in info['estimated']['r']
    layers = [prepare_observation(image, bands=(band,)) for band in 'rY']
    assert list(say(*layers)['estimated']) == ['r', 'Y']


def test_nothing_is_told_of_what_was_given(image):
    given = prepare_observation(image, error=2.0, psf=3.0)
    assert say(given) == {}
    assert say(given, warnings='kept') == {'warnings': 'kept'}
    told = say(given, fallback=Fallback(owners={}, labels=(4, 7)))
    assert_array_equal(told['fallback_labels'], [4, 7])


def test_an_image_without_noise_was_not_smoothed():
    (said,) = say(prepare_observation(np.ones((9, 9))))['estimated'].values()
    assert said['smoothing_fwhm'] == 0
