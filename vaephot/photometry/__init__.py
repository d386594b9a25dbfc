# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Magnitudes, colours, and tables of measurements."""

from vaephot.photometry.catalog import Measurements, make_table, pixel_scale
from vaephot.photometry.magnitudes import (
    ab_color_error,
    ab_magnitude,
    ab_magnitude_error,
    zeropoint_of_unit,
)
from vaephot.photometry.posterior_mean import (
    non_negative_flux,
    posterior_mean_flux,
)

__all__ = [
    'Measurements',
    'ab_color_error',
    'ab_magnitude',
    'ab_magnitude_error',
    'make_table',
    'non_negative_flux',
    'pixel_scale',
    'posterior_mean_flux',
    'zeropoint_of_unit',
]
