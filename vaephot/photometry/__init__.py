# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Magnitudes and the table of measurements."""

from vaephot.photometry.catalog import Measurements, make_table, pixel_scale
from vaephot.photometry.magnitudes import (
    ab_magnitude,
    ab_magnitude_error,
    zeropoint_of_unit,
)

__all__ = [
    'Measurements',
    'ab_magnitude',
    'ab_magnitude_error',
    'make_table',
    'pixel_scale',
    'zeropoint_of_unit',
]
