# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Rules for the files of the package."""

from collections import Counter
from pathlib import Path

import vaephot

PACKAGE = Path(vaephot.__file__).parent
FILES = [path for path in PACKAGE.rglob('*.py')
         if not path.stem.startswith('__')]

# names that still occur twice; take one out when a file is renamed. That of
# the subcommand 'survey' stays: simulated surveys have it, too
PENDING = {'asymmetry', 'bands', 'pixels', 'positions', 'render', 'survey'}


def test_no_two_files_share_a_name():
    counts = Counter(path.stem.removeprefix('_') for path in FILES)
    assert {name for name, n in counts.items() if n > 1} == PENDING
