# Licensed under a 3-clause BSD style license - see LICENSE.rst
import pytest

from vaephot.cli.main import main


@pytest.fixture
def shipped(weights_home, make_weights):
    return make_weights(weights_home / 'default.safetensors',
                        description='tiny test weights')


def damage(path):
    path.write_bytes(path.read_bytes()[:-1])


def test_list_says_when_there_are_none(weights_home, capsys):
    assert main(['weights', 'list']) == 0
    assert capsys.readouterr() == ('', 'no weights are known\n')


def test_list_shows_name_version_and_description(shipped, capsys):
    assert main(['weights', 'list']) == 0
    line = capsys.readouterr().out
    assert line.startswith('default  ')
    assert ' 1.0 ' in line
    assert 'tiny test weights' in line


@pytest.mark.parametrize('options', [[], ['default'], ['--force']])
def test_fetch_prints_the_path(shipped, capsys, options):
    assert main(['weights', 'fetch', *options]) == 0
    assert capsys.readouterr().out == f'{shipped}\n'


def test_fetch_of_an_unknown_name_fails_in_one_line(shipped, capsys):
    assert main(['weights', 'fetch', 'other']) == 1
    out, err = capsys.readouterr()
    assert out == ''
    assert err.startswith("vaephot: error: no weights are called 'other'")
    assert "'default'" in err
    assert err.count('\n') == 1


def test_import_makes_weights_known(weights_home, make_weights, tmp_path,
                                    capsys):
    path = make_weights(tmp_path / 'a.safetensors')
    assert main(['weights', 'import', str(path), 'mine']) == 0
    assert "imported 'mine' version 1.0" in capsys.readouterr().out
    assert main(['weights', 'import', str(path), 'mine']) == 1
    assert main(['weights', 'verify']) == 0
    assert capsys.readouterr().out.startswith('mine: ok, ')


def test_verify_goes_on_after_a_damaged_file(shipped, make_weights, capsys):
    make_weights(shipped.with_name('other.safetensors'))
    damage(shipped)
    assert main(['weights', 'verify']) == 1
    out, err = capsys.readouterr()
    assert out.startswith('other: ok, ')
    assert err.startswith('vaephot: error: default: SHA-256 of ')


def test_verify_of_an_unknown_name_fails(shipped):
    assert main(['weights', 'verify', 'absent']) == 1
    assert main(['weights', 'verify', 'default']) == 0


def test_verify_says_when_there_are_none(weights_home, capsys):
    assert main(['weights', 'verify']) == 0
    assert 'no weights are known' in capsys.readouterr().err
