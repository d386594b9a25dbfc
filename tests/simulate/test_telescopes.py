# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest

from vaephot.exceptions import PSFError
from vaephot.simulate.telescopes import (
    EUCLID,
    Telescope,
    diffraction_pattern,
    pupil_image,
)


def test_the_open_area_of_euclid_is_the_published_one():
    pupil, coordinate = pupil_image(EUCLID)
    area = pupil.sum() * (coordinate[1] - coordinate[0]) ** 2
    assert area == pytest.approx(0.9926, rel=0.01)  # square metres


def test_an_open_mirror_makes_the_airy_pattern():
    from scipy.special import j1

    mirror = Telescope(diameter_m=1.2, obscuration=0.0)
    scale, size = 0.02, 101
    drawn = diffraction_pattern(mirror, 800.0, scale, size)
    angle = abs(np.arange(size) - 50) * scale
    v = np.pi * 1.2 / 800e-9 * angle[51:] / 206265
    airy = (2 * j1(v) / v) ** 2
    assert drawn[50, 51:] / drawn[50, 50] == pytest.approx(airy, abs=5e-3)


def test_most_light_is_inside_and_none_is_invented():
    drawn = diffraction_pattern(EUCLID, 725.0, 0.03, 401)
    assert 0.95 < drawn.sum() < 1.0


def test_euclid_has_six_spikes_at_their_angles():
    n, scale = 601, 0.04
    drawn = sum(diffraction_pattern(EUCLID, wave, scale, n)
                for wave in (560, 640, 720, 800, 880))
    y, x = np.indices(drawn.shape) - n // 2
    ring = abs(np.hypot(x, y) * scale - 9) < 2.5
    angle = np.rad2deg(np.arctan2(y, x))[ring] % 180
    bins = np.bincount(angle.astype(int), drawn[ring], 180) / np.bincount(
        angle.astype(int), minlength=180)
    smooth = np.convolve(np.r_[bins[-2:], bins, bins[:2]], np.ones(5) / 5,
                         'valid')
    peaks = [k for k in range(180) if smooth[k] == max(
        smooth[(k + np.arange(-15, 16)) % 180])]
    strong = sorted(peaks, key=lambda k: -smooth[k])[:3]
    assert sorted(strong) == pytest.approx([50, 107, 169], abs=3)
    assert min(smooth[k] for k in strong) > 3 * np.median(smooth)


def test_a_shear_stretches_the_pattern():
    drawn = diffraction_pattern(EUCLID, 725.0, 0.03, 41, shear=(0.1, 0))
    plain = diffraction_pattern(EUCLID, 725.0, 0.03, 41)
    assert drawn[20, 24] / drawn[20, 20] > plain[20, 24] / plain[20, 20]
    assert drawn[24, 20] / drawn[20, 20] < plain[24, 20] / plain[20, 20]


@pytest.mark.parametrize('change', [{'diameter_m': 0.0},
                                    {'obscuration': 1.0}])
def test_impossible_telescopes_are_refused(change):
    with pytest.raises(PSFError, match='must be'):
        Telescope(**{'diameter_m': 1.0, 'obscuration': 0.2, **change})
