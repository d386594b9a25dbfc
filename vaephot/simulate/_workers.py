# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Share work among processes so that the result is always the same."""

from itertools import islice

from vaephot.utils.processes import process_pool

__all__ = ['ordered_map']

# Jobs per worker that may wait for the parent at a time.
AHEAD = 3


# The function of a worker, sent once and not with each job.
_function = None


def _start(function):
    global _function
    _function = function


def _call(job):
    return _function(job)


def ordered_map(function, jobs, n_workers):
    """
    Apply a function to jobs, in their order.

    Parameters
    ----------
    function : callable
        Of one job; it and the jobs must be picklable for more than one
        worker.
    jobs : iterable
        The jobs.
    n_workers : int
        Number of processes; 1 stays in this one.

    Yields
    ------
    object
        The results, in the order of the jobs whatever the number of
        workers. Few of them wait in memory.
    """
    if n_workers <= 1:
        yield from map(function, jobs)
        return
    jobs = iter(jobs)
    with process_pool(n_workers, initializer=_start,
                      initargs=(function,)) as pool:
        waiting = [pool.submit(_call, job)
                   for job in islice(jobs, AHEAD * n_workers)]
        while waiting:
            yield waiting.pop(0).result()
            waiting += [pool.submit(_call, job) for job in islice(jobs, 1)]
