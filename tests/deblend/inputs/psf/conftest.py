# Licensed under a 3-clause BSD style license - see LICENSE.rst
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import pytest


@pytest.fixture(scope='session')
def fields():
    """Return functions that draw images with a known PSF."""
    return SimpleNamespace(**run_path(
        str(Path(__file__).with_name('_fields.py'))))
