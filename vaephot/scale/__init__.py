# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Mosaics of any size: tiles on Dask, results in parts."""

from vaephot.scale.parquet import read_catalog
from vaephot.scale.run_survey import SurveyResult, deblend_mosaic

__all__ = ['SurveyResult', 'deblend_mosaic', 'read_catalog']
