# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest

from vaephot.deblend.select.features import (
    FEATURES,
    compare,
    measure_features,
)

PARAMETERS = np.array([[22.3, 30.6, 0.8, 0.1, -0.1, 0, 0],
                       [29.1, 32.2, 0.4, -0.1, 0.2, 0, 0]])
FLUX = np.array([[9000.0], [2500.0]])


def _column(features, name):
    return features[:, FEATURES.index(name)]


def test_features_tell_sources_from_empty_places(make):
    engine, fit = make(PARAMETERS, FLUX)
    scene = fit(np.vstack([PARAMETERS[:, :2], (17.0, 40.0)]))
    features = measure_features(engine, scene)
    assert features.shape == (3, len(FEATURES))
    assert np.isfinite(features).all()
    drop = _column(features, 'log_drop')
    assert drop[:2].min() > 2.5
    assert drop[2] < 1.5
    assert _column(features, 'first').tolist() == [1, 0, 0]
    # one band has no second one
    np.testing.assert_array_equal(_column(features, 'log_second'),
                                  _column(features, 'log_snr'))


def test_sources_are_compared_with_their_hosts(make):
    apart = PARAMETERS.copy()
    apart[1, :2] = 45.0, 32.2
    near, far = (
        {name: _column(measure_features(engine, fit(p[:, :2])), name)
         for name in FEATURES}
        for p in (PARAMETERS, apart)
        for engine, fit in [make(p, FLUX)])
    # the brightest has no host
    for name in ('log_here', 'log_size', 'log_distance', 'around',
                 'mirrored', 'colour'):
        assert near[name][0] == 0
    assert 0 <= far['on_host'][1] < 0.4 < near['on_host'][1] <= 1
    assert far['log_here'][1] > 1.5
    assert near['log_size'][1] == pytest.approx(-0.4 / np.log(10), abs=0.1)
    assert near['log_distance'][1] < far['log_distance'][1]


def test_a_hot_pixel_fits_worse_than_a_galaxy(make):
    engine, fit = make(PARAMETERS, FLUX, hot=(15, 40))
    features = measure_features(engine, fit(
        np.vstack([PARAMETERS[:, :2], (15.0, 40.0)])))
    left = _column(features, 'log_left')
    assert left[2] > left[:2].max() + 0.3


# ----------------------------------------------------- what does not matter
@pytest.mark.parametrize('unit', [1e-20, 1e12])
def test_features_have_no_unit(plain, unit):
    np.testing.assert_allclose(measure_features(*plain(unit=unit)),
                               measure_features(*plain()), atol=1e-6)


def test_the_order_of_the_bands_does_not_matter(plain):
    np.testing.assert_allclose(measure_features(*plain(bands=(1, 0))),
                               measure_features(*plain()), atol=1e-9)


@pytest.mark.parametrize('bands', [[0], [1]])
def test_one_band_is_enough(plain, bands):
    features = measure_features(*plain(bands=bands))
    assert np.isfinite(features).all()
    assert not _column(features, 'colour').any()


def test_the_pixel_scale_does_not_matter(plain):
    coarse, fine = (measure_features(*plain(zoom=zoom, wrong=0, bad=0))
                    for zoom in (1, 2))
    # noise, and where the pixels lie
    limits = {'around': 0.4, 'log_left': 0.3, 'edge': 0.3}
    for name in FEATURES:
        # of the last one next to nothing is seen
        apart = abs(_column(fine, name) - _column(coarse, name))[:4]
        assert apart.max() < limits.get(name, 0.15), name


def test_no_sources_have_no_features(plain):
    engine, scene = plain()
    scene.sources.parent = scene.sources.parent[:0]
    assert measure_features(engine, scene).shape == (0, len(FEATURES))


# ------------------------------------------------------------ single columns
def slow_drop(scene, weight):
    """Chi-square that each source saves, by least squares on the frame."""
    images, cost = scene.frames, np.zeros(len(scene.boxes))
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


def test_features_are_those_of_whole_frames(plain):
    engine, scene = plain()
    pixels, model = engine.pixels, scene.model_image
    gain = pixels.gain[:, None, None]
    weight = (~pixels.mask
              / (pixels.variance + np.maximum(model, 0) / gain))
    features = measure_features(engine, scene)
    np.testing.assert_allclose(
        _column(features, 'log_drop'),
        np.log10(np.clip(slow_drop(scene, weight), 0.1, 1e6)), rtol=1e-6)
    share = []
    for image in scene.frames:
        stack = (np.sqrt(weight) * image).sum(0)
        top = np.unravel_index(stack.argmax(), stack.shape)
        share.append(stack[top] / (np.sqrt(weight) * model).sum(0)[top])
    share = np.clip(share, 0.01, 1)
    np.testing.assert_allclose(_column(features, 'log_central'),
                               np.log10(share), atol=1e-6)
    np.testing.assert_allclose(
        _column(features, 'on_host'),
        1 + np.log10(np.maximum(1 - share, 1e-3)) / 3, atol=1e-6)
    assert _column(features, 'first').tolist() == [1, 0, 0, 1, 1]


def test_the_light_of_a_star_falls_with_the_distance(plain):
    is_point = np.arange(5) == 0
    engine, scene = plain(is_point=is_point)
    light = _column(measure_features(engine, scene), 'starlight')
    distance = np.hypot(*(scene.fit.parameters[:, :2]
                          - scene.fit.parameters[0, :2]).T)
    order = np.argsort(distance)
    # the star is not in its own light
    assert light[0] == light.min()
    assert (np.diff(light[order][1:]) < 0).all()
    scene.fit.flux = np.where(is_point[:, None], 8, 1) * scene.fit.flux
    brighter = _column(measure_features(engine, scene), 'starlight')
    # wings fall as the third power
    np.testing.assert_allclose(brighter[3:] - light[3:], np.log10(2))
    assert len(set(_column(measure_features(*plain()), 'starlight'))) == 1


def test_bad_pixels_in_the_core_are_counted(plain):
    engine, scene = plain(bad=0)
    x, y = np.rint(scene.fit.parameters[3, :2]).astype(int)
    before = _column(measure_features(engine, scene), 'edge')
    assert before.max() < 0.2
    engine.pixels.mask[:, :, :x] = True
    half = _column(measure_features(engine, scene), 'edge')
    assert 0.2 < half[3] < 0.7
    engine.pixels.mask[:, y - 5:y + 6, x - 5:x + 6] = True
    features = measure_features(engine, scene)
    assert _column(features, 'edge')[3] == 1
    assert np.isfinite(features).all()


def test_what_is_outside_of_the_image_counts_as_bad(plain):
    engine, scene = plain(bad=0)
    scene.fit.parameters[3, :2] = 95.0, 20.0
    edge = _column(measure_features(engine, scene), 'edge')
    assert 0.3 < edge[3] < 0.6


def test_gains_fill_in_their_rows_only():
    features = np.random.default_rng(1).normal(size=(4, len(FEATURES)))
    for name in ('gain', 'compared'):
        features[:, FEATURES.index(name)] = 0
    before = features.copy()
    out = compare(features, np.array([3, 1]), np.array([-9.0, 99.0]))
    np.testing.assert_array_equal(features, before)
    np.testing.assert_allclose(_column(out, 'gain'), [0, 2, 0, -1])
    assert _column(out, 'compared').tolist() == [0, 1, 0, 1]
    rest = [name not in ('gain', 'compared') for name in FEATURES]
    np.testing.assert_array_equal(out[:, rest], before[:, rest])
    np.testing.assert_array_equal(
        compare(features, np.zeros(0, int), np.zeros(0)), before)
