# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest

from vaephot.exceptions import CatalogError
from vaephot.simulate.clusters import Cluster, draw_cluster
from vaephot.simulate.survey import get_survey

SURVEY = get_survey('euclid-wide')


def draw(**settings):
    return draw_cluster(np.random.default_rng(1), Cluster(**settings),
                        SURVEY, 100.0, 200.0)


def test_the_brightest_galaxy_and_the_light_between_share_the_middle():
    bcg, icl, *members = draw(n_members=30)
    assert (bcg.kind, icl.kind) == ('bcg', 'icl')
    assert {m.kind for m in members} == {'member'}
    assert len(members) == 30
    assert (bcg.x, bcg.y) == (icl.x, icl.y) == (100.0, 200.0)
    assert icl.flux / bcg.flux == pytest.approx(0.3)
    assert bcg.mags[0] == pytest.approx(18.0)
    assert all(m.mags[0] > bcg.mags[0] for m in members)


def test_half_of_the_members_are_within_their_radius():
    members = draw(n_members=2000, icl_share=0.0)[1:]
    radius = np.hypot([m.x - 100 for m in members],
                      [m.y - 200 for m in members]) * 0.1
    assert (radius < 20.0).mean() == pytest.approx(0.5 / 0.95, abs=0.04)


def test_members_have_one_colour():
    members = draw(n_members=50)[2:]
    color = [m.mags[0] - m.mags[3] for m in members]
    assert np.std(color) < 0.1
    assert len({m.redshift for m in members}) == 1


@pytest.mark.parametrize('change', [
    {'bcg_radius': 0.0}, {'n_members': -1}, {'icl_share': -0.1},
    {'bcg_mag': 26.0}, {'n_members': 2.5}, {'bcg_radius': np.nan}])
def test_impossible_clusters_are_refused(change):
    with pytest.raises(CatalogError):
        Cluster(**change)
