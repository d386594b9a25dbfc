# Licensed under a 3-clause BSD style license - see LICENSE.rst
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from photutils.segmentation import detect_sources
from scipy.ndimage import gaussian_filter
from scipy.ndimage import label as label_regions

from vaephot.deblend.detect import peaks as peaks_module
from vaephot.deblend.detect.peaks import find_candidates
from vaephot.exceptions import ShapeMismatchError

MODES = ['exponential', 'linear', 'sinh']


def find(image, segm, **options):
    options = {'n_pixels': 5, 'n_levels': 32, 'mode': 'exponential',
               'connectivity': 8, **options}
    return find_candidates(image, segm, **options)


def scene(sources, shape=(80, 100)):
    """Gaussians at (x, y) of (peak, sigma)."""
    yy, xx = np.mgrid[:shape[0], :shape[1]]
    return sum(peak * np.exp(-0.5 * ((xx - x)**2 + (yy - y)**2) / sigma**2)
               for x, y, peak, sigma in sources)


def noise_field(seed=0, shape=(60, 70), sigma=1.5, pedestal=0.3):
    image = gaussian_filter(np.random.default_rng(seed).normal(size=shape),
                            sigma)
    return image - image.min() + pedestal * np.ptp(image)


def by_thresholds(image, region, n_pixels, n_levels, mode, connectivity):
    """Peaks of one parent, by labelling it at every threshold."""
    structure = np.ones((3, 3)) if connectivity == 8 else None
    low, high = image[region].min(), image[region].max()
    t = np.arange(1, n_levels + 1) / (n_levels + 1)
    if mode == 'exponential' and low > 0:
        thresholds = low * (high / low)**t
    elif mode == 'sinh':
        thresholds = low + (high - low) * np.sinh(4 * t) / np.sinh(4)
    else:
        thresholds = low + (high - low) * t

    def split(piece, i):
        if i < n_levels:
            regions, n = label_regions(piece & (image > thresholds[i]),
                                       structure)
            parts = [regions == k + 1 for k in range(n)]
            parts = [part for part in parts if part.sum() >= n_pixels]
            if parts:
                return [peak for part in parts for peak in split(part, i + 1)]
        peak = np.where(piece, image, -np.inf).argmax()
        return [np.unravel_index(peak, image.shape)[::-1]]

    return {(int(x), int(y)) for x, y in split(region, 0)}


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('connectivity', [4, 8])
@pytest.mark.parametrize(('n_pixels', 'n_levels'), [(1, 32), (5, 32),
                                                    (5, 4), (12, 100),
                                                    (3, 1)])
def test_the_merge_tree_gives_what_labelling_gives(
        mode, connectivity, n_pixels, n_levels):
    image = noise_field(seed=n_levels)
    segm = detect_sources(image, np.percentile(image, 40), n_pixels,
                          connectivity=connectivity)
    found = find(image, segm, mode=mode, connectivity=connectivity,
                 n_pixels=n_pixels, n_levels=n_levels)
    assert set(found.label) == set(segm.labels)
    for label in segm.labels:
        region = segm.data == label
        want = by_thresholds(image, region, n_pixels, n_levels, mode,
                             connectivity)
        if region.sum() < 2 * n_pixels:
            want = {np.unravel_index(np.where(region, image, -1).argmax(),
                                     image.shape)[::-1]}
        mine = found.label == label
        assert mine.sum() == len(want)
        for x, y in want:
            distance = np.maximum(np.abs(found.x[mine] - x),
                                  np.abs(found.y[mine] - y))
            assert distance.min() <= 0.5


def test_peaks_of_a_blend_are_found_to_sub_pixels():
    places = [(30.3, 40.2), (45.8, 38.9), (38.1, 52.4)]
    image = scene([(x, y, 100, 3) for x, y in places])
    found = find(image, detect_sources(image, 5, 5))
    assert len(found) == 3
    for x, y in places:
        assert np.hypot(found.x - x, found.y - y).min() < 0.1
    alone = scene([(30.3, 40.2, 100, 3)])
    found = find(alone, (alone > 5).astype(int))
    assert_allclose([found.x[0], found.y[0]], [30.3, 40.2], atol=1e-6)


