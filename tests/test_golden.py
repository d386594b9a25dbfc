# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Results of small scenes against those recorded in ``data/golden.json``.

``python tests/make_golden.py`` records them anew.
"""

import json
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import numpy as np
import pytest

HERE = Path(__file__).parent
scenes = SimpleNamespace(**run_path(str(HERE / 'golden_scenes.py')))
GOLDEN = json.loads((HERE / 'data' / 'golden.json').read_text('utf-8'))
WITH_FLUXES = [name for name in GOLDEN if 'flux' in GOLDEN[name]]


def measure(name):
    """Numbers of a scene; skips a scene without its data."""
    made = scenes.measure(name)
    if made is None:
        pytest.skip('VAEPHOT_TEST_DATA has no data of this scene')
    return made


def test_every_scene_is_recorded():
    assert list(GOLDEN) == list(scenes.SCENES)


@pytest.mark.parametrize('name', GOLDEN)
def test_sources_and_parents_are_those_recorded(name):
    old, new = GOLDEN[name], measure(name)
    assert new['children'] == old['children']
    if old.get('blind', True):
        assert sorted(new['parent_label']) == sorted(old['parent_label'])
    else:
        assert new['parent_label'] == old['parent_label']


def order_of(old, new):
    """Row of the new source nearest to each old one, if none was told."""
    if not old['blind']:
        return np.arange(len(old['x']))
    offset = [np.subtract.outer(old[axis], new[axis]) for axis in 'xy']
    return np.hypot(*offset).argmin(1)


def compare(name):
    """Offsets of all sources and bands of a scene; `None` if it cannot."""
    old, new = GOLDEN[name], scenes.measure(name)
    if new is None:
        return None
    order = order_of(old, new)
    pairs = {key: (np.array(old[key], float),
                   np.array(new[key], float)[..., order])
             for key in ('flux', 'flux_err', 'x', 'y')}
    if not all(one.shape == other.shape for one, other in pairs.values()):
        pytest.fail(f'scene {name} has another number of sources')
    return {'scene': np.full(pairs['flux'][0].size, name), **differences(
        *pairs.values())}


def differences(flux, error, x, y):
    """Flux offset over the recorded error, ratio of errors, distance."""
    missing = np.isfinite(flux[0]) != np.isfinite(flux[1])
    pull = np.where(missing, np.inf, (flux[1] - flux[0]) / error[0])
    ratio = np.where(missing, np.inf, error[1] / error[0])
    distance = np.hypot(x[1] - x[0], y[1] - y[0])
    return {'pull': abs(pull).ravel(), 'error': abs(ratio - 1).ravel(),
            'distance': np.broadcast_to(distance, pull.shape).ravel()}


@pytest.fixture(scope='module')
def changes():
    """Differences of all scenes together."""
    each = [made for made in map(compare, WITH_FLUXES) if made is not None]
    every = {key: np.concatenate([made[key] for made in each])
             for key in each[0]}
    known = ~np.isnan(every['pull'])
    return {key: column[known] for key, column in every.items()}


def report(changes, key):
    """Say which scenes changed the most."""
    values = changes[key]
    worst = [f'{changes["scene"][i]} {values[i]:.3g}'
             for i in np.argsort(values)[:-9:-1]]
    p50, p68, p95 = np.percentile(values, [50, 68, 95])
    return (f'{key}: median {p50:.3g}, 68th percentile {p68:.3g}, 95th '
            f'{p95:.3g} of {len(values)}; worst: {", ".join(worst)}')


def test_fluxes_are_those_recorded(changes):
    p68, p95 = np.percentile(changes['pull'], [68, 95])
    assert p68 <= 0.25, report(changes, 'pull')
    assert p95 <= 1.2, report(changes, 'pull')


def test_flux_errors_are_those_recorded(changes):
    assert np.median(changes['error']) <= 0.05, report(changes, 'error')


def test_positions_are_those_recorded(changes):
    p68 = np.percentile(changes['distance'], 68)
    assert p68 <= 0.1, report(changes, 'distance')
