# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest

from vaephot.exceptions import CatalogError
from vaephot.simulate.catalog import (
    COLOR_BANDS,
    draw_colors,
    draw_galaxy,
    draw_magnitudes,
    draw_star_colors,
)


def test_galaxies_follow_from_the_generator():
    one, two = (draw_galaxy(np.random.default_rng(4), 24.0)
                for _ in range(2))
    assert one == two


@pytest.mark.parametrize('mag', [20.0, 24.5])
def test_disks_follow_the_median_size_of_cosmos(mag):
    rng = np.random.default_rng(1)
    radii = [draw_galaxy(rng, mag).disk_radius for _ in range(2000)]
    expected = 0.30 * 10 ** (-0.07 * (mag - 24.5))
    assert np.median(radii) == pytest.approx(expected, rel=0.03)


def test_bulges_are_rounder_than_disks():
    rng = np.random.default_rng(2)
    galaxies = [draw_galaxy(rng, 23.0) for _ in range(500)]
    assert all(g.bulge_axis_ratio >= g.disk_axis_ratio for g in galaxies)
    assert all(0 < g.disk_axis_ratio <= 1 for g in galaxies)


def test_shares_of_the_kinds_of_galaxies():
    rng = np.random.default_rng(3)
    galaxies = [draw_galaxy(rng, 23.0) for _ in range(2000)]
    knots = np.mean([g.n_knots > 0 for g in galaxies])
    single = np.mean([g.sersic_index is not None for g in galaxies])
    assert knots == pytest.approx(0.15, abs=0.03)
    assert single == pytest.approx(0.10, abs=0.03)
    assert max(g.knot_fraction for g in galaxies) <= 0.2


def test_the_reference_band_has_the_given_magnitude():
    mags, bulges = draw_colors(np.random.default_rng(1), 23.5, 0.3,
                               ('H', 'VIS'))
    assert mags[1] == 23.5
    assert bulges[1] == pytest.approx(0.3)


@pytest.mark.parametrize('fraction', [0.0, 1.0])
def test_a_galaxy_of_one_part_has_it_in_all_bands(fraction):
    _, bulges = draw_colors(np.random.default_rng(1), 23.5, fraction,
                            COLOR_BANDS)
    assert (bulges == fraction).all()


def test_colors_have_the_median_of_the_catalogue():
    rng = np.random.default_rng(5)
    colors = [24.5 - draw_colors(rng, 24.5, 0.0, ('H',))[0][0]
              for _ in range(3000)]
    assert np.mean(colors) == pytest.approx(0.71, abs=0.04)


def test_the_order_of_the_bands_does_not_change_the_colors():
    one = draw_colors(np.random.default_rng(6), 24, 0.2, ('VIS', 'Y', 'r'))
    two = draw_colors(np.random.default_rng(6), 24, 0.2, ('r', 'VIS', 'Y'))
    assert one[0][[2, 0, 1]] == pytest.approx(two[0])


def test_an_unknown_band_is_named():
    with pytest.raises(CatalogError, match='Q') as info:
        draw_star_colors(np.random.default_rng(1), 20.0, ('VIS', 'Q'))
    assert info.value.bands == ['Q']


def test_magnitudes_stay_within_the_limits_and_follow_the_slope():
    mags = draw_magnitudes(np.random.default_rng(1), 20000,
                           mag_limits=(20, 26), slope=0.33)
    assert mags.min() >= 20
    assert mags.max() <= 26
    ratio = (mags < 25).sum() / (mags < 24).sum()
    assert np.log10(ratio) == pytest.approx(0.33, abs=0.03)


def test_a_slope_of_zero_is_flat():
    mags = draw_magnitudes(np.random.default_rng(1), 20000,
                           mag_limits=(20, 26), slope=0)
    assert mags.mean() == pytest.approx(23, abs=0.05)


def test_limits_out_of_order_are_refused():
    with pytest.raises(CatalogError, match='26'):
        draw_magnitudes(np.random.default_rng(1), 3, mag_limits=(26, 20))
