# Licensed under a 3-clause BSD style license - see LICENSE.rst
import subprocess
import sys
import warnings
from types import SimpleNamespace

import pytest

import vaephot
from vaephot.cli import main as cli
from vaephot.cli._options import UsageError
from vaephot.exceptions import WeightsError


@pytest.fixture
def run_with(monkeypatch):
    """Return a function that runs a command whose body is given."""
    def run_with(body, *options):
        def add_parser(subparsers):
            subparsers.add_parser('weights')

        module = SimpleNamespace(add_parser=add_parser, run=body)
        monkeypatch.setattr(cli, 'import_module', lambda name: module)
        monkeypatch.setattr(cli, 'SUBCOMMANDS', ('weights',))
        return cli.main(['weights', *options])

    return run_with


def raiser(error):
    def body(args):
        raise error

    return body


def test_version_goes_to_stdout(capsys):
    assert cli.main(['--version']) == 0
    assert capsys.readouterr().out == f'vaephot {vaephot.__version__}\n'


@pytest.mark.parametrize('argv', [[], ['no-such'], ['weights', 'list', '-x']])
def test_wrong_usage_exits_with_2_and_the_usage(capsys, argv):
    assert cli.main(argv) == 2
    assert 'usage: vaephot' in capsys.readouterr().err


@pytest.mark.parametrize('name', cli.SUBCOMMANDS)
def test_each_subcommand_has_help(capsys, name):
    assert cli.main([name, '--help']) == 0
    assert capsys.readouterr().out.startswith(f'usage: vaephot {name}')


def test_the_exit_code_is_that_of_the_command(run_with):
    assert run_with(lambda args: 0) == 0
    assert run_with(lambda args: 1) == 1


def test_an_error_is_one_line_on_stderr(run_with, capsys):
    assert run_with(raiser(WeightsError('first\n  second'))) == 1
    out, err = capsys.readouterr()
    assert (out, err) == ('', 'vaephot: error: first second\n')


def test_wrong_arguments_found_late_exit_with_2(run_with, capsys):
    assert run_with(raiser(UsageError('no'))) == 2
    assert capsys.readouterr().err == 'vaephot: error: no\n'


def test_unexpected_errors_name_their_class_and_the_option(run_with, capsys):
    assert run_with(raiser(KeyError('x'))) == 1
    err = capsys.readouterr().err
    assert "error: KeyError: 'x' (run again with --debug" in err
    assert 'Traceback' not in err


def test_file_errors_name_the_file(run_with, capsys, tmp_path):
    path = tmp_path / 'absent'
    assert run_with(lambda args: path.read_text()) == 1
    assert str(path) in capsys.readouterr().err


def test_debug_shows_the_traceback(run_with, capsys):
    assert run_with(raiser(WeightsError('bad')), '--debug') == 1
    err = capsys.readouterr().err
    assert 'Traceback' in err
    assert err.endswith('vaephot: error: bad\n')


def test_debug_is_accepted_before_and_after_the_command():
    parser = cli.make_parser()
    assert parser.parse_args(['--debug', 'weights', 'list']).debug
    assert parser.parse_args(['weights', '--debug', 'list']).debug
    assert parser.parse_args(['weights', 'list', '--debug']).debug
    assert not parser.parse_args(['weights', 'list']).debug


def test_an_interrupt_exits_with_130(run_with, capsys):
    assert run_with(raiser(KeyboardInterrupt())) == 130
    assert 'interrupted' in capsys.readouterr().err


def test_warnings_are_one_line_and_the_hook_is_put_back(run_with, capsys):
    def body(args):
        warnings.simplefilter('always')
        warnings.warn('take\ncare', UserWarning, stacklevel=1)
        return 0

    before = warnings.showwarning
    assert run_with(body) == 0
    assert capsys.readouterr().err == 'vaephot: warning: take care\n'
    assert warnings.showwarning is before


def test_the_parser_loads_neither_torch_nor_galsim():
    code = ('import sys; from vaephot.cli.main import make_parser; '
            'make_parser(); '
            'sys.exit(bool({"torch", "galsim"} & set(sys.modules)))')
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0


def test_the_package_runs_as_a_module():
    done = subprocess.run([sys.executable, '-m', 'vaephot', '--version'],
                          capture_output=True, text=True)
    assert done.stdout == f'vaephot {vaephot.__version__}\n'


def test_a_reader_that_stops_early_is_no_traceback():
    code = ('import sys, types; from vaephot.cli import main as cli\n'
            'def run(args):\n'
            '    for _ in range(100000): print("line")\n'
            '    return 0\n'
            'import vaephot.cli.weights as weights\n'
            'weights.run = run\n'
            'sys.exit(cli.main(["weights", "list"]))')
    with subprocess.Popen([sys.executable, '-c', code],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ''
    assert process.returncode == 1
