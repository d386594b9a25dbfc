# Licensed under a 3-clause BSD style license - see LICENSE.rst
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from vaephot.deblend.fit.laplace import covariance

G, B, K, P = 2, 3, 2, 4


def _normal(n, seed=3, scale=1.0):
    """Normal matrices with ``n`` linear columns, and all in one."""
    rng = np.random.default_rng(seed)
    m = n + K * P
    root = rng.normal(0, 1, (G, B, m, 3 * m))
    root[:, :, :n] *= scale
    whole = torch.as_tensor(root @ root.swapaxes(-1, -2))
    return SimpleNamespace(linear=whole[..., :n, :n],
                           cross=whole[..., :n, n:],
                           shape=whole[..., n:, n:]), whole.numpy()


def _held(seed=4):
    rng = np.random.default_rng(seed)
    tie, precision = (torch.as_tensor(rng.uniform(1, 5, (G, K, P)))
                      for _ in range(2))
    return torch.zeros(G, K, P, dtype=torch.bool), tie, precision


def _dense(whole, g, n, tie, precision):
    """Covariance of a group by the inverse of the full Hessian."""
    m, n_shape = whole.shape[-1], K * P
    tie, precision = tie[g].flatten().numpy(), precision[g].flatten().numpy()
    size = B * m + n_shape
    out = np.zeros((size, size))
    common = slice(B * m, size)
    out[common, common] = np.diag(B * tie + precision)
    fluxes = []
    for b in range(B):
        out[b * m:(b + 1) * m, b * m:(b + 1) * m] = whole[g, b]
        own = slice(b * m + n, (b + 1) * m)
        out[own, own] += np.diag(tie)
        out[own, common] = out[common, own] = -np.diag(tie)
        fluxes.extend(range(b * m, b * m + n))
    rows = [*fluxes, *range(B * m, size)]
    return np.linalg.inv(out)[np.ix_(rows, rows)]


@pytest.mark.parametrize('n', [K, K + 3])
@pytest.mark.parametrize('scale', [1.0, 1e-5])
def test_covariance_is_the_inverse_of_all_second_derivatives(n, scale):
    normal, whole = _normal(n, scale=scale)
    fixed, tie, precision = _held()
    found = covariance(normal, fixed, tie, precision)
    for g in range(G):
        wanted = _dense(whole, g, n, tie, precision)
        size = np.sqrt(np.diag(wanted))
        np.testing.assert_allclose(found[g].numpy() / size / size[:, None],
                                   wanted / size / size[:, None], atol=1e-7)


def test_fixed_parameters_have_no_variance_and_add_none():
    normal, whole = _normal(K)
    fixed, tie, precision = _held()
    fixed[:, 1, 2] = True
    found = covariance(normal, fixed, torch.where(fixed, 0.0, tie),
                       torch.where(fixed, 1e8, precision))
    row = B * K + P + 2
    assert (found[:, row].abs() < 2e-8).all()
    hard = precision.clone()
    hard[:, 1, 2] = 1e14
    hard_tie = tie.clone()
    hard_tie[:, 1, 2] = 1e14
    for g in range(G):
        wanted = _dense(whole, g, K, hard_tie, hard)
        np.testing.assert_allclose(found[g], wanted, atol=1e-6)


def test_dark_columns_do_not_disturb_the_others():
    normal, _ = _normal(K)
    fixed, tie, precision = _held()
    for part in (normal.linear, normal.cross):
        part[:, 1, 0] = 0
    normal.linear[:, 1, :, 0] = 0
    normal.shape[:, 1, :P] = 0
    normal.shape[:, 1, :, :P] = 0
    normal.cross[:, 1, :, :P] = 0
    found = covariance(normal, fixed, tie, precision)
    assert torch.isfinite(found).all()
    assert (torch.diagonal(found, dim1=1, dim2=2) > 0).all()


def test_covariance_is_symmetric_and_positive():
    normal, _ = _normal(K + 1)
    found = covariance(normal, *_held())
    torch.testing.assert_close(found, found.transpose(1, 2))
    assert (torch.linalg.eigvalsh(found) > 0).all()
