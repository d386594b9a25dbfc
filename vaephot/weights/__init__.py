# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Trained weights: files, records, and where they are found.

Imports go one way; each module uses only those before it: ``records``
(what is known about weights), ``files`` (read, write, hash),
``registry`` (names on this machine), ``download`` (cache and mirrors, with
the addresses in ``user_config``), ``loading`` (tensors by name or path).

The public names below are imported on first use, so that
``import vaephot.weights`` does not load torch.
"""

from importlib import import_module

__all__ = [
    'Weights',
    'WeightsRecord',
    'conf',
    'fetch_weights',
    'import_weights',
    'list_weights',
    'load_weights',
    'save_weights',
]

# public name -> module that defines it
_LAZY = {
    'Weights': 'vaephot.weights.loading',
    'WeightsRecord': 'vaephot.weights.records',
    'conf': 'vaephot.weights.user_config',
    'fetch_weights': 'vaephot.weights.download',
    'import_weights': 'vaephot.weights.registry',
    'list_weights': 'vaephot.weights.registry',
    'load_weights': 'vaephot.weights.loading',
    'save_weights': 'vaephot.weights.files',
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
