# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Run the command line with ``python -m vaephot``."""

import sys

from vaephot.cli.main import main

if __name__ == '__main__':
    sys.exit(main())
