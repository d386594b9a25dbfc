# Licensed under a 3-clause BSD style license - see LICENSE.rst
import pickle

import numpy as np
import pytest
from photutils.aperture import BoundingBox

from vaephot.evaluate.methods import (
    METHODS,
    Method,
    check_rows,
    find_method,
)
from vaephot.exceptions import EvaluationError

TOLD = {'vaephot', 'vaephot_fast', 'oracle', 'aperture', 'profile_fit',
        'scarlet'}


@pytest.mark.parametrize('name', METHODS)
def test_every_method_can_be_loaded_and_pickled(name):
    method = find_method(name)
    assert method.uses_positions == (name in TOLD)
    assert pickle.loads(pickle.dumps(method)) == method  # noqa: S301


def test_a_method_of_a_user_in_ten_lines_is_found(tmp_path, monkeypatch,
                                                  make_observed):
    (tmp_path / 'of_a_user.py').write_text(
        'import numpy as np\n'
        'def brightest(blends, factor=1.0):\n'
        '    rows = []\n'
        '    for image in blends.image:\n'
        '        y, x = np.unravel_index(image[0].argmax(), '
        'image[0].shape)\n'
        '        rows.append({"xy": [(x, y)], '
        '"flux": [factor * image.sum((1, 2))]})\n'
        '    return rows\n')
    monkeypatch.chdir(tmp_path)
    observed = make_observed(2)
    rows = find_method('of_a_user:brightest')(observed)
    assert rows[0]['flux'][0, 0] == pytest.approx(
        observed.image[0, 0].sum())
    twice = Method(name='twice', use='of_a_user:brightest',
                   options={'factor': 2})(observed)
    assert twice[1]['flux'] == pytest.approx(2 * rows[1]['flux'])
    assert np.isnan(rows[0]['flux_err']).all()


@pytest.mark.parametrize('use', ['nothing', 'absent_module:f', 'math:xyz'])
def test_a_method_that_is_not_there_is_named(use):
    with pytest.raises(EvaluationError, match=use.partition(':')[0]):
        find_method(use)


def check(observed, told=False, **row):
    row = {'xy': [(1, 2)], 'flux': [(1, 2)], **row}
    return check_rows([row] * len(observed), observed, 'mine', told)[0]


def test_shapes_are_brought_to_one_form(make_observed):
    row = check(make_observed(1), half_light_radius=[2.0],
                axis_ratio=[0.5], orientation=[np.pi / 2])
    assert row['eta1'][0] == pytest.approx(-np.log(2))
    assert row['eta2'][0] == pytest.approx(0, abs=1e-9)
    assert row['half_light_radius'].tolist() == [2]


def test_models_are_arrays_or_boxes(make_observed):
    observed = make_observed(1)
    whole = check(observed, models=np.ones((1, 2, 40, 40)))['models']
    assert whole[0][0].shape == (40, 40)
    box = [(BoundingBox(0, 2, 0, 2), np.ones((2, 2, 2)))]
    assert check(observed, models=box)['models'] == box


def test_nothing_found_is_fine(make_observed):
    row = check(make_observed(1), xy=[], flux=[])
    assert row['xy'].shape == (0, 2)
    assert row['flux'].shape == (0, 2)


@pytest.mark.parametrize(('row', 'message'), [
    ({'flux': [1.0]}, r'flux has the shape \(1,\)'),
    ({'flux_err': [[1.0]]}, 'flux_err'),
    ({'models': []}, '0 models'),
    ({'segmentation': [[1]]}, 'segmentation')])
def test_what_does_not_fit_is_named(make_observed, row, message):
    with pytest.raises(EvaluationError, match=message):
        check(make_observed(1), **row)


def test_told_methods_return_one_row_per_position(make_observed):
    observed = make_observed(3)
    with pytest.raises(EvaluationError, match='1 rows for 2 positions'):
        check(observed, told=True)
    with pytest.raises(EvaluationError, match='2 dicts for 3 blends'):
        check_rows([{}, {}], observed, 'mine', False)
    with pytest.raises(EvaluationError, match='flux is missing'):
        check_rows([{'xy': []}], make_observed(1), 'mine', False)
