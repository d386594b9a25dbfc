# Licensed under a 3-clause BSD style license - see LICENSE.rst
import errno

import pytest

from vaephot.scale.cluster import FullDiskError, open_client, run_jobs

pytest.importorskip('distributed')


class Keeper(dict):
    """What jobs returned."""

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


def fail(folder, number):
    """Fail always (2), or twice (4); each call leaves a file."""
    tried = len(list(folder.glob(f'{number}-*')))
    (folder / f'{number}-{tried}').touch()
    if number == 2 or (number == 4 and tried < 2):
        msg = 'no luck'
        raise ValueError(msg)
    return {'number': number}


def test_a_job_that_fails_three_times_is_set_aside(client, tmp_path):
    kept = Keeper()
    failed = run_jobs(client, fail, tmp_path, 'fail', range(6), kept)
    assert failed == {2: 'ValueError: no luck'}
    assert kept[2] == {'failure': 'ValueError: no luck'}
    assert kept[4] == {'number': 4}
    counts = [len(list(tmp_path.glob(f'{k}-*'))) for k in range(6)]
    assert counts == [1, 1, 3, 1, 3, 1]


def write(plan, number):
    """Fail as `vaephot.utils.atomic` does on a full disk."""
    try:
        raise OSError(errno.ENOSPC, 'No space left on device')
    except OSError as err:
        msg = 'x.npz could not be written.'
        raise type(err)(msg) from err


def test_a_full_disk_stops_the_run(client):
    kept = Keeper()
    with pytest.raises(FullDiskError, match='no space is left'):
        run_jobs(client, write, None, 'write', range(9), kept)
    assert kept == {}


def test_few_jobs_are_under_way_at_a_time(client, monkeypatch):
    submit, ahead = type(client).submit, []
    done = Keeper()

    def counting(self, *args, **options):
        ahead.append(len(ahead) + 1 - len(done))
        return submit(self, *args, **options)
    monkeypatch.setattr(type(client), 'submit', counting)
    run_jobs(client, double, 1, 'few', range(12), done)
    # two for each thread
    assert max(ahead) <= 2
    assert len(done) == 12


def test_a_client_of_the_user_stays_open(client):
    with open_client(client) as same:
        assert same is client
    assert client.submit(int, 3).result() == 3
