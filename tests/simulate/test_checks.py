# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest

from vaephot.exceptions import CatalogError
from vaephot.simulate import Galaxy, PSFVariation, Structure
from vaephot.simulate._checks import check_count, check_number, check_range


@pytest.mark.parametrize('value', [-0.1, 1.0, np.nan, np.inf])
def test_numbers_outside_of_the_limits_are_refused(value):
    with pytest.raises(CatalogError, match='below 1') as info:
        check_number('a field', 'share', value, high=1.0)
    assert info.value.value is value
    check_number('a field', 'share', 0.0, high=1.0)


@pytest.mark.parametrize('value', [0, 2.5, None])
def test_counts_are_whole_numbers(value):
    with pytest.raises(CatalogError, match='n of a field .* at least 1'):
        check_count('a field', 'n', value, low=1)
    check_count('a field', 'n', np.int32(1), low=1)


@pytest.mark.parametrize('limits', [(2, 1), (1,), (np.nan, 2), (-1, 2)])
def test_limits_are_in_order(limits):
    with pytest.raises(CatalogError, match='two numbers in this order'):
        check_range('a blend', 'mag', limits, low=0)
    check_range('a blend', 'mag', (0, 0), low=0)


@pytest.mark.parametrize('make', [
    lambda: PSFVariation(n_nodes=1), lambda: PSFVariation(ellipticity=2.0),
    lambda: Structure(knot_fraction=0.8, n_knots=3, arm_fraction=0.8),
    lambda: Structure(bar_fraction=-0.1), lambda: Structure(
        knot_fraction=0.1),
    lambda: Galaxy(disk_radius=1, bulge_radius=1, disk_axis_ratio=1,
                   bulge_axis_ratio=1, position_angle=0, bulge_fraction=0,
                   shear=(1.0, 0.0))])
def test_impossible_objects_are_refused(make):
    with pytest.raises(CatalogError, match='at least'):
        make()
