# Licensed under a 3-clause BSD style license - see LICENSE.rst
import json

import numpy as np
import pytest

from vaephot.evaluate import runner
from vaephot.evaluate.evaluation_config import EvaluationConfig
from vaephot.evaluate.runner import (
    describe_software,
    evaluate,
    read_manifest,
    read_results,
)
from vaephot.exceptions import EvaluationError, MissingDependencyError


@pytest.fixture
def config(small_run):
    return EvaluationConfig.from_dict(small_run)


def times(folder):
    return {path: path.stat().st_mtime_ns
            for path in folder.rglob('*.npz')}


def test_chunks_are_put_together(config, tmp_path, make_observed):
    evaluate(config, tmp_path)
    result = read_results(tmp_path, config)[0]
    assert result.truth['n_blends'] == 6
    assert list(result.methods) == ['oracle', 'photutils_default']
    # blends are numbered through: 4 of the first chunk, 2 of the second
    assert np.unique(result.truth['blend']).tolist() == [0, 1, 2, 3, 4, 5]
    first = make_observed(4, seed=1).truth
    assert result.truth['flux'][:len(first)] == pytest.approx(first.flux)
    assert 'oracle' in repr(result)


def test_a_run_goes_on_where_it_stopped(config, tmp_path, monkeypatch):
    evaluate(config, tmp_path)
    before = times(tmp_path)
    lost = next(path for path in before if 'truth' in path.name)
    lost.unlink()
    with pytest.raises(EvaluationError, match='not finished'):
        read_results(tmp_path, config)
    evaluate(config, tmp_path)
    after = times(tmp_path)
    assert set(after) == set(before)
    assert {p for p in after if after[p] != before[p]} == {lost}
    monkeypatch.setattr(runner, 'draw_chunk', None)
    evaluate(config, tmp_path)  # nothing is left to draw
    assert times(tmp_path) == after


def test_more_blends_and_methods_are_added(small_run, config, tmp_path):
    evaluate(config, tmp_path)
    before = times(tmp_path)
    small_run['methods'].append('aperture')
    small_run['sets'][0]['n'] = 10
    more = EvaluationConfig.from_dict(small_run)
    evaluate(more, tmp_path)
    after = times(tmp_path)
    # full chunks are kept
    kept = [path for path in before if '00000' in path.name]
    assert all(after[path] == before[path] for path in kept)
    result = read_results(tmp_path, more)[0]
    assert result.truth['n_blends'] == 10
    assert len(result.methods) == 3


def test_other_settings_need_another_folder_or_overwrite(small_run, config,
                                                         tmp_path):
    evaluate(config, tmp_path)
    small_run['sets'][0]['seed'] = 7
    other = EvaluationConfig.from_dict(small_run)
    with pytest.raises(EvaluationError, match="'one' with other settings"):
        evaluate(other, tmp_path)
    before = read_results(tmp_path, config)[0].truth['flux']
    evaluate(other, tmp_path, overwrite=True)
    after = read_results(tmp_path, other)[0].truth['flux']
    assert not np.array_equal(before, after)


def test_a_method_that_is_not_installed_is_skipped(config, tmp_path,
                                                   monkeypatch):
    def missing(observed, method, settings):
        if method.name != 'oracle':
            msg = 'install it'
            raise MissingDependencyError(msg)
        return measure(observed, method, settings)

    measure = runner.measure_blends
    monkeypatch.setattr(runner, 'measure_blends', missing)
    manifest = evaluate(config, tmp_path)
    assert manifest['skipped'] == {'photutils_default': 'install it'}
    assert list(read_results(tmp_path, config)[0].methods) == ['oracle']


def test_a_method_that_fails_is_named(config, tmp_path, monkeypatch):
    def fail(observed, method, settings):
        msg = 'no light'
        raise ArithmeticError(msg)

    monkeypatch.setattr(runner, 'measure_blends', fail)
    with pytest.raises(EvaluationError,
                       match='oracle failed on chunk 0 of one.*no light'):
        evaluate(config, tmp_path)


def test_the_manifest_says_what_was_run_with_what(config, tmp_path):
    evaluate(config, tmp_path)
    manifest = read_manifest(tmp_path)
    assert EvaluationConfig.from_dict(manifest['config']) == config
    assert manifest['versions'] == describe_software()
    assert 'photutils' in manifest['versions']
    assert json.loads((tmp_path / 'evaluation.json').read_text()) == manifest
    with pytest.raises(EvaluationError, match='no evaluation'):
        read_manifest(tmp_path / 'data')


@pytest.mark.galsim
@pytest.mark.slow
def test_processes_give_the_same_as_one(tmp_path):
    config = EvaluationConfig.from_dict({
        'title': 't', 'methods': ['oracle'],
        'sets': [{'name': 's', 'case': 'isolated', 'n': 4, 'chunk': 2}]})
    for n in (1, 2):
        evaluate(config, tmp_path / str(n), n_workers=n)
    one, two = (read_results(tmp_path / str(n), config)[0].methods['oracle']
                for n in (1, 2))
    assert np.array_equal(one['flux'], two['flux'])
