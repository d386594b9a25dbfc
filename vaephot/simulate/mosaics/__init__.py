# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Mosaics of any size, drawn and written part by part."""

from vaephot.simulate.mosaics.mosaic_cells import MosaicConfig, MosaicDrawer
from vaephot.simulate.mosaics.mosaic_files import write_mosaic

__all__ = ['MosaicConfig', 'MosaicDrawer', 'write_mosaic']
