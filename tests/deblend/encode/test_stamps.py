# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
import torch

from vaephot.deblend.encode import stamps as start
from vaephot.deblend.encode.stamps import (
    MAX_MARKED,
    MAX_RADIUS,
    BandView,
    Targets,
    band_evidence,
    bin_factors,
    encode,
)
from vaephot.deblend.fit.priors import prior_of_sources
from vaephot.models.normalization import CANONICAL_FWHM

SIZE = 16


def _image(ny=60, nx=80, seed=2):
    return np.random.default_rng(seed).normal(0, 1, (ny, nx))


def _no_light(band, rows, ix, iy, side):
    return np.zeros((len(rows), side, side))


def _targets(x, y, radius=0.1, *, alone=False, own_light=_no_light):
    x, y = np.array(x, float), np.array(y, float)
    guess = np.zeros((len(x), 7))
    guess[:, 0], guess[:, 1], guess[:, 2] = x, y, np.log(radius)
    return Targets(x=x, y=y, guess=guess, own_light=own_light, alone=alone)


@pytest.fixture(scope='module')
def make_view(gaussian_band):
    """Return a function that makes a band of an image."""
    def make(data, *, mask=None, variance=4.0, sigma=1.2):
        psf = gaussian_band(sigma)
        mask = np.zeros(data.shape, bool) if mask is None else mask
        variance = (np.full((1, 1), variance) if np.ndim(variance) == 0
                    else variance)
        return BandView(data, mask, variance, psf.sample(0, 0), psf.fwhm,
                        {})
    return make


def _cut(view, targets, factor=1, *, rows=None, band=0):
    rows = np.arange(len(targets.x)) if rows is None else np.array(rows)
    *pixels, _, _, corner = start._stamps(view, band, targets, rows, factor,
                                          SIZE)
    return pixels, corner


def test_small_sources_under_narrow_psfs_are_not_binned():
    factors = bin_factors(np.array([0.0, MAX_RADIUS, MAX_RADIUS + 0.1,
                                    3 * MAX_RADIUS]), CANONICAL_FWHM)
    assert factors.tolist() == [1, 1, 2, 3]


def test_the_larger_of_both_needs_decides_the_binning():
    radius = np.array([0.0, 2.9 * MAX_RADIUS, 4.5 * MAX_RADIUS])
    assert bin_factors(radius, 3.5 * CANONICAL_FWHM).tolist() == [4, 4, 5]


def test_stamps_are_windows_about_the_nearest_pixel(make_view):
    data = _image()
    (stamp, rms, good, own, _, _), corner = _cut(
        make_view(data), _targets([40.3, 30.0], [25.8, 20.0]))
    np.testing.assert_array_equal(stamp[0], data[18:34, 32:48])
    np.testing.assert_allclose(corner, [[40, 26], [30, 20]])
    np.testing.assert_allclose(own, [[0.3, -0.2], [0, 0]])
    np.testing.assert_allclose(rms[:, 0, 0], 2)
    assert good.all()


