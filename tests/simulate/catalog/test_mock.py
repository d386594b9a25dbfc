# Licensed under a 3-clause BSD style license - see LICENSE.rst
import os
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ks_2samp

from vaephot.exceptions import CatalogError
from vaephot.simulate.catalog import MockCatalog, galaxy_counts, median_size
from vaephot.simulate.catalog.mock import COLOR_CHAIN

BENCHMARKS = Path(__file__).parents[3] / 'benchmarks'


def draw(mag, n, bands=('VIS', 'H'), seed=1):
    return MockCatalog().draw(np.random.default_rng(seed), np.full(n, mag),
                              bands)


def test_galaxies_follow_from_the_generator():
    one, two = draw(24.0, 5), draw(24.0, 5)
    assert [g.galaxy for g in one] == [g.galaxy for g in two]
    assert [g.redshift for g in one] == [g.redshift for g in two]


@pytest.mark.parametrize('mag', [20.0, 24.5, 26.0])
def test_sizes_have_the_median_and_scatter_of_cosmos(mag):
    radii = np.log10([g.galaxy.half_light_radius for g in draw(mag, 1500)])
    assert np.median(radii) == pytest.approx(np.log10(median_size(mag)),
                                             abs=0.02)
    assert radii.std() == pytest.approx(0.20, abs=0.02)
    assert median_size(24.5) == pytest.approx(0.30)


def test_the_reference_band_has_the_given_magnitude():
    item = draw(23.5, 1, ('H', 'VIS'))[0]
    assert item.mags[1] == 23.5
    assert item.bulge_fractions[1] == pytest.approx(
        item.galaxy.bulge_fraction)


def test_bulges_are_rounder_and_redder_than_disks():
    items = draw(23.0, 400, ('g', 'VIS', 'H'))
    assert all(g.galaxy.bulge_axis_ratio >= g.galaxy.disk_axis_ratio
               for g in items)
    mixed = [g.bulge_fractions for g in items
             if 0.05 < g.galaxy.bulge_fraction < 0.95]
    blue, _, red = np.median(mixed, axis=0)
    assert red > blue + 0.05


def test_disks_have_structure_and_some_galaxies_are_one_law():
    galaxies = [g.galaxy for g in draw(21.0, 800)]
    single = np.mean([g.is_single for g in galaxies])
    assert single == pytest.approx(0.10, abs=0.03)
    assert all(g.structure.smooth_fraction == 1
               for g in galaxies if g.is_single)
    arms = np.mean([g.structure.arm_fraction > 0 for g in galaxies])
    assert 0.1 < arms < 0.35
    assert min(g.structure.smooth_fraction for g in galaxies) > -1e-9


def test_the_order_of_the_bands_does_not_change_the_colors():
    one, two = (MockCatalog().draw(np.random.default_rng(6), [24.0], bands)
                for bands in (('VIS', 'Y', 'r'), ('r', 'VIS', 'Y')))
    assert one[0].mags[[2, 0, 1]] == pytest.approx(two[0].mags)


def test_an_unknown_band_is_named():
    with pytest.raises(CatalogError, match='Q') as info:
        draw(20.0, 1, ('VIS', 'Q'))
    assert info.value.bands == ['Q']


def test_counts_have_the_published_slope_and_density():
    slope = np.log10(galaxy_counts(24.0) / galaxy_counts(20.0)) / 4
    # 0.33 (Metcalfe et al. 2001) to 0.35 (McCracken et al. 2001)
    assert slope == pytest.approx(0.34, abs=0.015)
    mock = MockCatalog()
    assert mock.counts_ratio((14.0, 26.0), 26.0) == pytest.approx(1)
    # about 35 to 45 galaxies per square arcmin to 24.5
    assert 35 < 120 * mock.counts_ratio((14.0, 24.5), 26.0) < 45


def test_magnitudes_follow_the_counts():
    mags = MockCatalog().draw_mags(np.random.default_rng(1), 20000,
                                   (20.0, 26.0))
    assert mags.min() >= 20
    assert mags.max() <= 26
    edges = np.arange(21.0, 26.5, 0.5)
    found = np.histogram(mags, edges)[0]
    middle = galaxy_counts((edges[1:] + edges[:-1]) / 2)
    expected = middle / middle.sum() * found.sum()
    assert (abs(found - expected) < 4 * np.sqrt(expected) + 0.02
            * expected).all()


def test_limits_out_of_order_are_refused():
    with pytest.raises(CatalogError, match='26'):
        MockCatalog().draw_mags(np.random.default_rng(1), 3, (26, 20))


@pytest.fixture(scope='module')
def benchmark():
    """Module that fitted the mock, and the reference."""
    folder = os.environ.get('VAEPHOT_TEST_DATA')
    if folder is None:
        pytest.skip('VAEPHOT_TEST_DATA is not set')
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import mock_catalog
    finally:
        sys.path.remove(str(BENCHMARKS))
    return mock_catalog, *mock_catalog.read_reference(folder)


@pytest.fixture(scope='module')
def samples(benchmark):
    """Mock, and rows of the reference that the fit has not seen."""
    module, reference, fitted = benchmark
    return module.compare(reference, fitted, seed=3)


def test_each_quantity_agrees_with_unseen_galaxies(samples):
    drawn, unseen = samples
    names = ['redshift', 'q_disk', 'bulge_fraction', 'u-VIS', 'VIS-H',
             *(f'{a}-{b}' for a, b in pairwise(COLOR_CHAIN))]
    tests = {n: ks_2samp(drawn[n], unseen[n]).pvalue for n in names}
    # one in a thousand, shared among the quantities
    assert min(tests.values()) > 1e-3 / len(names) * 10, tests


@pytest.mark.parametrize('name', ['VIS-H', 'g-r', 'u-VIS', 'redshift',
                                  'q_disk'])
def test_medians_follow_the_magnitude_as_in_the_reference(benchmark, name):
    module, reference, fitted = benchmark
    pulls = [(made - true) / error for _, _, made, true, error in
             module.relations(name, reference, fitted)]
    # seven bins of five quantities
    assert max(map(abs, pulls)) < 2.5, pulls


def test_faint_galaxies_are_not_nearby(samples):
    drawn, _ = samples
    faint = (drawn['mag'] > 24.5) & (drawn['mag'] < 26.5)
    # 1.7 per cent of fitted rows, none of the unseen ones
    assert (drawn['redshift'][faint] < 0.1).mean() < 0.05


def test_the_samples_mix_in_all_quantities_together(benchmark, samples):
    # 0.5 if they cannot be told apart, 1 if they have nothing in common
    assert benchmark[0].same_kind_share(*samples) < 0.58