def test_candidates_lie_inside_their_parents_in_the_order_of_the_labels():
    image = noise_field(shape=(120, 130))
    segm = detect_sources(image, np.percentile(image, 60), 5)
    labels = segm.labels[[3, 0, 5]]
    found = find(image, segm, labels=labels)
    ix, iy = (np.floor(v + 0.5).astype(int) for v in (found.x, found.y))
    assert_array_equal(segm.data[iy, ix], found.label)
    assert list(dict.fromkeys(found.label.tolist())) == labels.tolist()
    for label in labels:
        mine = found.label == label
        assert (np.diff(image[iy[mine], ix[mine]]) <= 0).all()
        one = find(image, segm, labels=[label])
        assert_array_equal(one.x, found.x[mine])


def test_chunks_do_not_matter(monkeypatch):
    image = noise_field(shape=(150, 140))
    segm = detect_sources(image, np.percentile(image, 70), 5)
    want = find(image, segm)
    monkeypatch.setattr(peaks_module, 'CHUNK_PIXELS', 300)
    got = find(image, segm)
    for name in ('x', 'y', 'label'):
        assert_array_equal(getattr(got, name), getattr(want, name))


@pytest.mark.parametrize('mode', MODES)
def test_a_constant_source_has_one_candidate_at_its_centroid(mode):
    segm = np.zeros((40, 50), int)
    segm[10:21, 20:41] = 7
    for value in (3.0, 0.0, -1.0):
        found = find(np.full(segm.shape, value), segm, mode=mode)
        assert_allclose([found.x, found.y, found.label], [[30], [15], [7]])


def test_a_flat_top_has_its_candidate_in_the_middle():
    image = np.minimum(scene([(30, 40, 100, 5), (60, 40, 40, 5)]), 50)
    found = find(image, (image > 1).astype(int))
    assert_allclose(sorted(found.x), [30, 60], atol=0.02)
    assert_allclose(found.y, 40, atol=1e-6)


@pytest.mark.parametrize('mode', MODES)
def test_a_minimum_that_is_not_positive_is_handled(mode):
    image = scene([(30, 40, 100, 4), (48, 40, 100, 4)]) - 20
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        found = find(image, (image > -15).astype(int), mode=mode)
    assert_allclose(sorted(found.x), [30, 48], atol=0.2)


def test_noise_bumps_are_merged_if_the_noise_is_given():
    rng = np.random.default_rng(3)
    n_plain = n_kept = 0
    for _ in range(20):
        plain = scene([(40, 40, 8, 8)])
        image = plain + rng.normal(size=plain.shape)
        region = plain > 1.5
        n_plain += len(find(image, region.astype(int)))
        n_kept += len(find(image, region.astype(int), noise=1.0))
    assert n_plain > 40
    assert n_kept <= 22


def test_a_significant_neighbour_stays():
    rng = np.random.default_rng(3)
    image = scene([(40, 40, 100, 3), (51, 40, 25, 3)])
    region = (image > 2).astype(int)
    found = find(image + rng.normal(size=image.shape), region, noise=1.0)
    assert_allclose(sorted(found.x), [40, 51], atol=1)
    far = find(image, region, noise=1.0, min_significance=1e4)
    assert len(far) == 1


def test_small_parents_are_not_split():
    image = np.array([[1, 5, 1, 1, 6, 1]], float)
    segm = np.ones(image.shape, int)
    assert_allclose(find(image, segm, n_pixels=4).x, 4)
    assert len(find(image, segm, n_pixels=1, mode='linear')) == 2


