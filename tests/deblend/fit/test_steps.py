# Licensed under a 3-clause BSD style license - see LICENSE.rst
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from vaephot.deblend.fit.steps import (
    ETA_LIMIT,
    LATENT_LIMIT,
    MIN_LOG_SIZE,
    RIDGE,
    Arrow,
    Trust,
    damped_step,
    inverse,
    limit_parameters,
    pinned_parameters,
    project,
)

N = 6


def _tensor(values):
    return torch.as_tensor(np.asarray(values, float))


def _trust(n_groups, n_sources, radius=1.0):
    out = Trust(torch.ones(n_groups, n_sources, dtype=torch.bool), 0.01,
                1e-6)
    out.radius[:] = radius
    return out


def _definite(rng, *shape):
    """Random symmetric positive matrices."""
    root = rng.normal(0, 1, (*shape[:-1], 2 * shape[-1]))
    return _tensor(root @ root.swapaxes(-1, -2))


# ----------------------------------------------------------- common shapes
def _step(matrix, vector, *, pinned=None, radius=1.0):
    """Step of groups, its length, and the dampings."""
    g, k, _ = vector.shape
    trust = _trust(g, k, radius)
    if pinned is None:
        pinned = torch.zeros_like(vector, dtype=torch.bool)
    step, length = damped_step(matrix, vector, pinned, trust,
                               torch.arange(g))
    return step, length, trust.damping


def _system(seed=6, push=0.5, n_groups=3, n_sources=2):
    rng = np.random.default_rng(seed)
    return (_definite(rng, n_groups, n_sources * N, n_sources * N),
            _tensor(rng.normal(0, push, (n_groups, n_sources, N))))


def test_short_steps_solve_the_system():
    matrix, vector = _system(push=0.1)
    step, length, damping = _step(matrix, vector, radius=10.0)
    assert (length < 1).all()
    assert (damping == 0).all()
    lifted = matrix + RIDGE * torch.diag_embed(
        torch.diagonal(matrix, dim1=1, dim2=2))
    wanted = torch.linalg.solve(lifted, vector.flatten(1))
    torch.testing.assert_close(step.flatten(1), wanted)


@pytest.mark.parametrize('radius', [1.0, 0.1, 1e-3])
@pytest.mark.parametrize('seed', range(3))
def test_no_step_is_longer_than_its_radius(seed, radius):
    matrix, vector = _system(seed, push=300.0)
    step, length, damping = _step(matrix, vector, radius=radius)
    limits = _tensor([1, 1, 1, 0.7, 0.7, 1])
    far = (step.abs() / limits).flatten(1).amax(1)
    assert (far <= radius * (1 + 1e-9)).all()
    torch.testing.assert_close(far, length)
    assert (far > 0.01 * radius).all()
    assert (damping > 0).any()


def test_pinned_parameters_do_not_move():
    matrix, vector = _system(push=0.1)
    pinned = torch.zeros_like(vector, dtype=torch.bool)
    pinned[1, 1, 3] = True
    step, _, _ = _step(matrix, vector, pinned=pinned)
    free, _, _ = _step(matrix, vector)
    assert step[1, 1, 3] == 0
    assert (step[~pinned] != 0).all()
    # others move as if it were not there; other groups do not notice
    torch.testing.assert_close(step[[0, 2]], free[[0, 2]])
    keep = torch.nonzero(~pinned[1].flatten())[:, 0]
    rest = matrix[1][keep][:, keep]
    wanted = torch.linalg.solve(rest + RIDGE * torch.diag(rest.diagonal()),
                                vector[1].flatten()[keep])
    torch.testing.assert_close(step[1].flatten()[keep], wanted)


def _weak(curvature, push):
    """One source: all well constrained, but for the last."""
    return (torch.diag(_tensor([100.0] * 5 + [curvature]))[None],
            _tensor([[[10.0] * 5 + [push]]]))


