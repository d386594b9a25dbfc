# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Dask: a cluster of this machine or another, and jobs on it."""

import errno
import socket
import sys
import time
from asyncio import CancelledError
from contextlib import ExitStack, contextmanager, suppress

try:
    import resource
except ImportError:
    resource = None

from vaephot.exceptions import VaephotError
from vaephot.utils.optional_deps import import_optional

__all__ = ['FullDiskError', 'open_client', 'run_jobs']

PURPOSE = 'deblending a mosaic in tiles'
# where Dask shows its dashboard
DASHBOARD_PORT = 8787
# how often a job is tried
MAX_ATTEMPTS = 3
# jobs that wait or run for each thread: none is idle, and little waits
JOBS_PER_THREAD = 2
NO_SPACE = {errno.ENOSPC, errno.EDQUOT}


class FullDiskError(VaephotError, OSError):
    """No space is left for the outputs; what is written stays."""

    def __str__(self):
        return str(self.args[0])


@contextmanager
def open_client(client=None, *, scheduler=None, workers=None, threads=1,
                gpus=0):
    """
    Client of a Dask cluster.

    Parameters
    ----------
    client : `distributed.Client` or None, optional
        One that there is; it stays open. `None` makes one.
    scheduler : str or None, optional
        Address of a scheduler. `None` starts workers on this machine.
    workers : int or None, optional
        Processes; `None`: one per core, or per GPU.
    threads : int, optional
        Threads in each.
    gpus : int, optional
        GPUs, one worker each.

    Yields
    ------
    `distributed.Client`
    """
    import_optional('dask', PURPOSE)
    distributed = import_optional('distributed', PURPOSE)
    if client is not None:
        yield client
        return
    if scheduler is not None:
        with distributed.Client(scheduler) as made:
            yield made
        return
    n_workers = gpus or workers or distributed.system.CPU_COUNT
    with ExitStack() as stack:
        cluster = distributed.LocalCluster(
            n_workers=n_workers, threads_per_worker=threads, processes=True,
            dashboard_address=_dashboard_address())
        stack.callback(_close, cluster)
        made = distributed.Client(cluster)
        stack.callback(_close, made)
        yield made


def _close(what):
    """Close a client or cluster; on a busy machine workers are slow to go."""
    with suppress(TimeoutError):  # their work is done
        what.close()


def _dashboard_address():
    """The usual port of Dask's dashboard, or any if another run has it."""
    with socket.socket() as tried:
        try:
            tried.bind(('', DASHBOARD_PORT))
        except OSError:
            return ':0'
    return f':{DASHBOARD_PORT}'


class _Jobs:
    """Jobs of one kind on a cluster, a few at a time."""

    def __init__(self, client, function, plan, stage):
        self.client, self.function = client, function
        self.plan, self.stage = plan, stage
        self.attempts = {}

    def submit(self, number):
        """Future of a job."""
        attempt = self.attempts[number] = self.attempts.get(number, 0) + 1
        future = self.client.submit(
            _attempt, self.function, self.plan, number, pure=False,
            key=f'{self.stage}-{number}-{attempt}')
        future.vaephot_number = number
        return future

    def again(self, number):
        """Whether a job that failed may be tried once more."""
        return self.attempts[number] < MAX_ATTEMPTS


def _capacity(client):
    """Jobs that may be under way."""
    threads = sum(client.nthreads().values())
    return max(1, JOBS_PER_THREAD * threads)


def _is_disk_full(error):
    """Whether an error, or what led to it, says so."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            return True
        error = error.__cause__
    return False


def _peak_memory():
    """Largest memory of this process so far, in bytes."""
    if resource is None:  # on Windows
        return None
    unit = 1 if sys.platform == 'darwin' else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _attempt(function, plan, number):
    """What a job returns and used, or why it failed."""
    start = time.process_time()
    try:
        record = function(plan, number)
        return {**record, 'used': {
            'cpu': time.process_time() - start, 'memory': _peak_memory()}}
    except Exception as err:  # noqa: BLE001 - the others go on
        return {'failure': f'{type(err).__name__}: {err}',
                'disk_full': _is_disk_full(err)}


def _record(future):
    """What a job returned, or why it failed."""
    try:
        return future.result()
    except (Exception, CancelledError) as err:  # noqa: BLE001
        # the worker died, before or after it was done
        return {'failure': f'{type(err).__name__}: {err}',
                'disk_full': False}


def run_jobs(client, function, plan, stage, numbers, keep, *, progress=None):
    """
    Run jobs ``function(plan, number)`` and keep what they return.

    Each is tried up to three times, then set aside; the others go on.
    ``keep(number, record)`` and ``progress(number, record)`` are called
    after each. Returns the failures, why by number.
    """
    from distributed import as_completed

    jobs, waiting, failed = _Jobs(client, function, plan, stage), list(
        reversed(numbers)), {}
    running = as_completed()

    def fill():
        while waiting and running.count() < _capacity(client):
            running.add(jobs.submit(waiting.pop()))
    fill()
    for future in running:
        number = future.vaephot_number
        record = _record(future)
        if 'failure' in record:
            if record.pop('disk_full'):
                msg = ('no space is left on the disk of the outputs: '
                       f'{record["failure"]} Give the same command again; '
                       'what is done is kept.')
                raise FullDiskError(msg)
            if jobs.again(number):
                waiting.append(number)
                fill()
                continue
            failed[number] = record['failure']
        keep(number, record)
        if progress is not None:
            progress(number, record)
        fill()
    return failed
