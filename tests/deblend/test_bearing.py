# Licensed under a 3-clause BSD style license - see LICENSE.rst
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from photutils.segmentation import SegmentationImage

from vaephot.deblend import deblender as deblender_module
from vaephot.deblend.bearing import bear_on_division
from vaephot.deblend.inputs import prepare_observation

scenes = SimpleNamespace(**run_path(
    str(Path(__file__).with_name('_scenes.py'))))

SHAPE = (60, 160)
# a blend, one beside it, and one far away: x, y, sigma, flux
GALAXIES = ((20.3, 25.1, 1.5, 2000.0), (26.2, 27.4, 1.2, 1200.0),
            (44.0, 30.0, 1.5, 800.0), (130.0, 30.0, 1.5, 900.0))
BLEND, BESIDE, FAR = 2, 5, 9


def _segm():
    segm = np.zeros(SHAPE, np.int32)
    segm[18:35, 13:34] = BLEND
    segm[23:38, 39:50] = BESIDE
    segm[23:38, 123:138] = FAR
    return SegmentationImage(segm)


@pytest.fixture
def fitter(fast):
    return fast.make_fitter(prepare_observation(
        scenes.noisy(GALAXIES, SHAPE), error=1.0, psf=scenes.FWHM))


def test_what_comes_near_a_blend_bears_on_it(fitter, make_sources):
    xy = [g[:2] for g in GALAXIES]
    sources = make_sources(xy, [BLEND, BLEND, BESIDE, FAR])
    assert_array_equal(bear_on_division(fitter, _segm(), sources),
                       [True, True, True, False])


def test_nothing_bears_on_parents_that_stay_whole(fitter, make_sources):
    xy = [g[:2] for g in GALAXIES[1:]]
    sources = make_sources(xy, [BLEND, BESIDE, FAR])
    assert not bear_on_division(fitter, _segm(), sources).any()
    assert not len(bear_on_division(fitter, _segm(),
                                    make_sources(np.zeros((0, 2)), [])))


def test_the_others_are_measured_where_fluxes_are_asked_for(
        fast, monkeypatch):
    data = scenes.noisy(GALAXIES, SHAPE)
    options = {'error': 1.0, 'psf': scenes.FWHM}
    result = fast(data, _segm(), **options)
    assert_array_equal(fast.segment(data, _segm(), **options).data,
                       result.segmentation_image.data)
    order = np.argsort(result.table['x_centroid'])
    flux, error, p_source = (np.asarray(result.table[name])[order] for name
                             in ('flux', 'flux_err', 'p_source'))
    assert (np.abs(flux - [g[3] for g in GALAXIES]) < 4 * error).all()
    assert (p_source > 0.5).all()

    # measured at once with the others, the far one is as it was
    monkeypatch.setattr(deblender_module, 'bear_on_division',
                        lambda fitter, segm, sources: np.ones(
                            len(sources), bool))
    whole = fast(data, _segm(), **options)
    last = np.argmax(whole.table['x_centroid'])
    assert_allclose(whole.table['flux'][last], flux[-1], rtol=1e-3)


def test_a_frame_without_blends_is_measured_whole(fast):
    single = GALAXIES[-1:]
    segm = np.where(_segm().data == FAR, 1, 0)
    data = scenes.noisy(single, SHAPE)
    result = fast(data, segm, error=1.0, psf=scenes.FWHM)
    assert len(result) == 1
    assert_array_equal(fast.segment(data, segm, error=1.0,
                                       psf=scenes.FWHM).data, segm)
