# Licensed under a 3-clause BSD style license - see LICENSE.rst
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from photutils.segmentation import SegmentationImage

from vaephot.deblend.detect.candidates import Chosen
from vaephot.deblend.pipeline import deblend
from vaephot.deblend.settings import SearchSettings

scenes = SimpleNamespace(**run_path(
    str(Path(__file__).with_name('_scenes.py'))))

SHAPE = (60, 160)
# a blend, one beside it, and one far away: x, y, sigma, flux
GALAXIES = ((20.3, 25.1, 1.5, 2000.0), (26.2, 27.4, 1.2, 1200.0),
            (44.0, 30.0, 1.5, 800.0), (130.0, 30.0, 1.5, 900.0))
BLEND, BESIDE, FAR = 2, 5, 9
PLACES = [row[:2] for row in GALAXIES]
PARENTS = [BLEND, BLEND, BESIDE, FAR]
OPTIONS = {'error': 1.0, 'psf': scenes.FWHM}
SEARCH = SearchSettings(n_pixels=5, contrast=0.001, n_levels=32,
                        mode='exponential', connectivity=8)


def _segm():
    segm = np.zeros(SHAPE, np.int32)
    segm[18:35, 13:34] = BLEND
    segm[23:38, 39:50] = BESIDE
    segm[23:38, 123:138] = FAR
    return SegmentationImage(segm)


@pytest.fixture
def found(make_engine, make_observation, make_sources, gaussian_band,
          shipped_vae):
    """Return a function that deblends candidates, one of them false."""
    def make(*, given, refine=True, progress=None):
        data = scenes.noisy(GALAXIES, SHAPE)[None]
        psfs = [gaussian_band(scenes.PSF_SIGMA)]
        engine = make_engine(make_observation(data, psfs), _segm(),
                             vae=shipped_vae, refine=refine)
        sources = make_sources([*PLACES, (133.0, 26.5)], [*PARENTS, FAR])
        return deblend(engine, Chosen(sources=sources, given=given), SEARCH,
                       progress)
    return make


@pytest.mark.parametrize('refine', [True, False, 'network'])
def test_what_was_given_stays(found, refine):
    scene = found(given=True, refine=refine)
    assert len(scene) == len(scene.p_source) == 5
    assert np.isfinite(scene.fit.flux).all()
    assert np.isfinite(scene.p_source).all()


def test_what_was_found_has_to_be_a_source(found):
    scene = found(given=False)
    assert_array_equal(scene.sources.parent, PARENTS)
    pulls = (scene.fit.flux[:, 0] - [g[3] for g in GALAXIES]
             ) / scene.fit.flux_err[:, 0]
    assert (abs(pulls) < 5).all()
    assert (scene.p_source > 0.5).all()


def test_progress_counts_every_candidate_once(found):
    counts = []
    found(given=False, progress=counts.append)
    assert sum(counts) == 5


# ---------------------------------------------- labels with and without fluxes
def test_labels_alone_are_those_of_the_result(fast):
    data = scenes.noisy(GALAXIES, SHAPE)
    result = fast(data, _segm(), **OPTIONS)
    assert_array_equal(fast.segment(data, _segm(), **OPTIONS).data,
                       result.segmentation_image.data)


def test_a_quick_fit_finds_the_fluxes(fast):
    result = fast(scenes.noisy(GALAXIES, SHAPE), _segm(), **OPTIONS)
    order = np.argsort(result.table['x_centroid'])
    flux, error, p_source = (np.asarray(result.table[name])[order] for name
                             in ('flux', 'flux_err', 'p_source'))
    assert (np.abs(flux - [g[3] for g in GALAXIES]) < 4 * error).all()
    assert (p_source > 0.5).all()


def test_a_single_candidate_is_no_trouble(fast):
    single = np.where(_segm().data == FAR, 1, 0)
    data = scenes.noisy(GALAXIES[-1:], SHAPE)
    assert_array_equal(fast.segment(data, single, **OPTIONS).data, single)
    assert len(fast(data, single, **OPTIONS)) == 1


def test_parents_that_nobody_asks_for_stay_whole(fast):
    data = scenes.noisy(GALAXIES, SHAPE)
    table = fast(data, _segm(), labels=[FAR], **OPTIONS).table
    assert_array_equal(np.sort(table['parent_label']), [BLEND, BESIDE, FAR])
    segm = fast.segment(data, _segm(), labels=[FAR], **OPTIONS)
    assert segm.n_labels == 3
