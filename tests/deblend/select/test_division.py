# Licensed under a 3-clause BSD style license - see LICENSE.rst
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from photutils.segmentation import SegmentationImage

from vaephot.deblend.detect.candidates import choose_sources
from vaephot.deblend.inputs.read import prepare_observation
from vaephot.deblend.point_sources import point_sources
from vaephot.deblend.select import division as division_module
from vaephot.deblend.select.division import divide

scenes = SimpleNamespace(**run_path(
    str(Path(__file__).parents[1] / '_scenes.py')))

SHAPE = (60, 160)
# a blend, one beside it, and one far away: x, y, sigma, flux
GALAXIES = ((20.3, 25.1, 1.5, 2000.0), (26.2, 27.4, 1.2, 1200.0),
            (44.0, 30.0, 1.5, 800.0), (130.0, 30.0, 1.5, 900.0))
BLEND, BESIDE, FAR = 2, 5, 9
OPTIONS = {'error': 1.0, 'psf': scenes.FWHM}


def _segm():
    segm = np.zeros(SHAPE, np.int32)
    segm[18:35, 13:34] = BLEND
    segm[23:38, 39:50] = BESIDE
    segm[23:38, 123:138] = FAR
    return SegmentationImage(segm)


@pytest.fixture
def divided(fast):
    def run(data, segm):
        observation = prepare_observation(data, **OPTIONS)
        fitter = fast.make_fitter(observation)
        chosen = choose_sources(fast, observation, segm, None, None,
                                points=point_sources(fitter))
        return chosen, *divide(fast, fitter, segm, chosen)
    return run


def test_only_parents_with_several_candidates_are_looked_at(divided):
    data = scenes.noisy(GALAXIES, SHAPE)
    chosen, division, solution = divided(data, _segm())
    assert_array_equal(solution.sources.parent, [BLEND, BLEND])
    assert_array_equal(division.chosen.sources.parent,
                       [BLEND, BLEND, BESIDE, FAR])
    assert set(division.owners) == {BLEND}
    assert (division.p_source > 0.5).all()
    assert len(chosen.sources) == 4


def test_what_is_beside_does_not_matter(divided):
    data = scenes.noisy(GALAXIES, SHAPE)
    other = data.copy()
    other[23:38, 39:50] += scenes.noisy(GALAXIES, SHAPE, seed=8)[23:38, 39:50]
    *_, one = divided(data, _segm())
    *_, two = divided(other, _segm())
    assert_array_equal(one.fit.parameters, two.fit.parameters)


def test_no_parent_with_several_candidates_is_no_trouble(divided, fast):
    single = np.where(_segm().data == FAR, 1, 0)
    data = scenes.noisy(GALAXIES[-1:], SHAPE)
    _, division, solution = divided(data, SegmentationImage(single))
    assert not len(solution.sources)
    assert len(division.chosen.sources) == 1
    assert_array_equal(fast.segment(data, single, **OPTIONS).data, single)
    assert len(fast(data, single, **OPTIONS)) == 1


def test_labels_are_those_of_the_division_whatever_is_measured(fast):
    data = scenes.noisy(GALAXIES, SHAPE)
    result = fast(data, _segm(), **OPTIONS)
    assert_array_equal(fast.segment(data, _segm(), **OPTIONS).data,
                       result.segmentation_image.data)
    order = np.argsort(result.table['x_centroid'])
    flux, error, p_source = (np.asarray(result.table[name])[order] for name
                             in ('flux', 'flux_err', 'p_source'))
    assert (np.abs(flux - [g[3] for g in GALAXIES]) < 4 * error).all()
    assert (p_source > 0.5).all()


def test_probabilities_of_children_are_those_that_decided(
        fast, monkeypatch):
    data = scenes.noisy(GALAXIES, SHAPE)
    known = []

    def spy(*args, **kwargs):
        solution = division_drop(*args, **kwargs)
        known.append(solution.p_source)
        return solution
    division_drop = division_module.drop_doubtful
    monkeypatch.setattr(division_module, 'drop_doubtful', spy)
    table = fast(data, _segm(), **OPTIONS).table
    blended = np.asarray(table['parent_label']) == BLEND
    assert_allclose(np.sort(table['p_source'][blended]), np.sort(known[0]))


def test_parents_that_nobody_asks_for_stay_whole(fast):
    data = scenes.noisy(GALAXIES, SHAPE)
    table = fast(data, _segm(), labels=[FAR], **OPTIONS).table
    assert_array_equal(np.sort(table['parent_label']), [BLEND, BESIDE, FAR])
    segm = fast.segment(data, _segm(), labels=[FAR], **OPTIONS)
    assert segm.n_labels == 3
