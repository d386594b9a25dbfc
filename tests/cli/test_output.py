# Licensed under a 3-clause BSD style license - see LICENSE.rst
import argparse

import pytest

from vaephot.cli._options import UsageError
from vaephot.cli._output import (
    add_overwrite_option,
    atomic_write,
    check_outputs,
)
from vaephot.exceptions import OutputExistsError


def test_good_outputs_pass_and_nothing_is_written(tmp_path):
    check_outputs(tmp_path / 'a', None, tmp_path / 'b')
    assert list(tmp_path.iterdir()) == []


def test_existing_outputs_need_overwrite(tmp_path):
    (tmp_path / 'b').write_text('old')
    with pytest.raises(OutputExistsError, match='--overwrite'):
        check_outputs(tmp_path / 'a', tmp_path / 'b')
    check_outputs(tmp_path / 'a', tmp_path / 'b', overwrite=True)


def test_a_missing_folder_is_an_error_before_the_work(tmp_path):
    with pytest.raises(FileNotFoundError, match='no folder'):
        check_outputs(tmp_path / 'absent' / 'a')


def test_two_outputs_must_not_be_one_file(tmp_path):
    with pytest.raises(UsageError, match='two outputs'):
        check_outputs(tmp_path / 'a', tmp_path / '.' / 'a')


def test_the_option_defaults_to_false():
    parser = argparse.ArgumentParser()
    add_overwrite_option(parser)
    assert not parser.parse_args([]).overwrite
    assert parser.parse_args(['--overwrite']).overwrite


def test_output_is_whole_or_absent(tmp_path):
    with pytest.raises(ZeroDivisionError):
        with atomic_write(tmp_path / 'a') as temporary:
            temporary.write_text(str(1 / 0))
    assert list(tmp_path.iterdir()) == []
