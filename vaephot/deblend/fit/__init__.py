# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The joint fit: all sources of a group, in all bands."""
