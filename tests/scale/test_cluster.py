# Licensed under a 3-clause BSD style license - see LICENSE.rst
import errno

import pytest

from vaephot.scale.cluster import FullDiskError, open_client, run_jobs

pytest.importorskip('distributed')


class Keeper(dict):
    """What jobs returned, and how many were under way at a time."""

    def __call__(self, number, record):
        used = record.pop('used', None)
        assert 'failure' in record or used['cpu'] >= 0
        self[number] = record


def double(plan, number):
    return {'value': plan * number}


def test_each_job_is_done_once(client):
    kept, seen = Keeper(), []
    failed = run_jobs(client, double, 10, 'double', range(7), kept,
                      progress=lambda number, record: seen.append(number))
    assert kept == {k: {'value': 10 * k} for k in range(7)}
    assert sorted(seen) == list(range(7))
    assert failed == {}


def test_a_job_that_fails_three_times_is_set_aside(client):
    tried = []

    def fail(plan, number):
        tried.append(number)
        if number == 2 or (number == 4 and tried.count(4) < 3):
            msg = 'no luck'
            raise ValueError(msg)
        return {'number': number}
    kept = Keeper()
    failed = run_jobs(client, fail, None, 'fail', range(6), kept)
    assert failed == {2: 'ValueError: no luck'}
    assert kept[2] == {'failure': 'ValueError: no luck'}
    assert kept[4] == {'number': 4}
    assert tried.count(2) == tried.count(4) == 3


def test_a_full_disk_stops_the_run(client):
    def write(plan, number):
        try:
            raise OSError(errno.ENOSPC, 'No space left on device')
        except OSError as err:
            msg = 'x.npz could not be written.'
            raise type(err)(msg) from err
    kept = Keeper()
    with pytest.raises(FullDiskError, match='no space is left'):
        run_jobs(client, write, None, 'write', range(9), kept)
    assert kept == {}


def test_little_waits(client):
    most = []

    def count(plan, number):
        most.append(number)
        return {}
    done = Keeper()
    run_jobs(client, count, None, 'count', range(30), done,
             progress=lambda number, record: most.append(-len(done)))
    ahead = 0
    for i, value in enumerate(most):
        if value < 0:
            ahead = max(ahead, sum(v >= 0 for v in most[:i]) + value)
    # two for each thread
    assert ahead <= 3
    assert len(done) == 30


def test_a_client_of_the_user_stays_open(client):
    with open_client(client) as same:
        assert same is client
    assert client.submit(int, 3).result() == 3
