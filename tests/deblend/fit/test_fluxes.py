# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
import torch

from vaephot.deblend.fit.fluxes import solve_fluxes

SIZE = 12


def _templates(places, sigma=1.8):
    """Unit-flux Gaussians at (x, y), one row each."""
    iy, ix = np.mgrid[:SIZE, :SIZE]
    images = [np.exp(-0.5 * ((ix - x) ** 2 + (iy - y) ** 2) / sigma ** 2)
              for x, y in places]
    return np.stack([(i / i.sum()).ravel() for i in images])


def _solve(columns, data, weight):
    columns, data, weight = (torch.as_tensor(np.array(a, float))
                             for a in (columns, data, weight))
    weighted = columns * weight[..., None, :]
    return solve_fluxes(weighted @ columns.transpose(-1, -2),
                        (weighted @ data[..., None])[..., 0])


def _problem(seed=3, n_groups=2, n_bands=3):
    rng = np.random.default_rng(seed)
    columns = np.broadcast_to(_templates([(4, 5), (7, 6), (6, 9)]),
                              (n_groups, n_bands, 3, SIZE ** 2))
    data = rng.normal(0, 1, (n_groups, n_bands, SIZE ** 2))
    weight = rng.uniform(0.1, 2, data.shape)
    return columns, data, weight


def test_joint_solution_is_that_of_numpy():
    columns, data, weight = _problem()
    flux, factor = _solve(columns, data, weight)
    for g, b in np.ndindex(data.shape[:2]):
        root = np.sqrt(weight[g, b])
        matrix = columns[g, b].T * root[:, None]
        expected, *_ = np.linalg.lstsq(matrix, data[g, b] * root)
        np.testing.assert_allclose(flux[g, b], expected, rtol=1e-6)
        np.testing.assert_allclose(factor[g, b] @ factor[g, b].T,
                                   matrix.T @ matrix, rtol=1e-7, atol=1e-9)


def test_pixels_without_weight_do_not_count():
    columns, data, weight = _problem()
    weight[..., 20:40] = 0
    spoilt = data.copy()
    spoilt[..., 20:40] = 1e6
    np.testing.assert_allclose(_solve(columns, spoilt, weight)[0],
                               _solve(columns, data, weight)[0])


def test_fluxes_and_errors_are_right_in_noise():
    rng = np.random.default_rng(4)
    n = 4000
    templates = _templates([(4, 5), (7, 6)])
    truth = np.array([30.0, 3.0])
    data = truth @ templates + rng.normal(0, 0.5, (n, 1, SIZE ** 2))
    weight = np.full(data.shape, 1 / 0.5 ** 2)
    columns = np.broadcast_to(templates, (n, 1, *templates.shape))
    flux, factor = _solve(columns, data, weight)
    error = np.sqrt(np.diag(torch.cholesky_inverse(factor[0, 0])))
    pulls = (flux[:, 0].numpy() - truth) / error
    assert abs(pulls.mean(0)).max() < 4 / np.sqrt(n)
    np.testing.assert_allclose(pulls.std(0), 1, atol=4 / np.sqrt(2 * n))


def test_negative_fluxes_are_not_clipped():
    templates = _templates([(4, 5), (7, 6)])
    data = np.array([5.0, -2.0]) @ templates
    flux, _ = _solve(templates[None, None], data[None, None],
                     np.ones((1, 1, SIZE ** 2)))
    np.testing.assert_allclose(flux[0, 0], [5, -2], rtol=1e-6)


@pytest.mark.parametrize('scale', [1e-12, 1.0, 1e12])
def test_coincident_templates_share_the_light(scale):
    templates = _templates([(5, 5), (5, 5)])
    data = scale * 10 * templates[0]
    flux, _ = _solve(templates[None, None], data[None, None],
                     np.full((1, 1, SIZE ** 2), scale ** -2))
    np.testing.assert_allclose(flux[0, 0] / scale, [5, 5], rtol=1e-5)


def test_column_without_light_gets_no_flux_and_disturbs_nobody():
    templates = _templates([(4, 5), (7, 6), (6, 9)])
    data = (np.array([3.0, 4.0]) @ templates[:2])[None, None]
    weight = np.ones((1, 1, SIZE ** 2))
    dark = templates.copy()
    dark[2] = 0
    flux, _ = _solve(dark[None, None], data, weight)
    np.testing.assert_allclose(flux[0, 0], [3, 4, 0], rtol=1e-6)


def test_everything_masked_gives_zero():
    columns, data, weight = _problem()
    flux, factor = _solve(columns, data, 0 * weight)
    assert flux.abs().max() == 0
    assert torch.isfinite(factor).all()


def test_free_background_takes_a_pedestal_off_the_fluxes():
    templates = _templates([(4, 5), (7, 6)])
    x, y = np.meshgrid(*[np.linspace(-1, 1, SIZE)] * 2)
    extra = np.stack([np.ones_like(x), x, y]).reshape(3, -1)
    columns = np.concatenate([templates, extra])[None, None]
    truth = np.array([5.0, 2.0, 0.3, -0.1, 0.2])
    data = truth @ columns[0, 0]
    flux, _ = _solve(columns, data[None, None],
                     np.ones((1, 1, SIZE ** 2)))
    np.testing.assert_allclose(flux[0, 0], truth, rtol=1e-6)


def test_axes_in_front_do_not_matter():
    columns, data, weight = _problem()
    flux, factor = _solve(columns, data, weight)
    for g, b in np.ndindex(data.shape[:2]):
        alone, own = _solve(columns[g, b], data[g, b], weight[g, b])
        np.testing.assert_allclose(flux[g, b], alone, rtol=1e-12)
        np.testing.assert_allclose(factor[g, b], own, rtol=1e-12)


def test_a_system_that_is_not_positive_disturbs_nobody():
    # rounding can leave a matrix of equal templates slightly negative
    bad = torch.tensor([[1.0, 1.0 + 1e-7], [1.0 + 1e-7, 1.0]]).double()
    good = torch.tensor([[2.0, 0.5], [0.5, 1.0]]).double()
    vector = torch.ones(2, 2).double()
    flux, factor = solve_fluxes(torch.stack([bad, good]), vector)
    assert torch.isfinite(factor).all()
    np.testing.assert_allclose(flux[0], [0.5, 0.5], rtol=1e-5)
    np.testing.assert_allclose(flux[1], np.linalg.solve(good, [1, 1]),
                               rtol=1e-8)
