# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Stamps: windows of images of one size."""

from vaephot.stamps.windows import cut_window, overlap

__all__ = ['cut_window', 'overlap']
