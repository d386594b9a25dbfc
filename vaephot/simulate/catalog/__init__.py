# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Input catalogues: the mock, and readers of larger ones."""

from vaephot.simulate.catalog.flagship import (
    FLAGSHIP_COLUMNS,
    CatalogSample,
    ColumnMapping,
    iterate_catalog,
    sample_catalog,
)
from vaephot.simulate.catalog.mock import (
    MockCatalog,
    galaxy_counts,
    median_size,
)
from vaephot.simulate.catalog.population import (
    BAND_WAVELENGTHS_NM,
    REFERENCE_BAND,
    CatalogGalaxy,
    Population,
)

__all__ = [
    'BAND_WAVELENGTHS_NM',
    'FLAGSHIP_COLUMNS',
    'REFERENCE_BAND',
    'CatalogGalaxy',
    'CatalogSample',
    'ColumnMapping',
    'MockCatalog',
    'Population',
    'galaxy_counts',
    'iterate_catalog',
    'median_size',
    'sample_catalog',
]