def test_bad_pixels_are_no_peaks_and_do_not_separate():
    image = scene([(40, 40, 100, 6)])
    segm = (image > 5).astype(int)
    broken = image.copy()
    broken[:, 41:43] = np.nan       # a bad column through the source
    broken[40, 35] = np.inf
    broken[35, 35] = -np.inf
    found = find(broken, segm)
    assert len(found) == 1
    assert_allclose([found.x[0], found.y[0]], [40, 40], atol=0.6)
    core = image.copy()
    core[36:45, 36:45] = np.nan     # a masked core
    found = find(core, segm)
    assert len(found) >= 1
    ix, iy = np.round(found.x).astype(int), np.round(found.y).astype(int)
    assert np.isfinite(core[iy, ix]).all()


def test_a_parent_without_good_pixels_has_no_candidate():
    image = scene([(20, 40, 100, 3), (70, 40, 100, 3)])
    segm = detect_sources(image, 5, 5)
    image[:, 50:] = np.nan
    assert_array_equal(find(image, segm).label, [segm.data[40, 20]])
    image[...] = np.nan
    assert len(find(image, segm)) == 0


def test_pieces_that_do_not_touch_are_searched_together():
    image = scene([(20, 40, 100, 3), (70, 40, 60, 3)])
    segm = (image > 5).astype(int)
    assert_allclose(find(image, segm).x, [20, 70], atol=1e-3)
    assert len(find(image, segm, n_pixels=150)) == 1


def test_touching_parents_do_not_mix():
    image = scene([(30, 40, 100, 4), (45, 40, 50, 4)])
    segm = (image > 1).astype(int)
    segm[:, 38:] *= 2
    found = find(image, segm)
    assert_array_equal(found.label, [1, 2])
    assert_allclose(found.x, [30, 45], atol=0.1)


@pytest.mark.parametrize('dtype', ['u1', 'i2', '>i4', 'u8'])
def test_labels_and_images_of_any_dtype(dtype):
    image = scene([(30, 40, 100, 4), (45, 40, 100, 4)])
    segm = (image > 1).astype(dtype) * np.array(200, dtype=dtype)
    found = find(image.astype('>f4'), segm.astype('u8'))
    assert_array_equal(found.label, [200, 200])
    assert found.label.dtype == np.int64


def test_huge_labels_cost_no_memory():
    image = scene([(30, 40, 100, 4)])
    found = find(image, (image > 1) * np.int64(2**40))
    assert_array_equal(found.label, [2**40])


def test_nothing_to_search_gives_nothing():
    image = np.ones((5, 6))
    assert len(find(image, np.zeros((5, 6), int))) == 0
    assert len(find(image, np.ones((5, 6), int), labels=[])) == 0


def test_sources_on_each_edge_and_corner():
    places = [(0, 0), (50, 0), (99, 0), (0, 40), (99, 40), (0, 79), (50, 79),
              (99, 79)]
    image = scene([(x, y, 100, 2) for x, y in places])
    found = find(image, detect_sources(image, 5, 3))
    got = {(int(x), int(y)) for x, y in zip(found.x, found.y, strict=True)}
    assert got == set(places)


@pytest.mark.parametrize('axis', [0, 1])
def test_a_flipped_image_has_flipped_candidates(axis):
    image = noise_field()
    segm = detect_sources(image, np.percentile(image, 50), 5).data
    one, two = (find(a, b) for a, b in (
        (image, segm), (np.flip(image, axis), np.flip(segm, axis))))
    coordinate = ('y', 'x')[axis]
    mirrored = image.shape[axis] - 1 - getattr(two, coordinate)
    assert_allclose(np.sort(mirrored), np.sort(getattr(one, coordinate)))


def test_another_shape_raises():
    with pytest.raises(ShapeMismatchError, match=r'\(3, 4\)'):
        find(np.ones((3, 4)), np.ones((4, 3), int))


def test_values_below_a_floor_count_as_the_floor():
    image = noise_field(shape=(120, 130))
    segm = detect_sources(image, np.percentile(image, 60), 5)
    floor = np.percentile(image, 80)
    want = find(np.maximum(image, floor), segm)
    got = find(image, segm, floor=floor)
    for name in ('x', 'y', 'label'):
        assert_array_equal(getattr(got, name), getattr(want, name))
