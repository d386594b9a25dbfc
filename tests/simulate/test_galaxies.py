# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest

from vaephot.exceptions import CatalogError
from vaephot.simulate.disk_features import Structure
from vaephot.simulate.galaxies import (
    Galaxy,
    galaxy_profile,
    half_light_radius,
)

pytestmark = pytest.mark.galsim

DISK = {'disk_radius': 0.5, 'bulge_radius': 0.2, 'disk_axis_ratio': 0.6,
        'bulge_axis_ratio': 0.9, 'position_angle': 0.4}


def draw(galaxy, size=1201, scale=0.01):
    galsim = pytest.importorskip('galsim')
    # a blur far below the radii makes the drawing fast
    blurred = galsim.Convolve(galaxy_profile(galaxy),
                              galsim.Gaussian(sigma=0.02))
    return blurred.drawImage(nx=size, ny=size, scale=scale, dtype=float,
                             method='no_pixel').array


@pytest.mark.parametrize('fraction', [0.0, 0.3, 0.7, 1.0])
def test_half_of_the_light_is_within_the_half_light_radius(fraction):
    galaxy = Galaxy(**{**DISK, 'disk_axis_ratio': 1.0,
                       'bulge_axis_ratio': 1.0}, bulge_fraction=fraction)
    image = draw(galaxy)
    y, x = np.indices(image.shape) - 600
    inside = np.hypot(x, y) * 0.01 < galaxy.half_light_radius
    assert image[inside].sum() == pytest.approx(0.5, abs=0.01)


def test_the_half_light_radius_lies_between_those_of_the_parts():
    assert half_light_radius(0.0, 0.2, 0.5) == 0.5
    assert half_light_radius(1.0, 0.2, 0.5) == 0.2
    radii = [half_light_radius(f, 0.2, 0.5) for f in (0.2, 0.5, 0.8)]
    assert 0.5 > radii[0] > radii[1] > radii[2] > 0.2
    assert half_light_radius(0.5, 0.3, 0.3) == pytest.approx(0.3)


def test_the_conformal_shear_is_that_of_the_moments():
    galaxy = Galaxy(**DISK, bulge_fraction=0.0)
    image = draw(galaxy)
    y, x = np.indices(image.shape) - 600
    xx, yy, xy = ((image * q).sum() for q in (x * x, y * y, x * y))
    # eta = arctanh of the distortion
    e = np.array([xx - yy, 2 * xy]) / (xx + yy)
    size = np.hypot(*e)
    eta = np.arctanh(size) * e / size
    assert galaxy.conformal_shear == pytest.approx(eta, abs=0.01)
    assert np.hypot(*galaxy.conformal_shear) == pytest.approx(
        -np.log(0.6))


def test_the_bulge_takes_part_in_the_conformal_shear():
    round_bulge = Galaxy(**{**DISK, 'bulge_axis_ratio': 1.0},
                         bulge_fraction=0.5)
    assert np.hypot(*round_bulge.conformal_shear) == pytest.approx(
        -0.5 * np.log(0.6))


@pytest.mark.parametrize('more', [
    {'bulge_fraction': 0.4},
    {'bulge_fraction': 0.4, 'sersic_index': 2.5},
    {'bulge_fraction': 0.4, 'structure': Structure(
        knot_fraction=0.2, n_knots=8, arm_fraction=0.2, bar_fraction=0.1)},
    {'bulge_fraction': 1.0, 'structure': Structure(
        knot_fraction=0.2, n_knots=8)},
])
def test_profiles_have_unit_flux(more):
    profile = galaxy_profile(Galaxy(**DISK, **more))
    assert profile.flux == pytest.approx(1, abs=1e-9)


def test_knots_follow_from_their_seed():
    galaxies = [Galaxy(**DISK, bulge_fraction=0.0, structure=Structure(
        knot_fraction=0.2, n_knots=8, seed=seed)) for seed in (1, 1, 2)]
    a, b, c = (galaxy_profile(g) for g in galaxies)
    assert a == b
    assert a != c


def test_the_parts_share_the_light_and_their_colours():
    galaxy = Galaxy(**DISK, bulge_fraction=0.3, structure=Structure(
        knot_fraction=0.2, n_knots=8, arm_fraction=0.3, bar_fraction=0.1))
    fluxes = galaxy.part_fluxes(np.array([0.1, 0.3, 0.6]),
                                np.array([450.0, 725.0, 1700.0]))
    total = sum(c.share * fluxes[c.part] for c in galaxy.components())
    assert total == pytest.approx(1)
    assert fluxes['bulge'].tolist() == [0.1, 0.3, 0.6]
    knots = 0.2 * fluxes['young'] / (1 - fluxes['bulge'])
    assert knots[0] > knots[1] == pytest.approx(0.2)
    assert knots[2] < knots[1]


def test_lenses_shear_the_whole_galaxy():
    galaxy = Galaxy(**{**DISK, 'disk_axis_ratio': 1.0,
                       'bulge_axis_ratio': 1.0}, bulge_fraction=0.5,
                    shear=(0.05, -0.02))
    # a circle under a reduced shear g has the distortion of 2 artanh g
    eta = 2 * np.arctanh(np.hypot(0.05, 0.02))
    assert np.hypot(*galaxy.conformal_shear) == pytest.approx(eta)
    assert galaxy.conformal_shear[1] < 0 < galaxy.conformal_shear[0]


@pytest.mark.parametrize('change', [
    {'disk_radius': 0.0}, {'bulge_radius': np.nan}, {'disk_radius': -1.0},
    {'disk_axis_ratio': 0.0}, {'bulge_axis_ratio': 1.2},
    {'bulge_fraction': 1.5}])
def test_impossible_galaxies_are_refused(change):
    with pytest.raises(CatalogError, match='must be'):
        Galaxy(**{**DISK, 'bulge_fraction': 0.0, **change})


def test_a_single_sersic_law_has_the_radius_and_shear_of_the_disk():
    galaxy = Galaxy(**DISK, bulge_fraction=0.7, sersic_index=2.0)
    assert galaxy.half_light_radius == 0.5
    assert np.hypot(*galaxy.conformal_shear) == pytest.approx(-np.log(0.6))


def test_scaling_multiplies_all_radii():
    galaxy = Galaxy(**DISK, bulge_fraction=0.3)
    big = galaxy.scaled(2.0)
    assert big.half_light_radius == pytest.approx(
        2 * galaxy.half_light_radius)
    assert big.major_radius == pytest.approx(2 * galaxy.major_radius)
    assert big.conformal_shear == galaxy.conformal_shear
