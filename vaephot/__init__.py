# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Deblend overlapping galaxies and stars and measure their fluxes.

The public names below are imported on first use, so that
``import vaephot`` loads neither torch nor galsim.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

__all__ = [
    'DeblendResult',
    'DeblendedSource',
    'PeakFinder',
    'VAEDeblender',
    '__version__',
    'conf',
    'deblend_sources',
    'decode_flags',
]

try:
    __version__ = version('vaephot')
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = '0+unknown'

# public name -> module that defines it
_LAZY = {
    'DeblendResult': 'vaephot.results.result',
    'DeblendedSource': 'vaephot.results.source',
    'PeakFinder': 'vaephot.deblend.settings',
    'VAEDeblender': 'vaephot.deblend.deblender',
    'conf': 'vaephot.weights.user_config',
    'deblend_sources': 'vaephot.deblend.functions',
    'decode_flags': 'vaephot.results.flags',
}


def __getattr__(name):
    if name in _LAZY:
        value = getattr(import_module(_LAZY[name]), name)
        globals()[name] = value
        return value
    msg = f'module {__name__!r} has no attribute {name!r}'
    raise AttributeError(msg)


def __dir__():
    return sorted({*globals(), *_LAZY})
