# Licensed under a 3-clause BSD style license - see LICENSE.rst
from dataclasses import replace
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import astropy.units as u
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from vaephot.results.covariance import build_groups

make_result = run_path(
    str(Path(__file__).parents[1] / '_blends.py'))['make_result']


@pytest.fixture(name='result', scope='module')
def _result():
    return make_result()


def test_diagonal_is_the_square_of_the_errors(result):
    cov = result.flux_cov()
    assert cov.shape == (5, 3, 5, 3)
    assert cov.unit == u.uJy ** 2
    errors = np.array([s.flux_err.value for s in result])
    diagonal = np.einsum('ibib->ib', cov.value)
    assert_allclose(diagonal, errors ** 2, rtol=1e-12)


def test_covariance_is_symmetric_and_positive(result):
    flat = result.flux_cov().value.reshape(15, 15)
    assert_allclose(flat, flat.T)
    assert np.linalg.eigvalsh(flat).min() > 0


def test_only_sources_of_one_group_have_something_in_common(result):
    cov = result.flux_cov().value
    labels = result.labels.tolist()
    group = {label: result.group_of(label) for label in labels}
    for i, one in enumerate(labels):
        for j, two in enumerate(labels):
            known = None not in (group[one], group[two])
            together = known and group[one][0] == group[two][0]
            assert cov[i, :, j].any() == (together or i == j)


def test_some_sources_are_rows_of_all(result):
    everything = result.flux_cov().value
    some = result.flux_cov([4, 2]).value
    rows = [result.labels.tolist().index(label) for label in (4, 2)]
    assert_array_equal(some, everything[rows][:, :, rows])
    assert_array_equal(result.flux_cov(4).value, some[0, :, 0])


def test_2d_data_have_no_band_axis():
    result = make_result(1, is_2d=True, unit=None)
    cov = result.flux_cov([2, 3])
    assert cov.shape == (2, 2)
    assert result.flux_cov(2) == pytest.approx(result[2].flux_err ** 2)


def test_errors_win_over_the_matrix(result):
    doubled = replace(result, sources=[
        replace(s, flux_err=2 * s.flux_err) for s in result])
    assert_allclose(doubled.flux_cov([1, 2, 3]).value,
                    4 * result.flux_cov([1, 2, 3]).value)


def test_no_error_no_covariance(result):
    dark = replace(result, sources=[
        replace(s, flux_err=s.flux_err * [1, np.nan, 1]) for s in result])
    cov = dark.flux_cov(2).value
    assert np.isnan(cov[1]).all()
    assert np.isfinite(cov[np.ix_([0, 2], [0, 2])]).all()
    drawn = dark.sample(3, [2], rng=1)
    assert np.isfinite(drawn.flux.value[..., [0, 2]]).all()


def test_samples_have_mean_and_covariance_of_the_fit(result):
    labels = [2, 3]
    drawn = result.sample(20_000, labels, rng=3)
    assert drawn.flux.unit == u.uJy
    assert drawn.flux.shape == (20_000, 2, 3)
    assert_array_equal(drawn.labels, labels)
    flat = drawn.flux.value.reshape(len(drawn.flux), -1)
    want = result.flux_cov(labels).value.reshape(6, 6)
    sigma = np.sqrt(np.diag(want))
    assert_allclose((np.cov(flat.T) - want) / np.outer(sigma, sigma), 0,
                    atol=0.04)
    best = np.ravel([result[k].flux.value for k in labels])
    assert_allclose((flat.mean(0) - best) / sigma, 0, atol=0.04)


def test_samples_of_shapes_go_with_those_of_fluxes(result):
    number, place = result.group_of(3)
    matrix = result.groups[number].covariance
    drawn = result.sample(20_000, 3, rng=4)
    latent = drawn.parameters['latent']
    assert latent.shape == (20_000, 1, 4)
    assert drawn.parameters['x'].shape == (20_000, 1)
    size = len(matrix) // len(result.groups[number].labels)
    want = matrix[place * size, place * size + 3 + 2 + 1]
    got = np.cov(drawn.flux.value[:, 0, 0], latent[:, 0, 1])[0, 1]
    sigma = np.sqrt(matrix[place * size, place * size] * 0.01)
    assert abs(got - want) < 0.04 * sigma
    assert latent[:, 0].mean(0) == pytest.approx(
        result[3].parameters['latent'], abs=0.01)


def test_samples_are_seeded(result):
    one, two, other = (result.sample(4, [1, 2], rng=seed).flux
                       for seed in (1, 1, 2))
    assert_array_equal(one, two)
    assert (one != other).all()


def test_derived_shapes_follow_from_the_fitted(result):
    parameters = {'x': 1.0, 'log_size': 0.3, 'eta1': 0.5, 'eta2': -0.2,
                  'size': np.exp(0.3), 'g1': 0.1, 'g2': 0.1,
                  'latent': np.zeros(2)}
    sources = [replace(s, parameters=parameters) for s in result]
    drawn = replace(result, sources=sources).sample(5, [1, 2], rng=1)
    values = drawn.parameters
    assert set(values) == set(parameters)
    assert_allclose(values['size'], np.exp(values['log_size']))
    eta = np.hypot(values['eta1'], values['eta2'])
    assert_allclose(np.hypot(values['g1'], values['g2']), np.tanh(eta / 2))
    assert_allclose(values['g1'] * values['eta2'],
                    values['g2'] * values['eta1'])


def test_sources_without_a_fit_cannot_be_drawn(result):
    with pytest.raises(ValueError, match='source 5'):
        result.sample(2)
    with pytest.raises(KeyError, match='99'):
        result.sample(2, [99])
    for wrong in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match='n_samples'):
            result.sample(wrong, [1])


def test_groups_of_a_fit_hold_each_source_once():
    blocks = np.arange(4 * 4.0).reshape(4, 2, 2)
    matrix = np.arange(36.0).reshape(6, 6)
    fit = SimpleNamespace(covariance=blocks, group_covariance=[
        None, (2, matrix), None, (0, matrix)])
    groups = build_groups(fit, [10, 11, 12, 13])
    assert [g.labels for g in groups] == [(10,), (12,), (11, 13)]
    assert_array_equal(groups[1].covariance, blocks[2])
    own = [4, 5, 0, 1]
    assert_array_equal(groups[2].covariance, matrix[np.ix_(own, own)])
