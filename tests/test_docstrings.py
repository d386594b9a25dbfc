# Licensed under a 3-clause BSD style license - see LICENSE.rst
import doctest
import inspect
import pkgutil
from importlib import import_module
from importlib.util import find_spec

import pytest

import vaephot

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
NAMES = sorted(item.name for item in pkgutil.walk_packages(
    vaephot.__path__, 'vaephot.') if item.name != 'vaephot.__main__')


@pytest.mark.parametrize('name', NAMES)
def test_examples_in_docstrings_run(name):
    if name.startswith('vaephot.simulate') and find_spec('galsim') is None:
        pytest.skip('GalSim is not installed')
    module = import_module(name)
    failed, _ = doctest.testmod(module, optionflags=FLAGS)
    assert failed == 0


@pytest.mark.parametrize('name', NAMES)
def test_public_objects_have_docstrings(name):
    module = import_module(name)
    bare = [public for public in getattr(module, '__all__', ())
            if callable(value := getattr(module, public))
            and not inspect.getdoc(value)]
    assert bare == []
