# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
import torch

from vaephot.deblend.fit.passes import MAX_LACKING
from vaephot.deblend.fit.windows import FINE

# groups of three, two and one source: windows of several sides
PARAMETERS = np.array([
    [22.3, 30.6, 0.9, 0.3, -0.1, 0, 0, .8, -.5, .6, .4],
    [27.1, 33.2, 0.5, -0.2, 0.3, 0.5, -1, 0, 0, 0, 0],
    [35.4, 31.8, 1.6, 0.0, 0.0, 0, 0, 0, 0, 0, 0],
    [71.2, 44.1, 0.7, 0.1, 0.4, 1, 0, 0, 0, 0, 0],
    [76.0, 40.1, -3.5, 0, 0, 0, 0, 0, 0, 0, 0],
    [100.0, 15.0, 0.3, 0.1, 0.4, 0, 0, -.3, .9, -.7, .2]])
FLUX = np.array([[900.0, 500], [60, 70], [3e4, 3e4], [300, 600], [50, 50],
                 [5000, 40]])
MEMBERS = ((0, 1, 2), (3, 4), (5,))
POINT = np.arange(6) == 4


@pytest.fixture(scope='module', params=[None, 'constant', 'plane'])
def background(request):
    """Return a kind of free background."""
    return request.param


@pytest.fixture(scope='module', params=[False, True],
                ids=['concentric', 'asymmetric'])
def trial(request, make_trial, gaussian_band, background, structured_vae,
          draw_frame, structured_decoder):
    """Return groups in two bands of different binning, with bad pixels."""
    psfs = [gaussian_band(1.2), gaussian_band(2.2)]
    data = draw_frame(PARAMETERS, FLUX, psfs, (70, 120), structured_decoder)
    rng = np.random.default_rng(7)
    mask = rng.uniform(size=(2, 70, 120)) < 0.03
    waved = np.isin(np.arange(6), [0, 5]) if request.param else None
    return make_trial(
        PARAMETERS, FLUX, MEMBERS, psfs, data=data, mask=mask,
        vae=structured_vae, asymmetric=waved, is_point=POINT, gain=3.0,
        scatter=0.02, settings={'background': background})


@pytest.fixture(scope='module')
def full(trial):
    """Return a full pass."""
    return trial.evaluate(steep=True)


@pytest.fixture(scope='module')
def light(trial):
    """Return a pass of templates alone."""
    return trial.evaluate(adjoint=True)


@pytest.fixture(scope='module')
def columns(trial):
    """Return templates and derivatives on the canvas, (g, b, k, c, n)."""
    return _columns(trial)


def _columns(trial):
    """Columns of all entries, drawn one class after the other."""
    plan = trial.plan
    n_columns = 1 + trial.local.shape[-1]
    entries, n = plan.entries, len(trial.canvas.data)
    out = np.zeros((*entries.shape, n_columns, n))
    flat = out.reshape(-1, n_columns, n)
    shapes = entries.shapes(trial.local, trial.problem.decoder, steep=True)
    for some in plan.classes:
        mixture, slope, place, matrix = some.shapes_of(shapes, slice(None))
        drawn = some.drawer.columns(mixture, slope, some.transfer, place,
                                    matrix).double().numpy()
        for i, entry in enumerate(some.entry.tolist()):
            row = int(entries.row[entry])
            flat[row][:drawn.shape[1], some.index[i]] = drawn[i]
    return out


def _arrays(trial):
    """Data, weight and backgrounds (n,), in double precision."""
    canvas = trial.canvas
    return [v.double().numpy() for v in (canvas.data, canvas.weight,
                                         canvas.extra)]


def _own(trial, g, b):
    """Pixels of a region, alone."""
    canvas = trial.canvas
    start, count = canvas.start[g, b], canvas.size[g, b].prod()
    out = np.zeros(len(canvas.data), bool)
    out[start:start + count] = True
    return out


def _linear_columns(trial, columns, g, b):
    """Templates and backgrounds of a group in a band, (n, pixels)."""
    _, _, extra = _arrays(trial)
    return np.concatenate([columns[g, b, :, 0], extra * _own(trial, g, b)])


