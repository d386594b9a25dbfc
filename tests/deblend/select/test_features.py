# Licensed under a 3-clause BSD style license - see LICENSE.rst
from types import SimpleNamespace

import numpy as np
import pytest
from photutils.aperture import BoundingBox
from photutils.segmentation import SegmentationImage
from scipy.ndimage import convolve1d

from vaephot.deblend.detect.pixels import Pixels
from vaephot.deblend.detect.residual_peaks import (
    MIN_SIGNIFICANCE,
    find_residual_peaks,
)
from vaephot.deblend.select.features import (
    FEATURES,
    RING_WIDTH,
    _colour_odds,
    _elliptical_distance,
    chi2_gain,
    measure_evidence,
)

SHAPE = (64, 96)
PARAMETERS = np.array([[22.3, 30.6, 0.8, 0.1, -0.1, 0, 0],
                       [29.1, 32.2, 0.4, -0.1, 0.2, 0, 0]])
FLUX = np.array([[9000.0], [2500.0]])


def _segm():
    data = np.zeros(SHAPE, int)
    data[20:43, 12:40] = 4
    return SegmentationImage(data)


@pytest.fixture
def make(gaussian_band, draw_frame, make_observation, make_sources,
         make_engine):
    """Return a function that gives pixels and a fit to positions."""
    psfs = [gaussian_band(1.3)]

    def make_scene(parameters, flux, mask=None):
        data = draw_frame(parameters, flux, psfs, SHAPE)
        data = data + np.random.default_rng(2).standard_normal(data.shape)
        observation = make_observation(data, psfs)
        if mask is not None:
            observation.mask[:, mask] = True
        engine = make_engine(observation, _segm())

        def fit(xy):
            return engine.fit(make_sources(xy, 4))
        return engine.pixels, fit
    return make_scene


def _column(evidence, name):
    return evidence[:, FEATURES.index(name)]


def test_evidence_tells_sources_from_empty_places(make):
    pixels, fit = make(PARAMETERS, FLUX)
    scene = fit(np.vstack([PARAMETERS[:, :2], (17.0, 40.0)]))
    evidence = measure_evidence(pixels, scene)
    assert evidence.shape == (3, len(FEATURES))
    assert np.isfinite(evidence).all()
    drop = _column(evidence, 'log_drop')
    assert drop[:2].min() > 2.5
    assert drop[2] < 1.5
    assert _column(evidence, 'first').tolist() == [1, 0, 0]
    assert _column(evidence, 'around').max() < 0.2


def test_sources_are_compared_with_their_hosts(make):
    apart = PARAMETERS.copy()
    apart[1, :2] = 45.0, 32.2
    near, far = (
        {name: _column(measure_evidence(pixels, fit(p[:, :2])), name)
         for name in FEATURES}
        for p in (PARAMETERS, apart)
        for pixels, fit in [make(p, FLUX)])
    # the brightest has no host
    for name in ('log_here', 'log_size', 'around', 'mirrored', 'colour'):
        assert near[name][0] == 0
    assert 0 <= far['on_host'][1] < 0.4 < near['on_host'][1] <= 1
    assert far['log_here'][1] > 1.5
    assert near['log_size'][1] == pytest.approx(-0.4 / np.log(10), abs=0.1)


def test_lumps_on_both_sides_are_told_from_a_neighbour(make):
    lump = [0, 0, 0.2, 0, 0, 0, 0]
    center = np.array([[26.0, 31, 1.2, 0, 0, 0, 0]])
    places = np.array([[20.0, 28], [32, 34], [22, 36], [30, 26]])
    columns = []
    for n_lumps in (1, 4):
        lumps = np.array([lump] * n_lumps, float)
        lumps[:, :2] = places[:n_lumps]
        pixels, fit = make(np.vstack([center, lumps]),
                              np.array([[20_000.0]] + [[2000.0]] * n_lumps))
        evidence = measure_evidence(
            pixels, fit(np.vstack([center[:, :2], places[:1]])))
        columns.append([_column(evidence, name)[1]
                        for name in ('around', 'mirrored')])
    assert columns[0][0] < 0.5 * columns[1][0]
    assert columns[0][1] < 0.3
    assert columns[1][1] > 0.7


