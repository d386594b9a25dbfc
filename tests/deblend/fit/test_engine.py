# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Laws of the whole engine, with the networks of the package."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from astropy.wcs import WCS
from photutils.segmentation import SegmentationImage

from vaephot.deblend.fit.batches import GroupFitter
from vaephot.deblend.fit.engine import NEIGHBOUR_SIGMA
from vaephot.deblend.inputs.observation import NativeObservation
from vaephot.utils.grids import GridMap

SHAPE = (80, 150)
# a blend of three, a pair, and galaxies alone; x, y, log size, shear
SHAPES = np.array([[22.3, 30.6, 0.9, 0.3, -0.1], [27.1, 33.2, 0.5, -0.2, 0.3],
                   [31.6, 28.1, 0.2, 0.0, 0.5], [71.2, 44.1, 0.7, 0.1, 0.4],
                   [76.0, 40.1, 0.9, 0.1, 0.4], [120.4, 21.2, 1.1, 0.5, 0],
                   [122.7, 62.3, 0.4, -0.3, 0.1], [30.2, 65.0, 0.1, 0, 0]])
FLUX = np.array([[900.0, 500], [600, 700], [300, 300], [300, 600],
                 [1500, 900], [5000, 4000], [90, 120], [200, 30]])
BOXES = ((12, 42, 20, 42), (62, 86, 32, 54), (108, 134, 10, 33),
         (114, 132, 54, 71), (22, 39, 57, 73))
# sources whose windows do not reach the edges
INNER = [0, 1, 2, 3, 4]
PARENTS = [1, 1, 1, 2, 2, 3, 4, 5]


def _segm(boxes=BOXES, shape=SHAPE):
    data = np.zeros(shape, int)
    for label, (x0, x1, y0, y1) in enumerate(boxes, start=1):
        data[y0:y1, x0:x1] = label
    return SegmentationImage(data)


def _wide(vae, shapes=SHAPES):
    """Parameters with a latent of zero."""
    return np.hstack([shapes, np.zeros((len(shapes), vae.config.n_parameters
                                        - shapes.shape[1]))])


@pytest.fixture(scope='module')
def psfs(gaussian_band):
    """Return the PSFs of two bands, one of which is binned."""
    return [gaussian_band(1.2), gaussian_band(2.0)]


@pytest.fixture(scope='module')
def image(psfs, draw_frame, shipped_vae):
    """Return two bands with galaxies and noise."""
    data = draw_frame(_wide(shipped_vae), FLUX, psfs, SHAPE,
                      shipped_vae.decoder)
    return data + np.random.default_rng(6).standard_normal(data.shape)


@pytest.fixture(scope='module')
def engine(image, psfs, make_engine, make_observation, shipped_vae):
    """Return a function that makes the engine of the image."""
    def make(segm=None, psfs=psfs, image=image, **given):
        return make_engine(make_observation(image, psfs),
                           segm or _segm(), vae=shipped_vae, **given)
    return make


@pytest.fixture(scope='module')
def sources(make_sources):
    """Return where the galaxies were found."""
    rng = np.random.default_rng(3)
    return make_sources(SHAPES[:, :2] + rng.normal(0, 0.2, (8, 2)), PARENTS)


@pytest.fixture(scope='module')
def plain(engine, sources):
    """Return the fit of the plainest call."""
    made = engine()
    return made.settle(made.fit(sources)).fit


def assert_same(fit, other, share=1e-5, error=1e-3):
    """Fluxes differ by next to nothing, and so do their errors."""
    apart = np.abs(fit.flux - other.flux)
    limit = share * np.abs(other.flux) + error * other.flux_err
    assert (apart <= limit).all(), (apart / limit).max()
    np.testing.assert_allclose(fit.flux_err, other.flux_err, rtol=1e-3)


# --------------------------------------------------- what must not matter
@pytest.mark.parametrize('batch_size', [1, 2, 5])
def test_batch_size_does_not_matter(engine, sources, plain, batch_size):
    made = engine(batch_size=batch_size)
    assert_same(made.settle(made.fit(sources)).fit, plain)


@pytest.mark.parametrize('seed', [1, 2])
def test_order_of_the_sources_does_not_matter(engine, sources, plain, seed):
    order = np.random.default_rng(seed).permutation(len(sources))
    made = engine()
    found = made.settle(made.fit(sources.take(order))).fit
    assert_same(found, plain.take(order))


