# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from photutils.segmentation import SegmentationImage

from vaephot.deblend.detect.pixels import Pixels
from vaephot.deblend.detect.residual_peaks import find_residual_peaks

SHAPE = (60, 90)
KNOWN = np.array([[25.0, 30.0]])
MISSED = (37.0, 33.0)


@pytest.fixture
def scene(gaussian_band, draw_frame, make_observation):
    """Return a function: pixels, parents and model of the known source."""
    def make(flux, seed=2, offset=0.0):
        psfs = [gaussian_band(1.2), gaussian_band(1.6)]
        rows = [[*KNOWN[0], 0.9, 0, 0, 0, 0], [*MISSED, -1.0, 0, 0, 0, 0]]
        model = draw_frame(rows[:1], [[4000.0, 2000]], psfs, SHAPE)
        data = model + offset + draw_frame(rows[1:], [[flux, flux]], psfs,
                                           SHAPE)
        data += np.random.default_rng(seed).standard_normal(data.shape)
        segm = np.zeros(SHAPE, int)
        segm[18:45, 15:48] = 4
        segm[20:40, 60:80] = 9
        return (Pixels.of(make_observation(data, psfs)),
                SegmentationImage(segm), model)
    return make


def test_a_missed_source_is_found_in_its_parent(scene):
    pixels, segm, model = scene(150.0)
    found = find_residual_peaks(pixels, segm, model, KNOWN, segm.labels)
    assert found.parent.tolist() == [4]
    assert np.hypot(found.x[0] - MISSED[0], found.y[0] - MISSED[1]) < 1.5
    assert found.significance[0] > 4


def test_only_parents_asked_for_are_searched(scene):
    pixels, segm, model = scene(150.0)
    assert not len(find_residual_peaks(pixels, segm, model, KNOWN, [9]))


def test_noise_is_no_source(scene):
    pixels, segm, model = scene(0.0)
    assert not len(find_residual_peaks(pixels, segm, model, KNOWN,
                                       segm.labels))


def test_errors_of_a_model_are_no_source(scene):
    pixels, segm, model = scene(0.0)
    wrong = 0.99 * model
    assert not len(find_residual_peaks(pixels, segm, wrong, KNOWN,
                                       segm.labels))


def test_nothing_is_found_on_bad_pixels(scene):
    pixels, segm, model = scene(150.0)
    x, y = (int(v) for v in MISSED)
    pixels.mask[:, y - 6:y + 7, x - 6:x + 7] = True
    assert not len(find_residual_peaks(pixels, segm, model, KNOWN,
                                       segm.labels))


def test_a_free_background_is_nothing_left_over(
        gaussian_band, make_observation):
    psfs = [gaussian_band(1.2)]
    sky = 3 + np.random.default_rng(4).standard_normal((1, *SHAPE))
    segm = np.zeros(SHAPE, int)
    segm[18:45, 15:48] = 4
    segm = SegmentationImage(segm)
    pixels = Pixels.of(make_observation(sky, psfs))
    counts = [len(find_residual_peaks(
        pixels, segm, np.zeros_like(sky), KNOWN, [4], per_parent=20,
        least=8.0, free_sky=free)) for free in (False, True)]
    assert counts[0] > 0
    assert counts[1] == 0
