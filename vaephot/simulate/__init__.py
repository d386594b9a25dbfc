# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Simulate galaxies, blends and fields with known truth.

Everything is drawn with GalSim, which is loaded when something is drawn,
and every random choice follows from a seed.
"""

from vaephot.simulate.blends import (
    CASES,
    BlendCase,
    Blends,
    draw_blends,
    read_blends,
    write_blends,
)
from vaephot.simulate.catalog import (
    CatalogSample,
    ColumnMapping,
    MockCatalog,
    sample_catalog,
)
from vaephot.simulate.clusters import Cluster
from vaephot.simulate.disk_features import Structure
from vaephot.simulate.field_files import read_models
from vaephot.simulate.fields import (
    FieldConfig,
    SimulatedField,
    draw_field,
    draw_native_field,
    write_field,
)
from vaephot.simulate.galaxies import Galaxy
from vaephot.simulate.instrument import PSFVariation
from vaephot.simulate.mosaics import MosaicConfig, write_mosaic
from vaephot.simulate.real import RealGalaxies
from vaephot.simulate.stamp_store import (
    StoreConfig,
    read_manifest,
    read_shard,
    write_store,
)
from vaephot.simulate.star_counts import StarField
from vaephot.simulate.survey import (
    SURVEYS,
    Band,
    Survey,
    get_survey,
    read_survey,
)

__all__ = [
    'CASES',
    'SURVEYS',
    'Band',
    'BlendCase',
    'Blends',
    'CatalogSample',
    'Cluster',
    'ColumnMapping',
    'FieldConfig',
    'Galaxy',
    'MockCatalog',
    'MosaicConfig',
    'PSFVariation',
    'RealGalaxies',
    'SimulatedField',
    'StarField',
    'StoreConfig',
    'Structure',
    'Survey',
    'draw_blends',
    'draw_field',
    'draw_native_field',
    'get_survey',
    'read_blends',
    'read_manifest',
    'read_models',
    'read_shard',
    'read_survey',
    'sample_catalog',
    'write_blends',
    'write_field',
    'write_mosaic',
    'write_store',
]
