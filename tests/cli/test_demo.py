# Licensed under a 3-clause BSD style license - see LICENSE.rst
import sys

import pytest
from astropy.table import QTable

from vaephot import DeblendResult
from vaephot.cli import demo
from vaephot.cli.main import main


@pytest.fixture(scope='module')
def weights(make_untrained, tmp_path_factory):
    path = tmp_path_factory.mktemp('weights') / 'untrained.safetensors'
    return str(make_untrained(path))


def run(folder, weights, *options):
    return main(['demo', '-o', str(folder), '--weights', weights,
                 '--no-refine', '--quiet', '--device', 'cpu', *options])


@pytest.mark.filterwarnings('ignore::vaephot.exceptions.VaephotWarning')
def test_the_demo_prints_tables_and_writes_its_files(weights, tmp_path,
                                                     capsys):
    pytest.importorskip('sep')
    pytest.importorskip('matplotlib')
    folder = tmp_path / 'new' / 'demo'
    assert run(folder, weights) == 0
    out, err = capsys.readouterr()
    assert err == ''
    for text in ('true sources in VIS, Y, J, H', 'Photometry, 12 of',
                 'SExtractor (sep)', 'all sources found by both',
                 'blended sources found by both', 'NMAD', 'Written: '):
        assert text in out
    assert sorted(p.name for p in folder.iterdir()) == sorted(demo.OUTPUTS)
    table = QTable.read(folder / 'catalog.ecsv')
    result = DeblendResult.read(folder / 'result.fits')
    assert len(table) == len(result)
    assert (folder / 'demo.png').stat().st_size > 10_000


@pytest.mark.filterwarnings('ignore::vaephot.exceptions.VaephotWarning')
def test_without_sep_and_matplotlib_it_does_the_rest(weights, tmp_path,
                                                     capsys, monkeypatch):
    from vaephot.utils import optional_deps as optional_deps

    monkeypatch.setitem(sys.modules, 'sep', None)
    monkeypatch.setattr(optional_deps, 'has_package', lambda name: False)
    assert run(tmp_path, weights) == 0
    out, err = capsys.readouterr()
    assert 'all sources found:' in out
    assert 'no comparison' in err
    assert 'no demo.png' in err
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        'catalog.ecsv', 'result.fits']


def test_existing_files_are_kept_unless_told(weights, tmp_path, capsys):
    (tmp_path / 'demo.png').write_text('mine')
    assert run(tmp_path, weights) == 1
    assert '--overwrite' in capsys.readouterr().err
    assert (tmp_path / 'demo.png').read_text() == 'mine'


def test_unknown_weights_fail_in_one_line(tmp_path, capsys):
    assert run(tmp_path, str(tmp_path / 'absent.safetensors')) == 1
    err = capsys.readouterr().err
    assert 'absent' in err
    assert err.count('\n') == 1
    assert not list(tmp_path.iterdir())
