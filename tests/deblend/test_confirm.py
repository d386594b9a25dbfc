# Licensed under a 3-clause BSD style license - see LICENSE.rst
from types import SimpleNamespace

import numpy as np
import pytest

from vaephot.deblend.confirm import unconfirmed

FWHM = np.array([1.7, 5.0])
# a star, and two detections near it: of one band, and of both
PLACES = np.array([[50.0, 50.0], [90, 50], [50, 90]])
FLUX = np.array([[3e5, 3e5], [16, 0], [16, 16]])


def _fitter():
    return SimpleNamespace(fwhm=FWHM,
                           sky_rms=lambda xy: np.ones((len(xy), 2)))


def _solution(flux=FLUX, parent=(1, 2, 3), stars=(True, False, False)):
    fit = SimpleNamespace(parameters=PLACES, flux=np.array(flux),
                          flux_err=np.full(np.shape(flux), 2.0))
    return SimpleNamespace(
        fit=fit, sources=SimpleNamespace(parent=np.array(parent)),
        is_point=np.array(stars))


def test_one_band_is_not_enough_beside_a_bright_star():
    found = unconfirmed(_fitter(), _solution())
    assert found.tolist() == [False, True, False]


@pytest.mark.parametrize('changes', [
    {'stars': (False, False, False)},
    {'flux': FLUX / [[1e3], [1], [1]]},  # a star as any other
    # one whose light does not reach there
    {'flux': [[3e3, 100], *FLUX[1:].tolist()]},
    {'parent': (1, 1, 3)}])  # judged as children are
def test_elsewhere_it_is(changes):
    assert not unconfirmed(_fitter(), _solution(**changes)).any()


def test_a_single_band_cannot_be_confirmed():
    solution = _solution(FLUX[:, :1])
    fitter = SimpleNamespace(fwhm=FWHM[:1],
                             sky_rms=lambda xy: np.ones((len(xy), 1)))
    assert not unconfirmed(fitter, solution).any()
