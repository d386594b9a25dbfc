# Licensed under a 3-clause BSD style license - see LICENSE.rst
import os
import subprocess
import sys
import time

import pytest

from vaephot.utils.processes import process_pool

PARENT = """
import os, sys, time
from vaephot.utils.processes import process_pool

if __name__ == '__main__':
    with process_pool(2) as pool:
        print(*{pool.submit(os.getpid).result() for _ in range(20)},
              flush=True)
        time.sleep(60)
"""


def test_a_pool_works_and_prepares_its_processes():
    with process_pool(1, initializer=os.putenv,
                      initargs=('VAEPHOT_PROBE', 'x')) as pool:
        assert pool.submit(abs, -3).result() == 3


def test_an_error_drops_what_waits():
    with pytest.raises(ZeroDivisionError):
        with process_pool(1) as pool:
            jobs = [pool.submit(time.sleep, 0.1) for _ in range(50)]
            jobs[0].result()
            raise ZeroDivisionError
    assert sum(job.cancelled() for job in jobs) > 40


def test_processes_end_when_their_parent_is_killed(tmp_path):
    script = tmp_path / 'parent.py'
    script.write_text(PARENT)
    with subprocess.Popen([sys.executable, script],
                          stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout.readline().split()
        parent.kill()
        # the pipe closes with the last process that holds it
        assert parent.communicate(timeout=20)[0] == ''
