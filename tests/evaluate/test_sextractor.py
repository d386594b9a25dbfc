# Licensed under a 3-clause BSD style license - see LICENSE.rst
import shutil

import numpy as np
import pytest

from vaephot.evaluate.baselines import sep_kron
from vaephot.evaluate.sextractor import PROGRAMS, find_program, sextractor
from vaephot.exceptions import EvaluationError, MissingDependencyError

needs_program = pytest.mark.skipif(
    not any(map(shutil.which, PROGRAMS)), reason='no SExtractor here')


def sort(rows):
    """Positions and fluxes of all blends in one order."""
    return [{key: row[key][np.lexsort(row['xy'].T)] for key in ('xy', 'flux')}
            for row in rows]


@needs_program
def test_the_program_and_sep_agree(make_observed):
    pytest.importorskip('sep')
    observed = make_observed(5, gap=12)
    mine, theirs = sort(sep_kron(observed)), sort(sextractor(observed))
    for a, b in zip(mine, theirs, strict=True):
        assert len(a['xy']) == len(b['xy'])
        assert a['xy'] == pytest.approx(b['xy'], abs=0.05)
        assert a['flux'] == pytest.approx(b['flux'], rel=0.05)


@needs_program
def test_the_segmentation_has_the_rows(make_observed):
    for row in sextractor(make_observed(3, gap=12)):
        for k, (x, y) in enumerate(np.round(row['xy']).astype(int)):
            assert row['segmentation'][y, x] == k + 1


def test_without_the_program_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(shutil, 'which', lambda name: None)
    with pytest.raises(MissingDependencyError, match='source-extractor'):
        find_program()


def test_a_failure_of_the_program_is_reported(make_observed, monkeypatch):
    monkeypatch.setattr(shutil, 'which', lambda name: '/bin/false')
    with pytest.raises(EvaluationError, match='SExtractor failed'):
        sextractor(make_observed(1))
