# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest

from vaephot.cli.main import main
from vaephot.models.classifier import build_classifier
from vaephot.weights import load_weights


@pytest.mark.galsim
@pytest.mark.filterwarnings('ignore::vaephot.exceptions.DeblendWarning')
def test_a_run_is_resumed_and_weights_get_a_classifier(
        make_untrained, tmp_path, capsys):
    weights = make_untrained(tmp_path / 'bare.safetensors')
    out, folder = tmp_path / 'mine.safetensors', tmp_path / 'found'
    argv = ['train-classifier', str(weights), '--candidates', str(folder),
            '-o', str(out), '--blends', '1', '--images', '2', '--seed', '2']
    assert main([*argv, '--max-minutes', '1e-9']) == 0
    assert 'to go on' in capsys.readouterr().out
    assert not out.exists()
    assert main(argv) == 0
    record = load_weights(out).record
    text = capsys.readouterr().out
    assert record.sha256 in text
    assert 'of 2 images' in text
    assert record.training['classifier']['n_images'] == 2
    before, after = load_weights(weights), load_weights(out)
    assert build_classifier(before) is None
    features = np.zeros((3, len(record.training['classifier']['features'])))
    p = build_classifier(after).probabilities(features)
    assert ((p >= 0) & (p <= 1)).all()
    # what was searched is not searched again
    made = {path: path.stat().st_mtime_ns for path in folder.glob('*.npz')}
    assert len(made) == 2
    assert main(argv) == 1
    assert 'exist' in capsys.readouterr().err
    assert main([*argv, '--overwrite', '--max-minutes', '1e-9']) == 0
    assert {path: path.stat().st_mtime_ns
            for path in folder.glob('*.npz')} == made
    assert load_weights(out).record.sha256 == record.sha256
    # candidates of other weights are refused
    argv[1] = str(out)
    assert main([*argv, '--overwrite']) == 1
    assert 'other weights' in capsys.readouterr().err


def test_bad_arguments_fail_before_the_work(make_untrained, tmp_path, capsys):
    weights = str(make_untrained(tmp_path / 'bare.safetensors'))
    folder = tmp_path / 'found'
    rest = ['--candidates', str(folder), '-o', str(tmp_path / 'a.safetensors')]
    absent = str(tmp_path / 'absent.safetensors')
    assert main(['train-classifier', absent, *rest]) == 1
    assert 'absent' in capsys.readouterr().err
    for option in (['--images', '0'], ['--blends', '-1'],
                   ['--max-minutes', '0']):
        assert main(['train-classifier', weights, *rest, *option]) == 2
    assert main(['train-classifier', weights, '--candidates',
                 str(folder)]) == 2
    assert main(['train-classifier', weights, *rest[:2], '-o', 'a.pt']) == 2
    assert 'Traceback' not in capsys.readouterr().err
    assert not folder.exists()
