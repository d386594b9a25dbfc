# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
import torch

from vaephot.deblend.fit.joint import JointFit

PARAMETERS = np.array([[22.3, 30.6, 0.9, 0.3, -0.1, 0, 0],
                       [27.1, 33.2, 0.5, -0.2, 0.3, 0, 0],
                       [71.2, 44.1, 0.7, 0.1, 0.4, 0, 0]])
FLUX = np.array([[9000.0, 5000], [4000, 7000], [3000, 6000]])
MEMBERS = ((0, 1), (2,))


@pytest.fixture
def make_joint(make_trial, gaussian_band, draw_frame, tiny_vae):
    """Return a function that begins the fit of two groups."""
    def make(scatter=0.05, between=None, sigmas=(1.2, 2.2), start=None,
             **settings):
        psfs = [gaussian_band(s) for s in sigmas]
        flux = FLUX[:, :len(psfs)]
        data = draw_frame(PARAMETERS, flux, psfs, (70, 120))
        trial = make_trial(PARAMETERS, flux, MEMBERS, psfs, data=data,
                           scatter=scatter, settings={
                               'tolerance': 1e-6, 'relative_tolerance': 1e-9,
                               'max_joint': 12, **settings})
        if between is None:
            between = torch.diagonal(tiny_vae.prior.band_precision())
        noise = trial.problem.noise(trial.local[:, 0, :, :2])
        with torch.inference_mode():
            return JointFit(trial.problem,
                            trial.local if start is None else start,
                            torch.zeros_like(noise), between)
    return make


def _run(fit):
    with torch.inference_mode():
        return fit.run()


def test_common_parameters_are_where_their_cost_is_least(make_joint):
    fit = make_joint()
    best = fit.common(fit.local)
    cost = fit._prior_cost(fit.local)

    def at(common):
        apart = fit.tie[:, None] * (fit.local - common[:, None]) ** 2
        square = fit.precision * (common - fit.mean) ** 2
        return 0.5 * (square + apart.sum(1)).sum((1, 2))
    torch.testing.assert_close(at(best), cost)
    rng = np.random.default_rng(3)
    for _ in range(5):
        move = torch.as_tensor(rng.normal(0, 0.01, best.shape)) * ~fit.fixed
        assert (at(best + move) > cost).all()


def test_fit_is_never_worse_than_its_start(make_joint):
    fit = make_joint(scatter=0.3)
    before = fit.cost.clone()
    _run(fit)
    assert (fit.cost < before).all()


def test_galaxies_are_recovered(make_joint):
    fit = make_joint()
    _run(fit)
    np.testing.assert_allclose(fit.flux[0, :, :2].T, FLUX[:2], rtol=0.03)
    np.testing.assert_allclose(fit.flux[1, :, 0], FLUX[2], rtol=0.03)


def test_start_is_left_unchanged(make_joint, make_trial):
    start = make_joint().local.clone()
    before = start.clone()
    _run(make_joint(start=start))
    torch.testing.assert_close(start, before, rtol=0, atol=0)


def test_a_start_at_the_optimum_is_done_at_once(make_joint):
    first = make_joint()
    _run(first)
    again = make_joint(start=first.local.clone(), tolerance=0.01)
    assert (_run(again) <= 2).all()
    error = torch.diagonal(again.covariance(), dim1=1, dim2=2).sqrt()
    # a step may be left out that gains less than the tolerance
    limit = np.sqrt(2 * 0.01)
    assert (abs(again.flux - first.flux)[0, 0] < limit * error[0, :2]).all()


def test_tied_bands_have_the_same_parameters(make_joint):
    fit = make_joint(between=torch.full((7,), 1e9).double())
    _run(fit)
    real = fit.problem.batch.real
    one, other = (fit.local[:, b][real] for b in (0, 1))
    torch.testing.assert_close(one, other, atol=1e-3, rtol=0)


def test_bands_that_are_not_tied_do_not_feel_each_other(make_joint):
    fit = make_joint(between=torch.full((7,), 1e-6).double())
    error = fit.covariance()
    n = 2
    cross = error[1, :n, n:2 * n] / torch.sqrt(
        error[1, 0, 0] * error[1, n, n])
    assert cross.abs().max() < 1e-3


def test_one_band_works(make_joint):
    fit = make_joint(sigmas=(1.2,))
    _run(fit)
    np.testing.assert_allclose(fit.flux[0, 0, :2], FLUX[:2, 0], rtol=0.03)


def test_a_leap_predicts_its_fluxes(make_joint):
    fit = make_joint(scatter=0.03, refine=False)
    before = fit.flux.clone()
    with torch.inference_mode():
        fit.leap()
        found = fit.problem.evaluate(fit.plan, fit.local)
    error = torch.diagonal(fit.covariance(), dim1=1, dim2=2)[:, :4].sqrt()
    error = error.view(2, 2, 2)
    real = fit.problem.batch.real[:, None].expand(-1, 2, -1)
    moved = ((before - found.flux).abs() / error)[real]
    missed = ((fit.flux - found.flux).abs() / error)[real]
    assert moved.max() > 1
    assert (missed < 0.3 * moved.max()).all()


def test_fixed_parameters_do_not_move(make_joint):
    fit = make_joint()
    batch = fit.problem.batch
    assert fit.fixed[1, 1].all()
    before = fit.local.clone()
    _run(fit)
    empty = ~batch.real
    torch.testing.assert_close(fit.local.transpose(1, 2)[empty],
                               before.transpose(1, 2)[empty])
    assert (fit.flux[1, :, 1] == 0).all()


def test_covariance_is_that_of_the_scatter_in_noise(make_trial,
                                                    gaussian_band,
                                                    draw_frame, tiny_vae):
    # one galaxy many times over: linear fluxes of shapes near the truth
    psfs = [gaussian_band(1.2)]
    row = np.array([[20.3, 20.6, 0.9, 0.3, -0.1, 0, 0]])
    image = draw_frame(row, [[3000.0]], psfs, (41, 41))
    n = 40
    tiled = np.tile(image, (1, 5, 8))
    shift = np.array([(41 * i, 41 * j) for j in range(5) for i in range(8)])
    rows = np.repeat(row, n, 0)
    rows[:, :2] += shift
    trial = make_trial(rows, np.full((n, 1), 3000.0),
                       [(i,) for i in range(n)], psfs, data=tiled, seed=2)
    noise = trial.problem.noise(trial.local[:, 0, :, :2])
    with torch.inference_mode():
        fit = JointFit(trial.problem, trial.local, torch.zeros_like(noise),
                       torch.diagonal(tiny_vae.prior.band_precision()))
        fit.run()
        error = fit.covariance()[:, 0, 0].sqrt().numpy()
    pulls = (fit.flux[:, 0, 0].numpy() - 3000) / error
    # four standard errors
    assert abs(pulls.mean()) < 4 / np.sqrt(n)
    assert abs(pulls.std() - 1) < 4 / np.sqrt(2 * n)
