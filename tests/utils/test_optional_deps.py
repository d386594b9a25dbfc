# Licensed under a 3-clause BSD style license - see LICENSE.rst
import math
import sys

import pytest

from vaephot.exceptions import MissingDependencyError
from vaephot.utils import optional_deps as optional_deps
from vaephot.utils.optional_deps import has_package, import_optional


def test_an_installed_package_is_imported():
    assert has_package('math')
    assert import_optional('math', 'counting') is math


def test_a_missing_package_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, 'galsim', None)
    with pytest.raises(MissingDependencyError,
                       match=r'drawing needs .*vaephot\[simulate\]') as info:
        import_optional('galsim', 'drawing')
    assert info.value.package == 'galsim'
    assert isinstance(info.value, ImportError)


def test_extras_exist_in_the_metadata():
    from importlib.metadata import metadata

    extras = metadata('vaephot').get_all('Provides-Extra')
    assert set(optional_deps.EXTRAS.values()) <= set(extras)
