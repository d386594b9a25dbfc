# Licensed under a 3-clause BSD style license - see LICENSE.rst
import math

import pytest

from vaephot.simulate._workers import ordered_map


@pytest.mark.parametrize('n_workers', [1, 2])
def test_results_come_in_the_order_of_the_jobs(n_workers):
    jobs = range(20)
    assert list(ordered_map(math.factorial, jobs, n_workers)) == [
        math.factorial(k) for k in jobs]


def test_an_error_of_a_worker_is_raised():
    with pytest.raises(ValueError, match='negative'):
        list(ordered_map(math.factorial, [3, -1], 2))
