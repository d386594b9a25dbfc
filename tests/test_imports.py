# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Data goes one way, and so do imports; each check is a new process."""

import json
import pkgutil
import subprocess
import sys

import pytest

import vaephot

# what may never be loaded, with which part of the package
FORBIDDEN = {
    'vaephot': ['torch', 'galsim'],
    'vaephot.results.result': ['torch', 'galsim'],
    'vaephot.results.flags': ['torch', 'galsim'],
    'vaephot.utils.boxes': ['torch', 'galsim'],
    'vaephot.simulate': ['torch', 'vaephot.train', 'vaephot.deblend',
                         'vaephot.models', 'vaephot.photometry'],
    'vaephot.models': ['galsim', 'vaephot.train', 'vaephot.deblend'],
    'vaephot.weights': ['torch', 'galsim', 'vaephot.train'],
    'vaephot.train': ['galsim', 'vaephot.simulate', 'vaephot.deblend'],
    'vaephot.deblend': ['galsim', 'vaephot.simulate', 'vaephot.train'],
    'vaephot.deblend.outputs': ['torch', 'galsim', 'vaephot.deblend.select'],
    'vaephot.photometry': ['torch', 'galsim', 'vaephot.train',
                           'vaephot.deblend'],
    'vaephot.evaluate': ['torch', 'galsim', 'vaephot.train'],
    'vaephot.cli': ['torch', 'galsim'],
    'vaephot.utils': ['torch', 'galsim'],
}

MODULES = sorted(item.name for item in pkgutil.walk_packages(
    vaephot.__path__, 'vaephot.') if item.name != 'vaephot.__main__')

# import each module without those of the package that came before it
ALONE = """
import importlib, json, sys, traceback
sys.modules['galsim'] = None
errors = {}
for name in json.loads(sys.argv[1]):
    for known in [k for k in sys.modules if k.split('.')[0] == 'vaephot']:
        del sys.modules[known]
    try:
        importlib.import_module(name)
    except Exception:
        errors[name] = traceback.format_exc()
print(json.dumps(errors))
"""

LOADED = """
import importlib, json, sys
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
print(json.dumps(sorted(sys.modules)))
"""


def run(code, names):
    done = subprocess.run(
        [sys.executable, '-c', code, json.dumps(names)],
        capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_each_module_can_be_imported_alone_without_galsim():
    assert run(ALONE, MODULES) == {}


def modules_of(package):
    inside = [name for name in MODULES if name.startswith(package + '.')]
    # submodules of the root belong to other rows
    return [package] if package == 'vaephot' else [package, *inside]


@pytest.mark.parametrize('package', FORBIDDEN)
def test_imports_go_one_way(package):
    if package not in {'vaephot', *MODULES}:
        pytest.skip(f'there is no {package} yet')
    loaded = run(LOADED, modules_of(package))
    broken = [name for name in loaded for root in FORBIDDEN[package]
              if name == root or name.startswith(root + '.')]
    assert broken == []
