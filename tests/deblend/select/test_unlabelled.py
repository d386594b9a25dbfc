# Licensed under a 3-clause BSD style license - see LICENSE.rst
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from photutils.segmentation import SegmentationImage

from vaephot.deblend.select.unlabelled import merge_unlabelled

# positions of two sources of parent 3 and one of parent 7
PLACES = ((10.0, 12.0), (17.0, 12.0), (32.0, 12.0))
PARENTS = (3, 3, 7)


@pytest.fixture
def fitted(make_observation, make_engine, gaussian_band, draw_frame,
           make_sources, tiny_vae):
    """Return an engine and the scene that it fitted."""
    psfs = [gaussian_band(1.2)]
    parameters = np.zeros((3, tiny_vae.config.n_parameters))
    parameters[:, :2] = PLACES
    data = draw_frame(parameters, [[300.0], [200.0], [250.0]], psfs, (24, 44))
    segm = np.zeros(data.shape[1:], int)
    segm[6:19, 4:24] = 3
    segm[6:19, 26:39] = 7
    engine = make_engine(make_observation(data, psfs),
                         SegmentationImage(segm))
    scene = engine.fit(make_sources(PLACES, PARENTS))
    scores = np.array([[.9, .1], [.8, .2], [.7, .3]])
    return engine, replace(scene, scores=scores)


def test_parents_not_asked_for_get_one_source(fitted):
    engine, scene = fitted
    out = merge_unlabelled(engine, scene, np.array([7]))
    assert_array_equal(out.sources.parent, [3, 7])
    assert_array_equal(out.scores, [[.9, .1], [.7, .3]])
    # what was asked for stays as it was, though its neighbour did not
    for name in ('parameters', 'flux', 'flux_err', 'covariance'):
        assert_array_equal(getattr(out.fit, name)[1],
                           getattr(scene.fit, name)[2])
    # one source has the light of both
    assert out.fit.flux[0] > 1.2 * scene.fit.flux[0]
    assert out.rejected == ()
    assert len(out.boxes) == 2
    assert_allclose(out.model_image.sum(),
                    sum(model.sum() for model in out.models), rtol=1e-6)


@pytest.mark.parametrize('labels', [None, [3], [3, 7]])
def test_nothing_changes_where_all_blends_are_asked_for(fitted, labels):
    labels = None if labels is None else np.array(labels)
    assert merge_unlabelled(*fitted, labels) is fitted[1]
