# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Pools of processes that leave nothing behind."""

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

__all__ = ['process_pool']


def _end_with_parent():
    multiprocessing.parent_process().join()
    os._exit(1)


def _begin(initializer, initargs):
    """Prepare a process of a pool."""
    # Ctrl-C reaches all processes; the parent tells what happened
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if initializer is not None:
        initializer(*initargs)


@contextmanager
def process_pool(n_workers, *, initializer=None, initargs=()):
    """
    Pool of processes that ends with its parent, however that ends.

    Parameters
    ----------
    n_workers : int
        Number of processes.
    initializer : callable or None, optional
        Called once in each process. `None` calls nothing.
    initargs : tuple, optional
        Its arguments.

    Yields
    ------
    concurrent.futures.ProcessPoolExecutor
        An error drops the jobs that wait in it.
    """
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(n_workers, mp_context=context,
                             initializer=_begin,
                             initargs=(initializer, initargs)) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
