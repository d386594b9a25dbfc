# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest

from vaephot.simulate.disk_features import (
    Structure,
    arm_cloud,
    draw_structure,
    knot_cloud,
)

RICH = Structure(knot_fraction=0.1, n_knots=30, arm_fraction=0.3, n_arms=2,
                 seed=5)


@pytest.mark.parametrize('cloud', [arm_cloud, knot_cloud])
def test_clouds_have_unit_weight_about_the_centre(cloud):
    points, weights = cloud(RICH)
    assert weights.sum() == pytest.approx(1)
    assert (weights > 0).all()
    assert weights @ points == pytest.approx(0, abs=1e-12)
    again = cloud(RICH)
    assert (again[0] == points).all()


def test_arms_have_their_pitch():
    for pitch in (15.0, -25.0):
        points, _ = arm_cloud(Structure(arm_fraction=0.3, n_arms=1,
                                        pitch_deg=pitch, seed=2))
        points = points - points[0] * 0
        angle = np.unwrap(np.arctan2(points[:, 1], points[:, 0]))
        # the radius grows or shrinks by the pitch as the angle turns
        assert np.sign(np.polyfit(np.arange(len(angle)), angle, 1)[0]) == (
            np.sign(pitch))


def test_some_disks_have_each_structure_and_none_too_much():
    rng = np.random.default_rng(1)
    drawn = [draw_structure(rng) for _ in range(600)]
    for name, share in (('arm_fraction', 0.30), ('bar_fraction', 0.20)):
        have = np.mean([getattr(s, name) > 0 for s in drawn])
        assert have == pytest.approx(share, abs=0.06)
    assert all(0 <= s.smooth_fraction <= 1 for s in drawn)
    assert all(s.n_knots > 0 for s in drawn if s.knot_fraction > 0)
    assert {s.n_arms for s in drawn} == {2, 3, 4}
