# Licensed under a 3-clause BSD style license - see LICENSE.rst
import json
import logging
from pathlib import Path

import pytest

from vaephot.cli.main import main
from vaephot.cli.train import _figure_writer
from vaephot.train.training_config import TrainingConfig
from vaephot.train.training_loop import _first_networks
from vaephot.weights import load_weights

CONFIGS = Path(__file__).parents[2] / 'configs'


@pytest.fixture
def config(tmp_path):
    values = json.loads((CONFIGS / 'smoke.json').read_text())
    values['n_steps'] = {'isolated': 2, 'blended': 2}
    path = tmp_path / 'config.json'
    path.write_text(json.dumps(values))
    return str(path)


@pytest.mark.parametrize('path', sorted(CONFIGS.glob('*.json')),
                         ids=lambda path: path.name)
def test_the_example_settings_are_valid(path):
    config = TrainingConfig.read(path)
    if path.name == 'structure.json':
        assert config.model.n_structure > 0
    else:
        assert config.n_steps['blended'] > 0


@pytest.mark.parametrize('name', ['gpu.json', 'finetune.json'])
def test_settings_go_on_from_the_weights_that_ship(name):
    networks = _first_networks(TrainingConfig.read(CONFIGS / name),
                               load_weights('default'))
    assert networks['blended'].decoder.structure.radial.any(1).all()


def test_a_run_is_resumed_and_its_weights_are_released(
        config, tiny_store, tmp_path, capsys):
    run, out = tmp_path / 'run', tmp_path / 'mine.safetensors'
    argv = ['train', config, '--store', str(tiny_store), '-o', str(run),
            '--validate-every', '1', '--weights-out', str(out)]
    assert main([*argv, '--max-minutes', '1e-9']) == 0
    assert 'to go on' in capsys.readouterr().out
    assert not out.exists()
    assert main([*argv, '--workers', '2', '--device', 'cpu']) == 0
    text = capsys.readouterr().out
    assert 'isolated step 1 loss' in text
    assert 'blended: step 2' in text
    record = load_weights(out).record
    assert record.sha256 in text
    assert record.training['curves']['blended']['step'] == [1, 2]
    assert logging.getLogger('vaephot.train').handlers == []
    pytest.importorskip('matplotlib')
    assert (run / 'curves.png').stat().st_size > 1000


def test_a_run_goes_on_from_weights(config, tiny_store, tmp_path, capsys):
    values = {**json.loads(Path(config).read_text()), 'n_steps': {
        'isolated': 0, 'blended': 1}}
    Path(config).write_text(json.dumps(values))
    argv = ['train', config, '--store', str(tiny_store), '-o']
    assert main([*argv, str(tmp_path / 'a'), '--start',
                 str(tmp_path / 'absent.safetensors')]) == 1
    assert 'absent' in capsys.readouterr().err
    first, second = (tmp_path / f'{name}.safetensors' for name in 'ab')
    assert main([*argv, str(tmp_path / 'a'), '--weights-out',
                 str(first)]) == 0
    capsys.readouterr()
    assert main([*argv, str(tmp_path / 'b'), '--start', str(first),
                 '--weights-out', str(second)]) == 0
    assert 'isolated:' not in capsys.readouterr().out
    a, b = (load_weights(path).tensors for path in (first, second))
    assert a.keys() == b.keys()
    changed = {name for name in a if not a[name].equal(b[name])}
    assert changed
    assert all(name.startswith('blended.') for name in changed)


@pytest.mark.parametrize(('text', 'message'), [
    ('{', 'config.json'), ('{"steps": 3}', 'unknown training settings'),
    ('{"batch_size": 3}', 'n_psfs')])
def test_bad_settings_fail_in_one_line(tmp_path, tiny_store, capsys, text,
                                       message):
    path = tmp_path / 'config.json'
    path.write_text(text)
    assert main(['train', str(path), '--store', str(tiny_store), '-o',
                 str(tmp_path / 'run')]) == 1
    err = capsys.readouterr().err
    assert message in err
    assert err.count('\n') == 1


def test_bad_paths_fail_before_the_work(config, tiny_store, tmp_path, capsys):
    store = ['--store', str(tiny_store), '-o', str(tmp_path / 'run')]
    assert main(['train', 'absent.json', *store]) == 1
    assert main(['train', config, *store, '--weights-out', 'a.pt']) == 2
    assert main(['train', config, *store, '--max-minutes', '-1']) == 2
    assert main(['train', config, *store, '--device', 'abacus']) == 1
    assert main(['train', config, '--store', str(tmp_path), '-o',
                 str(tmp_path / 'run')]) == 1
    assert 'Traceback' not in capsys.readouterr().err
    assert not (tmp_path / 'run').exists()


def test_figure_is_drawn_where_matplotlib_is_installed(tmp_path, capsys,
                                                       monkeypatch):
    pytest.importorskip('matplotlib')
    path = tmp_path / 'curves.png'
    sizes = []
    write = _figure_writer(path)
    for curves in ({'isolated': [{'step': 1, 'loss': 2.0}]}, {
            'isolated': [{'step': 1, 'loss': 2.0}],
            'blended': [{'step': 1, 'loss': 3.0}]}):
        write(curves)
        sizes.append(path.stat().st_size)
    assert sizes[1] > sizes[0]
    monkeypatch.setattr('vaephot.utils.optional_deps.has_package',
                        lambda name: False)
    assert _figure_writer(path) is None
    assert 'vaephot[plot]' in capsys.readouterr().err