def test_the_same_call_gives_the_same_numbers(engine, sources, plain):
    made = engine()
    again = made.settle(made.fit(sources)).fit
    np.testing.assert_array_equal(again.flux, plain.flux)
    np.testing.assert_array_equal(again.covariance, plain.covariance)


def test_a_field_may_be_cut_into_tiles(engine, sources, plain, image):
    x0 = 50
    cut = np.s_[:, :, x0:]
    boxes = [(a - x0, b - x0, c, d) for a, b, c, d in BOXES[1:4]]
    made = engine(image=image[cut], segm=_segm(boxes, image[0, :, x0:].shape))
    rows = np.flatnonzero(np.isin(PARENTS, [2, 3, 4]))
    some = sources.take(rows)
    some = replace(some, x=some.x - x0, parent=some.parent - 1)
    found = made.settle(made.fit(some)).fit
    assert_same(found, plain.take(rows))


def test_shifts_by_whole_pixels_do_not_matter(engine, sources, plain, image):
    moved = np.roll(image, (2, 3), (1, 2))
    boxes = [(a + 3, b + 3, c + 2, d + 2) for a, b, c, d in BOXES]
    made = engine(image=moved, segm=_segm(boxes))
    found = made.settle(made.fit(replace(
        sources, x=sources.x + 3, y=sources.y + 2))).fit
    assert_same(found.take(INNER), plain.take(INNER))
    np.testing.assert_allclose(found.parameters[INNER, 0] - 3,
                               plain.parameters[INNER, 0], atol=1e-4)


def _wcs(shift=0.0):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = 'RA---TAN', 'DEC--TAN'
    wcs.wcs.crval = 10.0, 20.0
    wcs.wcs.crpix = SHAPE[1] / 2 + shift, SHAPE[0] / 2 + 2 * shift
    wcs.wcs.cdelt = -0.1 / 3600, 0.1 / 3600
    return wcs


@pytest.mark.parametrize('shift', [0, 4])
def test_one_grid_is_several_identical_grids(engine, sources, plain, image,
                                             psfs, make_observation,
                                             make_engine, shipped_vae,
                                             shift):
    moved = np.roll(image[1], (2 * shift, shift), (0, 1))
    layers = tuple(make_observation(data[None], [psf]) for data, psf in
                   zip((image[0], moved), psfs, strict=True))
    reference = _wcs()
    native = NativeObservation(
        layers=layers, rows=(np.array([0]), np.array([1])), maps=(
            GridMap(reference, reference), GridMap(reference, _wcs(shift))),
        bands=('band1', 'band2'))
    made = make_engine(native, _segm(), vae=shipped_vae)
    assert made.fitter.maps[1] is not None
    found = made.settle(made.fit(sources)).fit
    rows = INNER if shift else slice(None)
    assert_same(found.take(rows), plain.take(rows), error=2e-3)


@pytest.mark.parametrize('n_threads', [1, 2])
def test_number_of_threads_does_not_matter(engine, sources, plain,
                                           n_threads):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(n_threads)
        made = engine()
        found = made.settle(made.fit(sources)).fit
    finally:
        torch.set_num_threads(before)
    assert_same(found, plain)


@pytest.mark.parametrize('n_workers', [1, 3])
def test_batches_may_be_fitted_side_by_side(engine, sources, plain,
                                            monkeypatch, n_workers):
    monkeypatch.setattr(GroupFitter, '_n_workers', lambda self: n_workers)
    made = engine(batch_size=1)
    assert_same(made.settle(made.fit(sources)).fit, plain)


@pytest.mark.gpu
def test_gpu_gives_what_the_cpu_does(engine, sources, plain):
    made = engine(device='cuda')
    assert_same(made.settle(made.fit(sources)).fit, plain, error=0.01)


# --------------------------------------------------------------- accuracy
def test_pulls_are_those_of_the_noise(plain):
    pulls = (plain.flux - FLUX) / plain.flux_err
    assert abs(pulls).max() < 4.5
    assert plain.converged.all()


