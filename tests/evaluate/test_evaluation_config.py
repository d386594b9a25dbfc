# Licensed under a 3-clause BSD style license - see LICENSE.rst
import json
from pathlib import Path

import pytest

from vaephot.evaluate.evaluation_config import (
    EvaluationConfig,
    MatchSettings,
    SetConfig,
    read_config,
)
from vaephot.exceptions import EvaluationError

EXPERIMENTS = Path(__file__).parents[2] / 'configs' / 'experiments'
MINIMAL = {'title': 't', 'methods': ['oracle'],
           'sets': [{'name': 's', 'case': 'faint'}]}


@pytest.mark.parametrize('path', sorted(EXPERIMENTS.glob('*.toml')),
                         ids=lambda path: path.stem)
def test_the_experiments_are_valid(path):
    config = read_config(path)
    assert config.description
    assert EvaluationConfig.from_dict(json.loads(json.dumps(
        config.to_dict()))) == config


def test_there_is_an_experiment_of_each_kind():
    names = {path.stem for path in EXPERIMENTS.glob('*.toml')}
    assert {'three_cases', 'faint_sources', 'sextractor_settings',
            'wrong_inputs', 'correlated_noise', 'cluster', 'real_galaxies',
            'ground', 'number_of_bands'} <= names


def test_json_and_options_of_methods_are_read(tmp_path):
    values = {**MINIMAL, 'methods': [
        {'name': 'coarse', 'use': 'sep_default', 'n_levels': 8}],
        'edges': {'snr': [1, 2]}, 'matching': {'rule': 'pairs'}}
    path = tmp_path / 'config.json'
    path.write_text(json.dumps(values))
    config = read_config(path)
    assert config.methods[0].options == {'n_levels': 8}
    assert config.edges['snr'] == (1, 2)
    assert len(config.edges['mag']) > 2
    assert config.matching.rule == 'pairs'


@pytest.mark.parametrize(('change', 'message'), [
    ({'sets': [{'name': 's', 'case': 'faint', 'file': 'f'}]}, 'one of case'),
    ({'sets': [{'name': 's', 'case': 'faint', 'size': 3}]}, 'size'),
    ({'sets': [{'name': 's', 'case': 'faint', 'n': 0}]}, 'n is 0'),
    ({'sets': [{'name': 's', 'case': 'faint', 'score': 'x'}]}, 'score'),
    ({'sets': [{'name': 's', 'case': 'faint',
                'conditions': {'noise': 2}}]}, 'noise'),
    ({'sets': []}, 'at least one'),
    ({'methods': ['oracle', 'oracle']}, 'name of its own'),
    ({'methods': [{'use': 'oracle'}]}, 'no name'),
    ({'methods': ['absent']}, 'absent'),
    ({'matching': {'by': 'luck'}}, 'luck'),
    ({'edges': {'age': [1, 2]}}, 'age'),
    ({'colour': 1}, 'colour')])
def test_what_does_not_fit_is_named(tmp_path, change, message):
    path = tmp_path / 'bad.json'
    path.write_text(json.dumps({**MINIMAL, **change}))
    with pytest.raises(EvaluationError, match=message) as error:
        read_config(path)
    assert 'bad.json' in str(error.value)


def test_a_file_that_is_no_toml_is_named(tmp_path):
    path = tmp_path / 'bad.toml'
    path.write_text('title = ')
    with pytest.raises(EvaluationError, match=r'bad\.toml'):
        read_config(path)


def test_chunks_cover_all_blends():
    assert SetConfig(name='s', case='faint', n=51, chunk=25).n_chunks == 3
    assert SetConfig(name='s', field={}, n=4).n_chunks == 4
    assert SetConfig(name='s', file='a.npz', n=400).n_chunks == 1


def test_distances_must_be_positive():
    with pytest.raises(ValueError, match='merge_distance'):
        MatchSettings(merge_distance=0)
