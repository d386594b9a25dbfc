# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Simulate galaxies, blends and fields with known truth.

Everything is drawn with GalSim, which is loaded when something is drawn,
and every random choice follows from a seed.
"""

from vaephot.simulate.blends import (
                                     CASES,
                                     Blends,
                                     draw_blends,
                                     read_blends,
                                     write_blends,
)
from vaephot.simulate.fields import (
                                     FieldConfig,
                                     SimulatedField,
                                     draw_field,
                                     write_field,
)
from vaephot.simulate.galaxies import Galaxy
from vaephot.simulate.store import (
                                     StoreConfig,
                                     read_manifest,
                                     read_shard,
                                     write_store,
)
from vaephot.simulate.survey import SURVEYS, Band, Survey, get_survey

__all__ = [
    'CASES',
    'SURVEYS',
    'Band',
    'Blends',
    'FieldConfig',
    'Galaxy',
    'SimulatedField',
    'StoreConfig',
    'Survey',
    'draw_blends',
    'draw_field',
    'get_survey',
    'read_blends',
    'read_manifest',
    'read_shard',
    'write_blends',
    'write_field',
    'write_store',
]
