# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Record the results of the golden scenes: ``python tests/make_golden.py``.

Run it only when results change on purpose, with VAEPHOT_TEST_DATA set to
the folder of the test data; say in the change log why they changed.
"""

import json
import sys
import time
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

HERE = Path(__file__).parent
PATH = HERE / 'data' / 'golden.json'
scenes = SimpleNamespace(**run_path(str(HERE / 'golden_scenes.py')))


def record_all():
    """Measure every scene and tell the time of each."""
    made = {}
    for name in scenes.SCENES:
        start = time.perf_counter()
        made[name] = scenes.measure(name)
        if made[name] is None:
            sys.exit(f'there are no data of scene {name}; set '
                     'VAEPHOT_TEST_DATA to their folder')
        print(f'{name:22} {time.perf_counter() - start:6.2f} s  '
              f'{made[name]["children"]}', flush=True)
    return made


def write(made):
    """Write one line for each entry of a scene."""
    parts = []
    for name, entries in made.items():
        lines = (f'  {json.dumps(key)}: {json.dumps(value)}'
                 for key, value in entries.items())
        parts.append(f' {json.dumps(name)}: {{\n' + ',\n'.join(lines) + '}')
    PATH.parent.mkdir(exist_ok=True)
    PATH.write_text('{\n' + ',\n'.join(parts) + '\n}\n', encoding='utf-8')


if __name__ == '__main__':
    write(record_all())