@pytest.fixture(scope='module')
def many(shipped_vae, gaussian_band, draw_frame):
    """Return a function that draws 60 galaxies, each alone, with noise."""
    side, columns, rows = 44, 10, 6
    rng = np.random.default_rng(11)
    centre = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)),
                      -1).reshape(-1, 2) * side + side // 2
    shapes = np.column_stack([
        centre + rng.uniform(-0.5, 0.5, centre.shape),
        rng.normal(0.6, 0.3, 60), rng.normal(0, 0.3, (60, 2))])
    flux = rng.uniform(150, 1500, (60, 1))
    psf = gaussian_band(1.2)

    def make(gain=None):
        truth = np.zeros((1, rows * side, columns * side))
        for row, value in zip(_wide(shipped_vae, shapes), flux, strict=True):
            x, y = (np.rint(row[:2]) - side // 2).astype(int)
            own = row - np.array([x, y, *[0] * (len(row) - 2)])
            truth[:, y:y + side, x:x + side] += draw_frame(
                [own], [value], [psf], (side, side), shipped_vae.decoder)
        variance = 1 + (0 if gain is None else np.maximum(truth, 0) / gain)
        noise = np.random.default_rng(5).standard_normal(truth.shape)
        boxes = [(x - 15, x + 15, y - 15, y + 15) for x, y in centre]
        return (truth + noise * np.sqrt(variance), shapes, flux,
                _segm(boxes, truth.shape[1:]), psf)
    return make


@pytest.mark.parametrize('gain', [None, 0.5])
def test_isolated_galaxies_have_no_bias_and_true_errors(
        many, make_engine, make_observation, make_sources, shipped_vae,
        gain):
    data, shapes, flux, segm, psf = many(gain)
    made = make_engine(make_observation(data, [psf], gain=gain), segm,
                       vae=shipped_vae)
    fit = made.fit(make_sources(shapes[:, :2], np.arange(60) + 1)).fit
    pulls = ((fit.flux - flux) / fit.flux_err)[:, 0]
    # three standard errors of the mean and of the standard deviation
    assert abs(pulls.mean()) < 3 / np.sqrt(60)
    assert abs(pulls.std() - 1) < 0.3


# ------------------------------------------------------------- neighbours
@pytest.fixture(scope='module', params=[4.0, 15.0], ids=['near', 'glaring'])
def neighbours(request, engine, draw_frame, shipped_vae, psfs, make_sources):
    """Return engines of two galaxies apart and as one group, and sources."""
    ratio = request.param
    shapes = np.array([[50.3, 40.1, 1.0, 0.2, 0.1],
                       [78.6, 41.2, 1.4, -0.2, 0.3]])
    flux = np.array([[2000.0, 1500], [2000 * ratio, 1300 * ratio]])
    data = draw_frame(_wide(shipped_vae, shapes), flux, psfs, SHAPE,
                      shipped_vae.decoder)
    data = data + np.random.default_rng(4).standard_normal(data.shape)
    apart = engine(image=data, segm=_segm([(48, 53, 38, 43),
                                           (76, 81, 39, 44)]))
    whole = engine(image=data, segm=_segm([(40, 95, 30, 52)]))
    return (apart, whole, make_sources(shapes[:, :2], [1, 2]),
            make_sources(shapes[:, :2], [1, 1]), flux,
            # three sweeps are too few for a glaring one
            0.2 if ratio < 10 else 0.5)


def test_light_of_other_groups_is_taken_off(neighbours):
    apart, whole, two, one, flux, limit = neighbours
    first = apart.fit(two)
    assert len(first.groups) == 2
    settled, joint = apart.settle(first).fit, whole.fit(one)
    assert len(joint.groups) == 1
    # of the faint one; the bright one has more pixels in the larger group
    error = joint.fit.flux_err
    before, after = (abs(fit.flux - joint.fit.flux)[0] / error[0]
                     for fit in (first.fit, settled))
    assert before.max() > 5 * limit
    assert after.max() < limit
    assert (abs(settled.flux - flux) < 4 * error).all()


def test_light_of_a_bright_member_reaches_the_others(neighbours):
    # a long group: windows must not be as narrow as its shorter side
    _, whole, _, one, flux, _ = neighbours
    fit = whole.fit(one).fit
    assert (abs(fit.flux - flux) < 2 * fit.flux_err).all()


def test_settled_groups_are_not_fitted_again(neighbours, monkeypatch):
    apart, _, two, *_ = neighbours
    settled = apart.settle(apart.fit(two))
    assert settled.seen
    assert not apart._shone_on(settled)
    assert apart.settle(settled) is settled


def test_light_between_groups_is_that_of_the_others(neighbours):
    apart, _, two, *_ = neighbours
    scene = apart.fit(two)
    light = apart._light(scene.drawn)
    found = light(1, (0,), 40, 30, (20, 24))
    box, model = scene.boxes[1], scene.models[1][1]
    whole = np.zeros(SHAPE)
    whole[box.iymin:box.iymax, box.ixmin:box.ixmax] = model
    np.testing.assert_allclose(found, whole[30:50, 40:64], atol=1e-3)
    assert found.max() > NEIGHBOUR_SIGMA


# ------------------------------------------------------------------ refit
def test_dropping_a_source_leaves_the_other_groups_as_they_are(engine,
                                                               sources):
    made = engine()
    scene = made.fit(sources)
    keep = np.arange(8) != 1
    again = made.refit(scene, keep)
    assert len(again) == len(again.models) == 7
    rows = np.flatnonzero(np.array(PARENTS)[keep] > 1)
    np.testing.assert_array_equal(again.fit.flux[rows],
                                  scene.fit.flux[keep][rows])
    # its neighbours take over its light
    assert (again.fit.flux[:2].sum(0)
            > 1.1 * scene.fit.flux[[0, 2]].sum(0)).all()
    assert again.rejected == (1,)


def test_dropping_a_false_source_equals_never_having_it(engine, sources,
                                                        make_sources):
    made = engine()
    more = sources.join(make_sources([(125.0, 25.0)], [3]))
    scene = made.refit(made.fit(more), np.arange(9) < 8)
    never = made.fit(sources)
    apart = abs(scene.fit.flux - never.fit.flux)
    assert (apart < 0.15 * never.fit.flux_err).all()


def test_added_sources_follow_the_others(engine, sources):
    made = engine()
    whole = made.fit(sources)
    some = np.arange(8) != 2
    scene = made.refit(made.fit(sources.take(some)), np.ones(7, bool),
                       added=sources.take([2]))
    order = [0, 1, 3, 4, 5, 6, 7, 2]
    apart = abs(scene.fit.flux - whole.fit.flux[order])
    assert (apart < 0.2 * whole.fit.flux_err[order]).all()
    assert len(scene.boxes) == 8
    np.testing.assert_allclose(scene.model_image, whole.model_image,
                               atol=0.5)


def test_nothing_is_done_where_nothing_changes(engine, sources):
    made = engine()
    scene = made.fit(sources)
    again = made.refit(scene, np.ones(8, bool))
    np.testing.assert_array_equal(again.fit.flux, scene.fit.flux)
    np.testing.assert_array_equal(again.model_image, scene.model_image)


# ------------------------------------------------------------------ scenes
def test_model_image_is_the_sum_of_the_models(engine, sources):
    scene = engine().fit(sources)
    total = np.zeros_like(scene.model_image)
    for box, model in zip(scene.boxes, scene.models, strict=True):
        total[:, box.iymin:box.iymax, box.ixmin:box.ixmax] += model
    np.testing.assert_allclose(scene.model_image, total, atol=1e-4)


def test_residuals_are_noise(engine, sources, image):
    scene = engine().fit(sources)
    residual = image - scene.model_image
    assert residual[:, 15:75, 10:135].std() == pytest.approx(1, abs=0.03)


def test_no_sources_give_an_empty_scene(engine, make_sources):
    made = engine()
    scene = made.settle(made.fit(make_sources([])))
    assert len(scene) == 0
    assert scene.fit.flux.shape == (0, 2)
    assert (scene.model_image == 0).all()


def test_fit_leaves_no_gradients_and_no_inference_mode(engine, sources):
    engine().fit(sources)
    assert not torch.is_inference_mode_enabled()
    assert torch.is_grad_enabled()


def test_sky_noise_is_that_of_each_band(engine):
    found = engine().sky_rms(np.array([[3.0, 4.0], [100.0, 200.0]]))
    np.testing.assert_allclose(found, np.ones((2, 2)))


# ------------------------------------------------------------ bright stars
def test_a_very_bright_star_leaves_no_ripples(make_engine, make_observation,
                                              moffat_psf, make_sources,
                                              shipped_vae):
    shape = (181, 181)
    psf = moffat_psf.image[::2, ::2] * 4
    image = np.zeros((1, *shape))
    error = 1 / np.sqrt((psf ** 2).sum())
    flux = 1e6 * error
    image[0, 50:131, 50:131] = flux * psf
    mask = np.zeros(image.shape, bool)
    made = make_engine(make_observation(image, [moffat_psf], mask=mask),
                       _segm([(60, 121, 60, 121)], shape), vae=shipped_vae)
    scene = made.fit(make_sources([(90.0, 90.0)], [1], is_point=True))
    assert scene.fit.flux[0, 0] == pytest.approx(flux, rel=1e-5)
    y, x = np.mgrid[:181, :181] - 90
    apart = abs(scene.model_image[0] - image[0])
    core = np.hypot(x, y) < 5
    assert apart[~core].max() < 1
