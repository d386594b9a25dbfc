# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
import torch

from vaephot.deblend.steps import (
    ETA_LIMIT,
    LATENT_LIMIT,
    LEEWAY,
    MIN_LOG_SIZE,
    RIDGE,
    Equations,
    limit_parameters,
    pinned_parameters,
    trusted_step,
)

N_PARAMETERS = 6


def _system(seed=6, n_groups=3, n_bands=4, n=N_PARAMETERS, push=0.5):
    rng = np.random.default_rng(seed)
    tie = rng.uniform(0.5, 3, (n_groups, n))[:, :, None] * np.eye(n)
    root = rng.normal(0, 1, (n_groups, n_bands, n, 2 * n))
    matrix = root @ root.swapaxes(-1, -2) + tie[:, None]
    return Equations(*[torch.as_tensor(a) for a in (
        matrix, rng.normal(0, push, (n_groups, n_bands, n)), tie,
        rng.uniform(0.1, 2, (n_groups, n)),
        rng.normal(0, push, (n_groups, n)))])


def _step(equations, *, pinned=None, radius=1.0):
    n_groups, _, n = equations.vector.shape
    if pinned is None:
        pinned = torch.zeros_like(equations.vector, dtype=torch.bool)
    return trusted_step(
        equations, pinned,
        torch.full((n_groups,), radius, dtype=torch.float64),
        torch.zeros(n_groups, n // N_PARAMETERS, dtype=torch.float64),
        N_PARAMETERS)


def test_arrow_of_many_bands_is_solved_as_a_dense_matrix_is():
    equations = _system()
    n_bands, n = equations.vector.shape[1:]
    step, length, strain = _step(equations)
    assert (length < 1).all()
    assert (strain == 0).all()
    for i in range(len(step)):
        matrix, vector, tie, prior, pull = (e[i].numpy() for e in equations)
        last = n_bands * n
        dense = np.zeros((last + n,) * 2)
        dense[last:, last:] = n_bands * tie + np.diag(prior)
        for b in range(n_bands):
            own = slice(b * n, (b + 1) * n)
            # the ridge does not hold bands that move together
            dense[own, own] = matrix[b] + RIDGE * np.diag(
                np.diag(matrix[b] - tie))
            dense[own, last:] = dense[last:, own] = -tie
        expected = np.linalg.solve(dense, np.r_[vector.ravel(), pull])
        np.testing.assert_allclose(step[i].numpy().ravel(), expected[:last],
                                   rtol=1e-6, atol=1e-8)


def test_pinned_parameters_take_no_step():
    equations = _system()
    pinned = torch.zeros_like(equations.vector, dtype=torch.bool)
    pinned[1, 2, 3] = True
    step = _step(equations, pinned=pinned)[0][:, :, 0]
    assert step[1, 2, 3] == 0
    assert (step[~pinned] != 0).all()
    # other groups do not notice
    torch.testing.assert_close(step[[0, 2]],
                               _step(equations)[0][[0, 2], :, 0])


def _weak(curvature, push):
    """One source in one band: all well constrained, but the last."""
    matrix = torch.diag(torch.tensor([100.0] * 5 + [curvature])).double()
    vector = torch.tensor([10.0] * 5 + [push]).double()
    zero = torch.zeros(1, 6, 6).double()
    return Equations(matrix[None, None], vector[None, None], zero,
                     torch.ones(1, 6).double(), torch.zeros(1, 6).double())


@pytest.mark.parametrize('radius', [1.0, 0.3])
def test_weak_direction_is_held_and_the_others_are_free(radius):
    step, length, strain = _step(_weak(1e-3, 1.0), radius=radius)
    step = step[0, 0, 0]
    # without strain it would go 1000 steps
    assert 0.1 * radius < step[5] <= radius * (1 + 1e-9)
    assert strain[0, 0] > 0
    assert (step[:5] > 0.05).all()
    assert float(length[0]) <= radius * (1 + 1e-9)


def test_one_source_does_not_hold_another():
    weak, strong = _weak(1e-3, 1.0), _weak(100.0, 10.0)
    blocks = torch.block_diag(weak.matrix[0, 0], strong.matrix[0, 0])
    zero = torch.zeros(1, 12, 12).double()
    both = Equations(blocks[None, None], torch.cat(
        [weak.vector, strong.vector], -1), zero, torch.ones(1, 12).double(),
        torch.zeros(1, 12).double())
    step, _, strain = _step(both)
    assert strain[0, 0] > 0
    assert strain[0, 1] == 0
    torch.testing.assert_close(step[0, 0, 1], _step(strong)[0][0, 0, 0])


def test_no_step_is_longer_than_its_radius():
    for seed in range(5):
        equations = _system(seed, n_groups=6, n=2 * N_PARAMETERS, push=300.0)
        free = _step(equations, radius=1e6)[1]
        for radius in (1.0, 0.1, 1e-3):
            _, length, strain = _step(equations, radius=radius)
            assert (free > LEEWAY * radius).any()
            assert (length <= radius * (1 + 1e-9)).all()
            assert (strain.amax(1)[free > LEEWAY * radius] > 0).all()


def test_parameters_stay_within_their_limits():
    wild = torch.tensor([[3.0, 4.0, 99.0, 30.0, 40.0, -99.0],
                         [3.0, 4.0, -99.0, 0.3, 0.4, 99.0]])
    tame = limit_parameters(wild, 32)
    torch.testing.assert_close(tame[:, :2], wild[:, :2])
    torch.testing.assert_close(tame[:, 5].abs(),
                               torch.full((2,), LATENT_LIMIT))
    torch.testing.assert_close(tame[:, 2],
                               torch.tensor([np.log(8.0), MIN_LOG_SIZE]),
                               check_dtype=False)
    torch.testing.assert_close(tame[0, 3:5],
                               ETA_LIMIT * torch.tensor([0.6, 0.8]))


def test_parameters_are_pinned_only_at_a_limit_they_are_pushed_beyond():
    local = torch.zeros(1, 1, 2, 6)
    local[0, 0, :, 5] = LATENT_LIMIT
    vector = torch.ones(1, 1, 12)
    vector[..., 11] = -1
    pinned = pinned_parameters(local, vector, 32)
    assert pinned[0, 0].nonzero().ravel().tolist() == [5]