def test_colours_tell_galaxies_apart_where_they_are_known():
    host = np.array([4.0, 6, 8, 9])
    other = np.array([9.0, 5, 3, 2])
    for flux, sign in ((0.1 * host, -1), (other, 1)):
        # noisy fluxes say nothing
        odds = _colour_odds(np.array([flux, flux]),
                            np.array([0.01 * flux, 10 * flux]),
                            np.array([host, host]))
        assert sign * odds[0] > 1
        assert abs(odds[1]) < 0.3
        # nor does one band
        assert _colour_odds(flux[None, :1], 0.01 * flux[None, :1],
                            host[None, :1]) == pytest.approx(0, abs=1e-6)


def test_gain_belongs_to_the_source_that_was_added(make):
    pixels, fit = make(PARAMETERS, FLUX)
    one, both = fit(PARAMETERS[:1, :2]), fit(PARAMETERS[:, :2])
    gain = chi2_gain(pixels, one, both, 1)
    weight = pixels.weight(both.model_image)
    saved = sum(s * (weight * (pixels.data - m.model_image) ** 2).sum()
                for s, m in ((1, one), (-1, both)))
    assert gain.shape == (1,)
    assert gain[0] == pytest.approx(saved, rel=0.05)


def test_what_a_model_leaves_over_is_found(make):
    pixels, fit = make(PARAMETERS, FLUX)
    xy = PARAMETERS[:1, :2]
    faithful = fit(PARAMETERS[:, :2])
    own = np.zeros_like(faithful.model_image)
    box = faithful.boxes[0]
    own[:, box.iymin:box.iymax, box.ixmin:box.ixmax] = faithful.models[0]
    found = find_residual_peaks(pixels, _segm(), own, xy, [4])
    assert np.hypot(found.x - 29.1, found.y - 32.2).min() < 1.5
    assert (found.parent == 4).all()
    assert found.significance.min() >= MIN_SIGNIFICANCE
    nothing = find_residual_peaks(pixels, _segm(), faithful.model_image,
                                  PARAMETERS[:, :2], [4], least=6.0)
    assert len(nothing) == 0
    assert len(find_residual_peaks(pixels, _segm(), own, xy, [7])) == 0


# --------------------------------------- the same on whole frames, and slowly
PLACES = np.array([[30.2, 31.0], [37.1, 33.4], [33.3, 40.0], [70.0, 5.2],
                   [3.0, 60.0]])
PARENTS = np.array([1, 1, 1, 2, 3])
GROUPS = [((0, 1), (2,)), ((2,), (0, 1)), ((3,), ()), ((4,), ())]
BRIGHT = np.array([[9e3, 4e3], [2e3, 900], [700, -40], [3e3, 3e3], [80, 5]])


@pytest.fixture
def plain():
    """Pixels and scene of two bands, without networks."""
    rng = np.random.default_rng(5)
    n, n_bands = BRIGHT.shape
    parameters = np.column_stack([PLACES, rng.normal(0.8, 0.2, n),
                                  rng.normal(0, 0.3, (n, 2))])
    yy, xx = np.mgrid[:SHAPE[0], :SHAPE[1]]
    boxes, models = [], []
    frame = np.zeros((n_bands, *SHAPE))
    for (x, y, log_size, *_), flux in zip(parameters, BRIGHT, strict=True):
        image = np.exp(-np.hypot(xx - x, yy - y) / np.exp(log_size))
        half = 12 + rng.integers(3)
        box = BoundingBox(max(int(x) - half, 0), min(int(x) + half, SHAPE[1]),
                          max(int(y) - half, 0), min(int(y) + half, SHAPE[0]))
        inside = np.s_[:, box.iymin:box.iymax, box.ixmin:box.ixmax]
        boxes.append(box)
        models.append((flux[:, None, None] * image / image.sum())[inside])
        frame[inside] += models[-1]
    variance = rng.uniform(0.5, 2, frame.shape)
    data = 1.02 * frame + np.sqrt(variance) * rng.normal(size=frame.shape)
    pixels = Pixels(
        data=data, mask=rng.random(frame.shape) < 0.05, variance=variance,
        gain=np.array([3.0, 1.0]), fwhm=np.array([2.2, 3.5]))
    scene = SimpleNamespace(
        sources=Sized(PARENTS),
        fit=SimpleNamespace(parameters=parameters, flux=BRIGHT,
                            flux_err=np.full(BRIGHT.shape, 20.0)),
        groups=[SimpleNamespace(core=core, halo=halo, members=core + halo)
                for core, halo in GROUPS],
        boxes=boxes, models=models, model_image=frame)
    return pixels, scene