@pytest.mark.parametrize('factor', [2, 3, 4])
def test_binned_pixels_are_sums_and_keep_positions(make_view, factor):
    data = _image(120, 140)
    x, y = 65.3, 57.6
    (stamp, rms, _, own, _, _), corner = _cut(
        make_view(data), _targets([x], [y]), factor)
    np.testing.assert_allclose(corner[0] + factor * own[0], [x, y])
    assert abs(own).max() <= 0.5
    ix, iy = np.rint(corner[0] - (factor - 1) / 2).astype(int)
    block = data[iy:iy + factor, ix:ix + factor].sum()
    np.testing.assert_allclose(stamp[0, SIZE // 2, SIZE // 2], block)
    np.testing.assert_allclose(rms, 2 * factor)


@pytest.mark.parametrize(('x', 'y'), [(2, 3), (79, 0), (0, 59), (77.6, 58)])
def test_pixels_beyond_the_corners_are_bad_and_empty(make_view, x, y):
    data = _image() + 100
    (stamp, _, good, _, _, _), corner = _cut(make_view(data),
                                             _targets([x], [y]))
    ix, iy = corner[0].astype(int) - SIZE // 2
    rows, columns = np.mgrid[iy:iy + SIZE, ix:ix + SIZE]
    inside = (rows >= 0) & (rows < 60) & (columns >= 0) & (columns < 80)
    assert 0 < inside.sum() < SIZE ** 2
    np.testing.assert_array_equal(good[0], inside)
    assert (stamp[0][~inside] == 0).all()
    np.testing.assert_array_equal(stamp[0][inside],
                                  data[rows[inside], columns[inside]])


def test_masked_pixels_do_not_count_whatever_they_hold(make_view):
    data = _image()
    mask = np.zeros(data.shape, bool)
    mask[25, 41] = True
    data[25, 41] = 1e9
    (stamp, _, good, _, _, _), _ = _cut(make_view(data, mask=mask),
                                        _targets([40], [26]))
    assert not good[0, 7, 9]
    assert good.sum() == SIZE ** 2 - 1
    assert stamp[0, 7, 9] == 0


def test_binned_pixel_with_one_bad_of_four_is_scaled_up(make_view):
    data, mask = np.ones((60, 80)), np.zeros((60, 80), bool)
    targets = _targets([40], [26])
    _, corner = _cut(make_view(data), targets, 2)
    ix, iy = np.rint(corner[0] - 0.5).astype(int)
    mask[iy, ix] = True
    mask[iy:iy + 2, ix + 2:ix + 4] = True
    (stamp, _, good, _, _, _), _ = _cut(make_view(data, mask=mask), targets,
                                        2)
    assert good[0, 8, 8]
    assert stamp[0, 8, 8] == pytest.approx(4)
    assert not good[0, 8, 9]
    assert stamp[0, 8, 9] == 0


def test_noise_map_is_that_of_the_stamp(make_view):
    variance = np.ones((60, 80))
    variance[:, 40:] = 25.0
    (_, rms, *_), _ = _cut(make_view(_image(), variance=variance),
                           _targets([20, 60, 0], [30, 30, 0]))
    np.testing.assert_allclose(rms[:, 0, 0], [1, 5, 1])


@pytest.mark.parametrize('factor', [1, 2])
def test_neighbours_are_marked_nearest_first(make_view, factor):
    targets = _targets([40, 43, 38, 70], [30, 31, 26, 30])
    (*_, own, marks, present), _ = _cut(make_view(_image()), targets, factor,
                                        rows=[0])
    assert present[0].tolist() == [1, 1] + [0] * (MAX_MARKED - 2)
    # from the target, in pixels of the stamp
    np.testing.assert_allclose((marks[0, :2] - own) * factor,
                               [[3, 1], [-2, -4]])
    assert abs(marks[0, 2:]).max() == 0


def test_only_the_nearest_neighbours_are_marked(make_view):
    x = 40 + 0.4 * np.arange(MAX_MARKED + 4)
    (*_, marks, present), _ = _cut(
        make_view(_image()), _targets(x, np.full(len(x), 30.0)), rows=[0])
    assert present[0].sum() == MAX_MARKED
    np.testing.assert_allclose(marks[0, -1], [0.4 * MAX_MARKED, 0])


def test_coincident_sources_mark_each_other_not_themselves(make_view):
    targets = _targets([40, 40], [30, 30])
    (*_, marks, present), _ = _cut(make_view(_image()), targets)
    assert present.sum(1).tolist() == [1, 1]
    assert abs(marks).max() == 0


def test_own_light_is_given_back_to_its_source(make_view):
    data = _image()
    calls = []

    def own_light(band, rows, ix, iy, side):
        calls.append((band, rows.tolist(), ix.tolist(), iy.tolist(), side))
        return np.full((len(rows), side, side), 1.0) * rows[:, None, None]
    places = [40, 20], [30, 25]
    (stamp, *_), _ = _cut(
        make_view(data), _targets(*places, alone=True, own_light=own_light),
        2, band=3)
    (plain, *_), _ = _cut(make_view(data), _targets(*places), 2)
    np.testing.assert_allclose(stamp - plain,
                               4 * np.array([0, 1])[:, None, None]
                               * np.ones_like(plain))
    band, rows, ix, iy, side = calls[0]
    assert (band, rows, side) == (3, [0, 1], 2 * SIZE)
    assert ix == [40 - SIZE, 20 - SIZE]
    assert iy == [30 - SIZE, 25 - SIZE]


def test_sources_are_looked_at_as_they_are_at_first(make_view):
    def own_light(band, rows, ix, iy, side):
        return np.ones((len(rows), side, side))
    (stamp, *_), _ = _cut(make_view(_image()),
                          _targets([40], [30], own_light=own_light))
    (plain, *_), _ = _cut(make_view(_image()), _targets([40], [30]))
    np.testing.assert_array_equal(stamp, plain)


@pytest.mark.parametrize('factor', [2, 4])
def test_sources_between_pixels_are_cut_alike_both_ways_up(make_view,
                                                          factor):
    # odd and even places: a turned image gives the turned windows' partners
    places = np.array([[40, 26], [41, 26], [40, 27], [41, 27]])
    _, corner = _cut(make_view(_image()), _targets(*places.T), factor)
    assert (corner - places == 0.5).all()


@pytest.mark.parametrize('factor', [1, 3])
def test_guess_and_its_model_are_those_of_the_stamp(make_view, factor):
    def own_light(band, rows, ix, iy, side):
        return np.ones((len(rows), side, side))
    mask = np.ones((60, 80), bool)
    targets = _targets([40.3], [25.8], 2.0, own_light=own_light)
    targets.guess[0] = [40.9, 25.1, np.log(2.0), 0.1, -0.2, 0.3, 0.4]
    *_, guess, model, corner = start._stamps(
        make_view(_image(), mask=mask), 0, targets, np.array([0]), factor,
        SIZE)
    np.testing.assert_allclose(corner + factor * guess[:, :2],
                               [[40.9, 25.1]])
    assert guess[0, 2] == pytest.approx(np.log(2.0 / factor))
    np.testing.assert_allclose(guess[0, 3:], [0.1, -0.2, 0.3, 0.4])
    # the model is there where the data are bad, too
    np.testing.assert_allclose(model, factor ** 2)


def _evidence(vae, view, targets):
    return band_evidence(vae, view, 0, targets,
                         np.full(len(targets.x), 50.0), device='cpu')


def test_evidence_is_in_pixels_of_the_image(tiny_vae, make_view):
    targets = _targets([40.3, 25.6], [25.8, 30.0])
    found = _evidence(tiny_vae, make_view(_image()), targets)
    assert found.mean.dtype == found.precision.dtype == torch.float64
    np.testing.assert_allclose(found.mean[:, :2],
                               np.transpose([targets.x, targets.y]), atol=3)
    # whole pixels only move the answer
    moved = _evidence(tiny_vae, make_view(np.roll(_image(), (3, -5),
                                                  (0, 1))),
                      _targets(targets.x - 5, targets.y + 3))
    np.testing.assert_allclose(moved.mean[:, :2] - found.mean[:, :2],
                               [[-5, 3]] * 2, atol=1e-4)
    np.testing.assert_allclose(moved.mean[:, 2:], found.mean[:, 2:],
                               atol=1e-5)


@pytest.mark.parametrize('factor', [2, 3])
def test_binning_is_undone(tiny_vae, gaussian_band, monkeypatch, factor):
    # an image whose pixels are repeated looks the same when binned again
    monkeypatch.setattr(start, 'psf_numbers', lambda *_: np.zeros(3))
    small = _image(40, 40)
    large = np.kron(small, np.ones((factor, factor)))
    shift = (factor - 1) / 2
    found = []
    for data, scale in ((small, 1), (large, factor)):
        # a PSF just wide enough to be binned once more
        psf = gaussian_band(1.3 * scale, half=8 * factor)
        view = BandView(data, np.zeros(data.shape, bool),
                        np.full((1, 1), float(scale) ** 2),
                        psf.sample(0, 0), psf.fwhm, {})
        assert bin_factors(np.zeros(1), psf.fwhm).tolist() == [scale]
        x, y = (np.array([v]) * scale + (scale - 1) / 2
                for v in (20.1, 21.9))
        found.append(_evidence(tiny_vae, view,
                               _targets(x, y, 0.8 * scale)))
    near, far = found
    np.testing.assert_allclose(far.mean[:, :2],
                               factor * near.mean[:, :2] + shift, atol=1e-4)
    np.testing.assert_allclose(far.mean[:, 2],
                               near.mean[:, 2] + np.log(factor), atol=1e-5)
    np.testing.assert_allclose(far.mean[:, 3:], near.mean[:, 3:], atol=1e-5)
    np.testing.assert_allclose(far.precision[:, :2],
                               near.precision[:, :2] / factor ** 2,
                               rtol=1e-4)
    np.testing.assert_allclose(far.precision[:, 2:], near.precision[:, 2:],
                               rtol=1e-4)


def test_answer_does_not_depend_on_who_else_is_there(tiny_vae, make_view):
    rng = np.random.default_rng(3)
    n = start.ENCODER_BATCH['cpu'] + 7
    x, y = rng.uniform(5, 75, n), rng.uniform(5, 55, n)
    radius = np.where(np.arange(n) % 3 == 0, 2.5 * MAX_RADIUS, 1.0)
    whole = _targets(x, y, radius)
    view = make_view(_image())
    together = _evidence(tiny_vae, view, whole)
    for i in (0, 1, n - 1):
        rows = np.array([i])
        alone = _rows_evidence(tiny_vae, view, whole, rows)
        # to the last bit
        assert torch.equal(alone.mean[0], together.mean[i])
        assert torch.equal(alone.precision[0], together.precision[i])


def _rows_evidence(vae, view, targets, rows):
    """Evidence on some sources, the others being there as neighbours."""
    order = np.concatenate([rows, np.setdiff1d(np.arange(len(targets.x)),
                                               rows)])
    turned = Targets(x=targets.x[order], y=targets.y[order],
                     guess=targets.guess[order], own_light=_no_light)
    found = _evidence(vae, view, turned)
    return type(found)(*[column[:len(rows)] for column in found])


def _prior_of(vae, places, sigma, fwhm, snr):
    with torch.no_grad():
        return prior_of_sources(vae.prior, torch.as_tensor(places),
                                torch.as_tensor(sigma), fwhm,
                                torch.as_tensor(snr))


def _crowd(n=40):
    """Targets that mark nobody, and their signal-to-noise ratios."""
    rng = np.random.default_rng(3)
    return (40.0 * np.arange(n), np.full(n, 30.0), rng.uniform(5, 500, n))


def _look_at(vae, view, x, y, snr):
    return band_evidence(vae, view, 0, _targets(x, y), snr, device='cpu')


@pytest.mark.parametrize('batch', [1, 2, 32])
def test_order_and_batches_do_not_matter(tiny_vae, make_view, monkeypatch,
                                         batch):
    view, crowd = make_view(_image(60, 1640)), _crowd()
    whole = _look_at(tiny_vae, view, *crowd)
    monkeypatch.setattr(start, 'ENCODER_BATCH', {'cpu': batch})
    order = np.random.default_rng(5).permutation(40)[:17]
    some = _look_at(tiny_vae, view, *[c[order] for c in crowd])
    for a, b in zip(whole, some, strict=True):
        np.testing.assert_allclose(b, a[order], rtol=1e-4, atol=1e-5)


def test_each_source_has_the_binning_of_its_size(tiny_vae, make_view):
    view = make_view(_image(60, 400))
    x, y, snr = (c[:3] for c in _crowd())
    x = 150 * np.arange(3.0) + 20
    radius = np.array([0.1, 3 * MAX_RADIUS, 1.0])
    together = band_evidence(tiny_vae, view, 0, _targets(x, y, radius), snr,
                             device='cpu')
    for i in range(3):
        one = slice(i, i + 1)
        alone = band_evidence(
            tiny_vae, view, 0, _targets(x[one], y[one], radius[one]),
            snr[one], device='cpu')
        for a, b in zip(together, alone, strict=True):
            np.testing.assert_allclose(a[one], b, rtol=1e-5, atol=1e-6)


def test_sources_outside_the_image_see_nothing(make_view):
    (stamp, rms, good, *_), _ = _cut(
        make_view(_image() + 100, variance=np.full((60, 80), 4.0)),
        _targets([-40, 500], [30, -200]))
    assert not good.any()
    assert (stamp == 0).all()
    np.testing.assert_allclose(rms, 2)


def test_bands_are_pooled_with_the_prior_of_the_best(
        tiny_vae, make_view, make_sources):
    views = [make_view(_image(seed=k), sigma=s)
             for k, s in enumerate((1.2, 1.6))]
    sources = make_sources([(40.3, 25.8), (10.0, 12.5)], [1, 2])
    snr = np.array([[30.0, 20.0], [10.0, 90.0]])
    fwhm = np.array([view.fwhm for view in views])
    prior = _prior_of(tiny_vae, np.column_stack([sources.x, sources.y]),
                      sources.position_sigma, fwhm, snr)
    targets = _targets(sources.x, sources.y)
    posterior = encode(tiny_vae, views, targets, prior, snr, device='cpu')
    assert (posterior.precision > prior.precision).all()
    found = [band_evidence(tiny_vae, view, band, targets, snr[:, band],
                           device='cpu')
             for band, view in enumerate(views)]
    torch.testing.assert_close(
        posterior.precision,
        prior.precision + sum(one.precision for one in found))
