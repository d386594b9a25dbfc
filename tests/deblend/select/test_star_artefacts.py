# Licensed under a 3-clause BSD style license - see LICENSE.rst
from types import SimpleNamespace

import numpy as np
import pytest

from vaephot.deblend.detect.pixels import Pixels
from vaephot.deblend.select.star_artefacts import unconfirmed

FWHM = np.array([1.7, 5.0])
# a star, and two detections near it: of one band, and of both
PLACES = np.array([[50.0, 50], [90, 50], [50, 90]])
FLUX = np.array([[3e5, 3e5], [16, 0], [16, 16]])
ALONE, TOGETHER = (1, 2, 3), (1, 1, 1)


def _pixels(n_bands):
    empty = np.zeros((n_bands, 1, 1))
    return Pixels(data=empty, mask=empty > 0, variance=empty + 1, gain=None,
                  fwhm=FWHM[:n_bands])


def _unconfirmed(flux=FLUX, parent=ALONE, stars=(True, False, False),
                 ellipticity=(0, 0, 0), area=10_000):
    """Which of three sources are not confirmed, light of stars on an area."""
    flux = np.array(flux, float)
    shapes = np.column_stack([np.zeros(3), ellipticity, np.zeros(3)])
    light = np.full((flux.shape[1], area, 1), 9.0)
    scene = SimpleNamespace(
        fit=SimpleNamespace(parameters=np.column_stack([PLACES, shapes]),
                            flux=flux, flux_err=np.full(flux.shape, 2.0)),
        sources=SimpleNamespace(parent=np.array(parent)),
        models=[light] * 3, is_point=np.array(stars))
    return unconfirmed(_pixels(flux.shape[1]), scene).tolist()


@pytest.mark.parametrize('parent', [ALONE, (1, 2, 2)])
def test_one_band_is_not_enough_beside_a_bright_star(parent):
    assert _unconfirmed(parent=parent) == [False, True, False]


@pytest.mark.parametrize('changes', [
    {'stars': (False, False, False)},
    {'flux': FLUX / [[1e3], [1], [1]]},  # a star as any other
    # one whose light does not reach there
    {'flux': [[3e3, 100], *FLUX[1:].tolist()]}])
def test_elsewhere_it_is(changes):
    assert not any(_unconfirmed(**changes, ellipticity=(0, 2.5, 0)))


def test_where_the_star_is_fitted_too_one_band_is_enough():
    assert not any(_unconfirmed(parent=TOGETHER))


@pytest.mark.parametrize('parent', [ALONE, TOGETHER])
def test_a_single_band_cannot_be_confirmed_by_others(parent):
    assert not any(_unconfirmed(FLUX[:, :1], parent=parent))


@pytest.mark.parametrize('n_bands', [1, 2])
def test_nothing_is_as_thin_as_a_spike(n_bands):
    flux = np.array([[3e5, 3e5], [16, 16], [16, 16]])[:, :n_bands]
    # axis ratios of exp(-2.5) and exp(-1.5)
    found = _unconfirmed(flux, ellipticity=(0, -2.5, 1.5))
    assert found == [False, True, False]


@pytest.mark.parametrize('n_bands', [1, 2])
def test_noise_has_many_places_in_the_segment_of_a_star(n_bands):
    # sources of 3.8 and 5.5 sigma
    snr = np.array([[1e5], [3.8], [5.5]]) / np.sqrt(n_bands)
    flux = np.repeat(2 * snr, n_bands, 1)
    assert _unconfirmed(flux, TOGETHER) == [False, True, False]
    assert not any(_unconfirmed(flux, TOGETHER, area=10))
    # segments of their own were detected as any other
    assert not any(_unconfirmed(flux, ALONE))
