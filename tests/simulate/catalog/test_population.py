# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest

from vaephot.exceptions import CatalogError
from vaephot.simulate.catalog.population import (
    band_wavelengths,
    cumulative_counts,
    draw_magnitudes,
)


def test_bands_have_wavelengths_and_unknown_ones_are_named():
    assert band_wavelengths(['g', 'H']).tolist() == [478.7, 1768.1]
    with pytest.raises(CatalogError, match='catalog_band'):
        band_wavelengths(['g', 'K'])


def test_counts_are_integrated():
    grid, total = cumulative_counts((20.0, 22.0), lambda m: 3 + 0 * m)
    assert total[-1] == pytest.approx(6)
    assert total == pytest.approx(3 * (grid - 20))


def test_flat_counts_give_flat_magnitudes():
    mags = draw_magnitudes(np.random.default_rng(1), 20000, (20, 26),
                           lambda m: 1 + 0 * m)
    assert mags.mean() == pytest.approx(23, abs=0.05)
    assert mags.std() == pytest.approx(6 / np.sqrt(12), abs=0.03)