@pytest.mark.parametrize('radius', [1.0, 0.3])
def test_weak_direction_is_held_and_the_others_are_free(radius):
    step, length, damping = _step(*_weak(1e-3, 1.0), radius=radius)
    # without damping it would go 1000 steps
    assert 0.1 * radius < step[0, 0, 5] <= radius * (1 + 1e-9)
    assert damping[0, 0] > 0
    assert (step[0, 0, :5] > 0.05).all()
    assert float(length[0]) <= radius * (1 + 1e-9)


def test_one_source_does_not_hold_another():
    (weak, push), (strong, pull) = _weak(1e-3, 1.0), _weak(100.0, 10.0)
    both = torch.block_diag(weak[0], strong[0])[None]
    step, _, damping = _step(both, torch.cat([push, pull], 1))
    assert damping[0, 0] > 0
    assert damping[0, 1] == 0
    torch.testing.assert_close(step[0, 1], _step(strong, pull)[0][0, 0])


def test_systems_that_are_not_positive_give_finite_steps():
    matrix, vector = _system()
    matrix[0] -= 50 * torch.eye(2 * N)
    matrix[1] = 0
    step, length, _ = _step(matrix, vector)
    assert torch.isfinite(step).all()
    assert (length <= 1 + 1e-9).all()


# --------------------------------------------------------------- the arrow
def _arrow(seed=6, g=3, b=4, k=1, radius=1.0):
    rng = np.random.default_rng(seed)
    m = k * N
    curvature = _definite(rng, g, b, m, m)
    tie = _tensor(rng.uniform(0.5, 3, (g, m)))
    precision = _tensor(rng.uniform(0.1, 2, (g, m)))
    return Arrow(curvature, tie, precision, _trust(g, k, radius))


def _dense(arrow, i):
    """The whole matrix of a group, common parameters last."""
    b, m = arrow.curvature.shape[1:3]
    tie, out = arrow.tie[i].numpy(), np.zeros(((b + 1) * m,) * 2)
    last = slice(b * m, None)
    out[last, last] = np.diag(b * tie + arrow.precision[i].numpy())
    for j, block in enumerate(arrow.curvature[i].numpy()):
        own = slice(j * m, (j + 1) * m)
        out[own, own] = block + np.diag(RIDGE * np.diag(block) + tie)
        out[own, last] = out[last, own] = -np.diag(tie)
    return out


def test_arrow_is_solved_as_the_full_matrix_is():
    arrow = _arrow()
    rng = np.random.default_rng(2)
    vector, pull = rng.normal(0, 0.3, (3, 4, N)), rng.normal(0, 0.3, (3, N))
    found = arrow.solve(torch.arange(3), _tensor(vector), _tensor(pull))
    for i in range(3):
        wanted = np.linalg.solve(_dense(arrow, i),
                                 np.r_[vector[i].ravel(), pull[i]])
        np.testing.assert_allclose(found[i].numpy().ravel(), wanted[:-N],
                                   rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize('radius', [1.0, 0.1])
def test_no_step_of_an_arrow_is_longer_than_its_radius(radius):
    arrow = _arrow(g=4, k=2, radius=radius)
    rng = np.random.default_rng(2)
    vector = _tensor(rng.normal(0, 300.0, (4, 4, 2, N)))
    step, length = arrow.step(torch.arange(4), vector,
                              _tensor(np.zeros((4, 2 * N))))
    limits = _tensor([1, 1, 1, 0.7, 0.7, 1])
    far = (step.abs() / limits).flatten(1).amax(1)
    assert (far <= radius * (1 + 1e-9)).all()
    torch.testing.assert_close(far, length)
    assert (arrow.trust.damping.amax(1) > 0).all()


def test_steps_of_some_groups_are_theirs():
    vector = _tensor(np.random.default_rng(2).normal(0, 0.2, (3, 4, 1, N)))
    pull = torch.zeros(3, N, dtype=torch.float64)
    some = torch.tensor([2, 0])
    whole, _ = _arrow().step(torch.arange(3), vector, pull)
    part, _ = _arrow().step(some, vector[some], pull[some])
    torch.testing.assert_close(part, whole[some])


# ---------------------------------------------------------------- matrices
@pytest.mark.parametrize('spread', [0, 6, 12])
def test_inverse_of_badly_scaled_matrices(spread):
    rng = np.random.default_rng(3)
    matrix = _definite(rng, 2, 5, 5)
    scale = _tensor(10.0 ** rng.uniform(-spread, spread, 5))
    found = inverse(scale[:, None] * matrix * scale)
    wanted = torch.linalg.inv(matrix) / scale[:, None] / scale
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_curvature_without_fluxes_is_the_schur_complement():
    rng = np.random.default_rng(4)
    whole = _definite(rng, 2, 3, 3 + N, 3 + N)
    found = project(SimpleNamespace(linear=whole[..., :3, :3],
                                    cross=whole[..., :3, 3:],
                                    shape=whole[..., 3:, 3:]))
    wanted = torch.linalg.inv(torch.linalg.inv(whole)[..., 3:, 3:])
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)


