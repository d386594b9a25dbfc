# Licensed under a 3-clause BSD style license - see LICENSE.rst
import errno
import os

import pytest

from vaephot.exceptions import OutputExistsError
from vaephot.utils.atomic import atomic_write, check_output


def test_file_appears_only_when_complete(tmp_path):
    path = tmp_path / 'a.txt'
    with atomic_write(path) as temporary:
        temporary.write_text('done')
        assert not path.exists()
        assert temporary.parent == path.parent
        assert temporary.suffix == '.txt'
    assert path.read_text() == 'done'
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / 'a.txt'
    path.write_text('old')
    with pytest.raises(RuntimeError, match='stop'):
        with atomic_write(path, overwrite=True) as temporary:
            temporary.write_text('half')
            raise RuntimeError('stop')
    assert path.read_text() == 'old'
    assert list(tmp_path.iterdir()) == [path]


def test_existing_files_are_refused_unless_overwrite(tmp_path):
    path = tmp_path / 'a.txt'
    path.write_text('old')
    with pytest.raises(OutputExistsError, match='exists already') as info:
        check_output(path)
    assert info.value.path == path
    with atomic_write(path, overwrite=True) as temporary:
        temporary.write_text('new')
    assert path.read_text() == 'new'


def test_a_file_that_appears_meanwhile_is_kept(tmp_path):
    path = tmp_path / 'a.txt'
    with pytest.raises(OutputExistsError):
        with atomic_write(path) as temporary:
            temporary.write_text('ours')
            path.write_text('theirs')
    assert path.read_text() == 'theirs'


def test_a_full_disk_names_the_file_and_leaves_nothing(tmp_path):
    with pytest.raises(OSError, match=r'a.txt could not .*: No space left'):
        with atomic_write(tmp_path / 'a.txt'):
            raise OSError(errno.ENOSPC, 'No space left on device')
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='there is no folder'):
        check_output(tmp_path / 'absent' / 'a.txt')


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(IsADirectoryError, match='is a folder'):
        check_output(tmp_path, overwrite=True)


def test_a_read_only_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(os, 'access', lambda *args: False)
    with pytest.raises(PermissionError, match='is read-only'):
        check_output(tmp_path / 'a.txt')


def test_files_get_the_usual_permissions(tmp_path):
    (tmp_path / 'plain').write_text('')
    with atomic_write(tmp_path / 'a.txt') as temporary:
        temporary.write_text('')
    assert ((tmp_path / 'a.txt').stat().st_mode
            == (tmp_path / 'plain').stat().st_mode)