GROUPS = [(g, b) for g in range(3) for b in range(2)]


def _close(found, wanted, share=1e-4):
    np.testing.assert_allclose(found, wanted,
                               atol=share * np.abs(wanted).max())


@pytest.mark.parametrize(('g', 'b'), GROUPS)
def test_linear_blocks_are_products_of_images(trial, full, columns, g, b):
    _, weight, _ = _arrays(trial)
    own = _linear_columns(trial, columns, g, b)
    _close(full.linear[g, b].numpy(), (own * weight) @ own.T, 1e-5)


@pytest.mark.parametrize(('g', 'b'), GROUPS)
def test_shape_blocks_are_products_of_images(trial, full, columns, g, b):
    _, weight, _ = _arrays(trial)
    k = columns.shape[2]
    flux = full.flux[g, b, :k, None, None].numpy()
    steep = (columns[g, b, :, 1:] * flux).reshape(-1, columns.shape[-1])
    own = _linear_columns(trial, columns, g, b)
    _close(full.cross[g, b].numpy(), (own * weight) @ steep.T)
    _close(full.shape[g, b].numpy(), (steep * weight) @ steep.T)


@pytest.mark.parametrize(('g', 'b'), GROUPS)
def test_fluxes_are_those_of_least_squares(trial, full, light, columns, g,
                                           b):
    data, weight, _ = _arrays(trial)
    own = _linear_columns(trial, columns, g, b)
    real = np.concatenate([trial.problem.batch.real[g].numpy(),
                           np.ones(len(own) - columns.shape[2], bool)])
    root = np.sqrt(weight)
    wanted, *_ = np.linalg.lstsq((own[real] * root).T, data * root)
    error = np.sqrt(np.diag(np.linalg.inv(
        (own[real] * weight) @ own[real].T)))
    for found in (full, light):
        apart = np.abs(found.flux[g, b].numpy()[real] - wanted)
        # single precision
        assert (apart < 2e-3 * error + 5e-6 * np.abs(wanted)).all()
        assert (found.flux[g, b].numpy()[~real] == 0).all()


def test_cost_is_half_the_chi_square(trial, light, columns):
    data, weight, _ = _arrays(trial)
    for g in range(3):
        cost = 0
        for b in range(2):
            own = _linear_columns(trial, columns, g, b)
            flux = light.flux[g, b].numpy()
            left = (data - flux @ own) * _own(trial, g, b)
            power = ((own * weight) * own).sum(1)
            lack = np.maximum(-flux * np.sqrt(power) - MAX_LACKING, 0)
            cost += 0.5 * (weight * left ** 2).sum()
            cost += 0.5 * (lack[:columns.shape[2]] ** 2).sum()
        assert float(light.cost[g]) == pytest.approx(cost, rel=1e-5)


def test_a_light_pass_gives_what_a_full_one_does(full, light):
    torch.testing.assert_close(light.cost, full.cost, rtol=1e-6, atol=0)
    assert light.linear is light.shape is None
    largest = float(full.slope.abs().max())
    for g, b in GROUPS:
        scale = float(full.slope[g, b].abs().max()) + 1e-4 * largest
        np.testing.assert_allclose(light.slope[g, b], full.slope[g, b],
                                   atol=1e-3 * scale)


def _check_slope(trial, light, seed):
    """Compare the slope in some direction with a finite difference."""
    rng = np.random.default_rng(seed)
    free = trial.problem.batch.free[:, None].double()
    move = torch.as_tensor(rng.normal(size=trial.local.shape)) * free * 1e-3
    up, down = (trial.evaluate(trial.local + s * move).cost for s in (1, -1))
    parts = (light.slope.view(trial.local.shape) * move).flatten(1)
    apart = parts.sum(1) - (down - up) / 2
    # the cost itself is known to a millionth
    rounding = 1e-6 * light.cost
    assert (apart.abs() <= 0.01 * parts.norm(dim=1) + rounding).all()


