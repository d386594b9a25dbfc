# Licensed under a 3-clause BSD style license - see LICENSE.rst
import re

import pytest
from astropy.table import QTable

from vaephot.evaluate import report
from vaephot.evaluate.evaluation_config import EvaluationConfig
from vaephot.evaluate.report import write_report
from vaephot.evaluate.runner import evaluate


@pytest.fixture
def run(small_run, tmp_path):
    config = EvaluationConfig.from_dict(small_run)
    evaluate(config, tmp_path)
    return tmp_path, config


def test_the_page_needs_nothing_else_and_shows_all(run):
    pytest.importorskip('matplotlib')
    folder, config = run
    tables, page = write_report(folder, config)
    text = page.read_text(encoding='utf-8')
    assert '<h1>Gaussians &amp; co</h1>' in text
    sources = re.findall(r'src="([^"]{0,30})', text)
    assert len(sources) > 4
    assert all(s.startswith('data:image/png;base64,') for s in sources)
    assert not re.search(r'https?://|<script|<link', text)
    for name in ('oracle', 'photutils_default', 'versions', 'set one'):
        assert name.split()[-1] in text
    drawn = {path.stem for path in (folder / 'figures').glob('*.png')}
    assert {'flux_errors', 'pulls', 'pit', 'completeness', 'trade',
            'colours', 'gallery_one'} <= drawn
    read = QTable.read(folder / 'tables' / 'summary.ecsv')
    assert len(read) == len(tables['summary']) == 2


def test_without_matplotlib_there_are_tables(run, monkeypatch):
    monkeypatch.setattr(report, 'has_package', lambda name: False)
    folder, config = run
    page = write_report(folder, config)[1]
    assert page is None
    assert (folder / 'tables' / 'flux_errors.ecsv').is_file()
    assert not (folder / 'figures').exists()


def test_a_report_is_the_same_twice(run):
    folder, config = run
    first = write_report(folder, config)[0]['flux_errors']
    again = write_report(folder, config)[0]['flux_errors']
    for name in ('median', 'nmad_err', 'over_prior'):
        assert str(first[name].tolist()) == str(again[name].tolist())
