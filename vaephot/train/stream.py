# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The training stamps of each step, drawn ahead by threads if wanted."""

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np

__all__ = ['BatchStream']


class BatchStream:
    """
    Batches of all steps of a stage.

    The batch of a step depends on the seed and on the step alone, not on
    the steps before it, nor on the number of threads.

    Parameters
    ----------
    sampler : `~vaephot.train.dataset.BlendSampler`
        Draws the batches; its own random numbers are not used.
    seed : sequence of int
        Seed of all steps.
    n_steps : int
        Steps of the stage.
    n_stamps, n_psfs : int
        Size of a batch, see `~vaephot.train.dataset.BlendSampler.draw`.
    n_workers : int
        Threads that draw the batches of the next steps; 0 draws each when
        it is asked for.
    """

    def __init__(self, sampler, seed, n_steps, n_stamps, n_psfs,
                 n_workers=0):
        self.sampler = sampler
        self.seed = list(seed)
        self.n_steps = n_steps
        self.n_stamps = n_stamps
        self.n_psfs = n_psfs
        self.n_workers = n_workers
        self._pool = ThreadPoolExecutor(n_workers) if n_workers else None
        self._ahead = {}

    def _draw(self, step):
        """Draw the batch of a step with random numbers of its own."""
        sampler = copy.copy(self.sampler)
        sampler.rng = np.random.default_rng([*self.seed, step])
        return sampler.draw(self.n_stamps, self.n_psfs)

    def batch(self, step):
        """
        Give the batch of a step.

        Parameters
        ----------
        step : int
            Step, from 0; one after the other is fastest.

        Returns
        -------
        `~vaephot.train.dataset.TrainingBatch`
        """
        if self._pool is None:
            return self._draw(step)
        for later in range(step, min(step + 1 + self.n_workers,
                                     self.n_steps)):
            if later not in self._ahead:
                self._ahead[later] = self._pool.submit(self._draw, later)
        return self._ahead.pop(step).result()

    def close(self):
        """Stop the threads."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