@pytest.mark.parametrize('seed', range(4))
def test_slope_is_that_of_the_cost(trial, light, seed):
    # negative light, which has a penalty, is none here
    _check_slope(trial, light, seed)


class _Map:
    """Another grid: turned, stretched and shifted."""

    def affine(self, x, y):
        """Return matrices (n, 2, 2) and offsets (n, 2)."""
        return (np.repeat([[[0.55, 0.1], [-0.08, 0.6]]], len(x), 0),
                np.repeat([[3.0, 9.0]], len(x), 0))


def test_slopes_go_through_the_maps_to_other_grids(
        make_trial, gaussian_band, structured_vae):
    trial = make_trial(
        PARAMETERS, FLUX, MEMBERS, [gaussian_band(1.2), gaussian_band(1.1)],
        vae=structured_vae, asymmetric=np.isin(np.arange(6), [0, 5]),
        is_point=POINT, scatter=0.02, grid_maps=[None, _Map()])
    columns = _columns(trial)
    trial.canvas.data += torch.as_tensor(np.einsum(
        'gkb,gbkn->n', FLUX[trial.problem.batch.members]
        * trial.problem.batch.real[..., None].numpy(),
        columns[:, :, :, 0])).float()
    trial.plan.set_pixels()
    trial.local += 0.01 * trial.problem.batch.free[:, None]
    light, full = (trial.evaluate(adjoint=True), trial.evaluate(steep=True))
    _close(light.slope.numpy(), full.slope.numpy(), 1e-3)
    for seed in range(3):
        _check_slope(trial, light, seed)


def test_model_and_residual_add_up_to_the_data(trial, light, columns):
    k = columns.shape[2]
    model = np.einsum('gbk,gbkn->n', light.flux[..., :k].numpy(),
                      columns[:, :, :, 0])
    _close(light.model.numpy(), model, 1e-5)
    whole = sum(light.flux[g, b].numpy() @ _linear_columns(
        trial, columns, g, b) for g, b in GROUPS)
    _close(light.residual.numpy(), trial.canvas.data.numpy() - whole, 1e-5)


def test_bad_pixels_carry_no_weight(trial, light):
    canvas = trial.canvas
    before = canvas.data.clone()
    canvas.data[canvas.good == 0] = 1e4
    trial.plan.set_pixels()
    spoilt = trial.evaluate(adjoint=True)
    canvas.data.copy_(before)
    trial.plan.set_pixels()
    torch.testing.assert_close(spoilt.flux, light.flux, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(spoilt.cost, light.cost, rtol=1e-6, atol=0)


def test_groups_do_not_know_of_each_other(trial, full):
    some = torch.tensor([2, 0])
    problem = trial.problem.take(some)
    canvas = trial.canvas.take(some.numpy())
    flux = full.flux[some][..., :3]
    noise = problem.noise(trial.local[some, 0, :, :2])
    plan = problem.plan(canvas, trial.used[some], trial.local[some], flux,
                        noise, FINE)
    alone = problem.evaluate(plan, trial.local[some], steep=True)
    whole = trial.problem.plan(
        trial.canvas, trial.used, trial.local, full.flux[..., :3],
        trial.problem.noise(trial.local[:, 0, :, :2]), FINE)
    both = trial.problem.evaluate(whole, trial.local, steep=True)
    for name in ('flux', 'cost', 'linear', 'shape'):
        a, b = getattr(alone, name), getattr(both, name)[some]
        _close(a.numpy(), b.numpy(), 1e-6)


def test_better_groups_are_kept(full):
    better = torch.tensor([True, False, True])
    other = full.take(torch.tensor([0, 1, 2]))
    for name in ('flux', 'cost', 'slope', 'linear'):
        setattr(other, name, getattr(full, name) + 1)
    mine = full.take(torch.tensor([0, 1, 2]))
    mine.keep(better, other)
    torch.testing.assert_close(mine.cost,
                               full.cost + better.double())
    torch.testing.assert_close(mine.linear[1], full.linear[1])
    torch.testing.assert_close(mine.slope[2], full.slope[2] + 1)