def test_sources_without_light_have_no_curvature():
    zero = torch.zeros(1, 1, 2, 2).double()
    found = project(SimpleNamespace(
        linear=zero, cross=torch.zeros(1, 1, 2, N).double(),
        shape=torch.zeros(1, 1, N, N).double()))
    assert (found == 0).all()


# ------------------------------------------------------------------ limits
def test_parameters_stay_within_their_limits():
    wild = _tensor([[[3.0, 4.0, 99.0, 30.0, 40.0, -99.0],
                     [3.0, 4.0, -99.0, 0.3, 0.4, 99.0]]])
    tame = limit_parameters(wild, _tensor([32.0]))[0]
    torch.testing.assert_close(tame[:, :2], wild[0, :, :2])
    np.testing.assert_allclose(tame[:, 5].abs(), LATENT_LIMIT)
    np.testing.assert_allclose(tame[:, 2], [np.log(8.0), MIN_LOG_SIZE])
    np.testing.assert_allclose(tame[0, 3:5], ETA_LIMIT * np.array([0.6, 0.8]))
    np.testing.assert_allclose(tame[1, 3:5], [0.3, 0.4])


def test_parameters_are_pinned_only_at_a_limit_they_are_pushed_beyond():
    local = torch.zeros(1, 2, 6).double()
    local[0, :, 5] = LATENT_LIMIT
    vector = torch.ones(1, 2, 6).double()
    vector[0, 1, 5] = -1
    pinned = pinned_parameters(local, vector, _tensor([32.0]))
    assert pinned.flatten().nonzero().ravel().tolist() == [5]


# ------------------------------------------------------------------- trust
def _judge(trust, gain, predicted, *, lenient=False, length=0.5):
    rows = torch.arange(len(gain))
    gain = _tensor(gain)
    old = torch.full_like(gain, 1000.0)
    return trust.judge(rows, old, old - gain, _tensor(predicted),
                       torch.full_like(gain, length), lenient=lenient)


def test_trials_that_are_worse_are_not_kept():
    trust = _trust(3, 1)
    assert _judge(trust, [1.0, -1.0, 5.0], [1.0, 1.0, 1.0]).tolist() == [
        True, False, True]
    np.testing.assert_allclose(trust.radius, [1.0, 0.125, 1.0])


def test_groups_are_done_when_steps_gain_next_to_nothing():
    trust = _trust(3, 2)
    _judge(trust, [1.0, 0.015, 1e-4], [1.0, 1.0, 1e-4])
    # the tolerance is 0.01 for each of two sources
    assert trust.done.tolist() == [False, True, True]


def test_a_step_to_other_windows_may_seem_a_little_worse():
    trust = _trust(2, 1)
    kept = _judge(trust, [-0.4, -0.6], [1.0, 1.0], lenient=True)
    assert kept.tolist() == [True, False]
    assert not trust.done.any()


def test_groups_without_sources_are_done():
    trust = Trust(torch.tensor([[True, False], [False, False]]), 0.01, 1e-6)
    assert trust.done.tolist() == [False, True]
