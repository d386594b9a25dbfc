# Licensed under a 3-clause BSD style license - see LICENSE.rst
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from photutils.segmentation import SegmentationImage

from vaephot.deblend.groups import SourceList
from vaephot.deblend.pipeline import solve
from vaephot.deblend.select.unlabelled import pass_through

# positions of two sources of parent 3 and one of parent 7
PLACES = ((10.0, 12.0), (17.0, 12.0), (32.0, 12.0))
PARENTS = np.array([3, 3, 7])


@pytest.fixture
def solved(make_observation, make_fitter, gaussian_band, draw_frame,
           tiny_vae):
    psfs = [gaussian_band(1.2)]
    parameters = np.zeros((3, tiny_vae.config.n_parameters))
    parameters[:, :2] = PLACES
    data = draw_frame(parameters, [[300.0], [200.0], [250.0]], psfs, (24, 44))
    segm = np.zeros(data.shape[1:], int)
    segm[6:19, 4:24] = 3
    segm[6:19, 26:39] = 7
    segm = SegmentationImage(segm)
    fitter = make_fitter(make_observation(data, psfs), max_steps=3)
    x, y = np.array(PLACES).T
    sources = SourceList(x=x, y=y, parent=PARENTS, radius=np.full(3, 4.0),
                         position_sigma=np.full(3, 0.5))
    solution = solve(fitter, segm, sources, np.zeros(3, bool))
    return fitter, segm, replace(solution, p_source=np.array([.9, .8, .7]))


def test_parents_not_asked_for_get_one_source(solved):
    fitter, segm, solution = solved
    out = pass_through(fitter, segm, solution, np.array([7]))
    assert_array_equal(out.sources.parent, [3, 7])
    assert_array_equal(out.p_source, [.9, .7])
    # what was asked for stays as it was, though its neighbour did not
    for name in ('parameters', 'flux', 'flux_err', 'covariance'):
        assert_array_equal(getattr(out.fit, name)[1],
                           getattr(solution.fit, name)[2])
    assert out.fit.flux[0] != solution.fit.flux[0]
    assert out.rejected == ()
    np.testing.assert_allclose(
        out.model_image.sum(), sum(m.sum() for m in out.models), rtol=1e-6)
    assert len(out.boxes) == 2


@pytest.mark.parametrize('labels', [None, [3], [3, 7]])
def test_nothing_changes_where_all_blends_are_asked_for(solved, labels):
    labels = None if labels is None else np.array(labels)
    assert pass_through(*solved, labels) is solved[2]