class Sized:
    """Parents of sources, as many as there are."""

    def __init__(self, parent):
        self.parent = parent

    def __len__(self):
        return len(self.parent)


def whole_frames(scene):
    """Model of each source on the frame."""
    out = np.zeros((len(scene.boxes), *scene.model_image.shape))
    for image, box, model in zip(out, scene.boxes, scene.models,
                                 strict=True):
        image[:, box.iymin:box.iymax, box.ixmin:box.ixmax] = model
    return out


def slow_drop(scene, weight):
    """Chi-square that each source saves, by least squares on the frame."""
    images, cost = whole_frames(scene), np.zeros(len(scene.boxes))
    for group in scene.groups:
        for k in group.core:
            others = [m for m in group.members if m != k]
            for b in np.flatnonzero(scene.fit.flux[k] > 0):
                root = np.sqrt(weight[b]).ravel()
                target = root * images[k, b].ravel()
                columns = root[:, None] * images[others, b].reshape(
                    len(others), root.size).T
                best = np.linalg.lstsq(columns, target)[0]
                cost[k] += ((target - columns @ best) ** 2).sum()
    return cost


def slow_filter(image, line):
    """Separable convolution of a frame; there is nothing outside."""
    for axis in (-2, -1):
        image = convolve1d(image, line, axis=axis, mode='constant')
    return image


def slow_left(pixels, scene, weight, model, k):
    """Filtered residual of a model in its noise, as source k needs it."""
    sigma = pixels.fwhm.min() / 2.354820045
    half = int(np.ceil(3 * sigma))
    line = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma) ** 2)
    line /= line.sum()
    flux = np.maximum(scene.fit.flux[k], 0)
    spectrum = (flux / flux.max() + 1e-6)[:, None, None]
    signal = (spectrum * slow_filter(
        weight * (pixels.data - model), line)).sum(0)
    return signal / np.sqrt((spectrum ** 2
                             * slow_filter(weight, line ** 2)).sum(0))


def test_features_are_those_of_whole_frames(plain):
    pixels, scene = plain
    model = scene.model_image
    gain = pixels.gain[:, None, None]
    weight = (~pixels.mask
              / (pixels.variance + np.maximum(model, 0) / gain))
    evidence = measure_evidence(pixels, scene)
    np.testing.assert_allclose(
        _column(evidence, 'log_drop'),
        np.log10(np.clip(slow_drop(scene, weight), 1e-4, 1e6)), rtol=1e-6)
    images = whole_frames(scene)
    share = []
    for image in images:
        stack = (np.sqrt(weight) * image).sum(0)
        top = np.unravel_index(stack.argmax(), stack.shape)
        share.append(stack[top] / (np.sqrt(weight) * model).sum(0)[top])
    np.testing.assert_allclose(_column(evidence, 'log_central'),
                               np.log10(np.clip(share, 0, 1)), atol=1e-6)
    assert _column(evidence, 'first').tolist() == [1, 0, 0, 1, 1]
    peaks, rings = [], []
    yy, xx = np.mgrid[:SHAPE[0], :SHAPE[1]]
    for k in (1, 2):
        alone = slow_left(pixels, scene, weight, images[0], k)
        x, y = np.rint(PLACES[k]).astype(int)
        peaks.append(np.log10(max(alone[y, x], 1)))
        left = slow_left(pixels, scene, weight, model, k)
        parameters = scene.fit.parameters[0]
        dx, dy = PLACES[k] - PLACES[0]
        distance = _elliptical_distance(dx, dy, parameters)
        radius = _elliptical_distance(xx - PLACES[0, 0], yy - PLACES[0, 1],
                                      parameters)
        width = max(RING_WIDTH * distance, pixels.fwhm.min())
        use = np.abs(radius - distance) < width
        for j in (1, 2):
            use &= np.hypot(xx - PLACES[j, 0],
                            yy - PLACES[j, 1]) > pixels.fwhm.min()
        around = np.clip(np.log10(np.sqrt((left[use] ** 2).mean())), 0, 1)
        rings.append(np.sqrt(around * _column(evidence, 'on_host')[k]))
    np.testing.assert_allclose(_column(evidence, 'log_here')[1:3], peaks,
                               rtol=1e-6)
    np.testing.assert_allclose(_column(evidence, 'around')[1:3], rings,
                               rtol=1e-6)
