# Licensed under a 3-clause BSD style license - see LICENSE.rst
import json

import pytest
from astropy.table import QTable

from vaephot.cli.main import main

pytestmark = pytest.mark.galsim


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'config.json'
    path.write_text(json.dumps({
        'title': 'Two', 'methods': ['oracle', 'photutils_default'],
        'sets': [{'name': 'one', 'case': 'isolated', 'n': 3}]}))
    return str(path)


def test_a_configuration_is_run_and_reported(config, tmp_path, capsys):
    argv = ['evaluate', config, '-o', str(tmp_path / 'run'), '--workers',
            '1', '--only', 'oracle', '-n', '2']
    assert main(argv) == 0
    text = capsys.readouterr().out
    assert 'good10_VIS' in text
    table = QTable.read(tmp_path / 'run' / 'tables' / 'summary.ecsv')
    assert table['n_blends'].tolist() == [2]
    assert main([*argv, '--report-only']) == 0


def test_a_method_of_ten_lines_is_in_the_report(config, tmp_path, capsys,
                                                monkeypatch):
    (tmp_path / 'of_ten_lines.py').write_text(
        'def half(blends):\n'
        '    return [{"xy": xy, "flux": 0 * xy[:, :1] + [[1, 1, 1, 1]]}\n'
        '            for xy in blends.positions]\n'
        'half.uses_positions = True\n')
    monkeypatch.chdir(tmp_path)
    assert main(['evaluate', config, '-o', 'run', '--workers', '1',
                 '--only', 'oracle', '--method', 'of_ten_lines:half']) == 0
    assert 'half' in capsys.readouterr().out
    pytest.importorskip('matplotlib')
    assert '>half<' in (tmp_path / 'run' / 'report.html').read_text()


def test_a_file_with_truth_is_measured(tmp_path, capsys):
    path = tmp_path / 'blends.npz'
    assert main(['simulate', 'blends', 'isolated', '-n', '2', '-o',
                 str(path)]) == 0
    assert main(['evaluate', str(path), '-o', str(tmp_path / 'run'),
                 '--workers', '1', '--method', 'oracle']) == 0
    assert 'blends oracle' in ' '.join(capsys.readouterr().out.split())


@pytest.mark.parametrize(('extra', 'code', 'message'), [
    (['--only', 'absent'], 2, 'absent'), (['--set', 'two'], 2, 'two'),
    (['--method', 'a:b'], 1, 'a:b'), (['-n', '0'], 2, 'positive'),
    (['--report-only'], 1, 'no evaluation')])
def test_wrong_usage_is_one_line(config, tmp_path, capsys, extra, code,
                                 message):
    argv = ['evaluate', config, '-o', str(tmp_path / 'run'), *extra]
    assert main(argv) == code
    error = capsys.readouterr().err
    assert message in error
    assert 'Traceback' not in error


def test_a_missing_file_and_options_of_the_other_kind_are_refused(
        tmp_path, capsys):
    out = ['-o', str(tmp_path / 'run')]
    assert main(['evaluate', 'absent.toml', *out]) == 1
    (tmp_path / 'a.npz').write_bytes(b'')
    assert main(['evaluate', str(tmp_path / 'a.npz'), *out, '-n', '3']) == 2
    assert '--number' in capsys.readouterr().err
