# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from scipy.integrate import trapezoid
from scipy.special import j0

from vaephot.simulate.transforms import (
    TRUNCATION,
    Component,
    radial_transform,
    sersic_exponent,
    shear_matrix,
    truncated_scale,
)


@pytest.mark.galsim
@pytest.mark.parametrize('index', [0.5, 1, 2.5, 4])
def test_transforms_of_sersic_laws_are_those_of_galsim(index):
    galsim = pytest.importorskip('galsim')
    if index == 1:
        law = galsim.Exponential(half_light_radius=1.0)
    else:
        law = galsim.Sersic(index, half_light_radius=1.0, trunc=TRUNCATION)
    k = np.linspace(0, 3, 40)
    ours = radial_transform(index, k ** 2)
    theirs = [law.kValue(2 * np.pi * value, 0).real for value in k]
    # the tables of GalSim are good to about this
    assert ours == pytest.approx(theirs, abs=3e-4)
    assert ours[0] == pytest.approx(1)


@pytest.mark.parametrize('k', [0.3, 1.7, 4.1])
def test_transforms_are_integrals_of_the_law(k):
    b = sersic_exponent(4)
    t = np.linspace(0, TRUNCATION ** 0.25, 200_001)
    law = np.exp(-b * t * truncated_scale(4) ** 0.25) * t ** 7
    expected = trapezoid(law * j0(2 * np.pi * k * t ** 4), t) / trapezoid(
        law, t)
    assert radial_transform(4, np.array([k ** 2]))[0] == pytest.approx(
        expected, abs=5e-6)


def test_nothing_is_left_far_beyond_the_table():
    assert radial_transform(4, np.array([1e6])) == pytest.approx(0, abs=1e-6)


def test_a_shear_keeps_the_area_and_has_its_axes():
    matrix = shear_matrix(0.25, 0.3)
    assert np.linalg.det(matrix) == pytest.approx(1)
    major = matrix @ [np.cos(0.3), np.sin(0.3)]
    assert np.hypot(*major) == pytest.approx(2)


def test_a_cloud_is_the_sum_of_its_shifted_blobs():
    points = np.array([[0.3, -0.1], [-0.2, 0.4]])
    weights = np.array([0.25, 0.75])
    cloud = Component(part='young', share=1.0, radius=0.1,
                      matrix=shear_matrix(0.5, 0.7), points=points,
                      weights=weights)
    kx, ky = np.linspace(0, 3, 7), np.linspace(-3, 3, 9)
    place = (cloud.matrix @ points.T).T
    k = np.stack(np.broadcast_arrays(kx[None, :], ky[:, None]), axis=-1)
    inner = ((k @ cloud.matrix) ** 2).sum(axis=-1)
    expected = np.exp(-2 * np.pi ** 2 * 0.01 * inner) * sum(
        w * np.exp(-2j * np.pi * (k @ p))
        for w, p in zip(weights, place, strict=True))
    assert cloud.transform(kx, ky) == pytest.approx(expected)
