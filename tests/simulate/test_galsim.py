# Licensed under a 3-clause BSD style license - see LICENSE.rst
import pytest

from vaephot.exceptions import MissingDependencyError
from vaephot.simulate._galsim import drawing_accuracy, load_galsim


@pytest.mark.galsim
def test_the_accuracy_is_passed_on():
    assert drawing_accuracy(3e-3).folding_threshold == 3e-3


def test_a_missing_galsim_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'galsim', None)
    with pytest.raises(MissingDependencyError, match='simulate'):
        load_galsim()
