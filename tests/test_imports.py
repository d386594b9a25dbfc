# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Data goes one way, and so do imports.

What is loaded is checked in new processes; import statements, run or not,
are read from the files.
"""

import ast
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

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
    'vaephot.train.candidate_sets': ['galsim', 'vaephot.simulate'],
    'vaephot.train.classifier_training': ['galsim', 'vaephot.simulate'],
    'vaephot.evaluate': ['torch', 'galsim', 'vaephot.train'],
    'vaephot.scale': ['galsim', 'vaephot.train', 'vaephot.simulate', 'dask',
                      'distributed', 'pyarrow'],
    'vaephot.cli': ['torch', 'galsim', 'dask'],
    'vaephot.utils': ['torch', 'galsim'],
}

# what learns from the results of the search, and has rows of its own
AFTER_SEARCH = {'vaephot.train.candidate_sets',
                'vaephot.train.classifier_training'}

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
    inside = [name for name in MODULES if name.startswith(package + '.')
              and name not in AFTER_SEARCH]
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


# ------------------------------------------------- import statements
FOLDER = Path(vaephot.__file__).parent

# what every room may import
COMMON = {'exceptions', 'utils'}

# room -> modules or rooms it may import besides itself and the common ones;
# torch and galsim are named where they are allowed
ROOMS = {
    'exceptions': set(),
    'utils': {'torch'},
    'photometry': set(),
    'results': {'photometry'},
    'simulate': {'galsim'},
    'models': {'torch'},
    'weights': {'models', 'torch'},
    'train': {'models', 'weights', 'torch'},
    'train.candidate_sets': {'models', 'weights', 'deblend', 'torch'},
    'train.classifier_training': {'models', 'weights', 'torch',
                                  'deblend.select.features'},
    'evaluate': {'results', 'photometry', 'simulate', 'weights', 'deblend'},
    'inject': {'results', 'photometry', 'simulate', 'deblend'},
    'scale': {'results', 'deblend', 'weights'},
    'cli': {'results', 'photometry', 'simulate', 'weights', 'models',
            'train', 'deblend', 'evaluate', 'inject', 'scale'},
    '__main__': {'cli'},
    # of the rooms of deblend, each may use those before it
    'deblend.scene': set(),
    'deblend.inputs': {'photometry'},
    'deblend.detect': {'models.config', 'deblend.scene', 'deblend.inputs'},
    'deblend.settings': {'deblend.inputs', 'deblend.detect'},
    'deblend.encode': {'models', 'torch', 'deblend.scene', 'deblend.inputs',
                       'deblend.detect'},
    'deblend.fit': {'models', 'torch', 'deblend.scene', 'deblend.settings',
                    'deblend.inputs', 'deblend.detect', 'deblend.encode'},
    'deblend.select': {'models', 'torch', 'deblend.scene',
                       'deblend.settings', 'deblend.inputs',
                       'deblend.detect', 'deblend.encode', 'deblend.fit'},
    'deblend.outputs': {'models.config', 'photometry', 'results',
                        'deblend.scene', 'deblend.settings',
                        'deblend.inputs.noise', 'deblend.fit.goodness'},
    # the pipeline and what users call
    'deblend': {'models', 'weights', 'photometry', 'results', 'torch'},
}

def name_of(path):
    """Module of a file, without the name of the package."""
    parts = path.relative_to(FOLDER).with_suffix('').parts
    return '.'.join(part for part in parts if part != '__init__')


FILES = {name_of(path): path for path in FOLDER.rglob('*.py')}


def imported_names(tree):
    """Full names in the import statements of a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, 'imports are absolute'
            yield from (f'{node.module}.{alias.name}'
                        for alias in node.names)


def imported_modules(path):
    """Modules of the package, torch and galsim that a file imports."""
    found = set()
    for name in imported_names(ast.parse(path.read_text('utf-8'))):
        root, _, rest = name.partition('.')
        if root in {'torch', 'galsim'}:
            found.add(root)
        elif root == 'vaephot':
            # a name in a module, or the module itself
            found.add(rest if rest in FILES else rest.rpartition('.')[0])
    return found - {''}  # the package itself: version and public names


def is_in(module, rooms):
    return any(module == room or module.startswith(f'{room}.')
               for room in rooms)


def room_of(module):
    """Smallest room that a module is in."""
    return max((room for room in ROOMS if is_in(module, {room})), key=len)


def broken(module, names):
    room = room_of(module)
    allowed = COMMON | ROOMS[room] | {room}
    return {(module, name) for name in names if not is_in(name, allowed)}


def test_every_module_is_in_a_room():
    assert [name for name in FILES
            if name and not is_in(name, ROOMS)] == []


def test_imports_follow_the_rules():
    found = set().union(*(broken(name, imported_modules(path))
                          for name, path in FILES.items() if name))
    assert found == set()


def test_rooms_are_in_an_order():
    """No room may import, by whatever way, a room that may import it."""
    def below(room, seen):
        for name in ROOMS.get(room, set()) - seen:
            seen.add(name)
            below(name, seen)
        return seen
    assert [room for room in ROOMS if room in below(room, set())] == []


@pytest.mark.parametrize(('module', 'name', 'ok'), [
    ('deblend.detect.peaks', 'deblend.inputs.read', True),
    ('deblend.detect.peaks', 'deblend.detect.stack', True),
    ('deblend.detect.peaks', 'utils.boxes', True),
    ('deblend.detect.peaks', 'deblend.select.loop', False),
    ('deblend.detect.peaks', 'torch', False),
    ('deblend.outputs.assign', 'deblend.fit.goodness', True),
    ('deblend.outputs.assign', 'deblend.fit.steps', False),
    ('deblend.pipeline', 'deblend.select.loop', True),
    ('deblend.pipeline', 'simulate', False),
    ('results.result', 'torch', False),
    ('train.candidate_sets', 'deblend.functions', True),
    ('train.training_loop', 'deblend.functions', False),
    ('train.classifier_training', 'deblend.select.features', True),
    ('train.classifier_training', 'deblend.functions', False),
    ('photometry.catalog', 'results.result', False)])
def test_the_rules_themselves(module, name, ok):
    assert (broken(module, {name}) == set()) is ok
